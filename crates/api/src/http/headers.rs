//! Headers that every answer of the API has.

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
};

use crate::transport::{media::Media, origin::Cors, refused::Refused};

/// A header's value, where it is readable.
pub(super) fn text<'a>(request: &'a HttpRequest, name: &HeaderName) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// The beginning of an answer.
pub(super) fn begin(status: u16, media: Media) -> HttpResponseBuilder {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = HttpResponse::build(status);
    answer
        .insert_header((header::CONTENT_TYPE, media.content_type()))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .append_header((header::VARY, "Accept"));
    answer
}

/// The answer to a request that is refused.
pub(super) fn refuse(refused: &Refused, media: Media) -> HttpResponse {
    let media = if media == Media::Events { Media::Json } else { media };
    let mut answer = begin(refused.status(media), media);
    if let Some(seconds) = refused.retry_after {
        answer.insert_header((header::RETRY_AFTER, seconds.to_string()));
    }
    match refused.status {
        401 => {
            answer.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"xmtp-indexer\""));
        }
        405 => {
            answer.insert_header((header::ALLOW, "GET, POST, OPTIONS"));
        }
        // What is left of the body is not waited for.
        408 | 413 => {
            answer.force_close();
        }
        _ => {}
    }
    answer.body(refused.body())
}

/// Says to a browser which page may read this.
pub(super) fn share(cors: &Cors, origin: Option<&str>, headers: &mut HeaderMap) {
    if *cors == Cors::SameOrigin {
        return;
    }
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(allowed) = origin.and_then(|origin| cors.allows(origin)) else { return };
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        let exposed = HeaderValue::from_static("x-request-id, retry-after");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// The answer to a browser that asks before it asks.
pub(super) fn preflight(cors: &Cors, origin: Option<&str>) -> HttpResponse {
    let mut answer = HttpResponse::NoContent().finish();
    let headers = answer.headers_mut();
    share(cors, origin, headers);
    if headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                "accept, authorization, cache-control, content-type, last-event-id, x-request-id",
            ),
            (header::ACCESS_CONTROL_MAX_AGE, "86400"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    headers.insert(header::ALLOW, HeaderValue::from_static("GET, POST, OPTIONS"));
    answer
}
