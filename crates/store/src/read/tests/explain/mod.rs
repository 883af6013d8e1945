//! Plans of every statement of readers, where there is much of everything: none reads a big table from end to end, and none
//! but the one for messages touches the log.

mod index;
mod log;
mod plan;
mod questions;
mod readers;
mod sifts;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use uuid::Uuid;

use super::super::*;
use crate::log::Position;
use index::wallet;
pub(crate) use plan::keeps;
use questions::Filtered;
use readers::{LIMIT, Readers};
use sifts::{COUNTS, SIFTS};

macro_rules! list {
    ($readers:ident, $list:ident, $count:ident, $orders:expr, $filters:expr) => {{
        let (orders, filters) = ($orders, $filters);
        $readers
            .pages(
                stringify!($list),
                &filters,
                1,
                &orders,
                async |at, request| at.$list(&Default::default(), request).await,
                async |at, filter, request| at.$list(filter, request).await,
            )
            .await;
        $readers
            .counts(stringify!($count), &filters, async |at, filter| at.$count(filter).await)
            .await;
    }};
    ($readers:ident, $list:ident, $count:ident, $orders:expr, $filters:expr, $of:ident, $count_of:ident, $parents:expr) => {{
        list!($readers, $list, $count, $orders, $filters);
        let (orders, filters, parents) = ($orders, $filters, &$parents);
        for number in [1, parents.len()] {
            let parents = &parents[..number];
            $readers
                .pages(
                    stringify!($of),
                    &filters,
                    2 * number as u64,
                    &orders,
                    async |at, request| at.$list(&Default::default(), request).await,
                    async |at, filter, request| at.$of(parents, filter, request).await,
                )
                .await;
            $readers
                .counts(stringify!($count_of), &filters, async |at, filter| {
                    at.$count_of(parents, filter).await
                })
                .await;
        }
    }};
}

