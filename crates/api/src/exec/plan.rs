//! Documents, compiled: for every selection the fields in their order, fragments merged (§6.3.2 of the specification),
//! directives decided.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use async_graphql::{
    Name, Pos, Positioned,
    indexmap::IndexMap,
    parser::types::{
        Directive, ExecutableDocument, Field, OperationDefinition, Selection as Item, SelectionSet,
    },
};
use async_graphql_value::{ConstValue, Value};
use serde_json::{Map, Value as Json};

use store::read::Extent;

use super::object::Object;
use crate::types::{extent, is_delivery};

/// Plans of one document, at most: it may have several operations, and directives that variables decide.
const PLANS: usize = 16;

/// What is selected of a value with fields.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// The fields, in the order of the answer.
    pub(crate) fields: Vec<Selected>,
    /// Of an interface or a union: what is selected of each type that it may be.
    pub(crate) types: Vec<Selection>,
}

/// One selected field.
#[derive(Debug)]
pub(crate) struct Selected {
    /// The key in the answer.
    pub(crate) response: Box<str>,
    /// The same as JSON, with a colon.
    pub(super) key: Box<[u8]>,
    /// Which field.
    pub(super) which: Which,
    /// Its name in the schema.
    pub(crate) name: Box<str>,
    pub(super) arguments: Vec<(Name, Value)>,
    pub(crate) below: Selection,
    pub(super) pos: Pos,
}

/// Which field is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// The name of the type.
    Typename,
    /// A question about the schema.
    Introspection,
    /// A field of the table.
    Field(usize),
}

impl Selected {
    /// Is it a question about the schema?
    pub(crate) fn is_about_schema(&self) -> bool {
        self.which == Which::Introspection
    }
}

impl Selection {
    /// The selections of these fields below one another, whatever their keys.
    pub(crate) fn along(&self, path: &[&str]) -> Vec<&Selection> {
        let Some((first, rest)) = path.split_first() else { return vec![self] };
        let fields = self.fields.iter().filter(|selected| *selected.name == **first);
        fields.flat_map(|selected| selected.below.along(rest)).collect()
    }

    /// Is one of these fields selected?
    pub(crate) fn has_any(&self, names: &[&str]) -> bool {
        self.fields.iter().any(|selected| names.contains(&&*selected.name))
    }
}

/// An operation, compiled.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// What is selected of the root.
    pub(crate) root: Selection,
    /// Statements that it sends, at most.
    pub(crate) statements: usize,
    /// Does it ask about the schema?
    pub(crate) introspects: bool,
    /// How much it shows of contact bundles.
    pub(crate) bundles: Extent,
    /// Does it show where invitations went?
    pub(crate) deliveries: bool,
    defaults: HashMap<Name, ConstValue>,
}

impl Plan {
    pub(super) fn default_of(&self, variable: &Name) -> Option<&ConstValue> {
        self.defaults.get(variable)
    }
}

/// The operation's name, and what variables say to directives.
type Made = (Option<String>, Vec<bool>);

/// The plans of one document, made when they are first needed.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    made: Mutex<Vec<(Made, Arc<Plan>)>>,
}

impl Plans {
    /// The plan of an operation, if it was made.
    pub(crate) fn get(
        &self,
        document: &ExecutableDocument,
        name: Option<&str>,
        operation: &OperationDefinition,
        variables: &Map<String, Json>,
    ) -> Option<Arc<Plan>> {
        let decided = Compiler::new(document, operation, variables).decisions();
        let made = self.made.lock().ok()?;
        made.iter()
            .find(|((of, decisions), _)| of.as_deref() == name && *decisions == decided)
            .map(|(_, plan)| plan.clone())
    }

    /// The plan of an operation of a valid document.
    pub(crate) fn make<T: Object>(
        &self,
        document: &ExecutableDocument,
        name: Option<&str>,
        operation: &OperationDefinition,
        variables: &Map<String, Json>,
    ) -> Arc<Plan> {
        if let Some(plan) = self.get(document, name, operation, variables) {
            return plan;
        }
        let mut compiler = Compiler::new(document, operation, variables);
        let decided = compiler.decisions();
        let root = compiler.object::<T>(&[&operation.selection_set.node]);
        let plan = Arc::new(compiler.finish(root));
        if let Ok(mut made) = self.made.lock() {
            if made.len() >= PLANS {
                made.clear();
            }
            made.push(((name.map(str::to_owned), decided), plan.clone()));
        }
        plan
    }
}

/// Compiles one operation.
pub(crate) struct Compiler<'d> {
    document: &'d ExecutableDocument,
    operation: &'d OperationDefinition,
    variables: &'d Map<String, Json>,
    statements: usize,
    introspects: bool,
    bundles: Extent,
    deliveries: bool,
}

/// The fields of one key, which are one field.
type Merged<'a> = IndexMap<&'a str, Vec<&'a Positioned<Field>>>;

