//! What the guard knows of the schema, read from the schema's own text: which fields lead to which types, which of them
//! are lists, and which lists have pages. There is nothing to keep in step by hand.

use std::collections::HashMap;

use async_graphql::parser::{
    parse_schema,
    types::{BaseType, FieldDefinition, Type, TypeKind, TypeSystemDefinition},
};

/// A field's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leads {
    /// The name of the type, without lists.
    pub(crate) to: String,
    /// Is it a list?
    pub(crate) list: bool,
    /// Has it pages?
    pub(crate) pages: bool,
    /// Does it lead to a type with fields?
    pub(crate) object: bool,
}

/// The schema, as far as costs depend on it.
#[derive(Debug)]
pub(crate) struct Shape {
    types: HashMap<String, HashMap<String, Leads>>,
    /// Types.
    pub(crate) type_count: u64,
    /// Fields of a type, on average.
    pub(crate) fields_a_type: u64,
    /// Arguments of a field, on average.
    pub(crate) arguments_a_field: u64,
}

impl Shape {
    /// Reads it from the schema's text. A text that is none makes a shape that knows nothing: every field then counts
    /// as one, so this is tested on the real one.
    pub(crate) fn of(sdl: &str) -> Shape {
        let mut shape =
            Shape { types: HashMap::new(), type_count: 0, fields_a_type: 0, arguments_a_field: 0 };
        let Ok(document) = parse_schema(sdl) else { return shape };
        let (mut fields, mut arguments) = (0_u64, 0_u64);
        for definition in &document.definitions {
            let TypeSystemDefinition::Type(ty) = definition else { continue };
            shape.type_count += 1;
            let members = match &ty.node.kind {
                TypeKind::Object(object) => &object.fields,
                TypeKind::Interface(interface) => &interface.fields,
                // No fields of its own, but fields lead to it.
                TypeKind::Union(_) => {
                    shape.types.insert(ty.node.name.node.to_string(), HashMap::new());
                    continue;
                }
                TypeKind::InputObject(input) => {
                    fields += u64::try_from(input.fields.len()).unwrap_or(0);
                    continue;
                }
                _ => continue,
            };
            fields += u64::try_from(members.len()).unwrap_or(0);
            arguments += members
                .iter()
                .map(|field| u64::try_from(field.node.arguments.len()).unwrap_or(0))
                .sum::<u64>();
            let members = members
                .iter()
                .map(|field| (field.node.name.node.to_string(), leads(&field.node)))
                .collect();
            shape.types.insert(ty.node.name.node.to_string(), members);
        }
        // Those of introspection itself and the built-in scalars are not in the text.
        shape.type_count += 13;
        shape.fields_a_type = fields.div_ceil(shape.type_count.max(1));
        shape.arguments_a_field = arguments.div_ceil(fields.max(1));
        let objects: std::collections::HashSet<String> = shape.types.keys().cloned().collect();
        for members in shape.types.values_mut() {
            for leads in members.values_mut() {
                leads.object = objects.contains(&leads.to);
            }
        }
        shape
    }

    /// Where a field leads.
    pub(crate) fn leads(&self, from: &str, field: &str) -> Option<&Leads> {
        self.types.get(from)?.get(field)
    }
}

fn leads(field: &FieldDefinition) -> Leads {
    let mut list = false;
    let mut ty: &Type = &field.ty.node;
    while let BaseType::List(of) = &ty.base {
        list = true;
        ty = of;
    }
    let BaseType::Named(to) = &ty.base else {
        return Leads { to: String::new(), list, pages: false, object: false };
    };
    let takes = |name: &str| field.arguments.iter().any(|argument| argument.node.name.node == name);
    let pages = to.ends_with("Connection") && takes("first") && takes("last");
    Leads { to: to.to_string(), list, pages, object: false }
}
