//! Counts that are known without counting, beside what pages give: also of tables that are ahead of the head, and after a
//! rebuild.

use wire::Generation;

use super::{super::*, ALL, indexed, project};
use crate::testing::TestDatabase;

/// What a list counts is how many rows it has, in a transaction and as a glance; this is how many.
macro_rules! counted {
    ($db:ident, $count:ident, $list:ident, $order:expr, $filter:expr) => {{
        let filter = $filter;
        let at = $db.store.snapshot().await.unwrap();
        let count = at.$count(&filter).await.unwrap();
        let all = PageRequest::first($order, true, ALL);
        let rows = at.$list(&filter, &all).await.unwrap().rows.len();
        at.close().await.unwrap();
        let at = $db.store.glance().await.unwrap();
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

#[tokio::test]
async fn totals_are_what_pages_give_wherever_the_head_stands() {
    let db = indexed().await;
    let whole = count(&db).await;
    let none_of_v4 = whole.len() - 2;
    assert!(whole[..none_of_v4].iter().filter(|count| **count > 0).count() >= 10, "{whole:?}");
    assert_eq!(whole[none_of_v4..], [0, 0]);

    // One table is behind the others, whose rows beyond it nobody may see yet.
    let client = db.store.client().await.unwrap();
    let mut last = vec![0; whole.len()];
    for head in [1_i64, 300, 1_000] {
        let behind = "update derived.watermarks set position = $1 where name = 'undecodables'";
        client.execute(behind, &[&head]).await.unwrap();
        let counts = count(&db).await;
        assert!(counts.iter().zip(&last).all(|(now, before)| now >= before));
        assert!(counts.iter().zip(&whole).all(|(now, all)| now <= all) && counts != whole);
        last = counts;
    }
    db.store.rebuild(&[]).await.unwrap();
    let rows = "select coalesce(sum(rows), 0)::bigint from derived.totals";
    assert_eq!(client.query_one(rows, &[]).await.unwrap().get::<_, i64>(0), 0);
    project(&db).await;
    assert_eq!(count(&db).await, whole);
}
