//! What a document becomes when its fragments are expanded, without expanding them: each is measured once, and counted
//! as often as it is spread. All sums stop at their type's largest value.

use std::collections::HashMap;

use async_graphql::parser::types::{
    ExecutableDocument, OperationDefinition, Selection, SelectionSet,
};

use super::limits::{Kind, Limits, Refusal};

/// How deep selections may stand inside of one another, spreads counted: what follows recurses as deep.
const LEVELS: usize = 48;

/// How often introspection may go from a type to the types of its members: tools go once.
const CIRCLES: usize = 2;

/// How often one request may list the types of the schema: tools do so once, and each list fills some memory.
const TYPE_LISTS: u64 = 2;

#[derive(Clone, Copy, Debug, Default)]
struct Measure {
    nodes: u64,
    aliases: u64,
    directives: u64,
    /// Fields at the top.
    top: u64,
    /// Fields inside of fields.
    depth: usize,
    /// The same where introspection is part of it.
    introspection: usize,
    /// Lists of a type's members inside of one another.
    circles: usize,
    /// Lists of the schema's types.
    type_lists: u64,
    /// Are there bytes of messages among the fields?
    messages: bool,
}

/// What a document asks for in any of its operations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asks {
    /// Something about the schema.
    pub(crate) schema: bool,
    /// The bytes of messages, which may be many.
    pub(crate) messages: bool,
}

impl Measure {
    fn add(&mut self, other: Measure) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.directives = self.directives.saturating_add(other.directives);
        self.depth = self.depth.max(other.depth);
        self.introspection = self.introspection.max(other.introspection);
        self.circles = self.circles.max(other.circles);
        self.type_lists = self.type_lists.saturating_add(other.type_lists);
        self.messages |= other.messages;
    }
}

enum Known {
    /// Being measured: who meets it again goes in a circle.
    Under,
    Done(Measure),
}

struct Walk<'a> {
    document: &'a ExecutableDocument,
    known: HashMap<&'a str, Known>,
}

/// Refuses a document that becomes too much.
pub(crate) fn measure(document: &ExecutableDocument, limits: &Limits) -> Result<Asks, Refusal> {
    let operations = document.operations.iter().len();
    if operations > limits.operations {
        return Err(Refusal::over(Kind::Operations, limits.operations, operations));
    }
    let mut walk = Walk { document, known: HashMap::new() };
    let mut asks = Asks::default();
    for (_, operation) in document.operations.iter() {
        let operation = &operation.node;
        let mut found = walk.set(&operation.selection_set.node, 0)?;
        found.directives = found.directives.saturating_add(count(operation.directives.len()));
        for variable in &operation.variable_definitions {
            found.directives =
                found.directives.saturating_add(count(variable.node.directives.len()));
        }
        if found.top > limits.root_fields {
            return Err(Refusal::over(Kind::RootFields, limits.root_fields, found.top));
        }
        check(&found, limits)?;
        asks.schema |= found.introspection > 0;
        asks.messages |= found.messages;
    }
    // Those that nobody spreads are validated, too.
    for (name, fragment) in &document.fragments {
        let mut found = walk.fragment(name, 0)?;
        if fragment.node.type_condition.node.on.node.starts_with("__") {
            found.introspection = found.introspection.max(found.depth);
            found.depth = 0;
        }
        check(&found, limits)?;
    }
    Ok(asks)
}

