//! From what a request says to an operation that may be executed: the document found, read and measured, the operation
//! chosen, its price known. Documents that were read before are not read again.

use std::sync::Arc;

use async_graphql::{
    Positioned, Request, Variables,
    parser::types::{
        Directive, ExecutableDocument, Field, OperationDefinition, OperationType, Selection,
        SelectionSet,
    },
};
use async_graphql_value::Value;
use serde_json::Map;
use sha2::{Digest as _, Sha256};

use crate::{
    exec::{Object, Plan, Plans},
    guard::{Document, Limits, Listings, Recent, Rule, Shape, find_listing, hash},
    transport::{
        params::Params,
        persisted::{Documents, Persisted, Trusted},
        refused::Refused,
    },
};

/// Documents that are kept parsed, and the bytes of their texts, at most.
const READ: usize = 1_024;
const READ_BYTES: usize = 2 << 20;

/// Takes requests in.
#[derive(Debug)]
pub(crate) struct Intake {
    limits: Limits,
    shape: Shape,
    documents: Documents,
    read: Recent<[u8; 32], Arc<Known>>,
}

/// A document that was read, and the plans of its operations.
#[derive(Debug)]
struct Known {
    document: Document,
    plans: Plans,
}

/// An operation that may be executed, as often as needed.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    known: Arc<Known>,
    operation_name: Option<String>,
    pub(crate) variables: Arc<Map<String, serde_json::Value>>,
    /// Query, mutation or subscription.
    pub(crate) kind: OperationType,
    /// What it costs.
    pub(crate) cost: u64,
    /// Shall the answer tell the cost?
    pub(crate) wants_cost: bool,
}

impl Intake {
    pub(crate) fn new(limits: Limits, sdl: &str, mode: Persisted, trusted: Trusted) -> Intake {
        Intake {
            limits,
            shape: Shape::of(sdl),
            documents: Documents::new(mode, trusted),
            read: Recent::new(READ, READ_BYTES),
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Finds out what is meant, and whether it may be executed for a caller who may list so much.
    pub(crate) fn admit(&self, params: Params, listings: Listings) -> Result<Ready, Refused> {
        let id = params.persisted().map(str::to_owned);
        let wants_cost = params.wants_cost();
        let text = self.documents.find(params.query, id.as_deref())?;
        let known = self.document(&text)?;
        self.documents.keep(&text, id.as_deref());
        let document = &known.document;
        let operation = document.operation(params.operation_name.as_deref())?;
        let cost = document.price(operation, &params.variables, &self.shape, &self.limits)?;
        if listings != Listings::Open
            && let Some(rule) =
                find_listing(&document.parsed, operation, &params.variables, &self.shape)
        {
            return Err(unlisted(rule, listings));
        }
        let kind = operation.ty;
        Ok(Ready {
            operation_name: params.operation_name,
            variables: Arc::new(params.variables),
            kind,
            cost,
            wants_cost,
            known,
        })
    }

    fn document(&self, text: &str) -> Result<Arc<Known>, Refused> {
        // Too large to be known, and not worth a hash.
        if text.len() <= self.limits.document_bytes
            && let Some(known) = self.read.get(&hash(text))
        {
            return Ok(known);
        }
        let document = Document::read(text, &self.limits)?;
        let (hash, bytes) = (document.hash, document.bytes);
        let known = Arc::new(Known { document, plans: Plans::default() });
        self.read.keep(hash, known.clone(), bytes);
        Ok(known)
    }
}

impl Ready {
    /// The same for async-graphql.
    pub(crate) fn request(&self) -> Request {
        let mut variables = (*self.variables).clone();
        // Its directives do not look at defaults. Everybody else's are decided here.
        if self.introspects()
            && let Ok(operation) = self.known.document.operation(self.operation_name.as_deref())
        {
            for definition in &operation.variable_definitions {
                let (name, default) = (&definition.node.name.node, &definition.node.default_value);
                if let Some(default) = default
                    && !variables.contains_key(name.as_str())
                    && let Ok(default) = default.node.clone().into_json()
                {
                    variables.insert(name.to_string(), default);
                }
            }
        }
        let variables = serde_json::Value::Object(variables);
        let mut request = Request::new(String::new()).variables(Variables::from_json(variables));
        request.operation_name.clone_from(&self.operation_name);
        request.set_parsed_query(self.known.document.parsed.clone());
        request
    }

    /// Does its document ask about the schema?
    pub(crate) fn introspects(&self) -> bool {
        self.known.document.asks.schema
    }

    /// Does its document ask for the bytes of messages?
    pub(crate) fn shows_messages(&self) -> bool {
        self.known.document.asks.messages
    }

    /// Its plan, if it has one: then it was found valid before.
    pub(crate) fn plan(&self) -> Option<Arc<Plan>> {
        let (document, name) = (&self.known.document, self.operation_name.as_deref());
        let operation = document.operation(name).ok()?;
        self.known.plans.get(&document.parsed, name, operation, &self.variables)
    }

    /// Its plan, made when there is none. It must have been found valid.
    pub(crate) fn make_plan<T: Object>(&self) -> Arc<Plan> {
        let (document, name) = (&self.known.document, self.operation_name.as_deref());
        match document.operation(name) {
            Ok(operation) => {
                self.known.plans.make::<T>(&document.parsed, name, operation, &self.variables)
            }
            // There was one when the request was admitted.
            Err(_) => Arc::default(),
        }
    }

    /// The word for log and metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self.kind {
            OperationType::Query => "query",
            OperationType::Mutation => "mutation",
            OperationType::Subscription => "subscription",
        }
    }

