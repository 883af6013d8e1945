//! What fields give: values, things with fields, lists of them, none, or the reason why there is none.

use async_graphql::{parser::types::SelectionSet, registry::Registry};
use futures::future::LocalBoxFuture;

use super::{
    call::Run,
    plan::{Compiler, Selection},
    write::{Halt, Step, Writer},
};
use crate::error::Trouble;

/// The values of one field for all rows of a level.
pub(crate) trait Column {
    /// Writes the value of one row.
    fn write<'w>(&'w self, nth: usize, to: &mut Writer<'w>) -> Result<(), Halt>;
}

/// A column that is being found.
pub(crate) type Finding<'p> = LocalBoxFuture<'p, Box<dyn Column + 'p>>;

/// What a field may give.
pub(crate) trait Output: Sized + 'static {
    /// May there be none?
    const NULLABLE: bool = false;

    /// Its type, as the schema spells it.
    fn describe(registry: &mut Registry) -> String;

    /// Compiles what is selected of it.
    fn compile(_compiler: &mut Compiler<'_>, _sets: &[&SelectionSet]) -> Selection {
        Selection::default()
    }

    /// Finds what is selected of all these values.
    fn column<'p>(values: Vec<Self>, run: &'p Run, below: &'p Selection) -> Finding<'p>;
}

/// The column of values that need nothing more.
macro_rules! ready {
    ($column:ident) => {
        fn column<'p>(
            values: Vec<Self>,
            _run: &'p super::Run,
            _below: &'p super::Selection,
        ) -> super::output::Finding<'p> {
            Box::pin(std::future::ready(Box::new($column(values)) as Box<dyn Column + 'p>))
        }
    };
}
pub(super) use ready;

/// Of some rows there is a value; where, among those that there are.
struct Some_<'p> {
    at: Vec<Option<usize>>,
    values: Box<dyn Column + 'p>,
}

impl Column for Some_<'_> {
    fn write<'w>(&'w self, nth: usize, to: &mut Writer<'w>) -> Result<(), Halt> {
        match self.at.get(nth).copied().flatten() {
            Some(at) => self.values.write(at, to),
            None => {
                to.out.extend_from_slice(b"null");
                Ok(())
            }
        }
    }
}

impl<T: Output> Output for Option<T> {
    const NULLABLE: bool = true;

    fn describe(registry: &mut Registry) -> String {
        let mut name = T::describe(registry);
        name.pop();
        name
    }

    fn compile(compiler: &mut Compiler<'_>, sets: &[&SelectionSet]) -> Selection {
        T::compile(compiler, sets)
    }

    fn column<'p>(values: Vec<Self>, run: &'p Run, below: &'p Selection) -> Finding<'p> {
        let mut there = Vec::with_capacity(values.len());
        let at = values.into_iter().map(|value| {
            value.map(|value| {
                there.push(value);
                there.len() - 1
            })
        });
        let at: Vec<_> = at.collect();
        Box::pin(async move {
            let values = T::column(there, run, below).await;
            Box::new(Some_ { at, values }) as Box<dyn Column + 'p>
        })
    }
}

/// Each row has a span of the values.
struct Lists<'p> {
    ends: Vec<usize>,
    nullable: bool,
    values: Box<dyn Column + 'p>,
}

impl Column for Lists<'_> {
    fn write<'w>(&'w self, nth: usize, to: &mut Writer<'w>) -> Result<(), Halt> {
        let begin =
            nth.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end);
        let end = self.ends.get(nth).copied().unwrap_or(begin);
        to.out.push(b'[');
        for (place, at) in (begin..end).enumerate() {
            if place > 0 {
                to.out.push(b',');
            }
            to.place(Step::Nth(place), self.nullable, |to| self.values.write(at, to))?;
        }
        to.out.push(b']');
        Ok(())
    }
}

impl<T: Output> Output for Vec<T> {
    fn describe(registry: &mut Registry) -> String {
        format!("[{}]!", T::describe(registry))
    }

    fn compile(compiler: &mut Compiler<'_>, sets: &[&SelectionSet]) -> Selection {
        T::compile(compiler, sets)
    }

    fn column<'p>(values: Vec<Self>, run: &'p Run, below: &'p Selection) -> Finding<'p> {
        let mut ends = Vec::with_capacity(values.len());
        let mut all = Vec::with_capacity(values.iter().map(Vec::len).sum());
        for list in values {
            all.extend(list);
            ends.push(all.len());
        }
        Box::pin(async move {
            let values = T::column(all, run, below).await;
            Box::new(Lists { ends, nullable: T::NULLABLE, values }) as Box<dyn Column + 'p>
        })
    }
}

/// Of some rows there is none, for a reason.
struct Tried<'p> {
    at: Vec<Result<usize, Trouble>>,
    values: Box<dyn Column + 'p>,
}

impl Column for Tried<'_> {
    fn write<'w>(&'w self, nth: usize, to: &mut Writer<'w>) -> Result<(), Halt> {
        match self.at.get(nth) {
            Some(Ok(at)) => self.values.write(*at, to),
            Some(Err(trouble)) => Err(to.fail(trouble)),
            None => Err(Halt::Null),
        }
    }
}

impl<T: Output> Output for Result<T, Trouble> {
    const NULLABLE: bool = T::NULLABLE;

    fn describe(registry: &mut Registry) -> String {
        T::describe(registry)
    }

    fn compile(compiler: &mut Compiler<'_>, sets: &[&SelectionSet]) -> Selection {
        T::compile(compiler, sets)
    }

    fn column<'p>(values: Vec<Self>, run: &'p Run, below: &'p Selection) -> Finding<'p> {
        let mut there = Vec::with_capacity(values.len());
        let at = values.into_iter().map(|value| {
            value.map(|value| {
                there.push(value);
                there.len() - 1
            })
        });
        let at: Vec<_> = at.collect();
        Box::pin(async move {
            let values = T::column(there, run, below).await;
            Box::new(Tried { at, values }) as Box<dyn Column + 'p>
        })
    }
}

/// There is none for any row, for one reason.
pub(super) struct Failed(pub(super) Trouble);

impl Column for Failed {
    fn write<'w>(&'w self, _nth: usize, to: &mut Writer<'w>) -> Result<(), Halt> {
        Err(to.fail(&self.0))
    }
}
