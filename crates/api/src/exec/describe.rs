//! From tables to the schema that async-graphql validates against and introspects.

use async_graphql::{
    InputObjectType, InputType, Value,
    indexmap::IndexMap,
    registry::{Deprecation, MetaField, MetaInputValue, MetaType, Registry},
};

use super::{object::Object, table::Field};

/// The arguments of a field.
pub(crate) trait Arguments: Send + Sync + Sized + 'static {
    /// Their names, words and types.
    fn describe(registry: &mut Registry) -> IndexMap<String, MetaInputValue>;
    /// Reads them, or says what is wrong.
    fn read(given: Value) -> Result<Self, String>;
}

/// Makes the fields of an input object the arguments of a field. The object itself is no type of the schema.
macro_rules! arguments {
    ($($type:ty),* $(,)?) => { $(
        impl $crate::exec::Arguments for $type {
            fn describe(
                registry: &mut async_graphql::registry::Registry,
            ) -> async_graphql::indexmap::IndexMap<String, async_graphql::registry::MetaInputValue> {
                $crate::exec::describe_arguments::<$type>(registry)
            }

            fn read(given: async_graphql::Value) -> Result<Self, String> {
                <$type as async_graphql::InputType>::parse(Some(given))
                    .map_err(|error| error.into_server_error(Default::default()).message)
            }
        }
    )* };
}
pub(crate) use arguments;

/// See [`arguments`].
pub(crate) fn of_input<T: InputObjectType>(
    registry: &mut Registry,
) -> IndexMap<String, MetaInputValue> {
    <T as InputType>::create_type_info(registry);
    match registry.types.remove(T::type_name().as_ref()) {
        Some(MetaType::InputObject { input_fields, .. }) => input_fields,
        _ => IndexMap::new(),
    }
}

impl Arguments for () {
    fn describe(_registry: &mut Registry) -> IndexMap<String, MetaInputValue> {
        IndexMap::new()
    }

    fn read(_given: Value) -> Result<Self, String> {
        Ok(())
    }
}

pub(super) fn field(
    name: &str,
    doc: &str,
    ty: String,
    args: IndexMap<String, MetaInputValue>,
) -> MetaField {
    MetaField {
        name: name.to_owned(),
        description: Some(doc.to_owned()),
        args,
        ty,
        deprecation: Deprecation::NoDeprecated,
        cache_control: Default::default(),
        external: false,
        requires: None,
        provides: None,
        visible: None,
        shareable: false,
        inaccessible: false,
        tags: Vec::new(),
        override_from: None,
        compute_complexity: None,
        directive_invocations: Vec::new(),
        requires_scopes: Vec::new(),
    }
}

fn meta(
    name: &str,
    doc: &str,
    fields: IndexMap<String, MetaField>,
    is_subscription: bool,
) -> MetaType {
    MetaType::Object {
        name: name.to_owned(),
        description: Some(doc.to_owned()),
        fields,
        cache_control: Default::default(),
        extends: false,
        shareable: false,
        resolvable: true,
        keys: None,
        visible: None,
        inaccessible: false,
        interface_object: false,
        tags: Vec::new(),
        is_subscription,
        rust_typename: None,
        directive_invocations: Vec::new(),
        requires_scopes: Vec::new(),
    }
}

/// Puts a type and all that it leads to into the schema.
pub(crate) fn object<T: Object>(registry: &mut Registry, is_subscription: bool) -> String {
    let table = T::table();
    if !registry.types.contains_key(table.name) {
        // A place for it first: types lead back to themselves.
        let empty = meta(table.name, table.doc, IndexMap::new(), is_subscription);
        registry.types.insert(table.name.to_owned(), empty);
        for interface in &table.interfaces {
            let implements = registry.implements.entry(table.name.to_owned()).or_default();
            implements.insert((*interface).to_owned());
        }
        let fields = table.fields.iter().map(|listed: &Field<T>| {
            let (ty, args) = listed.describe(registry);
            (listed.name.to_owned(), field(listed.name, listed.doc, ty, args))
        });
        let fields = fields.collect();
        let whole = meta(table.name, table.doc, fields, is_subscription);
        registry.types.insert(table.name.to_owned(), whole);
    }
    format!("{}!", table.name)
}