    /// The operation's name, for the log.
    pub(crate) fn name(&self) -> Option<&str> {
        let name = self.operation_name.as_deref();
        // A name may be as long as a document.
        name.or_else(|| {
            let mut operations = self.known.document.parsed.operations.iter();
            operations.next().and_then(|(name, _)| name).map(|name| name.as_str())
        })
        .map(|name| name.get(..64).unwrap_or(name))
    }

    /// The document's hash, as much of it as a log needs.
    pub(crate) fn hash(&self) -> String {
        hex::encode(&self.known.document.hash[..8])
    }

    /// The same words: document, operation and variables, but for the cursor that a subscription begins behind, which
    /// is different for everyone and tells the same to all.
    pub(crate) fn words(&self) -> [u8; 32] {
        let mut variables = (*self.variables).clone();
        if let Some(after) = self.after() {
            variables.remove(after);
        }
        let mut hash = Sha256::new();
        hash.update(self.known.document.hash);
        hash.update(self.operation_name.as_deref().unwrap_or_default());
        hash.update([0]);
        // Objects are sorted by their keys.
        hash.update(serde_json::Value::Object(variables).to_string());
        hash.finalize().into()
    }

    /// The variable that is the root field's `after`, and nothing else.
    fn after(&self) -> Option<&str> {
        let operation = self.known.document.operation(self.operation_name.as_deref()).ok()?;
        let [root] = operation.selection_set.node.items.as_slice() else { return None };
        let Selection::Field(field) = &root.node else { return None };
        let Value::Variable(name) = &field.node.get_argument("after")?.node else { return None };
        (uses(&self.known.document.parsed, operation, name) == 1).then_some(name.as_str())
    }
}

/// Why a list is not told, and what is.
fn unlisted(rule: &Rule, listings: Listings) -> Refused {
    let exact: Vec<String> = rule.exact.iter().map(|name| format!("filter.{name}")).collect();
    let exact = match exact.is_empty() {
        true => "ask for one by its id".to_owned(),
        false => format!("say whose by {}", exact.join(" or ")),
    };
    let field = rule.field;
    let message = match listings {
        Listings::Closed => format!("this server does not list {field} for anybody: {exact}"),
        Listings::Open | Listings::Keyed => {
            format!(
                "this server lists {field} only for callers with an API key: {exact}, or send a key"
            )
        }
    };
    Refused::new(403, "FORBIDDEN", &message)
}

/// How often a document uses a variable.
fn uses(document: &ExecutableDocument, operation: &OperationDefinition, name: &str) -> usize {
    let fragments = document.fragments.values().map(|fragment| {
        in_set(&fragment.node.selection_set.node, name)
            + in_directives(&fragment.node.directives, name)
    });
    in_set(&operation.selection_set.node, name)
        + in_directives(&operation.directives, name)
        + fragments.sum::<usize>()
}

fn in_set(set: &SelectionSet, name: &str) -> usize {
    let items = set.items.iter().map(|item| {
        let below = match &item.node {
            Selection::Field(field) => {
                in_arguments(&field.node, name) + in_set(&field.node.selection_set.node, name)
            }
            Selection::InlineFragment(inline) => in_set(&inline.node.selection_set.node, name),
            Selection::FragmentSpread(_) => 0,
        };
        below + in_directives(item.node.directives(), name)
    });
    items.sum()
}

fn in_arguments(field: &Field, name: &str) -> usize {
    field.arguments.iter().map(|(_, value)| in_value(&value.node, name)).sum()
}

fn in_directives(directives: &[Positioned<Directive>], name: &str) -> usize {
    let arguments = directives.iter().flat_map(|directive| &directive.node.arguments);
    arguments.map(|(_, value)| in_value(&value.node, name)).sum()
}

fn in_value(value: &Value, name: &str) -> usize {
    match value {
        Value::Variable(variable) => usize::from(variable == name),
        Value::List(list) => list.iter().map(|value| in_value(value, name)).sum(),
        Value::Object(object) => object.values().map(|value| in_value(value, name)).sum(),
        _ => 0,
    }
}
