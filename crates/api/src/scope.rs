//! What one request stands on: one snapshot of the database, its clock, what it has looked up.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use store::{
    Class, Position, Store,
    read::{self, Snapshot},
};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    cursor::{Tag, Tags},
    error::{Code, Trouble},
};

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

/// Says why the queue of this process does not work; `None` when it does, or when this process needs none.
pub type QueueFault = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Bytes of messages that one answer may carry.
const MESSAGE_BYTES: u64 = 32 << 20;

/// The bundles that clients would use, as far as they are known.
type Bundles = HashMap<wire::Address, Option<read::ContactBundle>>;

/// One request.
pub(crate) struct Scope {
    pub(crate) store: Store,
    pub(crate) network: Arc<str>,
    pub(crate) queue: QueueProbe,
    pub(crate) now: DateTime<Utc>,
    pub(crate) request_id: String,
    tags: Tags,
    /// Statements that its plan may send.
    statements: usize,
    snapshot: OnceCell<Snapshot>,
    message_bytes: AtomicU64,
    bundles: Mutex<Bundles>,
    doubtful: AtomicBool,
}

impl Scope {
    pub(crate) fn new(
        store: Store,
        tags: Tags,
        network: Arc<str>,
        queue: QueueProbe,
        now: DateTime<Utc>,
        statements: usize,
    ) -> Self {
        Scope {
            store,
            tags,
            network,
            queue,
            now,
            request_id: Uuid::new_v4().simple().to_string(),
            statements,
            snapshot: OnceCell::new(),
            message_bytes: AtomicU64::new(0),
            bundles: Mutex::default(),
            doubtful: AtomicBool::new(false),
        }
    }

    /// The tag of the database, which cursors carry.
    pub(crate) async fn tag(&self) -> Result<Tag, Trouble> {
        self.told(self.tags.load(&self.store).await)
    }

    /// The snapshot that this request is answered from. Requests that ask nothing of the database open none, and one
    /// statement is a snapshot by itself.
    pub(crate) async fn snapshot(&self) -> Result<&Snapshot, Trouble> {
        // Before a connection is held: loading the tag takes one, too.
        self.tag().await?;
        self.snapshot
            .get_or_try_init(|| async {
                let opened = match self.statements {
                    0 | 1 => self.store.single_statement().await,
                    _ => self.store.snapshot().await,
                };
                self.told(opened)
            })
            .await
    }

    /// Takes a message's bytes from what one answer may carry.
    pub(crate) fn afford(&self, bytes: u64) -> Result<(), Trouble> {
        let sum = self.message_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if sum > MESSAGE_BYTES {
            let message = format!(
                "the messages asked for exceed {MESSAGE_BYTES} bytes: ask for smaller pages"
            );
            return Err(Trouble::over(Code::AnswerTooLarge, message, MESSAGE_BYTES, sum));
        }
        Ok(())
    }

    /// An argument could not be read.
    pub(crate) fn doubt(&self) {
        self.doubtful.store(true, Ordering::Relaxed);
    }

    /// Could every argument be read?
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful.load(Ordering::Relaxed)
    }

    /// An answer of the store, or what a caller may know of its failure. The rest goes to the log.
    pub(crate) fn told<T>(&self, answer: store::Result<T>) -> Result<T, Trouble> {
        answer.map_err(|error| {
            let request_id = Some(self.request_id.clone());
            if error.class() == Class::Retry {
                tracing::warn!(request = self.request_id, %error, "a request failed for want of the database");
                let message = "the database is away or busy: try again";
                Trouble { request_id, ..Trouble::new(Code::Unavailable, message) }
            } else {
                tracing::error!(request = self.request_id, %error, "a request failed");
                let message = "the server failed; its log tells why under this request id";
                Trouble { request_id, ..Trouble::new(Code::Internal, message) }
            }
        })
    }

    pub(crate) fn opened(self) -> Option<Snapshot> {
        self.snapshot.into_inner()
    }

    pub(crate) fn peek(&self) -> Option<&Snapshot> {
        self.snapshot.get().filter(|snapshot| snapshot.statements() > 0)
    }

    /// Remembers the current bundles that came with something else.
    pub(crate) fn know(
        &self,
        found: impl IntoIterator<Item = (wire::Address, Option<read::ContactBundle>)>,
    ) {
        self.bundles.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
    }

    /// The bundles that clients would use for these wallets, in their order.
    pub(crate) async fn current_bundles(
        &self,
        addresses: &[wire::Address],
    ) -> Result<Vec<Option<read::ContactBundle>>, Trouble> {
        let missing = {
            let known = self.bundles.lock().unwrap_or_else(PoisonError::into_inner);
            distinct(addresses.iter().filter(|one| !known.contains_key(*one)).copied())
        };
        if !missing.is_empty() {
            let snapshot = self.snapshot().await?;
            let found = self.told(snapshot.current_contact_bundles(&missing).await)?;
            self.know(missing.into_iter().map(|address| (address, None)));
            self.know(found.into_iter().map(|bundle| (bundle.account, Some(bundle))));
        }
        let known = self.bundles.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(addresses.iter().map(|address| known.get(address).cloned().flatten()).collect())
    }
}

