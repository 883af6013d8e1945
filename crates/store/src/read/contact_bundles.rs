//! Publications of keys. Clients use the newest verified one of a wallet: the latest by time, and of equal times the one
//! with the largest digest.

use wire::{Address, Digest, Generation, Verification};

use super::{
    page::{Key as Place, Keyed, Page, PageRequest, TieBreaker, TieBreakerKind, TimeOrder},
    row::Columns,
    snapshot::Snapshot,
    statement::{Branch, Filter, List},
};
use crate::{error::Result, log::Position, time};

/// One publication of a wallet's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactBundle {
    /// The wallet whose contact topic it was published on.
    pub account: Address,
    /// Its version.
    pub generation: Generation,
    /// What its signatures prove.
    pub verification: Verification,
    /// The time of its envelope.
    pub published_ns: u64,
    /// The envelope that it came in; None when it was read without.
    pub source: Option<Source>,
    /// The keys that it publishes; None when it was read without.
    pub keys: Option<Box<Keys>>,
}

/// The envelope of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its position.
    pub position: Position,
    /// Its digest.
    pub digest: Digest,
}

/// How much of a bundle is read: each includes the ones before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// What it is, and when it was published.
    #[default]
    Verdict,
    /// The envelope that it came in.
    Source,
    /// Its keys.
    Keys,
}

/// The keys of a bundle: most of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The wallet that signed the identity key.
    pub signer: Option<Address>,
    /// The identity key.
    pub identity: Key,
    /// The key that conversations begin with.
    pub pre: Option<Key>,
}

/// A public key of a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// The bytes as published; 65 in a valid key.
    pub bytes: Vec<u8>,
    /// When it was made, as it claims.
    pub created_ns: u64,
    /// The signature on it, as received.
    pub signature: Option<Vec<u8>>,
}

macro_rules! verdict {
    () => {
        "generation, verification, published_ns"
    };
}
macro_rules! source {
    () => {
        concat!(verdict!(), ", account, position, digest")
    };
}
macro_rules! columns {
    () => {
        concat!(
            source!(),
            ", signer, identity_key, identity_created_ns, identity_signature, pre_key, pre_created_ns, pre_signature"
        )
    };
}

impl Extent {
    /// The columns for it, and how many they are.
    pub(super) const fn columns(self) -> (&'static str, usize) {
        match self {
            Extent::Verdict => (verdict!(), 3),
            Extent::Source => (source!(), 6),
            Extent::Keys => (columns!(), 13),
        }
    }
}

impl Keys {
    fn from_columns(columns: &mut Columns<'_>) -> Result<Keys> {
        Ok(Keys {
            signer: columns.maybe_address()?,
            identity: Key {
                bytes: columns.get()?,
                created_ns: columns.time()?,
                signature: columns.get()?,
            },
            pre: match (columns.get()?, columns.maybe_time()?, columns.get()?) {
                (Some(bytes), created_ns, signature) => {
                    Some(Key { bytes, created_ns: created_ns.unwrap_or(0), signature })
                }
                (None, ..) => None,
            },
        })
    }
}

impl ContactBundle {
    pub(super) fn from_columns(columns: &mut Columns<'_>) -> Result<ContactBundle> {
        // The row contains the account.
        ContactBundle::of(Address::from([0; 20]), columns, Extent::Keys)
    }

    /// So much of a wallet's bundle, by the [`columns`](Extent::columns) for that.
    pub(super) fn of(
        account: Address,
        columns: &mut Columns<'_>,
        extent: Extent,
    ) -> Result<ContactBundle> {
        columns.table("derived.contact_bundles");
        let mut bundle = ContactBundle {
            account,
            generation: columns.generation()?,
            verification: columns.verification()?,
            published_ns: columns.time()?,
            source: None,
            keys: None,
        };
        if extent >= Extent::Source {
            bundle.account = columns.address()?;
            let position = Position(columns.get()?);
            bundle.source = Some(Source { position, digest: columns.digest()? });
        }
        if extent >= Extent::Keys {
            bundle.keys = Some(Box::new(Keys::from_columns(columns)?));
        }
        Ok(bundle)
    }

    /// The position of its envelope; 0 when it was read without.
    #[must_use]
    pub fn position(&self) -> Position {
        self.source.map_or(Position(0), |source| source.position)
    }
}

