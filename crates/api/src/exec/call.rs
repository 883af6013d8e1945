//! What a field finds when it is asked.

use std::sync::Arc;

use async_graphql::{Name, Value as Constant};
use async_graphql_value::Value;
use serde_json::Map;

use super::{
    describe::Arguments,
    plan::{Plan, Selected, Selection},
};
use crate::{error::Trouble, scope::Scope, transport::reply};

/// One execution of a plan.
pub(crate) struct Run {
    pub(crate) scope: Scope,
    pub(crate) plan: Arc<Plan>,
    variables: Arc<Map<String, serde_json::Value>>,
}

impl Run {
    pub(crate) fn new(
        scope: Scope,
        plan: Arc<Plan>,
        variables: Arc<Map<String, serde_json::Value>>,
    ) -> Run {
        Run { scope, plan, variables }
    }

    /// The value of a variable. `None`: neither given nor by default.
    fn variable(&self, name: &Name) -> Option<Constant> {
        match self.variables.get(name.as_str()) {
            Some(value) => Constant::from_json(value.clone()).ok(),
            None => self.plan.default_of(name).cloned(),
        }
    }

    fn constant(&self, value: &Value) -> Option<Constant> {
        match value {
            Value::Variable(name) => self.variable(name),
            // A variable that is not given is null where it stands in a list, and leaves out what it stands for in an
            // object.
            Value::List(list) => {
                let members = list.iter().map(|value| self.constant(value).unwrap_or_default());
                Some(Constant::List(members.collect()))
            }
            Value::Object(object) => {
                let members = object
                    .iter()
                    .filter_map(|(name, value)| Some((name.clone(), self.constant(value)?)));
                Some(Constant::Object(members.collect()))
            }
            value => value.clone().into_const(),
        }
    }

    /// The arguments of a selected field.
    pub(super) fn arguments<A: Arguments>(&self, selected: &Selected) -> Result<A, Trouble> {
        let given = selected
            .arguments
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), self.constant(value)?)));
        A::read(Constant::Object(given.collect())).map_err(|message| self.misread(&message))
    }

    /// The document was valid with other variables; with these it may not be. The answer is worth a second look.
    fn misread(&self, message: &str) -> Trouble {
        self.scope.doubt();
        // The name that follows is of no type of the schema.
        let message = message.split(" (occurred while parsing ").next().unwrap_or_default();
        Trouble::input(reply::bounded(message))
    }
}

/// One field that is asked for all rows of a level.
#[derive(Clone, Copy)]
pub(crate) struct Call<'p> {
    pub(super) run: &'p Run,
    pub(super) selected: &'p Selected,
}

impl<'p> Call<'p> {
    /// What the request stands on.
    pub(crate) fn scope(&self) -> &'p Scope {
        &self.run.scope
    }

    /// The plan that is executed.
    pub(crate) fn plan(&self) -> &'p Plan {
        &self.run.plan
    }

    /// What is selected of the field's values.
    pub(crate) fn below(&self) -> &'p Selection {
        &self.selected.below
    }
}
