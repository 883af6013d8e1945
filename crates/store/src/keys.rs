//! Keys of those who may ask. A key is `xidx_<id>_<secret>`: the id finds it, and of the secret only a hash is kept. The
//! secret has 190 random bits, so that a fast hash is as good as a slow one: there is nothing to guess.

use std::{fmt, num::NonZeroU32, str::FromStr};

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio_postgres::Row;

use crate::{
    database::Store,
    error::{Error, Result},
};

/// What every key begins with, so that those who look for leaked secrets recognise one.
pub const PREFIX: &str = "xidx_";
/// Characters of an id, and of a secret.
const ID: usize = 8;
const SECRET: usize = 32;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Asking GraphQL.
    Read,
    /// Registering devices and topics for push.
    Push,
    /// Everything, and what is for operators.
    Admin,
}

impl Scope {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Push => "push",
            Scope::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let all = [Scope::Read, Scope::Push, Scope::Admin];
        let known = all.into_iter().find(|scope| scope.as_str() == word);
        known.ok_or_else(|| format!("there is no scope `{word}`: read, push and admin are"))
    }
}

/// The SHA-256 of a secret. Equality takes the same time wherever two differ.
#[derive(Clone, Copy, Debug)]
pub struct SecretHash([u8; 32]);

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretHash {}

/// What a caller shows: which key it says it is, and the hash of its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The id.
    pub id: String,
    /// The hash of what follows it.
    pub hash: SecretHash,
}

impl Shown {
    /// Takes a key apart; none when it has not the form of one.
    #[must_use]
    pub fn read(key: &str) -> Option<Shown> {
        let (id, secret) = key.strip_prefix(PREFIX)?.split_once('_')?;
        let right = |text: &str, length| {
            text.len() == length && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        (right(id, ID) && right(secret, SECRET)).then(|| Shown {
            id: id.to_owned(),
            hash: SecretHash(Sha256::digest(secret.as_bytes()).into()),
        })
    }
}

/// What a new key shall be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its name: letters, digits, `.`, `_` and `-`, at most 64.
    pub name: String,
    /// What it is for.
    pub scopes: Vec<Scope>,
    /// Requests a minute; none is as many as it likes.
    pub per_minute: Option<NonZeroU32>,
    /// From when it is not valid any more.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its id, which is part of it and no secret.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub scopes: Vec<Scope>,
    /// Requests a minute.
    pub per_minute: Option<NonZeroU32>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when it is not valid any more.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was taken back.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The last minute in which it was seen in use.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A key that is valid, as servers need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveKey {
    /// Its id.
    pub id: String,
    /// Its name, for the log.
    pub name: String,
    /// The hash of its secret.
    pub hash: SecretHash,
    /// What it is for.
    pub scopes: Vec<Scope>,
    /// Requests a minute.
    pub per_minute: Option<NonZeroU32>,
    /// From when it is not valid any more.
    pub expires_at: Option<DateTime<Utc>>,
}

const COLUMNS: &str =
    "id, name, scopes, per_minute, created_at, expires_at, revoked_at, last_used_at";

impl Store {
    /// Makes a key, and gives it: it is nowhere else. A name that an expired key has is free.
    ///
    /// # Errors
    /// [`Error::Refused`] when the name is taken or is none; when Postgres fails.
    pub async fn create_key(&self, new: &NewKey) -> Result<(Key, String)> {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if new.name.is_empty() || new.name.len() > 64 || !new.name.bytes().all(named) {
            return Err(Error::Refused(
                "the name of a key has 1 to 64 letters, digits, `.`, `_` or `-`".into(),
            ));
        }
        let (id, secret) = (random(ID)?, random(SECRET)?);
        let hash: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        let scopes: Vec<&str> = new.scopes.iter().map(|scope| scope.as_str()).collect();
        let per_minute = new.per_minute.map(|n| i32::try_from(n.get()).unwrap_or(i32::MAX));
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        transaction
            .execute(
                "update access.keys set revoked_at = expires_at
                  where name = $1 and revoked_at is null and expires_at <= now()",
                &[&new.name],
            )
            .await?;
        let row = transaction
            .query_opt(
                &format!(
                    "insert into access.keys (id, name, hash, scopes, per_minute, expires_at)
                     values ($1, $2, $3, $4, $5, $6)
                     on conflict (name) where revoked_at is null do nothing
                     returning {COLUMNS}"
                ),
                &[&id, &new.name, &hash.as_slice(), &scopes, &per_minute, &new.expires_at],
            )
            .await?;
        let Some(row) = row else {
            return Err(Error::Refused(format!(
                "there is a key named `{}`: choose another name, or revoke it first",
                new.name
            )));
        };
        let key = Key::from_row(&row)?;
        transaction.commit().await?;
        Ok((key, format!("{PREFIX}{id}_{secret}")))
    }

