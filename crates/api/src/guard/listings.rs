//! Which fields list what a caller does not know yet, and by which arguments they tell only of what the caller knows.
//!
//! Who knows a topic or an address can ask any node about it, so telling that is telling nothing new. What nodes do not
//! tell is who is there, and who has to do with whom. That is what these lists give away, and an operator may keep it
//! back. Lists inside of something that was named stay open: they are about what the caller knows. Who is found there
//! can be asked about in turn, one by one, and is counted one by one.

use std::collections::HashSet;

use async_graphql::{
    Positioned,
    parser::types::{
        Directive, ExecutableDocument, Field, OperationDefinition, OperationType, Selection,
        SelectionSet,
    },
};
use async_graphql_value::{ConstValue, Value};
use serde_json::{Map, Value as Json};

use super::shape::Shape;

/// Who may list without an exact key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listings {
    /// Everybody.
    #[default]
    Open,
    /// Callers with an API key.
    Keyed,
    /// Nobody.
    Closed,
}

/// A field that lists.
#[derive(Debug)]
pub(crate) struct Rule {
    /// The type that has it.
    of: &'static str,
    /// Its name.
    pub(crate) field: &'static str,
    /// Arguments, or members of `filter`, of which one is enough.
    pub(crate) exact: &'static [&'static str],
}

const fn query(field: &'static str, exact: &'static [&'static str]) -> Rule {
    Rule { of: "Query", field, exact }
}

const fn live(field: &'static str, exact: &'static [&'static str]) -> Rule {
    Rule { of: "Subscription", field, exact }
}

const TOPIC: &[&str] = &["topics", "account"];
const ACCOUNT: &[&str] = &["account"];
const PARTIES: &[&str] = &["participant", "sender", "recipient"];
const DEVICE: &[&str] = &["installation", "inbox"];

/// The beginning of a topic's name is no exact key: `nameStartsWith: "/"` is every topic.
const RULES: [Rule; 19] = [
    query("topics", ACCOUNT),
    query("envelopes", TOPIC),
    query("accounts", &["addresses"]),
    query("contactBundles", ACCOUNT),
    query("invites", PARTIES),
    query("conversations", &["participant"]),
    query("messages", &["sender", "recipient", "conversation"]),
    query("inboxes", &["account", "installation"]),
    query("installations", &["inbox", "account"]),
    query("groups", &[]),
    query("welcomes", DEVICE),
    query("keyPackages", DEVICE),
    query("identityUpdates", &["inbox", "account"]),
    query("payers", &[]),
    live("envelopes", TOPIC),
    live("invites", PARTIES),
    live("contactBundles", ACCOUNT),
    live("welcomes", DEVICE),
    Rule { of: "Analytics", field: "topTopics", exact: &[] },
];

/// A list that this table does not know yet: nobody has thought about what it gives away.
const UNKNOWN: Rule = Rule { of: "", field: "this list", exact: &[] };

struct Walk<'a> {
    document: &'a ExecutableDocument,
    operation: &'a OperationDefinition,
    variables: &'a Map<String, Json>,
    shape: &'a Shape,
    seen: HashSet<&'a str>,
}

/// The first field of a measured document that lists without an exact key.
pub(crate) fn find(
    document: &ExecutableDocument,
    operation: &OperationDefinition,
    variables: &Map<String, Json>,
    shape: &Shape,
) -> Option<&'static Rule> {
    let root = match operation.ty {
        OperationType::Query => "Query",
        OperationType::Mutation => "Mutation",
        OperationType::Subscription => "Subscription",
    };
    let mut walk = Walk { document, operation, variables, shape, seen: HashSet::new() };
    walk.set(&operation.selection_set.node, root)
}

