//! What one request stands on: one moment of the database, its clock, its batches.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_graphql::{
    Context,
    dataloader::{DataLoader, HashMapCache, Loader},
};
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use store::{Class, Position, Store, read::Snapshot};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::error::{Code, Trouble};

/// How many envelopes wait between node and log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// Messages that wait for a worker.
    pub ready: u64,
    /// Messages that a worker holds.
    pub unacknowledged: u64,
}

/// Asks the broker, which is not for this crate to talk to. `None`: it could not be asked.
pub type QueueProbe = Arc<dyn Fn() -> BoxFuture<'static, Option<QueueDepth>> + Send + Sync>;

/// Statements that one request may cause. Lists inside of lists are what uses them up.
const STATEMENTS: u64 = 600;

/// Bytes of messages that one answer may carry.
const MESSAGE_BYTES: u64 = 32 << 20;

/// Keys that are looked up at once.
const BATCH: usize = 20_000;

/// One request.
pub(crate) struct Scope {
    pub(crate) store: Store,
    pub(crate) network: Arc<str>,
    pub(crate) queue: QueueProbe,
    pub(crate) now: DateTime<Utc>,
    pub(crate) request_id: String,
    snapshot: OnceCell<Snapshot>,
    message_bytes: AtomicU64,
}

impl Scope {
    pub(crate) fn new(
        store: Store,
        network: Arc<str>,
        queue: QueueProbe,
        now: DateTime<Utc>,
    ) -> Self {
        Scope {
            store,
            network,
            queue,
            now,
            request_id: Uuid::new_v4().simple().to_string(),
            snapshot: OnceCell::new(),
            message_bytes: AtomicU64::new(0),
        }
    }

    /// The moment that this request speaks of. Requests that ask nothing of the database hold none.
    pub(crate) async fn snapshot(&self) -> Result<&Snapshot, Trouble> {
        self.snapshot.get_or_try_init(|| async { self.told(self.store.snapshot().await) }).await
    }

    /// The same, for a list inside of another one: each of these is a statement of its own.
    pub(crate) async fn snapshot_for_list(&self) -> Result<&Snapshot, Trouble> {
        let snapshot = self.snapshot().await?;
        if snapshot.statements() > STATEMENTS {
            return Err(Trouble::new(
                Code::QueryTooCostly,
                format!(
                    "this query needs more than {STATEMENTS} statements: ask for fewer lists inside of lists"
                ),
            ));
        }
        Ok(snapshot)
    }

    /// Takes a message's bytes from what one answer may carry.
    pub(crate) fn afford(&self, bytes: u64) -> Result<(), Trouble> {
        let sum = self.message_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if sum > MESSAGE_BYTES {
            return Err(Trouble::new(
                Code::AnswerTooLarge,
                format!(
                    "the messages asked for exceed {MESSAGE_BYTES} bytes: ask for smaller pages"
                ),
            ));
        }
        Ok(())
    }

    /// An answer of the store, or what a caller may know of its failure. The rest goes to the log.
    pub(crate) fn told<T>(&self, answer: store::Result<T>) -> Result<T, Trouble> {
        answer.map_err(|error| {
            let request_id = Some(self.request_id.clone());
            if error.class() == Class::Retry {
                tracing::warn!(request = self.request_id, %error, "a request failed for want of the database");
                let message = "the database is away or busy: try again".into();
                Trouble { code: Code::Unavailable, message, request_id }
            } else {
                tracing::error!(request = self.request_id, %error, "a request failed");
                let message = "the server failed; its log tells why under this request id".into();
                Trouble { code: Code::Internal, message, request_id }
            }
        })
    }

    /// Something that must be there is not: it is written before what refers to it, unless it is being rebuilt.
    pub(crate) fn missing(&self, what: &str) -> Trouble {
        Trouble::new(Code::Rebuilding, format!("the {what} are being rebuilt: try again later"))
    }

    pub(crate) fn opened(self) -> Option<Snapshot> {
        self.snapshot.into_inner()
    }

    pub(crate) fn peek(&self) -> Option<&Snapshot> {
        self.snapshot.get()
    }
}

/// What resolvers find in their context. Executions that share it share its batches.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) scope: Arc<Scope>,
    batches: Arc<DataLoader<Batches, HashMapCache>>,
    /// How many look-ups were asked for.
    asks: Arc<AtomicU64>,
}

/// Waits until nothing more is asked for. Fields of a long list are resolved a few at a time; a batch that was sent at
/// the first pause would hold a few keys.
async fn settle(asks: &AtomicU64) {
    let (mut seen, mut quiet) = (asks.load(Ordering::Relaxed), 0);
    while quiet < 2 {
        tokio::task::yield_now().await;
        let now = asks.load(Ordering::Relaxed);
        quiet = if now == seen { quiet + 1 } else { 0 };
        seen = now;
    }
}