impl Keyed<TimeOrder> for ContactBundle {
    const TIE_BREAKER: TieBreakerKind = TieBreakerKind::Position;

    fn key(&self, _: TimeOrder) -> Place {
        Place {
            sort: Some(time::to_db(self.published_ns)),
            tie_breaker: TieBreaker::Position(self.position().0),
        }
    }
}

/// A filter of contact bundles; its fields add up.
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

/// The position of the bundle that clients would use for a wallet.
macro_rules! current {
    ($account:literal) => {
        concat!(
            "(select position from derived.contact_bundles where account = ",
            $account,
            " and verification = 1 order by published_ns desc, digest desc limit 1)"
        )
    };
}

impl ContactBundleFilter {
    pub(super) fn filter(&self, mut filter: Filter) -> Filter {
        let account = self.account.map(|account| filter.bind(account));
        let mut of = filter.parent().into_iter().chain(account);
        if let Some(account) = of.next() {
            if self.current_only {
                // One row, found by its position.
                filter.branch(Branch::default().each(
                    concat!(current!("?"), " now(place)"),
                    account,
                    "position = now.place",
                ));
            } else {
                filter.fill("account = ?", account);
            }
        } else if self.current_only {
            filter.only("verification = 1");
            filter.only(concat!("position = ", current!("b.account")));
        }
        for account in of {
            filter.fill("account = ?", account);
        }
        filter.and_if("generation = ?", self.generation.map(|g| g.code()));
        filter.and_if(
            "verification = any(?)",
            self.verification.as_ref().map(|v| v.iter().map(|v| v.code()).collect::<Vec<_>>()),
        );
        filter.and_if("published_ns >= ?", self.after.map(time::to_db));
        filter.and_if("published_ns < ?", self.before.map(time::to_db));
        filter
    }
}

pub(super) const LIST: List = List {
    columns: columns!(),
    table: "derived.contact_bundles b",
    sort: Some("published_ns"),
    nullable: false,
    tie_breaker: "position",
    total: Some("contact_bundles"),
    with: None,
};

impl Snapshot {
    /// A page of contact bundles.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn contact_bundles(
        &self,
        filter: &ContactBundleFilter,
        request: &PageRequest<TimeOrder>,
    ) -> Result<Page<ContactBundle>> {
        let conditions = filter.filter(Filter::default());
        self.page(&LIST, conditions, request, ContactBundle::from_columns).await
    }

    /// The number of contact bundles.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn count_contact_bundles(&self, filter: &ContactBundleFilter) -> Result<u64> {
        self.count(&LIST, filter.filter(Filter::default())).await
    }

    /// A page of the contact bundles on each of these wallets' topics, in their order: at most a page and one row a wallet
    /// are read.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn contact_bundles_of(
        &self,
        accounts: &[Address],
        filter: &ContactBundleFilter,
        request: &PageRequest<TimeOrder>,
    ) -> Result<Vec<Page<ContactBundle>>> {
        let conditions = filter.filter(Filter::under(accounts));
        self.pages(&LIST, conditions, request, ContactBundle::from_columns).await
    }

    /// The number of contact bundles on each of these wallets' topics, in their order.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn count_contact_bundles_of(
        &self,
        accounts: &[Address],
        filter: &ContactBundleFilter,
    ) -> Result<Vec<u64>> {
        self.counts(&LIST, filter.filter(Filter::under(accounts))).await
    }

    /// The bundles of the envelopes at these positions.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn contact_bundles_by_position(
        &self,
        positions: &[Position],
    ) -> Result<Vec<ContactBundle>> {
        self.find_by(
            concat!("select ", columns!(), " from derived.contact_bundles where position {is}"),
            positions,
            Vec::new(),
            ContactBundle::from_columns,
        )
        .await
    }

    /// The current bundle of each of these accounts that has one.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn current_contact_bundles(
        &self,
        accounts: &[Address],
    ) -> Result<Vec<ContactBundle>> {
        self.find_by(
            concat!(
                "select b.* from {wanted}
                  cross join lateral (
                        select ",
                columns!(),
                "         from derived.contact_bundles
                         where account = wanted.key and verification = 1
                         order by published_ns desc, digest desc limit 1) b"
            ),
            accounts,
            Vec::new(),
            ContactBundle::from_columns,
        )
        .await
    }
}
