//! Projections without their types, so that a list can hold them all.

use std::{future::Future, marker::PhantomData, pin::Pin};

use sqlx::PgConnection;

use super::{Entry, Fold, Projection, fold as folding};
use crate::{error::Result, totals::Totals};

type Task<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// A projection of either kind.
pub(crate) trait Erased: Send + Sync {
    fn name(&self) -> &'static str;
    fn version(&self) -> i32;
    fn tables(&self) -> &'static [&'static str];

    /// Writes what a page adds.
    fn project<'a>(&'a self, connection: &'a mut PgConnection, page: &'a [Entry]) -> Task<'a, ()>;

    /// Takes away what must go with the messages of these envelopes, all of which have been written.
    fn erase<'a>(&'a self, connection: &'a mut PgConnection, erased: &'a [Entry]) -> Task<'a, ()>;
}

struct Pure<P>(PhantomData<fn() -> P>);
struct Folding<F>(PhantomData<fn() -> F>);

pub(crate) fn pure<P: Projection>() -> Box<dyn Erased> {
    Box::new(Pure::<P>(PhantomData))
}

pub(crate) fn fold<F: Fold>() -> Box<dyn Erased> {
    Box::new(Folding::<F>(PhantomData))
}

impl<P: Projection> Erased for Pure<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn version(&self) -> i32 {
        P::VERSION
    }

    fn tables(&self) -> &'static [&'static str] {
        P::TABLES
    }

    fn project<'a>(&'a self, connection: &'a mut PgConnection, page: &'a [Entry]) -> Task<'a, ()> {
        let mut rows = Vec::new();
        page.iter().for_each(|entry| P::derive(entry, &mut rows));
        Box::pin(async move {
            if rows.is_empty() {
                return Ok(());
            }
            let mut totals = Totals::default();
            P::write(connection, rows, &mut totals).await?;
            totals.write(connection, P::NAME).await
        })
    }

    fn erase<'a>(&'a self, connection: &'a mut PgConnection, erased: &'a [Entry]) -> Task<'a, ()> {
        Box::pin(async move {
            let mut totals = Totals::default();
            P::erase(connection, erased, &mut totals).await?;
            totals.write(connection, P::NAME).await
        })
    }
}

impl<F: Fold> Erased for Folding<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn version(&self) -> i32 {
        F::VERSION
    }

    fn tables(&self) -> &'static [&'static str] {
        F::TABLES
    }

    fn project<'a>(&'a self, connection: &'a mut PgConnection, page: &'a [Entry]) -> Task<'a, ()> {
        let mut events = Vec::new();
        page.iter().for_each(|entry| F::derive(entry, &mut events));
        Box::pin(async move {
            if events.is_empty() {
                return Ok(());
            }
            let mut totals = Totals::default();
            folding::write::<F>(connection, events, &mut totals).await?;
            totals.write(connection, F::NAME).await
        })
    }

    fn erase<'a>(&'a self, connection: &'a mut PgConnection, erased: &'a [Entry]) -> Task<'a, ()> {
        Box::pin(async move {
            let mut totals = Totals::default();
            F::erase(connection, erased, &mut totals).await?;
            totals.write(connection, F::NAME).await
        })
    }
}