fn distinct<K: Ord>(keys: impl Iterator<Item = K>) -> Vec<K> {
    let mut keys: Vec<K> = keys.collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// A look-up of all rows that have one of these keys, in one statement.
macro_rules! lookup {
    ($(#[$doc:meta])* $name:ident($key:ty) -> $value:ty, $method:ident, |$row:ident| $by:expr) => {
        $(#[$doc])*
        pub(crate) async fn $name(
            &self,
            keys: impl Iterator<Item = $key>,
        ) -> Result<HashMap<$key, $value>, Trouble> {
            let keys = distinct(keys);
            if keys.is_empty() {
                return Ok(HashMap::new());
            }
            let snapshot = self.snapshot().await?;
            let rows = self.told(snapshot.$method(&keys).await)?;
            Ok(rows.into_iter().map(|$row| $by).collect())
        }
    };
}

/// The same, where several rows may have one key. Rows keep their order.
macro_rules! lookup_all {
    ($(#[$doc:meta])* $name:ident($key:ty) -> $value:ty, $method:ident, |$row:ident| $by:expr) => {
        $(#[$doc])*
        pub(crate) async fn $name(
            &self,
            keys: impl Iterator<Item = $key>,
        ) -> Result<HashMap<$key, Vec<$value>>, Trouble> {
            let keys = distinct(keys);
            let mut found: HashMap<$key, Vec<$value>> = HashMap::new();
            if !keys.is_empty() {
                let snapshot = self.snapshot().await?;
                for $row in self.told(snapshot.$method(&keys).await)? {
                    let (key, value) = $by;
                    found.entry(key).or_default().push(value);
                }
            }
            Ok(found)
        }
    };
}

impl Scope {
    lookup!(
        /// Topics by their keys.
        topics(Uuid) -> read::Topic, topics_by_key, |row| (row.key, row)
    );
    lookup!(
        /// Accounts by their addresses.
        accounts(wire::Address) -> read::Account, accounts_by_address, |row| (row.address, row)
    );
    lookup!(
        /// The bundles that envelopes hold.
        bundles_at(Position) -> read::ContactBundle, contact_bundles_by_position, |row| (row.position(), row)
    );
    lookup!(
        /// The welcomes that envelopes hold.
        welcomes_at(Position) -> read::Welcome, welcomes_by_position, |row| (row.position, row)
    );
    lookup!(
        /// Envelopes by their positions.
        envelopes_at(Position) -> read::Envelope, envelopes_by_position, |row| (row.position, row)
    );
    lookup_all!(
        /// The envelopes that hold copies of invitations, by the invitations' ids.
        invite_copies(Uuid) -> read::Envelope, envelopes_of_invites, |row| row
    );
    lookup_all!(
        /// The envelopes that hold copies of messages, by the messages' first positions.
        message_copies(Position) -> read::Envelope, envelopes_of_messages, |row| row
    );
    lookup_all!(
        /// The envelopes that have digests.
        envelopes_by(wire::Digest) -> read::Envelope, envelopes_by_digest, |row| (row.digest, row)
    );
    lookup!(
        /// Conversations by the keys of their topics.
        conversations(Uuid) -> read::Conversation, conversations_by_key, |row| (row.key, row)
    );
    lookup!(
        /// Invitations by the keys of their payloads.
        invites(Uuid) -> read::Invite, invites_by_id, |row| (row.id, row)
    );
    lookup!(
        /// Messages by the times in their headers and the keys of their payloads.
        messages((u64, Uuid)) -> read::Message, messages_by_id, |row| ((row.sent_ns, row.id), row)
    );
    lookup!(
        /// The messages that envelopes hold, by the envelopes' positions.
        messages_in(Position) -> read::Message, messages_of_envelopes, |row| row
    );
    lookup!(
        /// The bytes of envelopes; none for private stores and erased messages.
        bytes_at(Position) -> bytes::Bytes, messages_at, |row| row
    );
    lookup!(
        /// Why envelopes cannot be read.
        reasons_at(Position) -> String, undecodables_at, |row| row
    );
}
