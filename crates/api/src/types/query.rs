//! The root fields.

use async_graphql::{ID, InputObject};
use store::read::{self, Nested};

use super::{
    account::{self, Account},
    analytics::Analytics,
    lists::{self, *},
    node::{self, Node},
    reachability, status,
    topic::key_of,
};
use crate::{
    error::Trouble,
    exec::{Call, Selection, Statements, Table, arguments, object},
    paging::{Connection, Total, at_most, connect},
    scalars::{Address, Hex},
};

/// What can be asked. There is one row of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query;

object!(
    Query,
    Table::new("Query", "What can be asked.")
        .load("node", "The thing that has this id; null when there is none.", Statements::of(node::STATEMENTS), one_node)
        .load(
            "nodes",
            "The things that have these ids, in their order; null in the place of those that are not there.",
            Statements::of(node::STATEMENTS),
            nodes
        )
        .load(
            "status",
            "Up to which point this answer speaks, how far each source is, what lags.",
            status::STATEMENTS,
            async |call, rows: &[Query], _: ()| status::now(call, rows.len()).await
        )
        .inline("analytics", "Figures about the index.", |_: &Query| Analytics)
        .load(
            "topic",
            "The topic of this name; null when nothing was ever published on it.",
            Statements::of(1),
            topic
        )
        .load(
            "topics",
            "Every topic that anything was published on.",
            Statements::of(1),
            async |call, _: &[Query], mut asked: TopicPages| -> Page<read::Topic> {
                let (order, args) = (asked.order_by.take(), asked.args());
                lists::list(call, asked.filter.unwrap_or_default().into(), order, args).await
            }
        )
        .load(
            "envelope",
            "The envelope that has this digest; of several published at different times, the first that was indexed.",
            Statements::of(1),
            envelope
        )
        .load(
            "envelopes",
            "Default order is the order of indexing: a reader who pages forward sees every envelope exactly once.",
            Statements::of(1),
            async |call, _: &[Query], mut asked: EnvelopePages| -> Page<read::Envelope> {
                let (order, args) = (asked.order_by.take(), asked.args());
                lists::list(call, asked.filter.unwrap_or_default().try_into()?, order, args).await
            }
        )
        .load(
            "account",
            "The wallet that has this address; null when the network never named it.",
            Statements::saving(|below| {
                account::saved_by_row(below) + below.along(&["contactBundle"]).len()
            }),
            one_account
        )
        .load(
            "accounts",
            "Every wallet that a topic, a bundle or a header names.",
            Statements::saving(|below| {
                let saved = |path: &[&str]| -> usize {
                    below.along(path).into_iter().map(account::saved_by_row).sum()
                };
                saved(&["nodes"]) + saved(&["edges", "node"])
            }),
            async |call, _: &[Query], mut asked: AccountPages| -> Page<Account> {
                let (order, args) = (asked.order_by.take(), asked.args());
                lists::list(call, asked.filter.unwrap_or_default().try_into()?, order, args).await
            }
        )
        .load(
            "reachability",
            "Who can be reached on the network, by which generation. At most 500 addresses; the answer keeps their order.",
            Statements::of(1),
            async |call, _: &[Query], asked| reachability::reachability(call, asked).await
        )
        .load(
            "contactBundles",
            "Every publication of keys on a contact topic.",
            Statements::of(1),
            async |call, _: &[Query], mut asked: ContactBundlePages| -> Page<read::ContactBundle> {
                let (order, args) = (asked.order_by.take(), asked.args());
                lists::list(call, asked.filter.unwrap_or_default().into(), order, args).await
            }
        )
        .load(
            "invites",
            "Every invitation.",
            Statements::saving(|below| bundles(below, "sender") + bundles(below, "recipient")),
            invites
        )
        .load(
            "conversations",
            "Every conversation.",
            Statements::of(1),
            async |call, _: &[Query], mut asked: ConversationPages| -> Page<read::Conversation> {
                let (order, args) = (asked.order_by.take(), asked.args());
                lists::list(call, asked.filter.unwrap_or_default().into(), order, args).await
            }
        )
        .load(
            "welcomes",
            "Every V3 invitation of an installation to a group, or pointer to one, that passed on a node's stream.",
            Statements::of(1),
            async |call, _: &[Query], mut asked: WelcomePages| -> Page<read::Welcome> {
                let (order, args) = (asked.order_by.take(), asked.args());
                lists::list(call, asked.filter.unwrap_or_default().try_into()?, order, args).await
            }
        )
        .load(
            "messages",
            "Every V1 and V2 message.",
            Statements::of(1),
            async |call, _: &[Query], mut asked: MessagePages| -> Page<read::Message> {
                let (order, args) = (asked.order_by.take(), asked.args());
                lists::list(call, asked.filter.unwrap_or_default().into(), order, args).await
            }
        )
);

