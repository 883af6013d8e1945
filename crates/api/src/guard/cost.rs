//! What an operation costs: fields of the answer, as many as there can be. See the module above for the model.

use std::collections::HashMap;

use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql_value::{ConstValue, Value};
use serde_json::{Map, Value as Json};

use super::shape::Shape;
use crate::paging::{DEFAULT_PAGE, MAX_PAGE};

/// The statement of a list.
const LIST: u64 = 50;
/// A count over all pages.
const COUNT: u64 = 200;
/// How many rows a list without pages and arguments is thought to have.
const FEW: u64 = 5;
/// Bytes of a message, which are read from where they are stored.
const BYTES: u64 = 5;
/// Introspection asks nothing of the database.
const INTROSPECTION: u64 = 2;
/// A type of the schema is wrapped at most so often: a list that must be there, of members that must be there.
const WRAPPINGS: u8 = 3;

struct Cost<'a> {
    document: &'a ExecutableDocument,
    operation: &'a OperationDefinition,
    variables: &'a Map<String, Json>,
    shape: &'a Shape,
    fragments: HashMap<(&'a str, u64, u8), u64>,
}

/// What an operation of a measured document costs.
pub(crate) fn of(
    document: &ExecutableDocument,
    operation: &OperationDefinition,
    variables: &Map<String, Json>,
    shape: &Shape,
) -> u64 {
    let root = match operation.ty {
        OperationType::Query => "Query",
        OperationType::Mutation => "Mutation",
        OperationType::Subscription => "Subscription",
    };
    let mut cost = Cost { document, operation, variables, shape, fragments: HashMap::new() };
    cost.set(&operation.selection_set.node, root, FEW, 0)
}

impl<'a> Cost<'a> {
    /// `page` is how many rows the lists of this type have, where it is a page.
    fn set(&mut self, set: &'a SelectionSet, of: &str, page: u64, wrapped: u8) -> u64 {
        let mut sum = 0_u64;
        for item in &set.items {
            let cost = match &item.node {
                Selection::Field(field) => self.field(&field.node, of, page, wrapped),
                Selection::InlineFragment(inline) => {
                    let on = inline.node.type_condition.as_ref();
                    let of = on.map_or(of, |on| on.node.on.node.as_str());
                    self.set(&inline.node.selection_set.node, of, page, wrapped)
                }
                Selection::FragmentSpread(spread) => {
                    self.fragment(&spread.node.fragment_name.node, page, wrapped)
                }
            };
            sum = sum.saturating_add(cost);
        }
        sum
    }

    fn fragment(&mut self, name: &str, page: u64, wrapped: u8) -> u64 {
        let Some((name, fragment)) = self.document.fragments.get_key_value(name) else { return 0 };
        let key = (name.as_str(), page, wrapped);
        if let Some(cost) = self.fragments.get(&key) {
            return *cost;
        }
        let fragment = &fragment.node;
        let of = fragment.type_condition.node.on.node.as_str();
        let cost = self.set(&fragment.selection_set.node, of, page, wrapped);
        self.fragments.insert(key, cost);
        cost
    }

    fn field(&mut self, field: &'a Field, of: &str, page: u64, wrapped: u8) -> u64 {
        let name = field.name.node.as_str();
        let below = &field.selection_set.node;
        match name {
            "__schema" => return self.introspect(below, "__Schema") / INTROSPECTION,
            "__type" => return self.introspect(below, "__Type") / INTROSPECTION,
            _ => {}
        }
        if of.starts_with("__") {
            return self.introspected(name, below, wrapped);
        }
        let Some(leads) = self.shape.leads(of, name) else {
            // Not in the schema: the validation will say so.
            return self.set(below, "", FEW, 0).saturating_add(1);
        };
        if leads.pages {
            let rows = self.page(field);
            return self.set(below, &leads.to, rows, 0).saturating_add(LIST);
        }
        if !leads.object {
            return match name {
                "totalCount" => COUNT,
                "message" => BYTES,
                _ => 1,
            };
        }
        let one = self.set(below, &leads.to, FEW, 0).saturating_add(1);
        match leads.list {
            false => one,
            true if of.ends_with("Connection") => one.saturating_mul(page),
            true => one.saturating_mul(self.longest(field).unwrap_or(FEW)).saturating_add(1),
        }
    }

    fn introspect(&mut self, set: &'a SelectionSet, of: &str) -> u64 {
        self.set(set, of, FEW, 0).saturating_add(1)
    }

    /// The types of introspection do not stand in the schema's text, but there are few.
    fn introspected(&mut self, name: &str, below: &'a SelectionSet, wrapped: u8) -> u64 {
        let shape = self.shape;
        let (to, times, wrapped) = match name {
            "types" => ("__Type", shape.type_count, 0),
            "fields" => ("__Field", shape.fields_a_type, 0),
            "inputFields" | "args" => ("__InputValue", shape.arguments_a_field, 0),
            "enumValues" | "directives" => ("__EnumValue", FEW, 0),
            "interfaces" | "possibleTypes" => ("__Type", 1, 0),
            // Beyond the wrappings there is nothing.
            "ofType" if wrapped >= WRAPPINGS => return 1,
            "ofType" => ("__Type", 1, wrapped + 1),
            "type" | "queryType" | "mutationType" | "subscriptionType" => ("__Type", 1, 0),
            _ => return 1,
        };
        self.set(below, to, FEW, wrapped).saturating_add(1).saturating_mul(times.max(1))
    }

    /// Rows of a page, as asked for. More than allowed is refused by the list itself, at no cost.
    fn page(&self, field: &Field) -> u64 {
        let sizes = ["first", "last"].map(|name| {
            let asked = field.get_argument(name).map(|value| self.number(&value.node));
            asked.flatten().map(|asked| u64::try_from(asked).unwrap_or(0))
        });
        let size = sizes.into_iter().flatten().max().unwrap_or(u64::from(DEFAULT_PAGE));
        size.min(u64::from(MAX_PAGE)).max(1)
    }

    fn number(&self, value: &Value) -> Option<i64> {
        match value {
            Value::Number(number) => number.as_i64(),
            Value::Variable(name) => match self.variables.get(name.as_str()) {
                Some(given) => given.as_i64(),
                None => self.default_of(name).and_then(|value| match value {
                    ConstValue::Number(number) => number.as_i64(),
                    _ => None,
                }),
            },
            _ => None,
        }
    }

    fn default_of(&self, variable: &str) -> Option<&ConstValue> {
        let definitions = self.operation.variable_definitions.iter();
        let mut named = definitions.filter(|definition| definition.node.name.node == variable);
        named.next()?.node.default_value.as_ref().map(|value| &value.node)
    }

    /// Members of the longest list among the arguments.
    fn longest(&self, field: &Field) -> Option<u64> {
        let lengths = field.arguments.iter().filter_map(|(_, value)| match &value.node {
            Value::List(list) => Some(list.len()),
            Value::Variable(name) => match self.variables.get(name.as_str()) {
                Some(Json::Array(list)) => Some(list.len()),
                Some(_) => None,
                None => match self.default_of(name) {
                    Some(ConstValue::List(list)) => Some(list.len()),
                    _ => None,
                },
            },
            _ => None,
        });
        lengths.max().map(|length| u64::try_from(length).unwrap_or(u64::MAX).max(1))
    }
}
