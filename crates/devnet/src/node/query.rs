//! The rules of `Query`: which rows, in which order, and the paging information of the response.

use std::cmp::Ordering;
use std::collections::{BTreeSet, BinaryHeap};
use std::ops::Bound;

use bytes::Bytes;
use tonic::Status;
use wire::proto::message_api::{
    Cursor, Envelope, IndexCursor, PagingInfo, QueryRequest, QueryResponse, SortDirection, cursor,
};

use super::is_user_preferences;
use super::store::{Place, Store};

const DEFAULT_PAGE: u32 = 100;
const MAX_PAGE: u32 = 100;
/// Of a query for one topic of preferences.
const MAX_PREFERENCES_PAGE: u32 = 500;

const FIRST_DIGEST: [u8; 32] = [0; 32];
const LAST_DIGEST: [u8; 32] = [0xff; 32];

pub(super) fn answer(store: &Store, request: &QueryRequest) -> Result<QueryResponse, Status> {
    if request.content_topics.is_empty() {
        return Err(Status::invalid_argument("content topics required"));
    }
    let paging = request.paging_info.as_ref();
    let page = page_size(request)?;
    let asked = paging.map_or(SortDirection::Unspecified as i32, |paging| paging.direction);
    let ascending = asked == SortDirection::Ascending as i32;
    let beyond = Beyond::of(paging)?;
    let (from, to) = bounds(request, &beyond, ascending);
    // A topic that is named twice is still one topic.
    let topics: BTreeSet<&str> = request.content_topics.iter().map(String::as_str).collect();
    let mut streams: Vec<_> = topics
        .iter()
        .filter_map(|topic| store.range(topic.as_bytes(), from, to))
        .map(|(name, rows)| {
            let rows: Box<dyn Iterator<Item = (&Place, &Bytes)>> =
                if ascending { Box::new(rows) } else { Box::new(rows.rev()) };
            (name, rows.filter(|(place, _)| beyond.allows(&place.1, ascending)))
        })
        .collect();
    let mut heads: BinaryHeap<Head<'_>> = streams
        .iter_mut()
        .enumerate()
        .filter_map(|(stream, (_, rows))| Head::new(rows.next(), stream, ascending))
        .collect();
    let mut envelopes = Vec::new();
    let mut last = None;
    while envelopes.len() < page as usize {
        let Some(head) = heads.pop() else { break };
        let (name, rows) = &mut streams[head.stream];
        heads.extend(Head::new(rows.next(), head.stream, ascending));
        last = Some(*head.place);
        envelopes.push(Envelope {
            content_topic: name.clone(),
            timestamp_ns: head.place.0,
            message: head.message.clone(),
        });
    }
    let full = envelopes.len() == page as usize;
    let paging_info = PagingInfo {
        // The echo is never more than 100, not even for a page of 500 preferences.
        limit: if full { page.min(MAX_PAGE) } else { 0 },
        cursor: last.filter(|_| full).map(cursor_at),
        direction: asked,
    };
    Ok(QueryResponse { envelopes, paging_info: Some(paging_info) })
}

fn page_size(request: &QueryRequest) -> Result<u32, Status> {
    let most = match request.content_topics.as_slice() {
        [topic] if is_user_preferences(topic.as_bytes()) => MAX_PREFERENCES_PAGE,
        _ => MAX_PAGE,
    };
    match request.paging_info.as_ref().map_or(0, |paging| paging.limit) {
        0 => Ok(DEFAULT_PAGE),
        limit if limit > most => {
            // The text contains 100 in both cases.
            Err(Status::invalid_argument(format!("cannot exceed {MAX_PAGE} rows per query")))
        }
        limit => Ok(limit),
    }
}

/// The start of a page, from the cursor of a request.
enum Beyond {
    /// No cursor, or one without a digest: nodes then filter nothing.
    Anything,
    /// Rows strictly beyond this place.
    Place(u64, Vec<u8>),
    /// A digest without a time: nodes compare the digest alone.
    Digest(Vec<u8>),
}

