//! `/graphql`: POST with JSON, GET for queries.

use std::time::Instant;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, StatusCode, header},
    web,
};
use async_graphql::{Request, Response, Variables, parser::types::OperationType};
use serde::Deserialize;
use serde_json::json;

use super::server::Shared;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Params {
    query: Option<String>,
    variables: Option<String>,
    operation_name: Option<String>,
}

fn refused(status: StatusCode, code: &str, message: &str) -> HttpResponse {
    let errors = json!({ "errors": [{ "message": message, "extensions": { "code": code } }] });
    HttpResponse::build(status).json(errors)
}

fn bad(message: &str) -> HttpResponse {
    refused(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
}

/// Only JSON: what a form or a plain text can send, another site can make a browser send.
fn is_json(request: &HttpRequest) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

pub(super) async fn post(
    shared: web::Data<Shared>,
    http: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> HttpResponse {
    if !is_json(&http) {
        return refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_MEDIA_TYPE",
            "send application/json",
        );
    }
    let body = match body {
        Ok(body) => body,
        Err(error) => {
            let status = error.as_response_error().status_code();
            if status == StatusCode::PAYLOAD_TOO_LARGE {
                return refused(status, "BODY_TOO_LARGE", "a request has at most 64 KiB");
            }
            return bad("the body could not be read");
        }
    };
    // A list would be taken for the members of a request in their order.
    let object = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    match serde_json::from_slice::<Request>(&body) {
        Ok(request) if object => answer(&shared, request).await,
        _ => bad(
            r#"the body must be JSON of the form {"query": "…", "variables": {…}, "operationName": "…"}"#,
        ),
    }
}

pub(super) async fn get(shared: web::Data<Shared>, params: web::Query<Params>) -> HttpResponse {
    let params = params.into_inner();
    let Some(query) = params.query else {
        return bad("the parameter query is missing");
    };
    let mut request = Request::new(query);
    if let Some(variables) = params.variables.filter(|text| !text.is_empty()) {
        match serde_json::from_str(&variables) {
            Ok(json @ (serde_json::Value::Object(_) | serde_json::Value::Null)) => {
                request = request.variables(Variables::from_json(json));
            }
            _ => return bad("the parameter variables must be a JSON object"),
        }
    }
    if let Some(name) = params.operation_name.filter(|name| !name.is_empty()) {
        request = request.operation_name(name);
    }
    // A link must not change anything.
    let only_queries = request.parsed_query().map(|document| {
        document.operations.iter().all(|(_, operation)| operation.node.ty == OperationType::Query)
    });
    if let Ok(false) = only_queries {
        return HttpResponse::build(StatusCode::METHOD_NOT_ALLOWED)
            .insert_header((header::ALLOW, "POST"))
            .json(json!({ "errors": [{
                "message": "GET is for queries alone; use POST",
                "extensions": { "code": "METHOD_NOT_ALLOWED" },
            }] }));
    }
    answer(&shared, request).await
}

pub(super) async fn other(method: Method) -> HttpResponse {
    HttpResponse::build(StatusCode::METHOD_NOT_ALLOWED)
        .insert_header((header::ALLOW, "GET, POST"))
        .json(json!({ "errors": [{
            "message": format!("{method} is not for this address; use POST or GET"),
            "extensions": { "code": "METHOD_NOT_ALLOWED" },
        }] }))
}

async fn answer(shared: &Shared, request: Request) -> HttpResponse {
    let began = Instant::now();
    let answer = shared.graph.answer(request).await;
    let seconds = began.elapsed().as_secs_f64();
    let outcome = outcome(&answer.response);
    metrics::counter!("xmtp_indexer_graphql_requests_total", "outcome" => outcome).increment(1);
    metrics::histogram!("xmtp_indexer_graphql_request_seconds").record(seconds);
    tracing::debug!(
        request = answer.request_id,
        outcome,
        seconds,
        statements = answer.statements,
        "graphql"
    );
    HttpResponse::Ok()
        .insert_header(("x-request-id", answer.request_id))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(answer.response)
}

fn outcome(response: &Response) -> &'static str {
    if response.is_ok() { "ok" } else { "error" }
}
