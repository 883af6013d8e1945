//! API keys. A key is `xidx_<id>_<secret>`: the id finds its row, which holds only a hash of the secret. The secret has 190
//! random bits, so a fast hash is as good as a slow one: there is nothing to guess.

use std::{fmt, num::NonZeroU32, str::FromStr};

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{
    database::Store,
    error::{Error, Result},
};

/// The prefix of every key. Scanners for leaked secrets recognise keys by it.
pub const PREFIX: &str = "xidx_";
/// The number of characters of an id.
const ID: usize = 8;
/// The number of characters of a secret.
const SECRET: usize = 32;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What the holder of a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Read through GraphQL.
    Read,
    /// Register devices and topics for push.
    Push,
    /// Everything, including what is meant for operators.
    Admin,
}

impl Scope {
    /// The name in configuration, on the command line and in the database.
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
        known.ok_or_else(|| {
            format!("there is no scope `{word}`: the scopes are read, push and admin")
        })
    }
}

/// The SHA-256 of a secret. Comparing two takes the same time wherever they differ.
#[derive(Clone, Copy, Debug)]
pub struct SecretHash([u8; 32]);

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretHash {}

/// A key as a request presents it: its id, and the hash of its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The id.
    pub id: String,
    /// The hash of the secret.
    pub hash: SecretHash,
}

impl Shown {
    /// Parses a key; returns none when the text does not have the form of one.
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

/// The properties of a new key.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its name: 1 to 64 letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// What its holder may do.
    pub scopes: Vec<Scope>,
    /// Requests per minute; none is unlimited.
    pub per_minute: Option<NonZeroU32>,
    /// When it stops being valid.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its id: the part of the key that is no secret.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What its holder may do.
    pub scopes: Vec<Scope>,
    /// Requests per minute; none is unlimited.
    pub per_minute: Option<NonZeroU32>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it stops being valid.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A valid key as servers need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveKey {
    /// Its id.
    pub id: String,
    /// Its name, which the request log shows.
    pub name: String,
    /// The hash of its secret.
    pub hash: SecretHash,
    /// What its holder may do.
    pub scopes: Vec<Scope>,
    /// Requests per minute; none is unlimited.
    pub per_minute: Option<NonZeroU32>,
    /// When it stops being valid.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Creates a key, and returns it with its text, which is stored nowhere. The name of an expired key can be used again.
    ///
    /// # Errors
    /// [`Error::Refused`] when the name is invalid or in use; when PostgreSQL fails.
    pub async fn create_key(&self, new: &NewKey) -> Result<(Key, String)> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if new.name.is_empty() || new.name.len() > 64 || !new.name.bytes().all(allowed) {
            return Err(Error::Refused(
                "the name of a key has 1 to 64 letters, digits, `.`, `_` or `-`".into(),
            ));
        }
        let (id, secret) = (random(ID)?, random(SECRET)?);
        let hash: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        let scopes: Vec<&str> = new.scopes.iter().map(|scope| scope.as_str()).collect();
        let per_minute = new.per_minute.map(|n| i32::try_from(n.get()).unwrap_or(i32::MAX));
        let mut tx = self.begin().await?;
        sqlx::query!(
            "update access.keys set revoked_at = expires_at
              where name = $1 and revoked_at is null and expires_at <= now()",
            new.name,
        )
        .execute(&mut *tx)
        .await?;
        let row = sqlx::query_as!(
            Row,
            "insert into access.keys (id, name, hash, scopes, per_minute, expires_at)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (name) where revoked_at is null do nothing
             returning id, name, scopes, per_minute, created_at, expires_at, revoked_at, last_used_at",
            id,
            new.name,
            hash.as_slice(),
            &scopes as &[&str],
            per_minute,
            new.expires_at,
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else {
            return Err(Error::Refused(format!(
                "there is a key named `{}`: choose another name, or revoke it first",
                new.name
            )));
        };
        let key = Key::try_from(row)?;
        tx.commit().await?;
        Ok((key, format!("{PREFIX}{id}_{secret}")))
    }

    /// Lists keys, the oldest first; with `revoked`, those that were revoked as well.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn keys(&self, revoked: bool) -> Result<Vec<Key>> {
        let mut connection = self.connection().await?;
        let rows = sqlx::query_as!(
            Row,
            "select id, name, scopes, per_minute, created_at, expires_at, revoked_at, last_used_at
               from access.keys where $1 or revoked_at is null order by created_at, id",
            revoked,
        )
        .fetch_all(&mut *connection)
        .await?;
        rows.into_iter().map(Key::try_from).collect()
    }

