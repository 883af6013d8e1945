//! `/graphiql`: the page for trying queries. It is part of the program and loads nothing from anywhere else; see
//! `bin/vendor-graphiql`.

use std::{io::Read as _, sync::OnceLock};

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use sha2::{Digest as _, Sha256};

use super::{headers, server::Shared};

/// What the page may do: its own script and style, its own API. Editors place things by setting styles of elements.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page, folded.
struct File {
    content_type: &'static str,
    gzip: &'static [u8],
}

fn file(name: &str) -> Option<File> {
    let (content_type, gzip): (_, &[u8]) = match name {
        "" => ("text/html; charset=utf-8", include_bytes!("../../assets/graphiql/index.html.gz")),
        "page.js" => {
            ("text/javascript; charset=utf-8", include_bytes!("../../assets/graphiql/page.js.gz"))
        }
        "page.css" => {
            ("text/css; charset=utf-8", include_bytes!("../../assets/graphiql/page.css.gz"))
        }
        "licences.txt" => {
            ("text/plain; charset=utf-8", include_bytes!("../../assets/graphiql/licences.txt.gz"))
        }
        _ => return None,
    };
    Some(File { content_type, gzip })
}

/// One tag for all files: they are made together.
fn tag() -> &'static str {
    static TAG: OnceLock<String> = OnceLock::new();
    TAG.get_or_init(|| {
        let mut hash = Sha256::new();
        for name in ["", "page.js", "page.css", "licences.txt"] {
            hash.update(file(name).map_or(&[][..], |file| file.gzip));
        }
        format!("\"{}\"", hex::encode(&hash.finalize()[..8]))
    })
}

pub(super) async fn get(shared: web::Data<Shared>, http: HttpRequest) -> HttpResponse {
    let found = file(http.match_info().query("file")).filter(|_| shared.exposure.graphiql);
    let Some(file) = found else { return HttpResponse::NotFound().finish() };
    if headers::text(&http, &header::IF_NONE_MATCH) == Some(tag()) {
        return HttpResponse::NotModified().insert_header((header::ETAG, tag())).finish();
    }
    let mut answer = HttpResponse::Ok();
    answer
        .insert_header((header::CONTENT_TYPE, file.content_type))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::ETAG, tag()))
        .insert_header((header::VARY, "Accept-Encoding"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    let accepted = headers::text(&http, &header::ACCEPT_ENCODING).unwrap_or_default();
    if accepted.contains("gzip") {
        return answer.insert_header((header::CONTENT_ENCODING, "gzip")).body(file.gzip);
    }
    let mut plain = Vec::new();
    match flate2::read::GzDecoder::new(file.gzip).read_to_end(&mut plain) {
        Ok(_) => answer.body(plain),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}
