//! Which form an answer takes, and whether a body can be read at all.

/// A form of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// `application/graphql-response+json`: the status tells whether the request could be executed.
    Response,
    /// `application/json`: what older clients expect, with status 200 for every GraphQL answer.
    Json,
    /// `text/event-stream`: one event an answer, for subscriptions.
    Events,
}

impl Media {
    /// The header's value.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Media::Response => "application/graphql-response+json; charset=utf-8",
            Media::Json => "application/json; charset=utf-8",
            Media::Events => "text/event-stream; charset=utf-8",
        }
    }

    fn parts(self) -> (&'static str, &'static str) {
        match self {
            Media::Response => ("application", "graphql-response+json"),
            Media::Json => ("application", "json"),
            Media::Events => ("text", "event-stream"),
        }
    }
}

/// One range of an `Accept` header.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    quality: f32,
}

impl Range<'_> {
    /// How exactly it means this form; none when it does not.
    fn fits(&self, media: Media) -> Option<u8> {
        let (kind, subtype) = media.parts();
        if self.kind.eq_ignore_ascii_case(kind) && self.subtype.eq_ignore_ascii_case(subtype) {
            return Some(2);
        }
        // A stream never ends for who does not know of it: it must be named.
        if media == Media::Events || self.subtype != "*" {
            return None;
        }
        if self.kind.eq_ignore_ascii_case(kind) {
            return Some(1);
        }
        (self.kind == "*").then_some(0)
    }
}

fn ranges(header: &str) -> impl Iterator<Item = Range<'_>> {
    // A list that goes on and on is read as far as sensible ones go.
    header.split(',').take(32).filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let mut quality = 1.0;
        for parameter in parts {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_matches('"');
            match name.trim() {
                name if name.eq_ignore_ascii_case("q") => quality = value.parse().unwrap_or(0.0),
                name if name.eq_ignore_ascii_case("charset") && !is_utf8(value) => return None,
                _ => {}
            }
        }
        Some(Range { kind: kind.trim(), subtype: subtype.trim(), quality })
    })
}

fn is_utf8(charset: &str) -> bool {
    charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
}

/// The form that a caller likes best; none when it takes none of ours.
pub(crate) fn negotiate(accept: Option<&str>) -> Option<Media> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
        return Some(Media::Json);
    };
    let ranges: Vec<Range<'_>> = ranges(accept).collect();
    let mut best: Option<(f32, usize, Media)> = None;
    // Where a wildcard fits several, the first of these is meant.
    for media in [Media::Json, Media::Response, Media::Events] {
        let fitting = ranges
            .iter()
            .enumerate()
            .filter_map(|(nth, range)| Some((range.fits(media)?, nth, range)));
        // The most exact range decides, of equally exact ones the first.
        let Some((_, nth, range)) =
            fitting.max_by_key(|(fits, nth, _)| (*fits, std::cmp::Reverse(*nth)))
        else {
            continue;
        };
        // Nonsense counts as no.
        if range.quality.is_nan() || range.quality <= 0.0 {
            continue;
        }
        let better = best.is_none_or(|(quality, place, _)| {
            range.quality > quality || (range.quality == quality && nth < place)
        });
        if better {
            best = Some((range.quality, nth, media));
        }
    }
    best.map(|(_, _, media)| media)
}

/// Is a body of this type one that can be read? Only JSON in UTF-8: what a form or a plain text can send, a page of
/// somebody else can make a browser send.
pub(crate) fn is_json(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return false };
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    essence
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                is_utf8(value.trim().trim_matches('"'))
            }
            _ => true,
        })
}
