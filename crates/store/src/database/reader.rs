//! Connections for single statements of readers.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{PgConnection, Postgres, pool::PoolConnection};
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit};

use super::{CLIENT_CHECK, PATIENCE, SOON, Store};
use crate::error::{Error, Result};

/// How long a thread's own connection stays out of its pool, which tests it when it comes back.
const UNTESTED: Duration = Duration::from_secs(60);

/// A thread's own connections between two statements. Their pool tests each connection that comes back, by a round trip that
/// takes half as long as a short statement. So they wait here, and go back only once in a while.
///
/// None once the pool is to be closed.
pub(super) struct Idle(Mutex<Option<Vec<Kept>>>);

impl Default for Idle {
    fn default() -> Idle {
        Idle(Mutex::new(Some(Vec::new())))
    }
}

struct Kept {
    connection: PoolConnection<Postgres>,
    /// When it came from the pool.
    since: Instant,
}

impl Idle {
    fn take(&self) -> Option<Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.pop()
    }

    fn put(&self, kept: Kept) {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(idle) => idle.push(kept),
            None => drop(kept.connection),
        }
    }

    /// Returns all of them to the pool, and keeps none from now on.
    pub(super) fn close(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // Their thread may have ended, and its runtime, without which the pool cannot take them back.
        let idle = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        for kept in idle.into_iter().flatten() {
            drop(kept.connection.detach());
        }
    }
}

/// A connection for statements that may be abandoned, and its place among all that readers may use at once.
pub(crate) struct Reader {
    kept: Kept,
    place: OwnedSemaphorePermit,
    idle: Option<Arc<Idle>>,
}

impl Reader {
    /// The connection.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.kept.connection
    }

    /// Returns the connection, which must have nothing left to do, and frees its place.
    pub(crate) fn release(self) {
        let Reader { kept, place, idle } = self;
        match idle {
            Some(idle) if kept.since.elapsed() < UNTESTED => idle.put(kept),
            _ => drop(kept.connection),
        }
        drop(place);
    }

    /// Closes the connection. The driver forgets it at once, but where a statement still runs its server process works on
    /// until it notices. Until then its place stays taken: otherwise there could be any number of such statements.
    pub(crate) fn abandon(self, running: bool) {
        drop(self.kept.connection.detach());
        if let (true, Ok(runtime)) = (running, Handle::try_current()) {
            let place = self.place;
            runtime.spawn(async move {
                tokio::time::sleep(CLIENT_CHECK).await;
                drop(place);
            });
        }
    }
}

impl Store {
    /// Borrows a connection for statements that may be abandoned.
    ///
    /// # Errors
    /// As [`Store::connection`].
    pub(crate) async fn reader(&self) -> Result<Reader> {
        if let Some(near) = &self.near
            && let Ok(place) = tokio::time::timeout(SOON, near.place()).await
        {
            let kept = match near.idle.take() {
                Some(kept) => kept,
                // Not within that time: opening a connection takes longer, and would never come to its end.
                None => Kept { connection: near.pooled().await?, since: Instant::now() },
            };
            return Ok(Reader { kept, place: place?, idle: Some(near.idle.clone()) });
        }
        let place = tokio::time::timeout(PATIENCE, self.place());
        let place = place.await.map_err(|_| Error::Exhausted)??;
        let kept = Kept { connection: self.pooled().await?, since: Instant::now() };
        Ok(Reader { kept, place, idle: None })
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit> {
        let place = self.places.clone().acquire_owned().await;
        Ok(place.map_err(|_| sqlx::Error::PoolClosed)?)
    }
}
