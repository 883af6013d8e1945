//! Invitations of installations to groups, as nodes relayed them.

use wire::{Digest, WrapperAlgorithm};

use super::{
    page::{Key as Place, Keyed, Page, PageRequest, TieBreaker, TieBreakerKind, TimeOrder},
    row::Columns,
    snapshot::Snapshot,
    statement::{Filter, List},
};
use crate::{
    error::{Error, Result},
    log::Position,
    time,
};

/// An invitation of one installation to a group, or a pointer to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The position of its envelope.
    pub position: Position,
    /// The key in the name of its topic. A welcome that pointers point to is published under a key that is no installation's.
    pub installation: [u8; 32],
    /// The time of its envelope.
    pub published_ns: u64,
    /// The digest of its envelope.
    pub digest: Digest,
    /// How it is sealed.
    pub wrapper_algorithm: WrapperAlgorithm,
    /// The key that it is sealed for; None where a symmetric key seals it.
    pub hpke_public_key: Option<Vec<u8>>,
    /// It only points to the welcome.
    pub is_pointer: bool,
    /// Size of the sealed part in bytes.
    pub size: i32,
}

macro_rules! columns {
    () => {
        "position, installation, published_ns, digest, wrapper_algorithm, hpke_public_key, is_pointer, size"
    };
}

impl Welcome {
    pub(super) fn from_columns(columns: &mut Columns<'_>) -> Result<Welcome> {
        columns.table("derived.welcomes");
        Ok(Welcome {
            position: Position(columns.get()?),
            installation: {
                let key: &[u8] = columns.get()?;
                key.try_into().map_err(|_| Error::Contradiction {
                    table: "derived.welcomes",
                    what: format!("an installation's key has {} bytes", key.len()),
                })?
            },
            published_ns: columns.time()?,
            digest: columns.digest()?,
            wrapper_algorithm: WrapperAlgorithm::from_code(columns.get()?),
            hpke_public_key: columns.get()?,
            is_pointer: columns.get()?,
            size: columns.get()?,
        })
    }
}

impl Keyed<TimeOrder> for Welcome {
    const TIE_BREAKER: TieBreakerKind = TieBreakerKind::Position;

    fn key(&self, _: TimeOrder) -> Place {
        Place {
            sort: Some(time::to_db(self.published_ns)),
            tie_breaker: TieBreaker::Position(self.position.0),
        }
    }
}

/// A filter of welcomes; its fields add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WelcomeFilter {
    /// On this installation's topic.
    pub installation: Option<[u8; 32]>,
    /// Published at this time or later.
    pub after: Option<u64>,
    /// Published before this time.
    pub before: Option<u64>,
}

impl WelcomeFilter {
    pub(super) fn filter(&self, mut filter: Filter) -> Filter {
        if let Some(installation) = filter.parent() {
            filter.fill("installation = ?", installation);
        }
        filter.and_if("installation = ?", self.installation);
        filter.and_if("published_ns >= ?", self.after.map(time::to_db));
        filter.and_if("published_ns < ?", self.before.map(time::to_db));
        filter
    }
}

pub(super) const LIST: List = List {
    columns: columns!(),
    table: "derived.welcomes",
    sort: Some("published_ns"),
    nullable: false,
    tie_breaker: "position",
    total: Some("welcomes"),
    with: None,
};

impl Snapshot {
    /// A page of welcomes.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn welcomes(
        &self,
        filter: &WelcomeFilter,
        request: &PageRequest<TimeOrder>,
    ) -> Result<Page<Welcome>> {
        let conditions = filter.filter(Filter::default());
        self.page(&LIST, conditions, request, Welcome::from_columns).await
    }

    /// The number of welcomes.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn count_welcomes(&self, filter: &WelcomeFilter) -> Result<u64> {
        self.count(&LIST, filter.filter(Filter::default())).await
    }

    /// A page of the welcomes of each of these installations, in their order: at most a page and one row an installation
    /// are read.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn welcomes_of(
        &self,
        installations: &[[u8; 32]],
        filter: &WelcomeFilter,
        request: &PageRequest<TimeOrder>,
    ) -> Result<Vec<Page<Welcome>>> {
        let conditions = filter.filter(Filter::under(installations));
        self.pages(&LIST, conditions, request, Welcome::from_columns).await
    }

    /// The number of welcomes of each of these installations, in their order.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn count_welcomes_of(
        &self,
        installations: &[[u8; 32]],
        filter: &WelcomeFilter,
    ) -> Result<Vec<u64>> {
        self.counts(&LIST, filter.filter(Filter::under(installations))).await
    }

    /// The welcomes of the envelopes at these positions.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn welcomes_by_position(&self, positions: &[Position]) -> Result<Vec<Welcome>> {
        self.find_by(
            concat!("select ", columns!(), " from derived.welcomes where position {is}"),
            positions,
            Vec::new(),
            Welcome::from_columns,
        )
        .await
    }
}
