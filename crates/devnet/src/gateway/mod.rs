//! The node's HTTP/JSON gateway: the same RPCs for clients without gRPC.

mod answer;
mod cors;
mod json;
mod live;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::post;
use tonic::Status;
use wire::proto::message_api::{
    BatchQueryRequest, PublishRequest, PublishResponse, QueryRequest, SubscribeAllRequest,
    SubscribeRequest,
};

use crate::node::{Interest, MAX_REQUEST_BYTES, Node};
use answer::{Form, failure, success};
use json::FromJson;

/// All routes over `node`.
pub(crate) fn router(node: Node) -> Router {
    Router::new()
        .route("/message/v1/publish", post(publish))
        .route("/message/v1/query", post(query))
        .route("/message/v1/batch-query", post(batch_query))
        .route("/message/v1/subscribe", post(subscribe))
        .route("/message/v1/subscribe-all", post(subscribe_all))
        .fallback(|headers: HeaderMap| async move {
            failure(&Status::not_found("Not Found"), Form::of_answer(&headers))
        })
        .method_not_allowed_fallback(|headers: HeaderMap| async move {
            failure(&Status::unimplemented("Method Not Allowed"), Form::of_answer(&headers))
        })
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .layer(from_fn(cors::any_origin))
        .with_state(node)
}

type Body = Result<Bytes, BytesRejection>;

async fn publish(State(node): State<Node>, headers: HeaderMap, body: Body) -> Response {
    let done = read::<PublishRequest>(&headers, body)
        .and_then(|request| node.publish(request))
        .map(|()| PublishResponse {});
    success(done, &headers, false)
}

async fn query(State(node): State<Node>, headers: HeaderMap, body: Body) -> Response {
    let page = read::<QueryRequest>(&headers, body).and_then(|request| node.query(&request));
    success(page, &headers, true)
}

async fn batch_query(State(node): State<Node>, headers: HeaderMap, body: Body) -> Response {
    let pages =
        read::<BatchQueryRequest>(&headers, body).and_then(|request| node.batch_query(&request));
    success(pages, &headers, true)
}

async fn subscribe(State(node): State<Node>, headers: HeaderMap, body: Body) -> Response {
    match read::<SubscribeRequest>(&headers, body) {
        Ok(request) => live::stream(&node, Interest::in_topics(request.content_topics)).await,
        Err(status) => failure(&status, Form::Json),
    }
}

async fn subscribe_all(State(node): State<Node>, headers: HeaderMap, body: Body) -> Response {
    match read::<SubscribeAllRequest>(&headers, body) {
        Ok(_) => live::stream(&node, Interest::Everything).await,
        Err(status) => failure(&status, Form::Json),
    }
}

/// The request in a body of either form. No body is an empty request.
fn read<T: prost::Message + Default + FromJson>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Status> {
    let body = body.map_err(|_| {
        Status::resource_exhausted(format!(
            "the request is not complete, or larger than {MAX_REQUEST_BYTES} bytes"
        ))
    })?;
    match Form::of_request(headers) {
        Form::Protobuf => T::decode(body).map_err(|error| error.to_string()),
        Form::Json if body.trim_ascii().is_empty() => Ok(T::default()),
        Form::Json => T::from_json(&body).map_err(|error| error.to_string()),
    }
    .map_err(Status::invalid_argument)
}
