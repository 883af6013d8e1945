use async_graphql::{Description, InputValueError, InputValueResult, Scalar, ScalarType, Value};

/// An unsigned 64-bit integer as a decimal string, because JSON numbers lose precision. Numbers are taken as well on
/// input.
#[derive(Description, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UInt64(pub(crate) u64);

#[Scalar(name = "UInt64", use_type_description = true)]
impl ScalarType for UInt64 {
    fn parse(value: Value) -> InputValueResult<Self> {
        let number = match &value {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.as_u64(),
            _ => return Err(InputValueError::expected_type(value)),
        };
        number.map(UInt64).ok_or_else(|| {
            InputValueError::custom("not a whole number from 0 to 18446744073709551615")
        })
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}
