use async_graphql::{Description, InputValueError, InputValueResult, Scalar, ScalarType, Value};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

/// Bytes as RFC 4648 base64 with padding.
#[derive(Description, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base64(pub(crate) Bytes);

#[Scalar(use_type_description = true)]
impl ScalarType for Base64 {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => STANDARD
                .decode(text)
                .map(|bytes| Base64(bytes.into()))
                .map_err(|_| InputValueError::custom("not base64 with padding")),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(STANDARD.encode(&self.0))
    }
}
