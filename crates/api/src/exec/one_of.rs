//! Interfaces and unions: values that are of one of several types.

use async_graphql::{
    indexmap::IndexMap,
    registry::{MetaField, Registry},
};

use super::{
    describe,
    output::Column,
    plan::Selection,
    write::{Halt, Writer},
};

/// Makes an enum whose variants are types an interface or a union of them.
macro_rules! one_of {
    (@kind interface $name:literal $doc:literal $registry:ident $members:ident) => {
        async_graphql::registry::MetaType::Interface {
            name: $name.to_owned(),
            description: Some($doc.to_owned()),
            fields: $crate::exec::interface_fields($registry),
            possible_types: $members,
            extends: false,
            inaccessible: false,
            tags: Vec::new(),
            keys: None,
            visible: None,
            rust_typename: None,
            directive_invocations: Vec::new(),
            requires_scopes: Vec::new(),
        }
    };
    (@kind union $name:literal $doc:literal $registry:ident $members:ident) => {
        async_graphql::registry::MetaType::Union {
            name: $name.to_owned(),
            description: Some($doc.to_owned()),
            possible_types: $members,
            visible: None,
            inaccessible: false,
            tags: Vec::new(),
            rust_typename: None,
            directive_invocations: Vec::new(),
        }
    };
    ($kind:ident $type:ident, $name:literal, $doc:literal, { $($variant:ident),* $(,)? }) => {
        impl $crate::exec::Output for $type {
            fn describe(registry: &mut async_graphql::registry::Registry) -> String {
                if !registry.types.contains_key($name) {
                    let members = [$(<$variant as $crate::exec::Object>::table().name()),*];
                    let members = members.into_iter().map(str::to_owned).collect();
                    let described = $crate::exec::one_of!(@kind $kind $name $doc registry members);
                    registry.types.insert($name.to_owned(), described);
                    $(<$variant as $crate::exec::Output>::describe(registry);)*
                }
                concat!($name, "!").to_owned()
            }

            fn compile(
                compiler: &mut $crate::exec::Compiler<'_>,
                sets: &[&async_graphql::parser::types::SelectionSet],
            ) -> $crate::exec::Selection {
                let types = vec![$(<$variant as $crate::exec::Output>::compile(compiler, sets)),*];
                $crate::exec::Selection { fields: Vec::new(), types }
            }

            fn column<'p>(
                values: Vec<Self>,
                run: &'p $crate::exec::Run,
                below: &'p $crate::exec::Selection,
            ) -> $crate::exec::Finding<'p> {
                #[expect(non_snake_case, reason = "a list is called as its type")]
                Box::pin(async move {
                    $(let mut $variant = Vec::new();)*
                    let mut at = Vec::with_capacity(values.len());
                    for value in values {
                        let found = match value {
                            $($type::$variant(value) => {
                                $variant.push(value);
                                (<$variant as $crate::exec::Object>::table().name(), $variant.len() - 1)
                            })*
                        };
                        at.push(found);
                    }
                    let mut types = below.types.iter();
                    let columns: Vec<(&'static str, Box<dyn $crate::exec::Column + 'p>)> = vec![$((
                        <$variant as $crate::exec::Object>::table().name(),
                        <$variant as $crate::exec::Output>::column(
                            $variant, run, types.next().unwrap_or(&$crate::exec::NOTHING),
                        ).await,
                    )),*];
                    Box::new($crate::exec::Mixed { at, columns }) as Box<dyn $crate::exec::Column + 'p>
                })
            }
        }
    };
}
pub(crate) use one_of;

/// Nothing is selected.
pub(crate) static NOTHING: Selection = Selection { fields: Vec::new(), types: Vec::new() };

/// What every node has.
pub(crate) fn interface_fields(_registry: &mut Registry) -> IndexMap<String, MetaField> {
    let id = describe::field("id", ID, "ID!".to_owned(), IndexMap::new());
    IndexMap::from([("id".to_owned(), id)])
}

/// What ids are good for.
pub(crate) const ID: &str = "Stable across rebuilds of the index.";

/// Rows of several types, each type with a column of its own.
pub(crate) struct Mixed<'p> {
    /// Which type, and which of its rows.
    pub(crate) at: Vec<(&'static str, usize)>,
    pub(crate) columns: Vec<(&'static str, Box<dyn Column + 'p>)>,
}

impl Column for Mixed<'_> {
    fn write<'w>(&'w self, nth: usize, to: &mut Writer<'w>) -> Result<(), Halt> {
        let Some((name, at)) = self.at.get(nth) else { return Err(Halt::Null) };
        match self.columns.iter().find(|(of, _)| of == name) {
            Some((_, column)) => column.write(*at, to),
            None => Err(Halt::Null),
        }
    }
}