    /// Keys, the oldest first; those that were taken back only when asked for.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn keys(&self, revoked: bool) -> Result<Vec<Key>> {
        let client = self.client().await?;
        let rows = client
            .query(
                &format!(
                    "select {COLUMNS} from access.keys
                      where $1 or revoked_at is null order by created_at, id"
                ),
                &[&revoked],
            )
            .await?;
        rows.iter().map(Key::from_row).collect()
    }

    /// Takes a key back, by its name or its id; none when no valid key has it.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn revoke_key(&self, name: &str) -> Result<Option<Key>> {
        let client = self.client().await?;
        let row = client
            .query_opt(
                &format!(
                    "update access.keys set revoked_at = now()
                      where id = (select id from access.keys
                                   where (name = $1 or id = $1) and revoked_at is null
                                   order by name <> $1 limit 1)
                  returning {COLUMNS}"
                ),
                &[&name],
            )
            .await?;
        row.as_ref().map(Key::from_row).transpose()
    }

    /// Every key that is valid now. Readers may ask this.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn live_keys(&self) -> Result<Vec<LiveKey>> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select id, name, hash, scopes, per_minute, expires_at from access.live_keys",
            )
            .await?;
        let rows = client.query(&statement, &[]).await?;
        rows.iter()
            .map(|row| {
                let hash: &[u8] = row.try_get(2)?;
                Ok(LiveKey {
                    id: row.try_get(0)?,
                    name: row.try_get(1)?,
                    hash: SecretHash(hash.try_into().map_err(|_| odd("hash"))?),
                    scopes: scopes(row, 3)?,
                    per_minute: per_minute(row, 4)?,
                    expires_at: row.try_get(5)?,
                })
            })
            .collect()
    }

    /// Writes down that these keys, by their ids, are in use. Readers may do this.
    ///
    /// # Errors
    /// When Postgres fails, or may not be written to.
    pub async fn touch_keys(&self, ids: &[String]) -> Result<()> {
        let client = self.client().await?;
        client.execute("select access.touch($1)", &[&ids]).await?;
        Ok(())
    }
}

impl Key {
    fn from_row(row: &Row) -> Result<Key> {
        Ok(Key {
            id: row.try_get(0)?,
            name: row.try_get(1)?,
            scopes: scopes(row, 2)?,
            per_minute: per_minute(row, 3)?,
            created_at: row.try_get(4)?,
            expires_at: row.try_get(5)?,
            revoked_at: row.try_get(6)?,
            last_used_at: row.try_get(7)?,
        })
    }
}

fn scopes(row: &Row, column: usize) -> Result<Vec<Scope>> {
    let words: Vec<String> = row.try_get(column)?;
    words.iter().map(|word| word.parse().map_err(|_| odd("scopes"))).collect()
}

fn per_minute(row: &Row, column: usize) -> Result<Option<NonZeroU32>> {
    let rate: Option<i32> = row.try_get(column)?;
    Ok(rate.and_then(|rate| NonZeroU32::new(u32::try_from(rate).unwrap_or(0))))
}

fn odd(what: &str) -> Error {
    Error::Contradiction { table: "access.keys", what: format!("{what} is not as it must be") }
}

