//! Streams over HTTP: newline-delimited JSON.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;

use crate::node::{Interest, Node};

/// How many envelopes that are there already may share a write.
const TOGETHER: usize = 64;

/// Answers with what arrives from now on. Like the network's gateway it sends nothing, not even
/// the head, before the first envelope.
pub(super) async fn stream(node: &Node, interest: Interest) -> Response {
    let mut envelopes = node.hub().subscribe(interest);
    let first = envelopes.next().await;
    let lines = futures::stream::iter(first).chain(envelopes).ready_chunks(TOGETHER).map(
        |envelopes| -> Result<Bytes, Infallible> {
            Ok(envelopes.iter().map(line).collect::<String>().into())
        },
    );
    let mut response = Body::from_stream(lines).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let subscribed = HeaderName::from_static("grpc-metadata-subscribed");
    headers.insert(subscribed, HeaderValue::from_static("true"));
    response
}

fn line(envelope: &wire::Envelope) -> String {
    let topic = String::from_utf8_lossy(&envelope.topic);
    let envelope = wire::json::to_line(&topic, envelope.timestamp_ns, &envelope.message);
    format!("{{\"result\":{envelope}}}\n")
}
