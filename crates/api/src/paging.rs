//! Relay's pages: the arguments, the connection, and the count that is only made when asked for.

use std::sync::Arc;

use store::read::{Key, Keyed, Page, PageRequest};

use crate::{
    cursor::{self, Cursor, Place},
    error::{Code, Trouble},
    exec::{Call, Object, Output, Statements, Table, object},
    scalars::UInt64,
    types::Listed,
};

/// Rows of a page when nothing is said.
pub(crate) const DEFAULT_PAGE: u32 = 50;
/// Rows of a page at most, and members of a list argument at most.
pub(crate) const MAX_PAGE: u32 = 500;

/// The four arguments that every list takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Args {
    pub(crate) first: Option<i32>,
    pub(crate) after: Option<String>,
    pub(crate) last: Option<i32>,
    pub(crate) before: Option<String>,
}

impl Args {
    /// What to read. `T` is the row that cursors must fit.
    pub(crate) fn request<T: Keyed<O>, O>(
        &self,
        place: Place,
        order: O,
        descending: bool,
    ) -> Result<PageRequest<O>, Trouble> {
        let (count, name, backward) = match (self.first, self.last) {
            (Some(_), Some(_)) => {
                return Err(Trouble::input("first and last cannot be given together"));
            }
            (first, None) => (first, "first", false),
            (None, last) => (last, "last", true),
        };
        let limit = match count.map(u32::try_from) {
            None => DEFAULT_PAGE,
            Some(Err(_)) => return Err(Trouble::input(format!("{name} cannot be negative"))),
            Some(Ok(limit)) if limit > MAX_PAGE => {
                let message = format!("{name} is {limit}, a page has at most {MAX_PAGE}");
                let (most, asked) = (u64::from(MAX_PAGE), u64::from(limit));
                return Err(Trouble::over(Code::BadUserInput, message, most, asked));
            }
            Some(Ok(limit)) => limit,
        };
        let key = |cursor: &Option<String>| {
            cursor.as_deref().map(|text| cursor::decode(text, place, T::TIE_BREAKER)).transpose()
        };
        Ok(PageRequest {
            order,
            descending,
            after: key(&self.after)?,
            before: key(&self.before)?,
            limit,
            backward,
        })
    }
}

/// A row of a page, and where it stands.
#[derive(Clone)]
pub(crate) struct Edge<T> {
    cursor: Cursor,
    node: T,
}

impl<T> Edge<T> {
    /// A row that stands there in the list.
    pub(crate) fn new(place: Place, key: Key, node: T) -> Edge<T> {
        Edge { cursor: Cursor { place, key }, node }
    }
}

/// Where a page stands in its list.
#[derive(Clone, Debug)]
pub(crate) struct PageInfo {
    has_previous: bool,
    has_next: bool,
    start: Option<Cursor>,
    end: Option<Cursor>,
}

object!(
    PageInfo,
    Table::new("PageInfo", "Where a page stands in its list.")
        .leaf("hasPreviousPage", "Are there rows before the page?", |page: &PageInfo| page
            .has_previous)
        .leaf("hasNextPage", "Are there rows behind the page?", |page| page.has_next)
        .leaf("startCursor", "The cursor of the page's first row.", |page| page.start.clone())
        .leaf("endCursor", "The cursor of the page's last row.", |page| page.end.clone())
);

/// A page of a list of `T`.
pub(crate) struct Connection<T: Listed> {
    has_previous: bool,
    has_next: bool,
    edges: Vec<Edge<T>>,
    total: Total<T>,
}

/// How many rows a list has over all its pages.
pub(crate) enum Total<T: Listed> {
    /// Known already.
    Known(u64),
    /// To be counted: the rows that a filter matches, of those that belong to something.
    Of(Option<T::Owner>, Arc<T::Filter>),
}

impl<T: Listed> Connection<T> {
    /// The same, where the number of rows is known.
    pub(crate) fn counted(self, rows: u64) -> Connection<T> {
        Connection { total: Total::Known(rows), ..self }
    }
}