fn check(found: &Measure, limits: &Limits) -> Result<(), Refusal> {
    for (kind, limit, actual) in [
        (Kind::Nodes, limits.nodes, found.nodes),
        (Kind::Aliases, limits.aliases, found.aliases),
        (Kind::Directives, limits.directives, found.directives),
        (Kind::Depth, count(limits.depth), count(found.depth)),
        (Kind::Depth, count(limits.introspection_depth), count(found.introspection)),
        (Kind::Depth, count(CIRCLES), count(found.circles)),
        (Kind::Nodes, TYPE_LISTS, found.type_lists),
    ] {
        if actual > limit {
            return Err(Refusal::over(kind, limit, actual));
        }
    }
    Ok(())
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl<'a> Walk<'a> {
    fn set(&mut self, set: &'a SelectionSet, level: usize) -> Result<Measure, Refusal> {
        if level > LEVELS {
            return Err(Refusal::over(Kind::Depth, LEVELS, level));
        }
        let mut sum = Measure::default();
        for item in &set.items {
            sum.nodes = sum.nodes.saturating_add(1);
            sum.directives = sum.directives.saturating_add(count(item.node.directives().len()));
            // The validation that comes later looks at every field but `__typename`.
            let known = |name: &str| matches!(name, "skip" | "include");
            if !item.node.directives().iter().all(|directive| known(&directive.node.name.node)) {
                return Err(Refusal::invalid("the only directives here are @skip and @include"));
            }
            match &item.node {
                Selection::Field(field) => {
                    let field = &field.node;
                    sum.top = sum.top.saturating_add(1);
                    sum.aliases = sum.aliases.saturating_add(u64::from(field.alias.is_some()));
                    let mut below = self.set(&field.selection_set.node, level + 1)?;
                    match field.name.node.as_str() {
                        "fields" | "inputFields" | "interfaces" | "possibleTypes" => {
                            below.circles += 1;
                            below.depth += 1;
                        }
                        "types" => {
                            below.type_lists = below.type_lists.saturating_add(1);
                            below.depth += 1;
                        }
                        "__schema" | "__type" => {
                            below.introspection = 1 + below.introspection.max(below.depth);
                            below.depth = 1;
                        }
                        name => {
                            below.messages |= name == "message";
                            below.depth += 1;
                            if below.introspection > 0 {
                                below.introspection += 1;
                            }
                        }
                    }
                    sum.add(below);
                }
                Selection::InlineFragment(inline) => {
                    let below = self.set(&inline.node.selection_set.node, level + 1)?;
                    sum.top = sum.top.saturating_add(below.top);
                    sum.add(below);
                }
                Selection::FragmentSpread(spread) => {
                    let below = self.fragment(&spread.node.fragment_name.node, level + 1)?;
                    sum.top = sum.top.saturating_add(below.top);
                    sum.add(below);
                }
            }
        }
        Ok(sum)
    }

    fn fragment(&mut self, name: &str, level: usize) -> Result<Measure, Refusal> {
        // One that is not there is for the validation to name.
        let Some((name, fragment)) = self.document.fragments.get_key_value(name) else {
            return Ok(Measure::default());
        };
        match self.known.get(name.as_str()) {
            Some(Known::Done(measure)) => return Ok(*measure),
            Some(Known::Under) => return Err(Refusal::invalid("a fragment spreads itself")),
            None => {}
        }
        self.known.insert(name, Known::Under);
        let mut measure = self.set(&fragment.node.selection_set.node, level)?;
        measure.directives =
            measure.directives.saturating_add(count(fragment.node.directives.len()));
        self.known.insert(name, Known::Done(measure));
        Ok(measure)
    }
}

/// A subscription has one root field, and it is not introspection.
pub(crate) fn one_root(
    document: &ExecutableDocument,
    operation: &OperationDefinition,
) -> Result<(), Refusal> {
    let mut found = None;
    let mut sets = vec![&operation.selection_set.node];
    // Cycles were refused before, and there are few enough nodes.
    while let Some(set) = sets.pop() {
        for item in &set.items {
            match &item.node {
                Selection::Field(field) => {
                    let key = field.node.response_key().node.as_str();
                    if field.node.name.node.starts_with("__") || found.is_some_and(|one| one != key)
                    {
                        return Err(Refusal::invalid("a subscription has exactly one root field"));
                    }
                    found = Some(key);
                }
                Selection::InlineFragment(inline) => sets.push(&inline.node.selection_set.node),
                Selection::FragmentSpread(spread) => sets.extend(
                    document
                        .fragments
                        .get(&spread.node.fragment_name.node)
                        .map(|fragment| &fragment.node.selection_set.node),
                ),
            }
        }
    }
    Ok(())
}