impl Asked {
    pub(crate) fn new(scope: Arc<Scope>) -> Asked {
        let asks = Arc::new(AtomicU64::new(0));
        let asked = asks.clone();
        let spawn = move |batch: BoxFuture<'static, ()>| {
            let asked = asked.clone();
            tokio::spawn(async move {
                settle(&asked).await;
                batch.await;
            })
        };
        let batches = DataLoader::with_cache(
            Batches { scope: scope.clone() },
            spawn,
            HashMapCache::default(),
        )
        .delay(Duration::ZERO)
        .max_batch_size(BATCH);
        Asked { scope, batches: Arc::new(batches), asks }
    }

    /// One row by its key, together with all others that are asked for at the same time.
    pub(crate) async fn load<K>(
        &self,
        key: K,
    ) -> Result<Option<<Batches as Loader<K>>::Value>, Trouble>
    where
        K: Send + Sync + std::hash::Hash + Eq + Clone + 'static,
        Batches: Loader<K, Error = Trouble>,
    {
        self.asks.fetch_add(1, Ordering::Relaxed);
        self.batches.load_one(key).await
    }
}

/// The request that a field is resolved for.
pub(crate) fn asked<'a>(ctx: &Context<'a>) -> async_graphql::Result<&'a Asked> {
    ctx.data::<Asked>()
}

/// Looks up rows by sets of keys: one statement a kind of key and a level of the query.
pub(crate) struct Batches {
    scope: Arc<Scope>,
}

/// A look-up by keys of one kind.
macro_rules! batch {
    ($(#[$doc:meta])* $key:ident($of:ty) -> $value:ty, $method:ident, |$row:ident| $by:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) struct $key(pub(crate) $of);

        impl Loader<$key> for Batches {
            type Value = $value;
            type Error = Trouble;

            async fn load(&self, keys: &[$key]) -> Result<HashMap<$key, $value>, Trouble> {
                let keys: Vec<$of> = keys.iter().map(|key| key.0).collect();
                let snapshot = self.scope.snapshot().await?;
                let rows = self.scope.told(snapshot.$method(&keys).await)?;
                Ok(rows.into_iter().map(|$row| $by).collect())
            }
        }
    };
}

/// The same for keys that lead to several rows.
macro_rules! batches {
    ($(#[$doc:meta])* $key:ident($of:ty) -> $value:ty, $method:ident, |$row:ident| $by:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) struct $key(pub(crate) $of);

        impl Loader<$key> for Batches {
            type Value = Vec<$value>;
            type Error = Trouble;

            async fn load(&self, keys: &[$key]) -> Result<HashMap<$key, Vec<$value>>, Trouble> {
                let keys: Vec<$of> = keys.iter().map(|key| key.0).collect();
                let snapshot = self.scope.snapshot().await?;
                let mut found: HashMap<$key, Vec<$value>> = HashMap::new();
                for $row in self.scope.told(snapshot.$method(&keys).await)? {
                    let (key, value) = $by;
                    found.entry(key).or_default().push(value);
                }
                Ok(found)
            }
        }
    };
}

batch!(
    /// A topic by its key.
    TopicBy(Uuid) -> store::read::Topic, topics_by_key, |row| (TopicBy(row.key), row)
);
batch!(
    /// An account by its address.
    AccountBy(wire::Address) -> store::read::Account, accounts_by_address, |row| (AccountBy(row.address), row)
);
batch!(
    /// The bundle that clients would use for an account.
    CurrentBundle(wire::Address) -> store::read::ContactBundle, current_contact_bundles,
    |row| (CurrentBundle(row.account), row)
);
batch!(
    /// The bundle that an envelope holds.
    BundleAt(Position) -> store::read::ContactBundle, contact_bundles_by_position, |row| (BundleAt(row.position), row)
);
batch!(
    /// An envelope by its position.
    EnvelopeAt(Position) -> store::read::Envelope, envelopes_by_position, |row| (EnvelopeAt(row.position), row)
);
batches!(
    /// The envelopes that hold a payload.
    CopiesOf(Uuid) -> store::read::Envelope, envelopes_by_payload, |row| (CopiesOf(row.payload_key), row)
);
batches!(
    /// The envelopes that have a digest.
    EnvelopesBy(wire::Digest) -> store::read::Envelope, envelopes_by_digest, |row| (EnvelopesBy(row.digest), row)
);
batch!(
    /// A conversation by the key of its topic.
    ConversationBy(Uuid) -> store::read::Conversation, conversations_by_key, |row| (ConversationBy(row.key), row)
);
batch!(
    /// An invitation by the key of its payload.
    InviteBy(Uuid) -> store::read::Invite, invites_by_id, |row| (InviteBy(row.id), row)
);
batch!(
    /// A message by the key of its payload.
    MessageBy(Uuid) -> store::read::Message, messages_by_id, |row| (MessageBy(row.id), row)
);
batch!(
    /// The bytes of an envelope; none for private stores.
    BytesAt(Position) -> bytes::Bytes, messages_at, |row| (BytesAt(row.0), row.1)
);
batch!(
    /// Why an envelope cannot be read.
    ReasonAt(Position) -> String, undecodables_at, |row| (ReasonAt(row.0), row.1)
);