impl<'d> Compiler<'d> {
    fn new(
        document: &'d ExecutableDocument,
        operation: &'d OperationDefinition,
        variables: &'d Map<String, Json>,
    ) -> Compiler<'d> {
        Compiler {
            document,
            operation,
            variables,
            statements: 0,
            introspects: false,
            bundles: Extent::default(),
            deliveries: false,
        }
    }

    fn finish(self, root: Selection) -> Plan {
        let defaults = self.operation.variable_definitions.iter().filter_map(|definition| {
            let definition = &definition.node;
            let default = definition.default_value.as_ref()?;
            Some((definition.name.node.clone(), default.node.clone()))
        });
        Plan {
            root,
            statements: self.statements,
            introspects: self.introspects,
            bundles: self.bundles,
            deliveries: self.deliveries,
            defaults: defaults.collect(),
        }
    }

    /// What the variables of type Boolean say: all that directives can ask.
    fn decisions(&self) -> Vec<bool> {
        let definitions = self.operation.variable_definitions.iter();
        let booleans = definitions
            .filter(|definition| definition.node.var_type.to_string().starts_with("Boolean"));
        booleans.map(|definition| self.decision(&definition.node.name.node)).collect()
    }

    fn decision(&self, variable: &Name) -> bool {
        if let Some(given) = self.variables.get(variable.as_str()) {
            return *given == Json::Bool(true);
        }
        self.operation.variable_definitions.iter().any(|definition| {
            let default = definition.node.default_value.as_ref();
            definition.node.name.node == *variable
                && default.is_some_and(|default| default.node == ConstValue::Boolean(true))
        })
    }

    /// Is it selected, as its directives say?
    fn is_in(&self, directives: &[Positioned<Directive>]) -> bool {
        directives.iter().all(|directive| {
            let condition = directive.node.get_argument("if").map(|value| &value.node);
            let holds = match condition {
                Some(Value::Boolean(holds)) => *holds,
                Some(Value::Variable(name)) => self.decision(name),
                _ => return true,
            };
            match directive.node.name.node.as_str() {
                "skip" => !holds,
                "include" => holds,
                _ => true,
            }
        })
    }

    /// Takes account of a field's statements: its own, and those that it saves below.
    pub(super) fn count(&mut self, own: usize, saved: usize) {
        self.statements = (self.statements + own).saturating_sub(saved);
    }

    fn collect<'a, T: Object>(
        &self,
        set: &'a SelectionSet,
        spread: &mut HashSet<&'a str>,
        into: &mut Merged<'a>,
    ) where
        'd: 'a,
    {
        let table = T::table();
        for item in &set.items {
            if !self.is_in(item.node.directives()) {
                continue;
            }
            match &item.node {
                Item::Field(field) => {
                    into.entry(field.node.response_key().node.as_str()).or_default().push(field);
                }
                Item::InlineFragment(inline) => {
                    let on = inline.node.type_condition.as_ref();
                    if on.is_none_or(|on| table.is(&on.node.on.node)) {
                        self.collect::<T>(&inline.node.selection_set.node, spread, into);
                    }
                }
                Item::FragmentSpread(named) => {
                    let name = &named.node.fragment_name.node;
                    if spread.insert(name.as_str())
                        && let Some(fragment) = self.document.fragments.get(name)
                        && table.is(&fragment.node.type_condition.node.on.node)
                    {
                        self.collect::<T>(&fragment.node.selection_set.node, spread, into);
                    }
                }
            }
        }
    }

    /// What these sets together select of a type.
    pub(super) fn object<T: Object>(&mut self, sets: &[&SelectionSet]) -> Selection {
        let mut merged = Merged::new();
        let mut spread = HashSet::new();
        for set in sets {
            self.collect::<T>(set, &mut spread, &mut merged);
        }
        let table = T::table();
        let mut fields = Vec::with_capacity(merged.len());
        for (response, same) in merged {
            let Some(first) = same.first() else { continue };
            let name = first.node.name.node.as_str();
            let below: Vec<&SelectionSet> =
                same.iter().map(|field| &field.node.selection_set.node).collect();
            let (which, below) = match name {
                "__typename" => (Which::Typename, Selection::default()),
                _ if name.starts_with("__") => {
                    self.introspects = true;
                    (Which::Introspection, Selection::default())
                }
                // The document is valid: the field is there.
                _ => match table.at(name) {
                    Some(at) => (Which::Field(at), self.field(table, at, &below)),
                    None => continue,
                },
            };
            match table.name {
                "ContactBundle" => self.bundles = self.bundles.max(extent(name)),
                "Invite" => self.deliveries |= is_delivery(name),
                _ => {}
            }
            let mut key = Vec::with_capacity(response.len() + 3);
            super::leaf::text(response, &mut key);
            key.push(b':');
            fields.push(Selected {
                response: response.into(),
                key: key.into(),
                which,
                name: name.into(),
                arguments: first
                    .node
                    .arguments
                    .iter()
                    .map(|(name, value)| (name.node.clone(), value.node.clone()))
                    .collect(),
                below,
                pos: first.pos,
            });
        }
        let selection = Selection { fields, types: Vec::new() };
        if let Some(completes) = &table.completes
            && selection.has_any(completes.fields)
        {
            self.count(1, 0);
        }
        selection
    }

    fn field<T: 'static>(
        &mut self,
        table: &super::Table<T>,
        at: usize,
        below: &[&SelectionSet],
    ) -> Selection {
        match table.fields.get(at).map(|field| &field.kind) {
            Some(super::table::Kind::Deep(deep)) => deep.compile(self, below),
            _ => Selection::default(),
        }
    }
}
