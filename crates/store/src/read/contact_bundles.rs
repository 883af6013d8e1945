//! Publications of keys. Clients use the newest verified one of a wallet: by time, and of one time by digest.

use tokio_postgres::Row;
use wire::{Address, Digest, Generation, Verification};

use super::{
    page::{Key as Place, Keyed, Page, PageRequest, Tie, TieKind, TimeOrder},
    row::{self, Columns},
    snapshot::Snapshot,
    statement::{Filter, List},
};
use crate::{
    error::{Error, Result},
    log::Position,
    time,
};

/// One publication of a wallet's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactBundle {
    /// Where its envelope stands.
    pub position: Position,
    /// The wallet whose contact topic it stands on.
    pub account: Address,
    /// The wallet that signed the identity key.
    pub signer: Option<Address>,
    /// Its version.
    pub generation: Generation,
    /// How it is wrapped.
    pub form: Form,
    /// What its signatures say.
    pub verification: Verification,
    /// The time of its envelope.
    pub published_ns: u64,
    /// The digest of its envelope.
    pub digest: Digest,
    /// The identity key.
    pub identity_key: Key,
    /// The key that conversations begin with.
    pub pre_key: Option<Key>,
}

/// How a bundle is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Not at all: the oldest clients.
    Bare,
    /// As version 1.
    V1,
    /// As version 2.
    V2,
}

/// A public key of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// 65 bytes where it is a good one.
    pub bytes: Vec<u8>,
    /// When it was made, as it says.
    pub created_ns: u64,
    /// The signature on it, as given.
    pub signature: Option<Vec<u8>>,
}

macro_rules! columns {
    () => {
        "position, account, signer, generation, form, verification, published_ns, digest, identity_key, \
         identity_created_ns, identity_signature, pre_key, pre_created_ns, pre_signature"
    };
}

impl ContactBundle {
    pub(super) fn from_row(row: &Row) -> Result<ContactBundle> {
        let mut columns = Columns::of(row, "derived.contact_bundles");
        Ok(ContactBundle {
            position: Position(columns.get()?),
            account: columns.address()?,
            signer: columns.maybe_address()?,
            generation: columns.generation()?,
            form: match columns.get::<i16>()? {
                0 => Form::Bare,
                1 => Form::V1,
                2 => Form::V2,
                code => {
                    return Err(Error::Contradiction {
                        table: "derived.contact_bundles",
                        what: format!("no form has code {code}"),
                    });
                }
            },
            verification: columns.verification()?,
            published_ns: columns.time()?,
            digest: columns.digest()?,
            identity_key: Key {
                bytes: columns.get()?,
                created_ns: columns.time()?,
                signature: columns.get()?,
            },
            pre_key: match (columns.get()?, columns.maybe_time()?, columns.get()?) {
                (Some(bytes), created_ns, signature) => {
                    Some(Key { bytes, created_ns: created_ns.unwrap_or(0), signature })
                }
                (None, ..) => None,
            },
        })
    }
}

impl Keyed<TimeOrder> for ContactBundle {
    const TIE: TieKind = TieKind::Position;

    fn key(&self, _: TimeOrder) -> Place {
        Place { sort: Some(time::to_db(self.published_ns)), tie: Tie::Position(self.position.0) }
    }
}

/// Which contact bundles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContactBundleFilter {
    /// On this wallet's topic.
    pub account: Option<Address>,
    /// Of this version.
    pub generation: Option<Generation>,
    /// With one of these verdicts.
    pub verification: Option<Vec<Verification>>,
    /// Only those that are their account's current one.
    pub current_only: bool,
    /// Published at this time or later.
    pub after: Option<u64>,
    /// Published before this time.
    pub before: Option<u64>,
}

impl ContactBundleFilter {
    pub(super) fn filter(&self, head: Position) -> Filter {
        let mut filter = Filter::default();
        let head = filter.and_slot("position <= ?", head.0);
        filter.and_if("account = ?", self.account.map(|a| a.as_bytes().to_vec()));
        filter.and_if("generation = ?", self.generation.map(|g| g.code()));
        filter.and_if(
            "verification = any(?)",
            self.verification.as_ref().map(|v| v.iter().map(|v| v.code()).collect::<Vec<_>>()),
        );
        filter.and_if("published_ns >= ?", self.after.map(time::to_db));
        filter.and_if("published_ns < ?", self.before.map(time::to_db));
        if self.current_only {
            filter.only("verification = 1");
            filter.fill(
                "not exists (select from derived.contact_bundles newer
                              where newer.account = b.account and newer.verification = 1
                                and (newer.published_ns, newer.digest) > (b.published_ns, b.digest)
                                and newer.position <= ?)",
                head,
            );
        }
        filter
    }
}

pub(super) const LIST: List = List {
    columns: columns!(),
    table: "derived.contact_bundles b",
    sort: Some("published_ns"),
    nullable: false,
    tie: "position",
    with: None,
};

impl Snapshot {
    /// A page of contact bundles.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn contact_bundles(
        &self,
        filter: &ContactBundleFilter,
        request: &PageRequest<TimeOrder>,
    ) -> Result<Page<ContactBundle>> {
        self.page(&LIST, filter.filter(self.head()), request, ContactBundle::from_row).await
    }

    /// How many contact bundles.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn count_contact_bundles(&self, filter: &ContactBundleFilter) -> Result<u64> {
        self.count(&LIST, filter.filter(self.head())).await
    }

    /// The bundles that stand at these positions.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn contact_bundles_by_position(
        &self,
        positions: &[Position],
    ) -> Result<Vec<ContactBundle>> {
        self.find(
            concat!(
                "select ",
                columns!(),
                " from derived.contact_bundles where position = any($1)"
            ),
            vec![Box::new(positions.iter().map(|p| p.0).collect::<Vec<_>>())],
            ContactBundle::from_row,
        )
        .await
    }

    /// The current bundle of each of these accounts that has one.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn current_contact_bundles(
        &self,
        accounts: &[Address],
    ) -> Result<Vec<ContactBundle>> {
        self.find(
            concat!(
                "select b.* from (select distinct unnest($1::bytea[])) wanted(address)
                  cross join lateral (
                        select ",
                columns!(),
                "         from derived.contact_bundles
                         where account = wanted.address and verification = 1 and position <= $2
                         order by published_ns desc, digest desc limit 1) b"
            ),
            vec![Box::new(row::bytes(accounts)), Box::new(self.head().0)],
            ContactBundle::from_row,
        )
        .await
    }
}
