//! The keys that are valid, kept in the process and read again all the time, so that one that is taken back opens nothing
//! any more, and closes what it had opened. While the database is away, the keys that are known stay good and no other
//! becomes so.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use store::{
    Store,
    keys::{LiveKey, Scope, Shown},
};
use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::transport::refused::Refused;

/// How often all keys are read. A key that is taken back is good for so long, at most.
const READ: Duration = Duration::from_secs(10);
/// A key that nobody knows may have been made just now: then they are read at once, but not more often than this.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a caller with such a key waits for the database.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it is written down which keys were used.
const NOTE: u32 = 6;

/// A caller with a valid key.
#[derive(Debug)]
pub(super) struct Holder {
    key: LiveKey,
    gate: Option<DefaultDirectRateLimiter>,
    used: AtomicBool,
    /// Cancelled when the key is not valid any more.
    pub(super) ended: CancellationToken,
}

impl Holder {
    fn new(key: LiveKey) -> Holder {
        Holder {
            gate: key.per_minute.map(|rate| RateLimiter::direct(Quota::per_minute(rate))),
            key,
            used: AtomicBool::new(false),
            ended: CancellationToken::new(),
        }
    }

    /// The key's name, for the log.
    pub(super) fn name(&self) -> &str {
        &self.key.name
    }

    /// May this be done with the key?
    pub(super) fn may(&self, scope: Scope) -> bool {
        self.key.scopes.contains(&scope) || self.key.scopes.contains(&Scope::Admin)
    }

    /// The id, when the key was used since this was last asked.
    fn used(&self) -> Option<String> {
        self.used.swap(false, Ordering::Relaxed).then(|| self.key.id.clone())
    }

    /// Tells everything that was opened with the key that it is not valid any more.
    fn end(&self) -> Option<String> {
        self.ended.cancel();
        self.used()
    }

    /// Counts a request, or says when to try again.
    pub(super) fn pass(&self) -> Result<(), Refused> {
        let Some(gate) = &self.gate else { return Ok(()) };
        gate.check().map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            Refused::busy(wait.as_secs() + 1)
        })
    }
}

/// Keys by their ids.
#[derive(Debug, Default)]
struct Known {
    holders: HashMap<String, Arc<Holder>>,
    /// Keys that were used before they ended, which is still to be written down.
    left: Vec<String>,
}

impl Known {
    /// Takes what is valid now for all that is: who was there stays who it was, who is gone is told.
    fn replace(&mut self, keys: Vec<LiveKey>) {
        let mut before = std::mem::take(&mut self.holders);
        for key in keys {
            let holder = match before.remove(&key.id) {
                Some(holder) if holder.key == key => holder,
                Some(holder) => {
                    holder.ended.cancel();
                    Arc::new(Holder::new(key))
                }
                None => Arc::new(Holder::new(key)),
            };
            self.holders.insert(holder.key.id.clone(), holder);
        }
        for gone in before.values() {
            self.left.extend(gone.end());
        }
    }

    /// Lets go of what has expired, also while the database is away.
    fn expire(&mut self, now: DateTime<Utc>) {
        let over = self
            .holders
            .extract_if(|_, holder| holder.key.expires_at.is_some_and(|end| end <= now));
        self.left.extend(over.filter_map(|(_, holder)| holder.end()));
    }

    fn find(&self, shown: &Shown, now: DateTime<Utc>) -> Found {
        match self.holders.get(&shown.id) {
            None => Found::Nobody,
            Some(holder) => {
                let valid = holder.key.expires_at.is_none_or(|end| now < end);
                match holder.key.hash == shown.hash && valid {
                    true => Found::Holder(holder.clone()),
                    false => Found::Wrong,
                }
            }
        }
    }

    /// The ids of keys that were used since this was last asked.
    fn used(&mut self) -> Vec<String> {
        let mut used = std::mem::take(&mut self.left);
        used.extend(self.holders.values().filter_map(|holder| holder.used()));
        used
    }
}

enum Found {
    Holder(Arc<Holder>),
    /// A key that is known, with another secret.
    Wrong,
    Nobody,
}

/// What came of reading the keys.
#[derive(Clone, Copy)]
struct Attempt {
    began: Instant,
    good: bool,
}

/// The keys of this process.
pub(super) struct Keyring {
    store: Store,
    known: RwLock<Known>,
    last: Mutex<Option<Attempt>>,
}

impl Keyring {
    pub(super) fn new(store: Store) -> Keyring {
        Keyring { store, known: RwLock::default(), last: Mutex::new(None) }
    }

    /// Who shows this key.
    pub(super) async fn admit(&self, shown: &Shown) -> Result<Arc<Holder>, Refused> {
        let holder = match self.find(shown) {
            Found::Nobody => {
                let read = tokio::time::timeout(PATIENCE, self.read()).await;
                if !read.unwrap_or(false) {
                    return Err(Refused {
                        retry_after: Some(5),
                        ..Refused::new(
                            503,
                            "UNAVAILABLE",
                            "this key cannot be checked: the database is away or busy, try again",
                        )
                    });
                }
                self.find(shown)
            }
            found => found,
        };
        match holder {
            Found::Holder(holder) => {
                holder.used.store(true, Ordering::Relaxed);
                Ok(holder)
            }
            Found::Wrong | Found::Nobody => Err(Refused::new(
                401,
                "UNAUTHENTICATED",
                "this API key is not valid: it is wrong, was revoked, or has expired",
            )),
        }
    }

    fn find(&self, shown: &Shown) -> Found {
        self.known.read().unwrap_or_else(PoisonError::into_inner).find(shown, Utc::now())
    }

    fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the keys, unless somebody begins to after this was asked; says whether they could be read.
    async fn read(&self) -> bool {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(attempt) = *last {
            if attempt.began >= asked {
                return attempt.good;
            }
            tokio::time::sleep_until(attempt.began + PAUSE).await;
        }
        let began = Instant::now();
        // Noted first: whoever is given up on while waiting has tried, too.
        *last = Some(Attempt { began, good: false });
        let good = match self.store.live_keys().await {
            Ok(keys) => {
                self.change(|known| known.replace(keys));
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the API keys cannot be read: those that are known stay valid");
                false
            }
        };
        *last = Some(Attempt { began, good });
        good
    }

    /// Keeps the keys until told to stop.
    pub(super) async fn run(&self, stop: CancellationToken, required: bool) {
        let mut rounds = 0_u32;
        let keeping = async {
            let mut ticks = tokio::time::interval(READ);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // A database that is away must not keep what has expired.
                let read = tokio::time::timeout(READ, self.read()).await;
                let held = self.change(|known| {
                    known.expire(Utc::now());
                    known.holders.len()
                });
                if rounds == 0 && required && read == Ok(true) && held == 0 {
                    tracing::warn!(
                        "callers need an API key and there is none: `xmtp-indexer keys create` makes one"
                    );
                }
                rounds = rounds.wrapping_add(1);
                if rounds.is_multiple_of(NOTE) {
                    self.note().await;
                }
            }
        };
        stop.run_until_cancelled(keeping).await;
        let _ = tokio::time::timeout(PAUSE, self.note()).await;
    }

    /// Writes down which keys were used. A database that takes no writes has no such note.
    async fn note(&self) {
        let used = self.change(Known::used);
        if used.is_empty() {
            return;
        }
        if let Err(error) = self.store.touch_keys(&used).await {
            tracing::debug!(%error, "it could not be written down which keys are in use");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use chrono::TimeDelta;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn shown(id: &str, secret: &str) -> Shown {
        Shown::read(&format!("xidx_{id}_{secret}")).unwrap()
    }

    fn key(id: &str) -> LiveKey {
        LiveKey {
            id: id.into(),
            name: format!("name of {id}"),
            hash: shown(id, SECRET).hash,
            scopes: vec![Scope::Read],
            per_minute: None,
            expires_at: None,
        }
    }

    fn holder(known: &Known, id: &str, now: DateTime<Utc>) -> Option<Arc<Holder>> {
        match known.find(&shown(id, SECRET), now) {
            Found::Holder(holder) => Some(holder),
            Found::Wrong | Found::Nobody => None,
        }
    }

    #[test]
    fn who_stays_is_not_disturbed_and_who_is_gone_is_told() {
        let (mut known, now) = (Known::default(), Utc::now());
        known.replace(vec![key("aaaaaaaa"), key("bbbbbbbb")]);
        let (a, b) = (holder(&known, "aaaaaaaa", now), holder(&known, "bbbbbbbb", now));
        let (a, b) = (a.unwrap(), b.unwrap());
        known.replace(vec![key("aaaaaaaa"), key("cccccccc")]);
        assert!(!a.ended.is_cancelled() && b.ended.is_cancelled());
        assert!(Arc::ptr_eq(&a, &holder(&known, "aaaaaaaa", now).unwrap()));
        assert!(holder(&known, "bbbbbbbb", now).is_none());
        let other = LiveKey { scopes: vec![Scope::Push], ..key("aaaaaaaa") };
        known.replace(vec![other]);
        assert!(a.ended.is_cancelled());
        assert!(!holder(&known, "aaaaaaaa", now).unwrap().may(Scope::Read));
        let wrong = known.find(&shown("aaaaaaaa", &SECRET.replace('0', "1")), now);
        assert!(matches!(wrong, Found::Wrong));
    }

    #[test]
    fn keys_expire_by_themselves() {
        let (mut known, now) = (Known::default(), Utc::now());
        let end = now + TimeDelta::seconds(10);
        known.replace(vec![LiveKey { expires_at: Some(end), ..key("aaaaaaaa") }]);
        let held = holder(&known, "aaaaaaaa", now).unwrap();
        assert!(holder(&known, "aaaaaaaa", end).is_none(), "at the very moment");
        known.expire(now);
        assert!(!held.ended.is_cancelled());
        known.expire(end);
        assert!(held.ended.is_cancelled() && known.holders.is_empty());
    }

    #[test]
    fn use_is_noted_once_and_rates_are_each_keys_own() {
        let (mut known, now) = (Known::default(), Utc::now());
        let two = LiveKey { per_minute: NonZeroU32::new(2), ..key("aaaaaaaa") };
        known.replace(vec![two, key("bbbbbbbb")]);
        let a = holder(&known, "aaaaaaaa", now).unwrap();
        a.used.store(true, Ordering::Relaxed);
        assert_eq!(known.used(), ["aaaaaaaa"]);
        assert!(known.used().is_empty());
        let b = holder(&known, "bbbbbbbb", now).unwrap();
        b.used.store(true, Ordering::Relaxed);
        known.replace(vec![a.key.clone()]);
        assert_eq!(known.used(), ["bbbbbbbb"], "also when it ended before that was written down");
        known.replace(vec![a.key.clone(), key("bbbbbbbb")]);
        assert!(a.pass().is_ok() && a.pass().is_ok());
        let refused = a.pass().unwrap_err();
        assert_eq!((refused.status, refused.code), (429, "RATE_LIMITED"));
        assert!((20..=31).contains(&refused.retry_after.unwrap()), "{refused:?}");
        let b = holder(&known, "bbbbbbbb", now).unwrap();
        assert!((0..1_000).all(|_| b.pass().is_ok()));
        assert!(
            Holder::new(LiveKey { scopes: vec![Scope::Admin], ..key("cccccccc") }).may(Scope::Read)
        );
    }
}
