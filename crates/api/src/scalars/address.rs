use async_graphql::{Description, InputValueError, InputValueResult, Scalar, ScalarType, Value};

/// A wallet's address: EIP-55 checksummed on output; any letter case, with or without 0x, on input.
#[derive(Description, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) wire::Address);

#[Scalar(use_type_description = true)]
impl ScalarType for Address {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => Ok(Address(text.parse::<wire::Address>()?)),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}