/// So many letters and digits, each as likely as any other.
fn random(length: usize) -> Result<String> {
    let mut text = String::with_capacity(length);
    let mut bytes = [0_u8; 64];
    while text.len() < length {
        getrandom::fill(&mut bytes).map_err(|error| {
            Error::Refused(format!("this machine gives no random numbers: {error}"))
        })?;
        // Of 64 values the last two have no digit: they are left out, not folded onto others.
        let digits = bytes.iter().filter_map(|byte| DIGITS.get(usize::from(byte & 63)));
        text.extend(digits.take(length - text.len()).map(|digit| char::from(*digit)));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::testing::TestDatabase;

    fn new(name: &str) -> NewKey {
        NewKey { name: name.into(), scopes: vec![Scope::Read], per_minute: None, expires_at: None }
    }

    #[test]
    fn keys_have_one_form() {
        let (id, secret) = ("a".repeat(ID), "Z".repeat(SECRET));
        let shown = Shown::read(&format!("xidx_{id}_{secret}")).unwrap();
        assert_eq!(shown.id, id);
        assert_eq!(shown.hash, SecretHash(Sha256::digest(secret.as_bytes()).into()));
        assert_ne!(shown.hash, SecretHash([0; 32]));
        let long = format!("xidx_{id}_{secret}0");
        for wrong in ["", "xidx_", "xidx__", &secret, &long, &long.replace("xidx", "sidx")] {
            assert!(Shown::read(wrong).is_none(), "{wrong}");
        }
        assert!(Shown::read(&format!("xidx_{id}_{}é", &secret[2..])).is_none());
    }

    #[test]
    fn random_texts_use_every_digit_and_do_not_repeat() {
        let text = random(20_000).unwrap();
        for digit in DIGITS {
            let count = text.bytes().filter(|byte| byte == digit).count();
            assert!((200..450).contains(&count), "{}: {count}", char::from(*digit));
        }
        assert_ne!(random(SECRET).unwrap(), random(SECRET).unwrap());
    }

    #[tokio::test]
    async fn a_key_is_made_found_used_and_taken_back() {
        let db = TestDatabase::migrated().await;
        let store = &db.store;
        let wanted = NewKey {
            scopes: vec![Scope::Read, Scope::Push],
            per_minute: NonZeroU32::new(60),
            ..new("app")
        };
        let (key, secret) = store.create_key(&wanted).await.unwrap();
        assert_eq!((key.name.as_str(), key.per_minute), ("app", NonZeroU32::new(60)));
        let shown = Shown::read(&secret).unwrap();
        let [live] = <[LiveKey; 1]>::try_from(store.live_keys().await.unwrap()).unwrap();
        assert_eq!((&live.id, live.hash), (&shown.id, shown.hash));
        assert_eq!(live.scopes, wanted.scopes);

        // Nothing in the table is the key.
        let client = store.client().await.unwrap();
        let row = client.query_one("select keys::text from access.keys", &[]).await.unwrap();
        let text: String = row.get(0);
        assert!(!text.contains(secret.rsplit('_').next().unwrap()), "{text}");

        let taken = store.create_key(&wanted).await.unwrap_err().to_string();
        assert!(taken.contains("`app`") && taken.contains("revoke"), "{taken}");
        assert!(store.create_key(&new("a b")).await.is_err());
        assert!(store.create_key(&new("")).await.is_err());

        store.touch_keys(&[key.id.clone(), "absent".into()]).await.unwrap();
        let used = store.keys(false).await.unwrap()[0].last_used_at.unwrap();
        assert_eq!(used.timestamp() % 60, 0, "no more is kept than the minute");

        assert!(store.revoke_key("nobody").await.unwrap().is_none());
        let revoked = store.revoke_key("app").await.unwrap().unwrap();
        assert!(revoked.revoked_at.is_some() && revoked.id == key.id);
        assert!(store.live_keys().await.unwrap().is_empty());
        assert!(store.keys(false).await.unwrap().is_empty());
        // The name is free, and the old key still told.
        let (next, _) = store.create_key(&wanted).await.unwrap();
        assert_eq!(store.keys(true).await.unwrap().len(), 2);
        assert_eq!(store.revoke_key(&next.id).await.unwrap().unwrap().id, next.id);
    }

    #[tokio::test]
    async fn an_expired_key_is_not_live_and_its_name_is_free() {
        let db = TestDatabase::migrated().await;
        let gone = Some(Utc::now() - TimeDelta::seconds(5));
        let past = NewKey { expires_at: gone, ..new("app") };
        db.store.create_key(&past).await.unwrap();
        assert!(db.store.live_keys().await.unwrap().is_empty());
        db.store.create_key(&new("app")).await.unwrap();
        assert_eq!(db.store.live_keys().await.unwrap().len(), 1);
    }
}
