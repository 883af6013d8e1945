//! Projections that stand behind the served head.

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::{super::*, indexed};
use crate::log::Position;

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn what_is_stale_is_named_and_followed_no_further_than_it_is(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = indexed(options).await;
    let at = db.store.snapshot().await.unwrap();
    let head = at.head();
    assert!(at.stale().is_empty());
    assert_eq!(at.followed().await.unwrap(), Followed::all(head));
    assert_eq!(at.statements(), 1, "it is known without a statement");
    at.close().await.unwrap();

    db.execute(
        "update derived.watermarks set position = 10 where name = 'invites';
         update derived.watermarks set position = 20, error = 'no' where name = 'topics';
         update derived.served set stale = '{invites,topics}'",
    )
    .await;
    let wanted = Followed { invites: Position(10), envelopes: Position(20), ..Followed::all(head) };
    let (heads, followed) = db.store.followed().await.unwrap();
    assert_eq!((heads.served, followed), (head, wanted));
    assert_eq!(heads.stale, ["invites", "topics"]);
    let at = db.store.snapshot().await.unwrap();
    assert_eq!(at.stale(), ["invites", "topics"]);
    assert_eq!(at.head(), head);
    assert_eq!(at.followed().await.unwrap(), wanted);
    let status = at.status().await.unwrap();
    let stale: Vec<_> = status.projections.iter().filter(|one| one.stale).collect();
    assert_eq!(
        stale.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
        ["invites", "topics"]
    );
    assert_eq!(stale[1].error.as_deref(), Some("no"));
    assert_eq!((stale[0].position, stale[0].rebuild), (Position(10), None));
    at.close().await.unwrap();

    let single = db.store.single_statement().await.unwrap();
    assert!(single.stale().is_empty(), "nothing was asked yet");
    assert_eq!(single.followed().await.unwrap(), wanted);
    assert_eq!(single.stale(), ["invites", "topics"]);
    single.close().await.unwrap();

    db.store.rebuild(&["welcomes".to_owned()]).await.unwrap();
    let at = db.store.snapshot().await.unwrap();
    let status = at.status().await.unwrap();
    let rebuilt: Vec<_> = status.projections.iter().filter(|one| one.rebuild.is_some()).collect();
    assert_eq!(rebuilt.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["welcomes"]);
    assert!(!rebuilt[0].stale, "what is served stays complete");
    at.close().await.unwrap();
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn every_database_has_a_tag_of_its_own(_: PgPoolOptions, options: PgConnectOptions) {
    let db = crate::testing::TestDatabase::on(options).await;
    let tag = db.store.tag().await.unwrap();
    assert_eq!(tag, db.store.tag().await.unwrap());
    db.execute("insert into ground.sources (name, error) values ('node', 'why')").await;
    db.execute("update ground.counts set rows = 5 where name = 'parked'").await;
    let at = db.store.snapshot().await.unwrap();
    let status = at.status().await.unwrap();
    at.close().await.unwrap();
    assert_eq!(status.parked, 5);
    assert_eq!(status.sources[0].name, "node");
    assert_eq!(status.sources[0].error.as_deref(), Some("why"));
}