/// A page as Relay shows it.
pub(crate) fn connect<T: Listed>(
    place: Place,
    request: &PageRequest<T::By>,
    page: Page<T::Row>,
    total: Total<T>,
) -> Connection<T> {
    // Behind a cursor there is at least the row that it came from.
    let (has_previous, has_next) = if request.backward {
        (page.has_more || request.after.is_some(), request.before.is_some())
    } else {
        (request.after.is_some(), page.has_more || request.before.is_some())
    };
    let edge = |row: T::Row| Edge::new(place, row.key(request.order), T::from(row));
    let edges = page.rows.into_iter().map(edge).collect();
    Connection { has_previous, has_next, edges, total }
}

/// The fields of a page.
pub(crate) fn connection_table<T: Listed + Output>(name: &'static str) -> Table<Connection<T>>
where
    Edge<T>: Output,
{
    Table::new(name, "A page of a list.")
        .inline("pageInfo", "Where the page stands in the list.", |page: &Connection<T>| PageInfo {
            has_previous: page.has_previous,
            has_next: page.has_next,
            start: page.edges.first().map(|edge| edge.cursor.clone()),
            end: page.edges.last().map(|edge| edge.cursor.clone()),
        })
        .inline("edges", "The rows, with their cursors.", |page: &Connection<T>| page.edges.clone())
        .inline("nodes", "The rows.", |page: &Connection<T>| {
            page.edges.iter().map(|edge| edge.node.clone()).collect::<Vec<T>>()
        })
        .load(
            "totalCount",
            "How many there are over all pages, with the same filter. Counted only when asked for, which may take long.",
            Statements::of(1),
            totals::<T>,
        )
}

/// The fields of a row of a page.
pub(crate) fn edge_table<T: Object + Output + Clone>(name: &'static str) -> Table<Edge<T>> {
    Table::new(name, "A row of a list.")
        .leaf("cursor", "Where it stands: for `after` and `before`.", |edge: &Edge<T>| {
            edge.cursor.clone()
        })
        .inline("node", "The row.", |edge: &Edge<T>| edge.node.clone())
}

/// Counts what all these lists have. They came of one field, so their filters are one.
async fn totals<T: Listed>(
    call: Call<'_>,
    lists: &[Connection<T>],
    _: (),
) -> Result<Vec<Option<UInt64>>, Trouble> {
    let owners: Vec<T::Owner> = lists
        .iter()
        .filter_map(|list| match &list.total {
            Total::Of(owner, _) => *owner,
            Total::Known(_) => None,
        })
        .collect();
    let filter = lists.iter().find_map(|list| match &list.total {
        Total::Of(_, filter) => Some(filter),
        Total::Known(_) => None,
    });
    let mut counted = Vec::new();
    if let Some(filter) = filter {
        let scope = call.scope();
        let snapshot = scope.snapshot().await?;
        counted = scope.told(match owners.is_empty() {
            true => T::count(snapshot, filter).await.map(|count| vec![count]),
            false => T::counts(snapshot, &owners, filter).await,
        })?;
    }
    let mut counted = counted.into_iter();
    let count = |list: &Connection<T>| match &list.total {
        Total::Known(count) => Some(UInt64(*count)),
        Total::Of(..) => counted.next().map(UInt64),
    };
    Ok(lists.iter().map(count).collect())
}

/// Makes the pages of a type types of the schema.
macro_rules! connection {
    ($node:ty, $connection:literal, $edge:literal) => {
        $crate::exec::object!(
            $crate::paging::Connection<$node>,
            $crate::paging::connection_table::<$node>($connection)
        );
        $crate::exec::object!(
            $crate::paging::Edge<$node>,
            $crate::paging::edge_table::<$node>($edge)
        );
    };
}
pub(crate) use connection;

/// Refuses list arguments that are longer than a page.
pub(crate) fn at_most<T>(name: &str, list: &[T]) -> Result<(), Trouble> {
    let max = usize::try_from(MAX_PAGE).unwrap_or(usize::MAX);
    if list.len() > max {
        let len = list.len();
        let message = format!("{name} has {len} members, at most {max} are taken");
        return Err(Trouble::over(Code::BadUserInput, message, max, len));
    }
    Ok(())
}