    /// Revokes a key by its name or its id; returns none when no key that is not revoked has it.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn revoke_key(&self, name: &str) -> Result<Option<Key>> {
        let mut connection = self.connection().await?;
        let row = sqlx::query_as!(
            Row,
            "update access.keys set revoked_at = now()
              where id = (select id from access.keys
                           where (name = $1 or id = $1) and revoked_at is null
                           order by name <> $1 limit 1)
             returning id, name, scopes, per_minute, created_at, expires_at, revoked_at, last_used_at",
            name,
        )
        .fetch_optional(&mut *connection)
        .await?;
        row.map(Key::try_from).transpose()
    }

    /// Reads every key that is valid now. Readers are granted this.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn live_keys(&self) -> Result<Vec<LiveKey>> {
        let mut connection = self.connection().await?;
        let rows = sqlx::query!(
            r#"select id as "id!", name as "name!", hash as "hash!", scopes as "scopes!", per_minute, expires_at
                 from access.live_keys"#,
        )
        .fetch_all(&mut *connection)
        .await?;
        rows.into_iter()
            .map(|row| {
                let hash = row.hash.try_into().map_err(|_| odd("hash"))?;
                Ok(LiveKey {
                    id: row.id,
                    name: row.name,
                    hash: SecretHash(hash),
                    scopes: scopes(&row.scopes)?,
                    per_minute: per_minute(row.per_minute),
                    expires_at: row.expires_at,
                })
            })
            .collect()
    }

    /// Records that the keys with these ids are in use. Readers are granted this.
    ///
    /// # Errors
    /// When PostgreSQL fails, or is a standby.
    pub async fn touch_keys(&self, ids: &[String]) -> Result<()> {
        let mut connection = self.connection().await?;
        sqlx::query!("select access.touch($1)", ids).execute(&mut *connection).await?;
        Ok(())
    }
}

struct Row {
    id: String,
    name: String,
    scopes: Vec<String>,
    per_minute: Option<i32>,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for Key {
    type Error = Error;

    fn try_from(row: Row) -> Result<Key> {
        Ok(Key {
            scopes: scopes(&row.scopes)?,
            per_minute: per_minute(row.per_minute),
            id: row.id,
            name: row.name,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
        })
    }
}

fn scopes(words: &[String]) -> Result<Vec<Scope>> {
    words.iter().map(|word| word.parse().map_err(|_| odd("scopes"))).collect()
}

fn per_minute(rate: Option<i32>) -> Option<NonZeroU32> {
    rate.and_then(|rate| NonZeroU32::new(u32::try_from(rate).unwrap_or(0)))
}

fn odd(what: &str) -> Error {
    Error::Contradiction { table: "access.keys", what: format!("{what} is not as it must be") }
}

/// Returns a text of `length` random letters and digits, each as likely as any other.
fn random(length: usize) -> Result<String> {
    let mut text = String::with_capacity(length);
    let mut bytes = [0_u8; 64];
    while text.len() < length {
        getrandom::fill(&mut bytes).map_err(|error| {
            Error::Refused(format!("the operating system returned no random numbers: {error}"))
        })?;
        // Two of the 64 values stand for no digit. They are skipped: mapped onto others they would make those likelier.
        let digits = bytes.iter().filter_map(|byte| DIGITS.get(usize::from(byte & 63)));
        text.extend(digits.take(length - text.len()).map(|digit| char::from(*digit)));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
