//! Rows of one type, and the columns of what is selected of them.

use async_graphql::{parser::types::SelectionSet, registry::Registry};
use futures::future::join_all;

use super::{
    call::{Call, Run},
    describe,
    output::Column,
    plan::{Compiler, Selected, Selection, Which},
    table::{Kind, Table},
    write::{Halt, Step, Writer},
};
use crate::{error::Trouble, tail::Asked};

/// A type with fields.
pub(crate) trait Object: Sized + 'static {
    /// Its fields.
    fn table() -> &'static Table<Self>;
}

/// Makes a table a type.
macro_rules! object {
    ($type:ty, $table:expr) => {
        impl $crate::exec::Object for $type {
            fn table() -> &'static $crate::exec::Table<Self> {
                static TABLE: std::sync::LazyLock<$crate::exec::Table<$type>> =
                    std::sync::LazyLock::new(|| $table);
                &TABLE
            }
        }

        impl $crate::exec::Output for $type {
            fn describe(registry: &mut async_graphql::registry::Registry) -> String {
                $crate::exec::describe_object::<$type>(registry)
            }

            fn compile(
                compiler: &mut $crate::exec::Compiler<'_>,
                sets: &[&async_graphql::parser::types::SelectionSet],
            ) -> $crate::exec::Selection {
                $crate::exec::compile_object::<$type>(compiler, sets)
            }

            fn column<'p>(
                values: Vec<Self>,
                run: &'p $crate::exec::Run,
                below: &'p $crate::exec::Selection,
            ) -> $crate::exec::Finding<'p> {
                Box::pin(async move {
                    let rows = $crate::exec::rows(values, run, below).await;
                    Box::new(rows) as Box<dyn $crate::exec::Column + 'p>
                })
            }
        }
    };
}
pub(crate) use object;

pub(crate) fn describe_object<T: Object>(registry: &mut Registry) -> String {
    describe::object::<T>(registry, false)
}

/// Puts the root of subscriptions into the schema.
pub(crate) fn describe_subscription<T: Object>(registry: &mut Registry) -> String {
    describe::object::<T>(registry, true)
}

pub(crate) fn compile_object<T: Object>(
    compiler: &mut Compiler<'_>,
    sets: &[&SelectionSet],
) -> Selection {
    compiler.object::<T>(sets)
}

/// Rows, and what is selected of them.
pub(crate) struct Rows<'p, T: 'static> {
    rows: Vec<T>,
    table: &'static Table<T>,
    selection: &'p Selection,
    columns: Vec<Option<Box<dyn Column + 'p>>>,
}

/// Finds what is selected of these rows. Fields are asked side by side, and their statements sent without waiting for
/// one another.
pub(crate) async fn rows<'p, T: Object>(
    mut rows: Vec<T>,
    run: &'p Run,
    selection: &'p Selection,
) -> Rows<'p, T> {
    let table = T::table();
    if let Some(completes) = &table.completes
        && let Some(selected) =
            selection.fields.iter().find(|selected| completes.fields.contains(&&*selected.name))
        && !rows.is_empty()
    {
        completes.by.complete(Call { run, selected }, &mut rows).await;
    }
    let columns = selection.fields.iter().map(|selected| column(table, &rows, run, selected));
    let columns = join_all(columns).await;
    Rows { rows, table, selection, columns }
}

async fn column<'p, T: Object>(
    table: &'static Table<T>,
    rows: &[T],
    run: &'p Run,
    selected: &'p Selected,
) -> Option<Box<dyn Column + 'p>> {
    let Which::Field(at) = selected.which else { return None };
    match &table.fields.get(at)?.kind {
        Kind::Leaf { .. } => None,
        Kind::Deep(deep) => Some(deep.find(rows, Call { run, selected }).await),
    }
}

impl<T: Object> Rows<'_, T> {
    fn field<'w>(
        &'w self,
        place: usize,
        selected: &'w Selected,
        nth: usize,
        to: &mut Writer<'w>,
    ) -> Result<(), Halt> {
        let at = match selected.which {
            Which::Typename => {
                super::leaf::text(self.table.name, &mut to.out);
                return Ok(());
            }
            // Told by whoever writes the root.
            Which::Introspection => return Err(Halt::Null),
            Which::Field(at) => at,
        };
        let Some(field) = self.table.fields.get(at) else { return Err(Halt::Null) };
        match &field.kind {
            Kind::Leaf { write, .. } => {
                let Some(row) = self.rows.get(nth) else { return Err(Halt::Null) };
                write(row, &mut to.out);
                Ok(())
            }
            Kind::Deep(deep) => {
                let Some(Some(column)) = self.columns.get(place) else { return Err(Halt::Null) };
                to.place(Step::Key(&selected.response), deep.nullable(), |to| {
                    to.pos = selected.pos;
                    column.write(nth, to)
                })
            }
        }
    }

    /// Writes one row. `instead` may write fields that are none of the table's.
    pub(crate) fn write_with<'w>(
        &'w self,
        nth: usize,
        to: &mut Writer<'w>,
        mut instead: impl FnMut(&'w Selected, &mut Writer<'w>) -> bool,
    ) -> Result<(), Halt> {
        to.check()?;
        to.out.push(b'{');
        for (place, selected) in self.selection.fields.iter().enumerate() {
            if place > 0 {
                to.out.push(b',');
            }
            to.out.extend_from_slice(&selected.key);
            if !instead(selected, to) {
                self.field(place, selected, nth, to)?;
            }
        }
        to.out.push(b'}');
        Ok(())
    }
}

impl<T: Object> Column for Rows<'_, T> {
    fn write<'w>(&'w self, nth: usize, to: &mut Writer<'w>) -> Result<(), Halt> {
        self.write_with(nth, to, |_, _| false)
    }
}

/// What the one field of a subscription wants. None where a directive leaves it out.
pub(crate) fn open<T: Object>(run: &Run) -> Option<Result<Asked, Trouble>> {
    let selected = run.plan.root.fields.first()?;
    let Which::Field(at) = selected.which else { return None };
    let opens = T::table().fields.get(at)?.opens.as_ref()?;
    Some(opens.open(Call { run, selected }))
}
