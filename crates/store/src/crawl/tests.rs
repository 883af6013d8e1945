use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::*;
use crate::testing::TestDatabase;

fn wallet(n: u8) -> Address {
    Address::from([n; 20])
}

fn new(topic: &str, depth: i32) -> NewCrawlTopic {
    NewCrawlTopic { topic: topic.into(), depth, lower_case: false }
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn discovery_goes_outwards_and_resumes_where_it_was(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let store = &db.store;
    store.crawl_seed(&[wallet(1), wallet(1)], &["given".into()]).await.unwrap();
    assert_eq!(store.crawl_next_accounts(10, 9).await.unwrap(), [(wallet(1), 0)]);
    store.crawl_visit(&[wallet(1)], &[new("a", 0), new("b", 0)]).await.unwrap();
    assert!(store.crawl_next_accounts(10, 9).await.unwrap().is_empty());
    let names = |topics: Vec<CrawlTopic>| topics.into_iter().map(|t| t.topic).collect::<Vec<_>>();
    assert_eq!(names(store.crawl_next_topics(10).await.unwrap()), ["a", "b", "given"]);

    let step = |topic: &str, envelopes| CrawlStep {
        topic: topic.into(),
        envelopes,
        ..CrawlStep::default()
    };
    let found = [(wallet(2), 1), (wallet(1), 1)];
    store
        .crawl_step(&[step("a", 2), step("b", 3)], Some(b"c1"), &found, &[new("dm", 1)])
        .await
        .unwrap();
    // The one that stands elsewhere comes first, then the two that go on together.
    assert_eq!(names(store.crawl_next_topics(10).await.unwrap()), ["given"]);
    store.crawl_step(&[step("given", 0)], None, &[], &[]).await.unwrap();
    let next = store.crawl_next_topics(10).await.unwrap();
    assert_eq!(next[0].cursor.as_deref(), Some(b"c1".as_slice()));
    assert_eq!((next[0].envelopes, names(next)), (2, vec!["a".to_owned(), "b".to_owned()]));

    let cut = CrawlStep { cut_off: true, ..step("b", 1) };
    store.crawl_step(&[step("a", 1), cut], Some(b"c2"), &[], &[]).await.unwrap();
    assert_eq!(names(store.crawl_next_topics(10).await.unwrap()), ["a"]);
    store.crawl_step(&[step("a", 0)], None, &[], &[]).await.unwrap();
    store.crawl_refused("dm", "no").await.unwrap();
    assert_eq!(store.crawl_next_topics(10).await.unwrap(), []);
    assert_eq!(store.crawl_next_accounts(10, 0).await.unwrap(), []);
    assert_eq!(store.crawl_next_accounts(10, 1).await.unwrap(), [(wallet(2), 1)]);

    let totals = store.crawl_totals().await.unwrap();
    assert_eq!((totals.accounts_visited, totals.accounts_waiting), (1, 1));
    assert_eq!((totals.topics_done, totals.topics_cut_off, totals.topics_refused), (2, 1, 1));
    assert_eq!((totals.envelopes, totals.topics_waiting), (7, 0));
    assert_eq!(store.crawl_reopen().await.unwrap(), 2);
    assert_eq!(names(store.crawl_next_topics(10).await.unwrap()), ["b"]);
}