macro_rules! find {
    ($readers:ident, $by:ident, $keys:expr $(, $more:expr)*) => {
        for number in [1, $keys.len()] {
            let keys = &$keys[..number];
            let ask = async |at: &Snapshot| at.$by(keys $(, $more)*).await;
            $readers.ask(stringify!($by), "", Some(2 * number as u64), ask).await;
        }
    };
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn nothing_that_can_be_asked_reads_a_big_table_from_end_to_end(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let (db, store) = index::filled(options).await;
    let mut readers = Readers::of(store, plan::big(&db.store, index::BIG).await);
    assert!(readers.big.len() >= 11, "{:?}", readers.big);

    let topics = index::keys(
        &readers.store,
        "select md5('heavy')::uuid union all (select key from derived.topic_names where kind = 9 limit 49)",
    )
    .await;
    let chats: Vec<Uuid> =
        index::keys(&readers.store, "select md5('c' || n)::uuid from generate_series(1, 50) n")
            .await;
    let wallets: Vec<_> = (1..=50).map(wallet).collect();
    let positions: Vec<_> = (1..=50).map(|n| Position(n * 30_000)).collect();
    let at = readers.store.snapshot().await.unwrap();
    let all = PageRequest::first(TimeOrder, true, 50);
    let welcomes = at.welcomes(&Default::default(), &all).await.unwrap().rows;
    let invites = at.invites(&Default::default(), &all).await.unwrap().rows;
    let messages = at.messages(&Default::default(), &all).await.unwrap().rows;
    let names: Vec<_> = messages.iter().map(|message| (message.sent_ns, message.id)).collect();
    let digests: Vec<_> =
        at.envelopes_by_position(&positions).await.unwrap().iter().map(|e| e.digest).collect();
    at.close().await.unwrap();
    let installations: Vec<_> = welcomes.iter().map(|welcome| welcome.installation).collect();
    let heaviest = index::keys(
        &readers.store,
        "select id from derived.invites order by first_position limit 1",
    )
    .await;
    let ids: Vec<_> =
        heaviest.into_iter().chain(invites.iter().map(|invite| invite.id)).take(50).collect();
    // Of the first ones, there are very many copies.
    let firsts: Vec<_> = (1..=50).map(Position).collect();
    let later: Vec<_> = (1..=50).map(|n| Position(200_000 + n * 2_000)).collect();

    let by_envelope = [EnvelopeOrder::Indexed, EnvelopeOrder::Timestamp];
    let by_topic = [TopicOrder::LastSeen, TopicOrder::FirstSeen, TopicOrder::EnvelopeCount];
    let by_account = [AccountOrder::FirstSeen, AccountOrder::LastSeen];
    let by_chat = [ConversationOrder::LastMessage, ConversationOrder::MessageCount];
    let time = [TimeOrder];
    list!(readers, accounts, count_accounts, by_account, questions::accounts());
    list!(
        readers,
        contact_bundles,
        count_contact_bundles,
        time,
        questions::contact_bundles(),
        contact_bundles_of,
        count_contact_bundles_of,
        wallets
    );
    list!(
        readers,
        invites,
        count_invites,
        time,
        questions::invites(),
        invites_of,
        count_invites_of,
        wallets
    );
    list!(
        readers,
        welcomes,
        count_welcomes,
        time,
        questions::welcomes(installations[0]),
        welcomes_of,
        count_welcomes_of,
        installations
    );
    list!(
        readers,
        conversations,
        count_conversations,
        by_chat,
        questions::conversations(),
        conversations_of,
        count_conversations_of,
        wallets
    );
    list!(
        readers,
        messages,
        count_messages,
        time,
        questions::messages(&chats),
        messages_of,
        count_messages_of,
        chats
    );
    list!(
        readers,
        topics,
        count_topics,
        by_topic,
        questions::topics(),
        topics_of,
        count_topics_of,
        wallets
    );
    list!(
        readers,
        envelopes,
        count_envelopes,
        by_envelope,
        questions::envelopes(&topics),
        envelopes_of,
        count_envelopes_of,
        topics
    );
    for number in 0..8 {
        let extent = if number & 4 > 0 { Extent::Keys } else { Extent::Verdict };
        let delivery = number & 4 > 0;
        let nested = Nested { sender: number & 1 > 0, recipient: number & 2 > 0, extent, delivery };
        readers
            .pages(
                "invites_with_bundles",
                &questions::invites(),
                3,
                &time,
                async |at, request| at.invites(&Default::default(), request).await,
                async |at, filter, request| at.invites_with_bundles(filter, request, nested).await,
            )
            .await;
    }

    find!(readers, accounts_by_address, wallets);
    find!(readers, reachability, wallets);
    find!(readers, current_contact_bundles, wallets);
    find!(readers, accounts_with_bundles, wallets, Extent::Keys);
    find!(readers, accounts_with_bundles, wallets, Extent::Verdict);
    find!(readers, contact_bundles_by_position, positions);
    find!(readers, welcomes_by_position, positions);
    find!(readers, envelopes_by_position, positions);
    find!(readers, messages_at, positions);
    find!(readers, undecodables_at, positions);
    find!(readers, topics_by_key, topics);
    find!(readers, conversations_by_key, chats);
    find!(readers, envelopes_by_digest, digests);
    find!(readers, invites_by_id, ids);
    find!(readers, messages_by_id, names);
    find!(readers, messages_of_envelopes, firsts);
    find!(readers, messages_of_envelopes, later);
    find!(readers, envelopes_of_invites, ids);
    find!(readers, envelopes_of_messages, firsts);

    let (after, upto) = (Position(1_999_000), Position(2_000_000));
    macro_rules! since {
        ($list:ident, $filters:expr) => {
            for Filtered { filter, words, ways, pair } in $filters {
                let ask = async |at: &Snapshot| at.$list(&filter, after, upto, LIMIT).await;
                // A span is a thousand envelopes here, and what is rare in it is sifted.
                let ways = (!pair).then_some(20 * ways);
                readers.ask(stringify!($list), &words, ways, ask).await;
            }
        };
    }
    since!(envelopes_since, questions::envelopes(&topics));
    since!(invites_since, questions::invites());
    since!(contact_bundles_since, questions::contact_bundles());
    since!(welcomes_since, questions::welcomes(installations[0]));

    let VolumeFilter { kinds: _, topic_kinds: _, generations: _ } = VolumeFilter::default();
    let volumes = [
        VolumeFilter::default(),
        VolumeFilter { kinds: Some(vec![wire::PayloadKind::Invite]), ..Default::default() },
        VolumeFilter { topic_kinds: Some(vec![wire::TopicKind::Invite]), ..Default::default() },
        VolumeFilter { generations: Some(vec![wire::Generation::V2]), ..Default::default() },
    ];
    for filter in volumes {
        for width in [Width::Minute, Width::Hour, Width::Day, Width::Week] {
            for split in [Split::None, Split::Kind, Split::TopicKind, Split::Generation] {
                let first = width.bucket(index::POPULATION.day(3));
                let words = format!("{width:?} {split:?}");
                let ask =
                    async |at: &Snapshot| at.volume(width, first, first + 20, split, &filter).await;
                readers.ask("volume", &words, None, ask).await;
            }
        }
    }
    readers.ask("totals", "", None, async |at| at.totals().await).await;
    readers.ask("status", "", None, async |at| at.status().await).await;
    readers.ask("followed", "", None, async |at| at.followed().await).await;

    let unasked: Vec<_> =
        methods().into_iter().filter(|name| !readers.asked.contains(name.as_str())).collect();
    assert!(unasked.is_empty(), "not asked here: {unasked:?}");
    assert!(readers.whole.is_empty(), "{:#?}", readers.whole);
    assert!(readers.sifts.is_empty(), "rows looked at: {:#?}", readers.sifts);
    let gone: Vec<_> = SIFTS.iter().filter(|known| !readers.sifting.contains(**known)).collect();
    assert!(gone.is_empty(), "nobody asks this: {gone:?}");
    assert_eq!(readers.counting.into_iter().collect::<Vec<_>>(), COUNTS);
}

/// The methods of a snapshot, as its source names them.
fn methods() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/read");
    let mut methods = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for part in text.split("    pub async fn ").skip(1) {
            let (name, rest) = part.split_once('(').unwrap();
            if rest.trim_start().starts_with("&self,") || rest.starts_with("&self)") {
                methods.push(name.to_owned());
            }
        }
    }
    // What opens a snapshot, and the tag, are asked of the store.
    methods.retain(|name| !["snapshot", "single_statement", "tag"].contains(&name.as_str()));
    assert!(methods.len() > 40);
    methods
}
