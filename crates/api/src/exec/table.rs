//! A type as a table of its fields.

use std::{collections::HashMap, marker::PhantomData};

use async_graphql::{
    indexmap::IndexMap,
    parser::types::SelectionSet,
    registry::{MetaInputValue, Registry},
};
use futures::future::LocalBoxFuture;

use super::{
    call::Call,
    describe::Arguments,
    leaf::Leaf,
    output::{Column, Failed, Output},
    plan::{Compiler, Selection},
};
use crate::{error::Trouble, tail::Asked};

/// The fields of a type whose rows are `T`.
pub(crate) struct Table<T: 'static> {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) interfaces: Vec<&'static str>,
    /// Interfaces and unions that it is a member of.
    pub(super) among: Vec<&'static str>,
    pub(super) fields: Vec<Field<T>>,
    by_name: HashMap<&'static str, usize>,
    pub(super) completes: Option<Completes<T>>,
}

/// Rows may come without what only some fields need. It is found for all of them at once, before those fields are.
pub(super) struct Completes<T> {
    pub(super) fields: &'static [&'static str],
    pub(super) by: Box<dyn Complete<T>>,
}

/// See [`Table::complete`].
pub(super) trait Complete<T>: Send + Sync {
    fn complete<'r>(&'static self, call: Call<'r>, rows: &'r mut [T]) -> LocalBoxFuture<'r, ()>;
}

struct Completing<F>(F);

impl<T, F> Complete<T> for Completing<F>
where
    T: 'static,
    F: AsyncFn(Call<'_>, &mut [T]) + Send + Sync + 'static,
{
    fn complete<'r>(&'static self, call: Call<'r>, rows: &'r mut [T]) -> LocalBoxFuture<'r, ()> {
        Box::pin((self.0)(call, rows))
    }
}

/// One field.
pub(super) struct Field<T: 'static> {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) kind: Kind<T>,
    /// Of subscriptions: what its arguments ask for.
    pub(super) opens: Option<Box<dyn Opens>>,
}

/// Reads what a subscription wants.
pub(super) trait Opens: Send + Sync {
    fn open(&self, call: Call<'_>) -> Result<Asked, Trouble>;
}

struct Opening<A, F>(F, PhantomData<fn(A)>);

impl<A: Arguments, F> Opens for Opening<A, F>
where
    F: Fn(A) -> Result<Asked, Trouble> + Send + Sync,
{
    fn open(&self, call: Call<'_>) -> Result<Asked, Trouble> {
        (self.0)(call.run.arguments(call.selected)?)
    }
}

type Write<T> = Box<dyn Fn(&T, &mut Vec<u8>) + Send + Sync>;

pub(super) enum Kind<T: 'static> {
    /// Written from the row.
    Leaf { describe: fn(&mut Registry) -> String, write: Write<T> },
    /// Found for all rows at once.
    Deep(Box<dyn Deep<T>>),
}

/// A way from all rows of a level to a column.
pub(super) trait Deep<T>: Send + Sync {
    fn describe(&self, registry: &mut Registry) -> (String, IndexMap<String, MetaInputValue>);
    fn nullable(&self) -> bool;
    fn compile(&self, compiler: &mut Compiler<'_>, sets: &[&SelectionSet]) -> Selection;
    fn find<'r, 'p: 'r>(
        &'static self,
        rows: &'r [T],
        call: Call<'p>,
    ) -> LocalBoxFuture<'r, Box<dyn Column + 'p>>;
}

impl<T> Field<T> {
    pub(super) fn describe(
        &self,
        registry: &mut Registry,
    ) -> (String, IndexMap<String, MetaInputValue>) {
        match &self.kind {
            Kind::Leaf { describe, .. } => (describe(registry), IndexMap::new()),
            Kind::Deep(deep) => deep.describe(registry),
        }
    }
}

/// The row has it already.
struct Inline<V, F> {
    from: F,
    gives: PhantomData<fn() -> V>,
}

impl<T, V, F> Deep<T> for Inline<V, F>
where
    T: 'static,
    V: Output,
    F: Fn(&T) -> V + Send + Sync + 'static,
{
    fn describe(&self, registry: &mut Registry) -> (String, IndexMap<String, MetaInputValue>) {
        (V::describe(registry), IndexMap::new())
    }

    fn nullable(&self) -> bool {
        V::NULLABLE
    }

    fn compile(&self, compiler: &mut Compiler<'_>, sets: &[&SelectionSet]) -> Selection {
        V::compile(compiler, sets)
    }

    fn find<'r, 'p: 'r>(
        &'static self,
        rows: &'r [T],
        call: Call<'p>,
    ) -> LocalBoxFuture<'r, Box<dyn Column + 'p>> {
        V::column(rows.iter().map(&self.from).collect(), call.run, &call.selected.below)
    }
}

/// How many statements a field sends, and how many of those below it saves.
#[derive(Clone, Copy)]
pub(crate) struct Statements {
    pub(crate) own: usize,
    pub(crate) saves: fn(&Selection) -> usize,
}

impl Statements {
    /// So many, and none is saved.
    pub(crate) const fn of(own: usize) -> Statements {
        Statements { own, saves: |_| 0 }
    }