impl Beyond {
    fn of(paging: Option<&PagingInfo>) -> Result<Self, Status> {
        let Some(cursor) = paging.and_then(|paging| paging.cursor.as_ref()) else {
            return Ok(Beyond::Anything);
        };
        // Nodes do not guard against this one and fail in their own ways.
        let Some(cursor::Cursor::Index(index)) = &cursor.cursor else {
            return Err(Status::internal("the cursor has no index; leave the cursor out"));
        };
        Ok(match (index.sender_time_ns, index.digest.as_ref()) {
            (_, []) => Beyond::Anything,
            (0, digest) => Beyond::Digest(digest.to_vec()),
            (time, digest) => Beyond::Place(time, digest.to_vec()),
        })
    }

    fn allows(&self, digest: &[u8; 32], ascending: bool) -> bool {
        match self {
            Beyond::Digest(asked) if ascending => digest.as_slice() > asked.as_slice(),
            Beyond::Digest(asked) => digest.as_slice() < asked.as_slice(),
            Beyond::Anything | Beyond::Place(..) => true,
        }
    }
}

/// The range of places that times and cursor leave over.
fn bounds(
    request: &QueryRequest,
    beyond: &Beyond,
    ascending: bool,
) -> (Bound<Place>, Bound<Place>) {
    let mut from = match request.start_time_ns {
        0 => Bound::Unbounded,
        time => Bound::Included((time, FIRST_DIGEST)),
    };
    let mut to = match request.end_time_ns {
        0 => Bound::Unbounded,
        time => Bound::Included((time, LAST_DIGEST)),
    };
    if let Beyond::Place(time, digest) = beyond {
        if ascending {
            from = later(from, after(*time, digest));
        } else {
            to = earlier(to, before(*time, digest));
        }
    }
    (from, to)
}

/// The lower bound of what follows a place. Digests compare as byte strings, so a cursor whose
/// digest is no 32 bytes still has a place among those that are.
fn after(time: u64, digest: &[u8]) -> Bound<Place> {
    match <[u8; 32]>::try_from(digest) {
        Ok(digest) => Bound::Excluded((time, digest)),
        Err(_) => match stretched(digest) {
            (digest, true) => Bound::Excluded((time, digest)),
            (digest, false) => Bound::Included((time, digest)),
        },
    }
}

/// The upper bound of what precedes a place.
fn before(time: u64, digest: &[u8]) -> Bound<Place> {
    match <[u8; 32]>::try_from(digest) {
        Ok(digest) => Bound::Excluded((time, digest)),
        Err(_) => match stretched(digest) {
            (digest, true) => Bound::Included((time, digest)),
            (digest, false) => Bound::Excluded((time, digest)),
        },
    }
}

/// The digest's first 32 bytes, filled up with zeros; true if it was longer.
fn stretched(digest: &[u8]) -> ([u8; 32], bool) {
    let mut place = FIRST_DIGEST;
    let len = digest.len().min(32);
    place[..len].copy_from_slice(&digest[..len]);
    (place, digest.len() > 32)
}

fn later(a: Bound<Place>, b: Bound<Place>) -> Bound<Place> {
    match (a, b) {
        (Bound::Unbounded, bound) | (bound, Bound::Unbounded) => bound,
        (Bound::Included(x) | Bound::Excluded(x), Bound::Included(y) | Bound::Excluded(y)) => {
            if x > y { a } else { b }
        }
    }
}

fn earlier(a: Bound<Place>, b: Bound<Place>) -> Bound<Place> {
    match (a, b) {
        (Bound::Unbounded, bound) | (bound, Bound::Unbounded) => bound,
        (Bound::Included(x) | Bound::Excluded(x), Bound::Included(y) | Bound::Excluded(y)) => {
            if x < y { a } else { b }
        }
    }
}

fn cursor_at((time, digest): Place) -> Cursor {
    Cursor {
        cursor: Some(cursor::Cursor::Index(IndexCursor {
            digest: Bytes::copy_from_slice(&digest),
            sender_time_ns: time,
        })),
    }
}

/// The next row of one topic, waiting to be merged.
struct Head<'a> {
    place: &'a Place,
    message: &'a Bytes,
    stream: usize,
    ascending: bool,
}

impl<'a> Head<'a> {
    fn new(row: Option<(&'a Place, &'a Bytes)>, stream: usize, ascending: bool) -> Option<Self> {
        row.map(|(place, message)| Head { place, message, stream, ascending })
    }
}

// A heap returns its greatest first: of an ascending merge that must be the least place.
impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.place.cmp(other.place);
        let order = if self.ascending { order.reverse() } else { order };
        order.then_with(|| other.stream.cmp(&self.stream))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head<'_> {}
