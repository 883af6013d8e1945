//! A single-statement read returns what a transaction returns, and answers once.

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::{super::*, append, indexed};
use crate::{
    Error,
    database::{Options, Store},
    testing::{TestDatabase, envelope},
};

/// Sends the same to a transaction and to a single-statement read.
macro_rules! same {
    ($db:ident, |$at:ident| $ask:expr) => {{
        let $at = $db.store.snapshot().await.unwrap();
        let wanted = format!("{:?}", $ask.await.unwrap());
        let heads = ($at.head(), $at.log_head(), $at.lag());
        $at.close().await.unwrap();
        let $at = $db.store.single_statement().await.unwrap();
        assert_eq!($at.statements(), 0);
        let got = format!("{:?}", $ask.await.unwrap());
        assert_eq!(got, wanted, "{}", stringify!($ask));
        assert_eq!(($at.head(), $at.log_head(), $at.lag()), heads);
        assert_eq!($at.statements(), 1, "{}", stringify!($ask));
        assert!(matches!($ask.await, Err(Error::Spent)), "{}", stringify!($ask));
        $at.close().await.unwrap();
    }};
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_single_statement_answers_what_a_transaction_does(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = indexed(options).await;
    // In the log, and not to be seen yet.
    append(&db, vec![envelope("/xmtp/0/m-x/proto", 7, b"later")]).await;

    let snapshot = db.store.snapshot().await.unwrap();
    let time = PageRequest::first(TimeOrder, true, 20);
    let by_position = PageRequest::first(EnvelopeOrder::Indexed, false, 20);
    let accounts = PageRequest::first(AccountOrder::LastSeen, true, 20);
    let conversations = PageRequest::first(ConversationOrder::LastMessage, false, 20);
    let topics = PageRequest::first(TopicOrder::LastSeen, true, 20);
    let bundles = snapshot.contact_bundles(&Default::default(), &time).await.unwrap().rows;
    let invites = snapshot.invites(&Default::default(), &time).await.unwrap().rows;
    let envelopes = snapshot.envelopes(&Default::default(), &by_position).await.unwrap().rows;
    let messages = snapshot.messages(&Default::default(), &time).await.unwrap().rows;
    let names: Vec<_> = messages.iter().map(|m| (m.sent_ns, m.id)).collect();
    let firsts: Vec<_> = messages.iter().map(|m| m.first_position).collect();
    let head = snapshot.head();
    assert_eq!(snapshot.lag(), 1);
    snapshot.close().await.unwrap();
    let wallets: Vec<_> =
        invites.iter().flat_map(|i| [Some(i.sender), i.recipient()]).flatten().collect();
    let positions: Vec<_> = envelopes.iter().map(|e| e.position).collect();
    let keys: Vec<_> = envelopes.iter().map(|e| e.topic_key).collect();
    let digests: Vec<_> = envelopes.iter().map(|e| e.digest).collect();
    let ids: Vec<_> = invites.iter().map(|i| i.id).collect();
    let nobody = wire::Address::from([0; 20]);
    let of_nobody = InviteFilter { sender: Some(nobody), ..Default::default() };

    // Each part is a future of its own: together they are too large for the stack of a test.
    Box::pin(async {
        same!(db, |at| at.accounts(&Default::default(), &accounts));
        same!(db, |at| at.contact_bundles(&Default::default(), &time));
        same!(db, |at| at.contact_bundles(
            &ContactBundleFilter { current_only: true, ..Default::default() },
            &time
        ));
        same!(db, |at| at.conversations(&Default::default(), &conversations));
        same!(db, |at| at.envelopes(&Default::default(), &by_position));
        same!(db, |at| at.invites(&Default::default(), &time));
        same!(db, |at| at.invites(&of_nobody, &time));
        same!(db, |at| at.messages(&Default::default(), &time));
        same!(db, |at| at.topics(&Default::default(), &topics));
    })
    .await;
    Box::pin(async {
        let impossible = TopicFilter { name_starts_with: Some("\0".into()), ..Default::default() };
        same!(db, |at| at.topics(&impossible, &topics));
        same!(db, |at| at.count_topics(&impossible));
        same!(db, |at| at.count_accounts(&Default::default()));
        same!(db, |at| at.count_envelopes(&Default::default()));
        same!(db, |at| at
            .count_envelopes(&EnvelopeFilter { after: Some(1), ..Default::default() }));
        same!(db, |at| at.count_invites(&of_nobody));
    })
    .await;
    for one in [true, false] {
        let some = |n: usize| if one { 1 } else { n };
        Box::pin(async {
            same!(db, |at| at.accounts_by_address(&wallets[..some(wallets.len())]));
            same!(db, |at| at.reachability(&wallets[..some(wallets.len())]));
            same!(db, |at| at.current_contact_bundles(&wallets[..some(wallets.len())]));
            same!(db, |at| at.accounts_with_bundles(&wallets[..some(wallets.len())], Extent::Keys));
            same!(db, |at| at
                .contact_bundles_by_position(&[bundles[0].position(), head][..some(2)]));
            same!(db, |at| at.envelopes_by_position(&positions[..some(positions.len())]));
        })
        .await;
        Box::pin(async {
            same!(db, |at| at.messages_at(&positions[..some(positions.len())]));
            same!(db, |at| at.undecodables_at(&positions[..some(positions.len())]));
            same!(db, |at| at.topics_by_key(&keys[..some(keys.len())]));
            same!(db, |at| at.conversations_by_key(&keys[..some(keys.len())]));
            same!(db, |at| at.envelopes_of_invites(&ids[..some(ids.len())]));
            same!(db, |at| at.envelopes_of_messages(&firsts[..some(firsts.len())]));
        })
        .await;
        Box::pin(async {
            same!(db, |at| at.envelopes_by_digest(&digests[..some(digests.len())]));
            same!(db, |at| at.invites_by_id(&ids[..some(ids.len())]));
            same!(db, |at| at.messages_by_id(&names[..some(names.len())]));
            same!(db, |at| at.messages_of_envelopes(&positions[..some(positions.len())]));
            same!(db, |at| at.invites_of(
                &wallets[..some(wallets.len())],
                &Default::default(),
                &time
            ));
            same!(db, |at| at
                .count_invites_of(&wallets[..some(wallets.len())], &Default::default()));
        })
        .await;
    }
    Box::pin(async {
        same!(db, |at| at.accounts_by_address(&[nobody]));
        same!(db, |at| at.accounts_with_bundles(&[nobody], Extent::Verdict));
        same!(db, |at| at.invites_of(&[], &Default::default(), &time));
        same!(db, |at| at.envelopes_since(&Default::default(), positions[3], positions[9], 100));
        same!(db, |at| at.volume(
            Width::Hour,
            0,
            u64::MAX / Width::Hour.ns(),
            Split::Kind,
            &Default::default()
        ));
        same!(db, |at| at.volume(Width::Day, 0, 1, Split::None, &Default::default()));
        same!(db, |at| at.totals());
        same!(db, |at| at.status());
        same!(db, |at| at.messages_at(&[]));
    })
    .await;
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_single_statement_read_returns_its_connection_unless_its_answer_was_not_awaited(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    // Readers: their abandoned statements end soon.
    let options = Options { max_connections: 1, readers: true, ..Options::new(db.url()) };
    let store = Store::open(options).unwrap();
    let backend = async |moment: &Snapshot| -> i32 {
        let pids = moment.find("select pg_backend_pid()", Vec::new(), |columns| columns.get());
        pids.await.unwrap().pop().unwrap()
    };
    let single = store.single_statement().await.unwrap();
    let first = backend(&single).await;
    single.close().await.unwrap();
    let single = store.single_statement().await.unwrap();
    single.close().await.unwrap();
    let single = store.single_statement().await.unwrap();
    assert_eq!(backend(&single).await, first, "a closed one's connection is used again");
    single.close().await.unwrap();
    let single = store.single_statement().await.unwrap();
    let slow =
        single.find("select pg_sleep(60)::text", Vec::new(), |columns| columns.get::<String>());
    let waited = tokio::time::timeout(std::time::Duration::from_millis(300), slow).await;
    assert!(waited.is_err());
    single.close().await.unwrap();
    let single = store.single_statement().await.unwrap();
    assert_ne!(backend(&single).await, first, "one that still works is not");
    single.close().await.unwrap();
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn bundles_that_come_with_rows_are_those_that_look_ups_find(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = indexed(options).await;
    let snapshot = db.store.snapshot().await.unwrap();
    let time = PageRequest::first(TimeOrder, true, 30);
    let filter = InviteFilter::default();
    let plain = snapshot.invites(&filter, &time).await.unwrap();
    for (sender, recipient) in [(false, false), (true, false), (false, true), (true, true)] {
        let nested = Nested { sender, recipient, extent: Extent::Keys, delivery: true };
        let (page, mut bundles) =
            snapshot.invites_with_bundles(&filter, &time, nested).await.unwrap();
        assert!(page.rows == plain.rows && page.has_more == plain.has_more);
        let mut wallets: Vec<_> = page
            .rows
            .iter()
            .flat_map(|i| [sender.then_some(i.sender), i.recipient().filter(|_| recipient)])
            .flatten()
            .collect();
        wallets.sort();
        wallets.dedup();
        bundles.sort_by_key(|(wallet, _)| *wallet);
        bundles.dedup();
        assert!(bundles.iter().map(|(wallet, _)| *wallet).eq(wallets.iter().copied()));
        let mut found: Vec<_> = bundles.into_iter().filter_map(|(_, bundle)| bundle).collect();
        let mut wanted = snapshot.current_contact_bundles(&wallets).await.unwrap();
        found.sort_by_key(|bundle| bundle.position());
        wanted.sort_by_key(|bundle| bundle.position());
        assert!(found == wanted);
        assert!(wallets.is_empty() || found.len() > 5);

        for extent in [Extent::Source, Extent::Verdict] {
            let nested = Nested { extent, delivery: false, ..nested };
            let (page, mut bundles) =
                snapshot.invites_with_bundles(&filter, &time, nested).await.unwrap();
            let delivery = |invite: &Invite| invite.delivery.filter(|_| recipient);
            let due = plain.rows.iter().map(|i| Invite { delivery: delivery(i), ..i.clone() });
            assert!(page.rows.into_iter().eq(due));
            bundles.sort_by_key(|(wallet, _)| *wallet);
            bundles.dedup();
            let less: Vec<_> = bundles.into_iter().filter_map(|(_, bundle)| bundle).collect();
            wanted.sort_by_key(|bundle| bundle.account);
            for whole in &mut wanted {
                whole.keys = None;
                whole.source = whole.source.filter(|_| extent == Extent::Source);
            }
            assert!(less == wanted);
        }

        if wallets.is_empty() {
            continue;
        }
        wallets.push(wire::Address::from([1; 20]));
        let (mut accounts, bundles) =
            snapshot.accounts_with_bundles(&wallets, Extent::Keys).await.unwrap();
        assert_eq!(bundles.len(), wallets.len());
        let mut wanted = snapshot.accounts_by_address(&wallets).await.unwrap();
        accounts.sort_by_key(|account| account.address);
        wanted.sort_by_key(|account| account.address);
        assert_eq!(accounts, wanted);
        let mut joined: Vec<_> = bundles.into_iter().filter_map(|(_, bundle)| bundle).collect();
        joined.sort_by_key(|bundle| bundle.position());
        assert!(joined == found);
    }
    snapshot.close().await.unwrap();
}
