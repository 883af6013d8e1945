//! A request's body: so many bytes, in so much time, as they are.

use std::time::Duration;

use actix_web::{
    HttpRequest,
    http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING},
    web::{BytesMut, Payload},
};
use futures::StreamExt as _;

use crate::transport::refused::Refused;

/// How long a body is held that nobody wants.
const HELD: Duration = Duration::from_secs(3);

/// Lets go of a body that may not have been read to its end. In chunks it has no known end, and the library would wait
/// for that as long as the client likes; while the body is held, it closes the connection instead.
pub(super) fn release(request: &HttpRequest, payload: Payload) {
    if request.headers().contains_key(TRANSFER_ENCODING) {
        actix_web::rt::spawn(async move {
            tokio::time::sleep(HELD).await;
            drop(payload);
        });
    }
}

/// Reads a body.
pub(super) async fn read(
    request: &HttpRequest,
    payload: &mut Payload,
    limit: usize,
    time: Duration,
) -> Result<BytesMut, Refused> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    // A few bytes can unfold to very many.
    if header(CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(Refused::new(
            415,
            "UNSUPPORTED_ENCODING",
            "send the body without a content-encoding",
        ));
    }
    let length = header(CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if let Some(length) = length.filter(|length| *length > limit) {
        return Err(Refused::too_large(limit, length));
    }
    let all = async {
        let mut body = BytesMut::with_capacity(length.unwrap_or(0).min(limit));
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| Refused::bad("the body broke off"))?;
            let come = body.len() + chunk.len();
            if come > limit {
                return Err(Refused::too_large(limit, come));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    tokio::time::timeout(time, all).await.unwrap_or_else(|_| {
        Err(Refused::new(408, "REQUEST_TIMEOUT", "the body took too long to come"))
    })
}