/// A list of the one row.
type Page<T> = Result<Vec<Connection<T>>, Trouble>;

/// Which thing.
#[derive(InputObject)]
struct ById {
    /// Its id.
    id: ID,
}

/// Which things.
#[derive(InputObject)]
struct ByIds {
    /// Their ids, at most 500.
    ids: Vec<ID>,
}

/// Which topic.
#[derive(InputObject)]
struct ByName {
    /// Its name, byte for byte.
    name: String,
}

/// Which envelope.
#[derive(InputObject)]
struct ByDigest {
    /// SHA-256(topic ‖ message), 32 bytes.
    digest: Hex,
}

/// Which wallet.
#[derive(InputObject)]
struct ByAddress {
    /// Its address.
    address: Address,
}

arguments!(ById, ByIds, ByName, ByDigest, ByAddress);

async fn one_node(call: Call<'_>, _: &[Query], asked: ById) -> Result<Vec<Option<Node>>, Trouble> {
    node::find(call.scope(), &[asked.id]).await
}

async fn nodes(
    call: Call<'_>,
    _: &[Query],
    asked: ByIds,
) -> Result<Vec<Vec<Option<Node>>>, Trouble> {
    at_most("ids", &asked.ids)?;
    Ok(vec![node::find(call.scope(), &asked.ids).await?])
}

async fn topic(
    call: Call<'_>,
    _: &[Query],
    asked: ByName,
) -> Result<Vec<Option<read::Topic>>, Trouble> {
    let key = key_of(&asked.name);
    Ok(vec![call.scope().topics([key].into_iter()).await?.remove(&key)])
}

async fn envelope(
    call: Call<'_>,
    _: &[Query],
    asked: ByDigest,
) -> Result<Vec<Option<read::Envelope>>, Trouble> {
    let digest = <[u8; 32]>::try_from(asked.digest.0)
        .map_err(|_| Trouble::input("a digest has 32 bytes, which is 64 hexadecimal digits"))?
        .into();
    let copies = call.scope().envelopes_by([digest].into_iter()).await?.remove(&digest);
    Ok(vec![copies.and_then(|copies| copies.into_iter().next())])
}

async fn one_account(
    call: Call<'_>,
    _: &[Query],
    asked: ByAddress,
) -> Result<Vec<Option<Account>>, Trouble> {
    let (scope, addresses) = (call.scope(), [asked.address.0]);
    let snapshot = scope.snapshot().await?;
    let rows = if call.below().has_any(&["contactBundle"]) {
        let found = snapshot.accounts_with_bundles(&addresses, call.plan().bundles).await;
        let (rows, bundles) = scope.told(found)?;
        scope.know(bundles);
        rows
    } else {
        scope.told(snapshot.accounts_by_address(&addresses).await)?
    };
    Ok(vec![rows.into_iter().next().map(Account::from)])
}

/// How often the current bundles of one side of invitations are asked for.
fn bundles(below: &Selection, side: &str) -> usize {
    below.along(&["nodes", side, "contactBundle"]).len()
        + below.along(&["edges", "node", side, "contactBundle"]).len()
}

/// Where bundles are asked for, they come with the page.
async fn invites(call: Call<'_>, _: &[Query], mut asked: InvitePages) -> Page<read::Invite> {
    let (order, args) = (asked.order_by.take(), asked.args());
    let filter = read::InviteFilter::from(asked.filter.unwrap_or_default());
    let nested = Nested {
        sender: bundles(call.below(), "sender") > 0,
        recipient: bundles(call.below(), "recipient") > 0,
        extent: call.plan().bundles,
        delivery: call.plan().deliveries,
    };
    if !nested.sender && !nested.recipient {
        return lists::list(call, filter, order, args).await;
    }
    let scope = call.scope();
    let (place, request) =
        lists::request::<read::Invite>(scope.tag().await?, &filter, order, &args)?;
    let found = scope.snapshot().await?.invites_with_bundles(&filter, &request, nested).await;
    let (page, bundles) = scope.told(found)?;
    scope.know(bundles);
    Ok(vec![connect(place, &request, page, Total::Of(None, filter.into()))])
}
