//! Counts that are kept, beside what pages return.

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use wire::Generation;

use super::{super::*, ALL, indexed, project};
use crate::testing::TestDatabase;

/// Checks that a list has as many rows as it counts, in a transaction and in a single-statement read; returns the number.
macro_rules! counted {
    ($db:ident, $count:ident, $list:ident, $order:expr, $filter:expr) => {{
        let filter = $filter;
        let at = $db.store.snapshot().await.unwrap();
        let count = at.$count(&filter).await.unwrap();
        let all = PageRequest::first($order, true, ALL);
        let rows = at.$list(&filter, &all).await.unwrap().rows.len();
        at.close().await.unwrap();
        let at = $db.store.single_statement().await.unwrap();
        assert_eq!(at.$count(&filter).await.unwrap(), count);
        assert!(at.statements() == 1 && at.head().0 > 0);
        at.close().await.unwrap();
        assert_eq!(count, u64::try_from(rows).unwrap(), "{}: {filter:?}", stringify!($count));
        count
    }};
}

/// Counts every list that has a total, whole and by generation.
async fn count(db: &TestDatabase) -> Vec<u64> {
    let mut counts = vec![
        counted!(db, count_topics, topics, TopicOrder::FirstSeen, TopicFilter::default()),
        counted!(
            db,
            count_contact_bundles,
            contact_bundles,
            TimeOrder,
            ContactBundleFilter::default()
        ),
        counted!(db, count_invites, invites, TimeOrder, InviteFilter::default()),
        counted!(db, count_welcomes, welcomes, TimeOrder, WelcomeFilter::default()),
    ];
    for has_contact_bundle in [None, Some(true), Some(false)] {
        let filter = AccountFilter { has_contact_bundle, ..Default::default() };
        counts.push(counted!(db, count_accounts, accounts, AccountOrder::LastSeen, filter));
    }
    let order = ConversationOrder::MessageCount;
    for generation in [None, Some(Generation::V1), Some(Generation::V2), Some(Generation::V4)] {
        let filter = ConversationFilter { generation, ..Default::default() };
        counts.push(counted!(db, count_conversations, conversations, order, filter));
        let filter = MessageFilter { generation, ..Default::default() };
        counts.push(counted!(db, count_messages, messages, TimeOrder, filter));
    }
    counts
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn totals_are_what_pages_return_also_after_a_rebuild(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = indexed(options).await;
    let whole = count(&db).await;
    let none_of_v4 = whole.len() - 2;
    assert!(whole[..none_of_v4].iter().filter(|count| **count > 0).count() >= 10, "{whole:?}");
    assert_eq!(whole[none_of_v4..], [0, 0]);

    db.store.rebuild(&[]).await.unwrap();
    assert_eq!(count(&db).await, whole, "a rebuild happens beside the served tables");
    project(&db).await;
    assert_eq!(count(&db).await, whole);

    let at = db.store.snapshot().await.unwrap();
    let totals = at.totals().await.unwrap();
    let envelopes = at.count_envelopes(&EnvelopeFilter::default()).await.unwrap();
    let all = PageRequest::first(EnvelopeOrder::Indexed, true, ALL);
    let rows = at.envelopes(&EnvelopeFilter::default(), &all).await.unwrap().rows;
    let status = at.status().await.unwrap();
    at.close().await.unwrap();
    assert_eq!(envelopes, u64::try_from(rows.len()).unwrap());
    assert_eq!((totals.envelopes, status.envelopes()), (envelopes, envelopes));
    assert_eq!(totals.bytes, rows.iter().map(|row| u64::try_from(row.size).unwrap()).sum::<u64>());
}
