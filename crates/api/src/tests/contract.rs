//! Names that were promised are there, with the types that were promised.

use std::collections::BTreeMap;

use async_graphql::parser::{
    parse_schema,
    types::{
        FieldDefinition, InputValueDefinition, TypeDefinition, TypeKind, TypeSystemDefinition,
    },
};

/// Promised and not yet here, with all that is below them: types by name, fields as `Type.field`.
const NOT_YET: &[&str] = &[
    // The modern network.
    "Query.inbox",
    "Query.inboxes",
    "Query.installation",
    "Query.group",
    "Query.groups",
    "Query.keyPackages",
    "Query.identityUpdates",
    "Topic.inbox",
    "Topic.installation",
    "Topic.group",
    "Account.inbox",
    "Reachability.inbox",
    "Installation.inbox",
    "Installation.addedAt",
    "Installation.revokedAt",
    "Installation.keyPackage",
    "Installation.keyPackages",
    "Payload.GroupMessage",
    "Payload.KeyPackage",
    "Payload.IdentityUpdate",
    "Inbox",
    "KeyPackage",
    "Group",
    "GroupMessage",
    "MlsContentType",
    "IdentityUpdate",
    "IdentityActionKind",
    "IdentityAction",
    "InboxFilter",
    "GroupFilter",
    "KeyPackageFilter",
    "IdentityUpdateFilter",
    "GroupOrderField",
    "GroupOrder",
    // Decentralised nodes.
    "Query.originators",
    "Query.payers",
    "Envelope.originator",
    "Envelope.sequenceId",
    "Envelope.expiresAt",
    "Envelope.payer",
    "EnvelopeFilter.originator",
    "Originator",
    "Payer",
    // Analytics.
    "Analytics.active",
    "Analytics.new",
    "Analytics.topTopics",
    "ActiveOf",
    "NewOf",
    "Point",
    "TopTopic",
    "Totals.inboxes",
    "Totals.installations",
    "Totals.groups",
];

fn file(name: &str) -> String {
    let path = format!("{}/../../schema/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn types(sdl: &str) -> BTreeMap<String, TypeDefinition> {
    let definitions = parse_schema(sdl).unwrap().definitions;
    definitions
        .into_iter()
        .filter_map(|definition| match definition {
            TypeSystemDefinition::Type(found) => {
                Some((found.node.name.node.to_string(), found.node))
            }
            _ => None,
        })
        .collect()
}

fn not_yet(name: &str) -> bool {
    NOT_YET.contains(&name)
}

fn inputs<'a>(
    list: impl IntoIterator<Item = &'a InputValueDefinition>,
) -> BTreeMap<String, String> {
    list.into_iter().map(|input| (input.name.node.to_string(), input.ty.node.to_string())).collect()
}

/// What of `promised` is missing or different in `ours`.
fn compare_fields(
    of: &str,
    promised: &[async_graphql::Positioned<FieldDefinition>],
    ours: &[async_graphql::Positioned<FieldDefinition>],
    faults: &mut Vec<String>,
) {
    for field in promised {
        let name = format!("{of}.{}", field.node.name.node);
        let found = ours.iter().find(|our| our.node.name.node == field.node.name.node);
        match found {
            Some(_) if not_yet(&name) => faults.push(format!("{name} is here: no longer not yet")),
            None if not_yet(&name) => {}
            None => faults.push(format!("{name} is missing")),
            Some(our) => {
                let (promised, ours) = (&field.node, &our.node);
                if promised.ty.node.to_string() != ours.ty.node.to_string() {
                    let (a, b) = (&promised.ty.node, &ours.ty.node);
                    faults.push(format!("{name} is {b}, promised is {a}"));
                }
                let arguments = inputs(ours.arguments.iter().map(|a| &a.node));
                for (argument, ty) in inputs(promised.arguments.iter().map(|a| &a.node)) {
                    if arguments.get(&argument) != Some(&ty) {
                        let our = arguments.get(&argument);
                        faults.push(format!("{name}({argument}) is {our:?}, promised is {ty}"));
                    }
                }
            }
        }
    }
}

