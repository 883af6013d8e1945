//! What a request says: a document or the hash of one, an operation's name, variables, extensions.

use serde_json::{Map, Value};

use super::refused::Refused;

/// The parameters of a request, however they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Params {
    pub(crate) query: Option<String>,
    pub(crate) operation_name: Option<String>,
    pub(crate) variables: Map<String, Value>,
    pub(crate) extensions: Map<String, Value>,
}

impl Params {
    /// From the body of a POST.
    pub(crate) fn from_body(body: &[u8]) -> Result<Params, Refused> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(object)) => Params::from_object(object),
            Ok(Value::Array(_)) => Err(Refused::new(
                400,
                "BATCH_REFUSED",
                "one operation a request: several at once are not taken",
            )),
            Ok(_) => Err(Refused::bad("the body must be a JSON object with a query")),
            Err(_) => Err(Refused::bad("the body is not JSON in UTF-8")),
        }
    }

    /// From an object, as POST and WebSocket send it.
    pub(crate) fn from_object(mut object: Map<String, Value>) -> Result<Params, Refused> {
        Ok(Params {
            query: text(&mut object, "query", "query must be a string")?,
            operation_name: text(&mut object, "operationName", "operationName must be a string")?,
            variables: map(&mut object, "variables", "variables must be an object")?,
            extensions: map(&mut object, "extensions", "extensions must be an object")?,
        })
    }

    /// From the query of an address. Of a parameter given twice, the last counts, as in JSON.
    pub(crate) fn from_pairs(pairs: Vec<(String, String)>) -> Result<Params, Refused> {
        let mut params = Params::default();
        for (name, value) in pairs {
            match name.as_str() {
                "query" => params.query = Some(value),
                "operationName" => {
                    params.operation_name = Some(value).filter(|name| !name.is_empty())
                }
                "variables" => params.variables = json(&value, "variables must be a JSON object")?,
                "extensions" => {
                    params.extensions = json(&value, "extensions must be a JSON object")?
                }
                _ => {}
            }
        }
        Ok(params)
    }

    /// The hash under which the document was sent before, or shall be kept.
    pub(crate) fn persisted(&self) -> Option<&str> {
        self.extensions.get("persistedQuery")?.get("sha256Hash")?.as_str()
    }

    /// Does the caller want to know what the request costs?
    pub(crate) fn wants_cost(&self) -> bool {
        self.extensions.get("cost") == Some(&Value::Bool(true))
    }
}

fn text(
    object: &mut Map<String, Value>,
    name: &str,
    wrong: &str,
) -> Result<Option<String>, Refused> {
    match object.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refused::bad(wrong)),
    }
}

fn map(
    object: &mut Map<String, Value>,
    name: &str,
    wrong: &str,
) -> Result<Map<String, Value>, Refused> {
    match object.remove(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(_) => Err(Refused::bad(wrong)),
    }
}

fn json(text: &str, wrong: &str) -> Result<Map<String, Value>, Refused> {
    if text.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(Value::Null) => Ok(Map::new()),
        _ => Err(Refused::bad(wrong)),
    }
}
