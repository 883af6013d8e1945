use async_graphql::{Description, InputValueError, InputValueResult, Scalar, ScalarType, Value};

/// Bytes as 0x-prefixed lower-case hexadecimal; 0x is optional on input.
#[derive(Description, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hex(pub(crate) Vec<u8>);

#[Scalar(use_type_description = true)]
impl ScalarType for Hex {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => hex::decode(text).map(Hex).map_err(|_| {
                InputValueError::custom(
                    "not hexadecimal: an even number of digits, with or without 0x before them",
                )
            }),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(hex::encode_prefixed(&self.0))
    }
}