#[test]
fn every_promised_name_is_there_with_its_type() {
    let (promised, ours) = (types(&file("contract.graphql")), types(&crate::sdl()));
    let mut faults = Vec::new();
    for (name, promised) in &promised {
        let Some(our) = ours.get(name) else {
            if !not_yet(name) {
                faults.push(format!("{name} is missing"));
            }
            continue;
        };
        if not_yet(name) {
            faults.push(format!("{name} is here: no longer not yet"));
        }
        match (&promised.kind, &our.kind) {
            (TypeKind::Scalar, TypeKind::Scalar) => {}
            (TypeKind::Object(a), TypeKind::Object(b)) => {
                compare_fields(name, &a.fields, &b.fields, &mut faults);
                for interface in &a.implements {
                    if !b.implements.iter().any(|our| our.node == interface.node) {
                        faults.push(format!("{name} does not implement {}", interface.node));
                    }
                }
            }
            (TypeKind::Interface(a), TypeKind::Interface(b)) => {
                compare_fields(name, &a.fields, &b.fields, &mut faults);
            }
            (TypeKind::Union(a), TypeKind::Union(b)) => {
                for member in &a.members {
                    let here = b.members.iter().any(|our| our.node == member.node);
                    if !here && !not_yet(&format!("{name}.{}", member.node)) {
                        faults.push(format!("{name} has no member {}", member.node));
                    }
                }
            }
            (TypeKind::Enum(a), TypeKind::Enum(b)) => {
                for value in &a.values {
                    if !b.values.iter().any(|our| our.node.value.node == value.node.value.node) {
                        faults.push(format!("{name} has no value {}", value.node.value.node));
                    }
                }
            }
            (TypeKind::InputObject(a), TypeKind::InputObject(b)) => {
                let ours = inputs(b.fields.iter().map(|field| &field.node));
                for (field, ty) in inputs(a.fields.iter().map(|field| &field.node)) {
                    let path = format!("{name}.{field}");
                    if ours.get(&field) != Some(&ty) && !not_yet(&path) {
                        faults.push(format!("{path} is {:?}, promised is {ty}", ours.get(&field)));
                    }
                }
            }
            _ => faults.push(format!("{name} is of another kind")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_committed_schema_is_the_program_s() {
    assert!(
        file("schema.graphql") == crate::sdl(),
        "schema/schema.graphql is out of date: run `xmtp-indexer schema > schema/schema.graphql`"
    );
}

#[test]
fn everything_is_described() {
    let mut bare = Vec::new();
    let mut check = |path: String, described: bool| {
        if !described {
            bare.push(path);
        }
    };
    for (name, ty) in types(&crate::sdl()) {
        // What these are, Relay says.
        let relay = name.ends_with("Connection") || name.ends_with("Edge");
        check(name.clone(), ty.description.is_some() || relay);
        match &ty.kind {
            TypeKind::Object(async_graphql::parser::types::ObjectType { fields, .. })
            | TypeKind::Interface(async_graphql::parser::types::InterfaceType { fields, .. }) => {
                for field in fields {
                    let path = format!("{name}.{}", field.node.name.node);
                    for argument in &field.node.arguments {
                        let described = argument.node.description.is_some();
                        check(format!("{path}({})", argument.node.name.node), described);
                    }
                    check(path, field.node.description.is_some());
                }
            }
            TypeKind::Enum(of) => {
                for value in &of.values {
                    let described = value.node.description.is_some();
                    check(format!("{name}.{}", value.node.value.node), described);
                }
            }
            TypeKind::InputObject(of) => {
                for field in &of.fields {
                    let described = field.node.description.is_some();
                    check(format!("{name}.{}", field.node.name.node), described);
                }
            }
            TypeKind::Scalar | TypeKind::Union(_) => {}
        }
    }
    assert!(bare.is_empty(), "no description: {}", bare.join(", "));
}