impl<'a> Walk<'a> {
    fn set(&mut self, set: &'a SelectionSet, of: &str) -> Option<&'static Rule> {
        set.items.iter().find_map(|item| {
            if self.is_left_out(item.node.directives()) {
                return None;
            }
            match &item.node {
                Selection::Field(field) => self.field(&field.node, of),
                Selection::InlineFragment(inline) => {
                    let on = inline.node.type_condition.as_ref();
                    let of = on.map_or(of, |on| on.node.on.node.as_str());
                    self.set(&inline.node.selection_set.node, of)
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    let (name, fragment) = self.document.fragments.get_key_value(name)?;
                    // What it says does not depend on where it is spread.
                    if !self.seen.insert(name.as_str()) {
                        return None;
                    }
                    let on = fragment.node.type_condition.node.on.node.as_str();
                    self.set(&fragment.node.selection_set.node, on)
                }
            }
        })
    }

    fn field(&mut self, field: &'a Field, of: &str) -> Option<&'static Rule> {
        let name = field.name.node.as_str();
        if let Some(rule) = RULES.iter().find(|rule| rule.of == of && rule.field == name) {
            return (!self.is_exact(field, rule.exact)).then_some(rule);
        }
        let leads = self.shape.leads(of, name)?;
        if leads.pages || leads.to.ends_with("Edge") {
            return Some(&UNKNOWN);
        }
        // What takes arguments was named by them. The rest, like `analytics`, may list in turn.
        let below = leads.object && field.arguments.is_empty();
        below.then(|| self.set(&field.selection_set.node, &leads.to)).flatten()
    }

    fn is_exact(&self, field: &Field, exact: &[&str]) -> bool {
        let named = |name: &&str| {
            field.get_argument(name).is_some_and(|value| self.is_given(&value.node))
                || field
                    .get_argument("filter")
                    .is_some_and(|filter| self.member_is_given(&filter.node, name))
        };
        exact.iter().any(named)
    }

    fn is_given(&self, value: &Value) -> bool {
        match value {
            Value::Null => false,
            Value::Variable(name) => match self.variables.get(name.as_str()) {
                Some(given) => !given.is_null(),
                None => self.default_of(name).is_some_and(|value| *value != ConstValue::Null),
            },
            _ => true,
        }
    }

    fn member_is_given(&self, filter: &Value, member: &str) -> bool {
        match filter {
            Value::Object(members) => members.get(member).is_some_and(|value| self.is_given(value)),
            Value::Variable(name) => match self.variables.get(name.as_str()) {
                Some(given) => given.get(member).is_some_and(|value| !value.is_null()),
                None => match self.default_of(name) {
                    Some(ConstValue::Object(members)) => {
                        members.get(member).is_some_and(|value| *value != ConstValue::Null)
                    }
                    _ => false,
                },
            },
            _ => false,
        }
    }

    /// `@skip` and `@include`, where they can be decided; else the field counts.
    fn is_left_out(&self, directives: &[Positioned<Directive>]) -> bool {
        directives.iter().any(|directive| {
            let when = directive.node.get_argument("if").and_then(|value| self.truth(&value.node));
            match directive.node.name.node.as_str() {
                "skip" => when == Some(true),
                "include" => when == Some(false),
                _ => false,
            }
        })
    }

    fn truth(&self, value: &Value) -> Option<bool> {
        match value {
            Value::Boolean(truth) => Some(*truth),
            Value::Variable(name) => match self.variables.get(name.as_str()) {
                Some(given) => given.as_bool(),
                None => match self.default_of(name) {
                    Some(ConstValue::Boolean(truth)) => Some(*truth),
                    _ => None,
                },
            },
            _ => None,
        }
    }

    fn default_of(&self, variable: &str) -> Option<&ConstValue> {
        let definitions = self.operation.variable_definitions.iter();
        let mut named = definitions.filter(|definition| definition.node.name.node == variable);
        named.next()?.node.default_value.as_ref().map(|value| &value.node)
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::{
        parse_schema,
        types::{TypeKind, TypeSystemDefinition},
    };
    use serde_json::json;

    use super::*;
    use crate::{
        guard::{Document, Limits},
        schema::sdl,
    };

    fn found(text: &str, variables: &Json) -> Option<&'static str> {
        let limits = Limits::default();
        let document = Document::read(text, &limits).unwrap();
        let operation = document.operation(None).unwrap();
        let variables = variables.as_object().unwrap();
        find(&document.parsed, operation, variables, &Shape::of(&sdl())).map(|rule| rule.field)
    }

    #[test]
    fn what_names_nothing_is_found_wherever_it_hides() {
        let none = json!({});
        for (text, variables, field) in [
            ("{ accounts { nodes { id } } }", &none, "accounts"),
            ("{ mine: accounts { nodes { id } } }", &none, "accounts"),
            ("{ status { head } ... on Query { topics { nodes { id } } } }", &none, "topics"),
            (
                "{ ...A } fragment A on Query { ...B } fragment B on Query { invites { nodes { id } } }",
                &none,
                "invites",
            ),
            (
                "{ topics(filter: { nameStartsWith: \"/xmtp/0/\" }) { nodes { id } } }",
                &none,
                "topics",
            ),
            ("{ accounts(filter: { addresses: null }) { nodes { id } } }", &none, "accounts"),
            (
                "{ accounts(filter: { seenAfter: \"2024-01-01T00:00:00Z\" }) { totalCount } }",
                &none,
                "accounts",
            ),
            (
                "query($a: [Address!]) { accounts(filter: { addresses: $a }) { nodes { id } } }",
                &none,
                "accounts",
            ),
            (
                "query($a: [Address!] = null) { accounts(filter: { addresses: $a }) { nodes { id } } }",
                &none,
                "accounts",
            ),
            (
                "query($f: AccountFilter) { accounts(filter: $f) { nodes { id } } }",
                &json!({ "f": { "addresses": null } }),
                "accounts",
            ),
            (
                "query($f: AccountFilter) { accounts(filter: $f) { nodes { id } } }",
                &json!({ "f": [] }),
                "accounts",
            ),
            (
                "query($f: InviteFilter = { participant: \"0x1\" }) { invites(filter: $f) { nodes { id } } }",
                &json!({ "f": {} }),
                "invites",
            ),
            ("{ envelopes(filter: { kinds: [INVITE] }) { nodes { digest } } }", &none, "envelopes"),
            (
                "query($y: Boolean!) { messages @include(if: $y) { nodes { id } } }",
                &json!({ "y": true }),
                "messages",
            ),
            (
                "query($y: Boolean!) { messages @skip(if: $y) { nodes { id } } }",
                &json!({ "y": "odd" }),
                "messages",
            ),
            (
                "{ ...A @skip(if: true) ...A } fragment A on Query { conversations { nodes { id } } }",
                &none,
                "conversations",
            ),
            (
                "{ account(address: \"0x1\") { id } contactBundles { nodes { id } } }",
                &none,
                "contactBundles",
            ),
            ("subscription { invites { cursor } }", &none, "invites"),
            (
                "subscription { envelopes(filter: { generations: [V2] }) { cursor } }",
                &none,
                "envelopes",
            ),
        ] {
            assert_eq!(found(text, variables), Some(field), "{text}");
        }
    }

    #[test]
    fn what_names_something_passes() {
        let none = json!({});
        for (text, variables) in [
            ("{ status { head } analytics { totals { accounts } } __typename }", &none),
            (
                "{ account(address: \"0x1\") { invites { nodes { sender { topics { nodes { id } } } } } } }",
                &none,
            ),
            ("{ topic(name: \"a\") { envelopes { nodes { digest } } } }", &none),
            ("{ node(id: \"a\") { ... on Account { conversations { nodes { id } } } } }", &none),
            ("{ reachability(addresses: [\"0x1\"]) { reachable } }", &none),
            ("{ accounts(filter: { addresses: [] }) { nodes { id } } }", &none),
            (
                "query($a: [Address!]) { accounts(filter: { addresses: $a }) { nodes { id } } }",
                &json!({ "a": ["0x1"] }),
            ),
            (
                "query($f: TopicFilter) { topics(filter: $f) { nodes { id } } }",
                &json!({ "f": { "account": "0x1" } }),
            ),
            (
                "query($f: InviteFilter = { participant: \"0x1\" }) { invites(filter: $f) { nodes { id } } }",
                &none,
            ),
            ("query($y: Boolean = false) { messages @include(if: $y) { nodes { id } } }", &none),
            (
                "{ envelopes(filter: { topics: [\"a\"], kinds: [INVITE] }) { nodes { digest } } }",
                &none,
            ),
            ("subscription { envelopes(filter: { topics: [\"a\"] }) { cursor } }", &none),
            ("subscription { status { head } }", &none),
        ] {
            assert_eq!(found(text, variables), None, "{text}");
        }
    }

    /// Whoever adds a list to the schema decides here what it gives away, and no rule names what is not there.
    #[test]
    fn every_list_of_the_schema_has_a_rule_that_fits() {
        let text = sdl();
        let document = parse_schema(&text).unwrap();
        let shape = Shape::of(&text);
        let mut kinds = std::collections::HashMap::new();
        for definition in &document.definitions {
            let TypeSystemDefinition::Type(ty) = definition else { continue };
            kinds.insert(ty.node.name.node.to_string(), &ty.node.kind);
        }
        let mut checked = 0;
        for root in ["Query", "Subscription"] {
            let TypeKind::Object(object) = kinds[root] else { panic!("{root}") };
            for field in &object.fields {
                let name = field.node.name.node.as_str();
                let leads = shape.leads(root, name).unwrap();
                if !leads.pages && !leads.to.ends_with("Edge") {
                    continue;
                }
                let rule = RULES.iter().find(|rule| rule.of == root && rule.field == name);
                let rule = rule.unwrap_or_else(|| panic!("{root}.{name} has no rule"));
                let mut arguments: Vec<_> =
                    field.node.arguments.iter().map(|a| a.node.name.node.to_string()).collect();
                let filter = field.node.arguments.iter().find(|a| a.node.name.node == "filter");
                if let Some(filter) = filter {
                    let input = filter.node.ty.node.to_string();
                    let TypeKind::InputObject(input) = kinds[input.trim_end_matches('!')] else {
                        panic!("{input}")
                    };
                    arguments.extend(input.fields.iter().map(|f| f.node.name.node.to_string()));
                }
                for key in rule.exact {
                    assert!(arguments.iter().any(|a| a == key), "{root}.{name} has no {key}");
                }
                checked += 1;
            }
        }
        assert!(checked >= 10, "{checked}");
    }
}