    /// One, which brings what fields below would ask for.
    pub(crate) const fn saving(saves: fn(&Selection) -> usize) -> Statements {
        Statements { own: 1, saves }
    }
}

/// It is asked for, for all rows together.
struct Load<A, V, F> {
    statements: Statements,
    from: F,
    gives: PhantomData<fn(A) -> V>,
}

impl<T, A, V, F> Deep<T> for Load<A, V, F>
where
    T: 'static,
    A: Arguments,
    V: Output,
    F: AsyncFn(Call<'_>, &[T], A) -> Result<Vec<V>, Trouble> + Send + Sync + 'static,
{
    fn describe(&self, registry: &mut Registry) -> (String, IndexMap<String, MetaInputValue>) {
        let args = A::describe(registry);
        (V::describe(registry), args)
    }

    fn nullable(&self) -> bool {
        V::NULLABLE
    }

    fn compile(&self, compiler: &mut Compiler<'_>, sets: &[&SelectionSet]) -> Selection {
        let below = V::compile(compiler, sets);
        compiler.count(self.statements.own, (self.statements.saves)(&below));
        below
    }

    fn find<'r, 'p: 'r>(
        &'static self,
        rows: &'r [T],
        call: Call<'p>,
    ) -> LocalBoxFuture<'r, Box<dyn Column + 'p>> {
        Box::pin(async move {
            let found = match call.run.arguments(call.selected) {
                // Nobody to find it for, nothing to ask.
                Ok(_) if rows.is_empty() => Ok(Vec::new()),
                Ok(arguments) => (self.from)(call, rows, arguments).await,
                Err(trouble) => Err(trouble),
            };
            match found {
                Ok(values) => V::column(values, call.run, &call.selected.below).await,
                Err(trouble) => Box::new(Failed(trouble)) as Box<dyn Column + 'p>,
            }
        })
    }
}

impl<T: 'static> Table<T> {
    /// A type without fields yet.
    pub(crate) fn new(name: &'static str, doc: &'static str) -> Table<T> {
        Table {
            name,
            doc,
            interfaces: Vec::new(),
            among: Vec::new(),
            fields: Vec::new(),
            by_name: HashMap::new(),
            completes: None,
        }
    }

    /// It implements this interface.
    pub(crate) fn implements(mut self, interface: &'static str) -> Table<T> {
        self.interfaces.push(interface);
        self.among.push(interface);
        self
    }

    /// It is a member of this union.
    pub(crate) fn member_of(mut self, union: &'static str) -> Table<T> {
        self.among.push(union);
        self
    }

    /// Its name in the schema.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    fn field(mut self, name: &'static str, doc: &'static str, kind: Kind<T>) -> Table<T> {
        self.by_name.insert(name, self.fields.len());
        self.fields.push(Field { name, doc, kind, opens: None });
        self
    }

    /// A value that is written from the row.
    pub(crate) fn leaf<S: Leaf + 'static>(
        self,
        name: &'static str,
        doc: &'static str,
        from: impl Fn(&T) -> S + Send + Sync + 'static,
    ) -> Table<T> {
        let write = Box::new(move |row: &T, to: &mut Vec<u8>| from(row).write(to));
        self.field(name, doc, Kind::Leaf { describe: S::describe, write })
    }

    /// Something with fields, or that may fail, which the row has already.
    pub(crate) fn inline<V: Output>(
        self,
        name: &'static str,
        doc: &'static str,
        from: impl Fn(&T) -> V + Send + Sync + 'static,
    ) -> Table<T> {
        let deep = Inline { from, gives: PhantomData };
        self.field(name, doc, Kind::Deep(Box::new(deep)))
    }

    /// Something that is asked for: one value for each row, in their order.
    pub(crate) fn load<A: Arguments, V: Output>(
        self,
        name: &'static str,
        doc: &'static str,
        statements: Statements,
        from: impl AsyncFn(Call<'_>, &[T], A) -> Result<Vec<V>, Trouble> + Send + Sync + 'static,
    ) -> Table<T> {
        let deep = Load { statements, from, gives: PhantomData };
        self.field(name, doc, Kind::Deep(Box::new(deep)))
    }

    /// The field before this one can be followed: what its arguments ask for.
    pub(crate) fn opens<A: Arguments>(
        mut self,
        wanted: impl Fn(A) -> Result<Asked, Trouble> + Send + Sync + 'static,
    ) -> Table<T> {
        if let Some(field) = self.fields.last_mut() {
            field.opens = Some(Box::new(Opening(wanted, PhantomData)));
        }
        self
    }

    /// Rows may lack what these fields need: `by` asks for it, with one statement for all.
    pub(crate) fn complete(
        mut self,
        fields: &'static [&'static str],
        by: impl AsyncFn(Call<'_>, &mut [T]) + Send + Sync + 'static,
    ) -> Table<T> {
        self.completes = Some(Completes { fields, by: Box::new(Completing(by)) });
        self
    }

    pub(super) fn at(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Does a fragment on this type speak of it?
    pub(super) fn is(&self, condition: &str) -> bool {
        self.name == condition || self.among.contains(&condition)
    }
}
