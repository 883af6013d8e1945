//! Values that come with a request.

use async_graphql::parser::types::OperationDefinition;
use serde_json::{Map, Value};

use super::limits::{Kind, Limits, Refusal};

/// Refuses variables that are more than any field takes.
pub(crate) fn check(variables: &Map<String, Value>, limits: &Limits) -> Result<(), Refusal> {
    let mut values = 0_usize;
    let mut waiting: Vec<(&Value, usize)> = variables.values().map(|value| (value, 1)).collect();
    while let Some((value, depth)) = waiting.pop() {
        values += 1;
        if depth > limits.input_depth {
            return Err(Refusal::over(Kind::InputDepth, limits.input_depth, depth));
        }
        match value {
            Value::Array(list) => {
                if list.len() > limits.list_items {
                    return Err(Refusal::over(Kind::ListItems, limits.list_items, list.len()));
                }
                waiting.extend(list.iter().map(|value| (value, depth + 1)));
            }
            Value::Object(object) => {
                waiting.extend(object.values().map(|value| (value, depth + 1)))
            }
            _ => {}
        }
    }
    if values > limits.input_values {
        return Err(Refusal::over(Kind::InputValues, limits.input_values, values));
    }
    Ok(())
}

/// Refuses a request that lacks a variable which must be given: later it would look like a failure of a field.
pub(crate) fn required(
    operation: &OperationDefinition,
    variables: &Map<String, Value>,
) -> Result<(), Refusal> {
    for definition in &operation.variable_definitions {
        let definition = &definition.node;
        let given = variables.get(definition.name.node.as_str());
        let lacks = match given {
            None => definition.default_value.is_none(),
            Some(value) => value.is_null(),
        };
        if lacks && !definition.var_type.node.nullable {
            return Err(Refusal::invalid("a variable that must be given is missing or null"));
        }
    }
    Ok(())
}
