//! Derived tables: one file each, which holds the row, how an envelope becomes rows, and how rows are written.

mod accounts;
mod contact_bundles;
mod conversations;
mod envelopes;
mod invites;
mod messages;
mod topics;
mod undecodables;
mod volume;
mod welcomes;

use std::{future::Future, pin::Pin};

use deadpool_postgres::Transaction;
use uuid::Uuid;
use wire::{Reading, Verifier};

use crate::{
    error::Result,
    log::{self, Logged},
};

/// Every derived table. A new one is one file and one line here.
pub(crate) fn all() -> Vec<Box<dyn Erased>> {
    vec![
        erase::<envelopes::Envelopes>(),
        erase::<topics::Topics>(),
        erase::<accounts::Accounts>(),
        erase::<contact_bundles::ContactBundles>(),
        erase::<invites::Invites>(),
        erase::<conversations::Conversations>(),
        erase::<messages::Messages>(),
        erase::<undecodables::Undecodables>(),
        erase::<volume::Volume>(),
        erase::<welcomes::Welcomes>(),
    ]
}

/// An envelope of the log with what its bytes say, decoded once for all projections.
#[derive(Debug)]
pub struct Entry {
    /// As the log holds it.
    pub logged: Logged,
    /// What it says.
    pub reading: Reading,
    /// Key of its topic.
    pub topic_key: Uuid,
    /// Key of its payload.
    pub payload_key: Uuid,
}

impl Entry {
    /// Decodes and verifies one envelope.
    #[must_use]
    pub fn read(logged: Logged, verifier: &Verifier) -> Entry {
        let reading = wire::read(&logged.topic, logged.timestamp_ns, &logged.message, verifier);
        let (topic_key, payload_key) =
            (log::topic_key(&logged.topic), log::payload_key(&logged.message));
        Entry { logged, reading, topic_key, payload_key }
    }
}

/// A derived table: what an envelope means, and how that is written down.
pub trait Projection: Send + Sync + 'static {
    /// Table, file, watermark, metric label and status row: one word for all.
    const NAME: &'static str;
    /// Raise it when `derive` or the table changes: the table is then emptied and rebuilt from the log.
    const VERSION: i32;
    /// Emptied before a rebuild.
    const TABLES: &'static [&'static str];
    /// What one envelope adds.
    type Row: Send + Sync;

    /// Pure. An envelope that this table does not care about adds no rows.
    fn derive(entry: &Entry, rows: &mut Vec<Self::Row>);

    /// Writes the rows of a page; keys are sorted and folded first, so that no statement meets a key twice.
    fn write(tx: &Transaction<'_>, rows: Vec<Self::Row>)
    -> impl Future<Output = Result<()>> + Send;
}

/// A projection without its row type, so that a list can hold them all.
pub(crate) trait Erased: Send + Sync {
    fn name(&self) -> &'static str;
    fn version(&self) -> i32;
    fn tables(&self) -> &'static [&'static str];
    fn project<'a>(
        &'a self,
        tx: &'a Transaction<'a>,
        page: &'a [Entry],
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;
}

struct Eraser<P>(std::marker::PhantomData<fn() -> P>);

fn erase<P: Projection>() -> Box<dyn Erased> {
    Box::new(Eraser::<P>(std::marker::PhantomData))
}

impl<P: Projection> Erased for Eraser<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn version(&self) -> i32 {
        P::VERSION
    }

    fn tables(&self) -> &'static [&'static str] {
        P::TABLES
    }

    fn project<'a>(
        &'a self,
        tx: &'a Transaction<'a>,
        page: &'a [Entry],
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        let mut rows = Vec::new();
        page.iter().for_each(|entry| P::derive(entry, &mut rows));
        Box::pin(async move {
            if rows.is_empty() {
                return Ok(());
            }
            P::write(tx, rows).await
        })
    }
}
