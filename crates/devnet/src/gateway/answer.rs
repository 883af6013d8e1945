//! Answers of unary calls: JSON or protobuf, sometimes gzipped; and errors.

use std::io::Write;

use axum::body::Bytes;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use tonic::{Code, Status};

use super::json::ToJson;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Protobuf's JSON.
    Json,
    /// Protobuf.
    Protobuf,
}

impl Form {
    /// What the client sends.
    pub(super) fn of_request(headers: &HeaderMap) -> Self {
        if names(headers, &CONTENT_TYPE, PROTOBUF) { Form::Protobuf } else { Form::Json }
    }

    /// The format of the response: the one that the client accepts, else the one that it sends.
    pub(super) fn of_answer(headers: &HeaderMap) -> Self {
        if names(headers, &ACCEPT, PROTOBUF) {
            Form::Protobuf
        } else if names(headers, &ACCEPT, JSON) {
            Form::Json
        } else {
            Form::of_request(headers)
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Form::Json => JSON,
            Form::Protobuf => PROTOBUF,
        })
    }
}

/// True if one of the header's comma-separated values is `value`, whatever its parameters.
fn names(headers: &HeaderMap, header: &HeaderName, value: &str) -> bool {
    headers
        .get_all(header)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|entry| entry.split(';').next())
        .any(|name| name.trim().eq_ignore_ascii_case(value))
}

/// The answer to a unary call.
pub(super) fn success<T: Message + ToJson>(
    outcome: Result<T, Status>,
    headers: &HeaderMap,
    may_compress: bool,
) -> Response {
    let form = Form::of_answer(headers);
    let message = match outcome {
        Ok(message) => message,
        Err(status) => return failure(&status, form),
    };
    let body = match form {
        Form::Json => message.to_json().into_bytes(),
        Form::Protobuf => message.encode_to_vec(),
    };
    let mut response = if may_compress && names(headers, &ACCEPT_ENCODING, "gzip") {
        // Writing to memory does not fail; if it did, the plain body is as good an answer.
        match gzip(&body) {
            Ok(zipped) => {
                let gzip = HeaderValue::from_static("gzip");
                ([(CONTENT_ENCODING, gzip)], Bytes::from(zipped)).into_response()
            }
            Err(_) => Bytes::from(body).into_response(),
        }
    } else {
        Bytes::from(body).into_response()
    };
    let answer = response.headers_mut();
    answer.insert(CONTENT_TYPE, form.content_type());
    if may_compress {
        answer.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    response
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

/// `google.rpc.Status`, in as far as it is used.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// A refusal, with the HTTP status that belongs to its code.
pub(super) fn failure(status: &Status, form: Form) -> Response {
    let code = status.code() as i32;
    let message = status.message();
    let body = match form {
        Form::Json => serde_json::json!({ "code": code, "message": message, "details": [] })
            .to_string()
            .into(),
        Form::Protobuf => RpcStatus { code, message: message.to_owned() }.encode_to_vec(),
    };
    (http_status(status.code()), [(CONTENT_TYPE, form.content_type())], body).into_response()
}

fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
