//! Questions about the schema. Async-graphql answers them, and takes milliseconds for that: it does so aside, one at a
//! time, and what it says is kept.

use std::{collections::HashMap, sync::Arc};

use async_graphql::{Executor, Response, Value};
use tokio::{runtime::Handle, sync::Semaphore};

use crate::{
    error::{Code, Trouble},
    guard::Recent,
    intake::Ready,
};

/// Answers that are kept, and their bytes, at most. The one that tools ask for has some 200,000.
const KEPT: usize = 64;
const KEPT_BYTES: usize = 2 << 20;

/// What a request asks about the schema, answered: JSON under the key that it has in the answer.
pub(crate) type Told = HashMap<String, Vec<u8>>;

/// Answers questions about the schema.
#[derive(Debug)]
pub(crate) struct Introspection {
    kept: Recent<[u8; 32], Arc<Told>>,
    /// Whoever has it may keep a processor busy.
    turn: Arc<Semaphore>,
}

impl Introspection {
    pub(crate) fn new() -> Introspection {
        Introspection { kept: Recent::new(KEPT, KEPT_BYTES), turn: Arc::new(Semaphore::new(1)) }
    }

    /// What the schema says to a request.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub(crate) async fn answer(
        &self,
        schema: &impl Executor,
        ready: &Ready,
    ) -> Result<Arc<Told>, Response> {
        let words = ready.words();
        if let Some(told) = self.kept.get(&words) {
            return Ok(told);
        }
        // It is never closed.
        let turn = self.turn.clone().acquire_owned().await.ok();
        // Perhaps that is what was waited for.
        if let Some(told) = self.kept.get(&words) {
            return Ok(told);
        }
        let (schema, request, runtime) = (schema.clone(), ready.request(), Handle::current());
        let asking = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let response = runtime.block_on(schema.execute(request));
            (told(response.data), response.errors)
        });
        let Ok((told, errors)) = asking.await else {
            // Not kept: it may be answered another time.
            let message = "the schema could not be asked: try again";
            return Err(Trouble::new(Code::Unavailable, message).response());
        };
        if !errors.is_empty() {
            return Err(Response::from_errors(errors));
        }
        let told = Arc::new(told);
        let bytes = told.iter().map(|(key, json)| key.len() + json.len()).sum();
        self.kept.keep(words, told.clone(), bytes);
        Ok(told)
    }
}

fn told(data: Value) -> Told {
    let Value::Object(data) = data else { return Told::new() };
    let json = |value| serde_json::to_vec(&value).unwrap_or_default();
    data.into_iter().map(|(key, value)| (key.to_string(), json(value))).collect()
}
