//! Answers made smaller for who can unfold them.

use std::io::Write as _;

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, VARY},
    web,
};

/// Smaller answers fit into a packet as they are.
const LEAST: usize = 1 << 10;
/// Larger ones are not folded on the thread that serves others.
const ASIDE: usize = 128 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Folding {
    Brotli,
    Gzip,
}

/// What the caller can unfold and likes best.
fn choose(accept: &str) -> Option<Folding> {
    let mut best: Option<(f32, Folding)> = None;
    for coding in accept.split(',').take(16) {
        let (name, quality) = match coding.split_once(';') {
            Some((name, parameter)) => {
                let quality = parameter.trim().strip_prefix("q=").map(str::parse);
                (name, quality.unwrap_or(Ok(1.0)).unwrap_or(0.0))
            }
            None => (coding, 1.0),
        };
        let folding = match name.trim() {
            name if name.eq_ignore_ascii_case("br") => Folding::Brotli,
            name if name.eq_ignore_ascii_case("gzip") => Folding::Gzip,
            _ => continue,
        };
        let better = best.is_none_or(|(known, before)| {
            quality > known || (quality == known && before == Folding::Gzip)
        });
        if quality > 0.0 && better {
            best = Some((quality, folding));
        }
    }
    best.map(|(_, folding)| folding)
}

fn fold(folding: Folding, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let to = Vec::with_capacity(bytes.len() / 4);
    match folding {
        Folding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(to, flate2::Compression::fast());
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        Folding::Brotli => {
            let mut encoder = brotli::CompressorWriter::new(to, 16 << 10, 3, 20);
            encoder.write_all(bytes)?;
            encoder.flush()?;
            Ok(encoder.into_inner())
        }
    }
}

/// Completes an answer with its bytes, folded where that helps.
pub(super) async fn respond(
    request: &HttpRequest,
    mut answer: HttpResponseBuilder,
    bytes: Vec<u8>,
) -> HttpResponse {
    answer.append_header((VARY, "Accept-Encoding"));
    let accept = request.headers().get(ACCEPT_ENCODING).and_then(|accept| accept.to_str().ok());
    let Some(folding) = accept.and_then(choose).filter(|_| bytes.len() >= LEAST) else {
        return answer.body(bytes);
    };
    let folded = if bytes.len() < ASIDE {
        fold(folding, &bytes).map_err(|_| bytes)
    } else {
        let bytes = web::Bytes::from(bytes);
        let same = bytes.clone();
        match web::block(move || fold(folding, &same)).await {
            Ok(Ok(folded)) => Ok(folded),
            _ => Err(bytes.to_vec()),
        }
    };
    match folded {
        Ok(folded) => {
            let name = if folding == Folding::Gzip { "gzip" } else { "br" };
            answer.insert_header((CONTENT_ENCODING, name)).body(folded)
        }
        Err(bytes) => answer.body(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_what_is_accepted() {
        for (accept, folding) in [
            ("", None),
            ("identity", None),
            ("gzip, deflate, br", Some(Folding::Brotli)),
            ("gzip;q=1.0, br;q=0.5", Some(Folding::Gzip)),
            ("br;q=0, gzip", Some(Folding::Gzip)),
            ("br;q=0", None),
            ("GZIP", Some(Folding::Gzip)),
        ] {
            assert_eq!(choose(accept), folding, "{accept}");
        }
    }

    #[test]
    fn what_is_folded_unfolds() {
        let text = "the same again and again ".repeat(1_000);
        let mut back = String::new();
        let folded = fold(Folding::Gzip, text.as_bytes()).unwrap();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*folded), &mut back)
            .unwrap();
        assert_eq!(back, text);
        let folded = fold(Folding::Brotli, text.as_bytes()).unwrap();
        assert!(folded.len() < 200);
        back.clear();
        std::io::Read::read_to_string(&mut brotli::Decompressor::new(&*folded, 4096), &mut back)
            .unwrap();
        assert_eq!(back, text);
    }
}
