//! Commands that operators run on a database: erase, retention, rebuild, parked, status.

#![cfg(test)]

mod database;

use std::{
    process::{Child, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use database::{Database, sql};
use serde_json::Value;
use store::{Page, Progress, Projector, Record, Store};

const DAY_NS: u64 = 24 * 60 * 60 * 1_000_000_000;
/// A topic of V1; the others here are of V2.
const INTRO: &str = "/xmtp/0/intro-0x1111111111111111111111111111111111111111/proto";

fn record(topic: &str, timestamp_ns: u64, message: &str) -> Record {
    let (topic, message) = (topic.to_owned().into(), message.to_owned().into());
    wire::Envelope { topic, timestamp_ns, message }.into()
}

/// A migrated database with these records in its log.
async fn filled(what: &str, records: Vec<Record>) -> (Database, Store) {
    let database = Database::new(what);
    database.prints(&["migrate"]);
    let store = Store::connect(store::Options::new(&database.url)).await.unwrap();
    let progress = vec![Progress { shard: "read-back-to".into(), upto: 7 }];
    store.append(&[Page { source: "node".into(), progress, records }]).await.unwrap();
    (database, store)
}

async fn project(store: &Store) {
    let head = store.head().await.unwrap();
    let mut projector = Projector::new(store.clone(), Arc::default(), Default::default());
    while projector.catch_up().await.unwrap() < head {}
}

/// The role `project` with these settings; it does not outlive a test that fails.
struct Projecting(Child);

impl Projecting {
    fn begin(database: &Database, settings: &str) -> (Projecting, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("xmtp-indexer.toml");
        std::fs::write(&file, settings).unwrap();
        let mut command = database.program(&["project", "--config"]);
        let child = command.arg(file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        (Projecting(child), folder)
    }
}

impl Drop for Projecting {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(60), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_erased_and_the_rest_stays() {
    let topic = "/xmtp/0/m-gone/proto";
    let records = vec![
        record(topic, 1, "first secret"),
        record("/xmtp/0/m-kept/proto", 2, "kept"),
        record(topic, 3, "second secret"),
    ];
    let (database, store) = filled("erase", records.clone()).await;
    let erase = ["erase", "--topic", topic];
    database.fails(&["erase"], 2, "--topic");
    database.fails(&["erase", "--account", "0x12"], 2, "--account");
    database.fails(&["erase", "--topic", "a", "--account", "b"], 2, "--account");
    // What projections have not read cannot be found, so nothing is claimed about it.
    database.fails(&erase, 1, "xmtp-indexer project");
    project(&store).await;

    let dry = database.prints(&["erase", "--topic", topic, "--dry-run"]);
    assert!(dry.contains("would erase") && dry.contains("2 envelopes"), "{dry}");
    assert_eq!(database.prints(&["export"]).lines().count(), 3);

    let erased = database.prints(&erase);
    assert!(erased.starts_with("erased the messages of 2 envelopes"), "{erased}");
    assert!(erased.contains("25 bytes") && erased.contains("What stays"), "{erased}");
    let output = database.run(&["export"]);
    let exported = String::from_utf8(output.stdout).unwrap();
    assert!(exported.contains("m-kept") && !exported.contains("m-gone"), "{exported}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("left out 2 envelopes: erased"));

    // A copy that comes again stays away, and erasing again is harmless.
    let page = Page { source: "node".into(), progress: vec![], records };
    assert_eq!(store.append(&[page]).await.unwrap().duplicates, 3);
    assert!(database.prints(&erase).starts_with("nothing to erase"));
    let json = database.prints(&["erase", "--topic", "/xmtp/0/m-kept/proto", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["envelopes"], &json["bytes"], &json["dryRun"]),
        (&1.into(), &4.into(), &false.into())
    );
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_erases_what_is_older_than_its_rule() {
    let now = store::time::now();
    let (database, store) = filled(
        "retain",
        vec![
            record("/xmtp/0/m-1/proto", now - 40 * DAY_NS, "too old"),
            record("/xmtp/0/m-1/proto", now - 20 * DAY_NS, "young enough"),
            record(INTRO, now - 400 * DAY_NS, "of another generation"),
        ],
    )
    .await;
    project(&store).await;
    let generations =
        sql(&database.url, "select distinct generation from derived.envelopes order by 1");
    assert!(generations.lines().count() > 1, "{generations}");
    let rule = "[[retention]]\ngenerations = [\"v2\"]\nolder_than = \"30d\"\n";
    let (_projecting, _folder) = Projecting::begin(&database, rule);
    until("the old message is erased", || {
        sql(&database.url, "select string_agg(reason, ' ') from ground.tombstones") == "retention"
    });
    assert_eq!(database.prints(&["export"]).lines().count(), 2);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_is_waited_for_and_changes_nothing() {
    let records = (0..200).map(|n| record("/xmtp/0/m-1/proto", n, "m")).collect();
    let (database, store) = filled("rebuild", records).await;
    project(&store).await;
    database.fails(&["rebuild"], 2, "<NAMES>");
    database.fails(&["rebuild", "nothing"], 1, "known are");
    let (_projecting, _folder) = Projecting::begin(&database, "");
    let count = "select envelope_count from derived.topic_counts";
    for names in [&["topics", "messages"][..], &["--all"]] {
        let printed = database.prints(&[&["rebuild"], names].concat());
        assert!(
            printed.contains("beside the served ones") && printed.contains("done"),
            "{printed}"
        );
        assert_eq!(sql(&database.url, count), "200");
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_envelopes_are_tried_again_without_a_broker() {
    let (database, store) = filled("parked", vec![record("/xmtp/0/m-1/proto", 1, "there")]).await;
    let bad = |n| record("a\0b", n, "bad");
    for one in [bad(1), bad(2), record("/xmtp/0/m-1/proto", 1, "there"), record("t", 2, "new")] {
        store.park("node", &one, "an old reason").await.unwrap();
    }
    let listed = |database: &Database| -> Vec<Value> {
        let lines = database.prints(&["parked", "list", "--json"]);
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let ids: Vec<String> = listed(&database).iter().map(|one| one["id"].to_string()).collect();
    database.fails(&["parked", "retry"], 2, "<IDS>");
    let output = database.run(&["parked", "retry", "--all"]);
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.trim(), "1 stored, 1 in the log already, 2 stay parked");
    let left = listed(&database);
    assert!(left.iter().all(|one| one["tries"] == 1 && one["lastTriedAt"].is_string()), "{left:?}");
    assert!(left.iter().all(|one| one["reason"] == "the topic contains a NUL"), "{left:?}");
    assert_eq!(left.len(), 2);

    database.fails(&["parked", "retry", &ids[3]], 1, "1 were not stored");
    store.park("node", &record("t", 3, "newer"), "an old reason").await.unwrap();
    let id = listed(&database)[2]["id"].to_string();
    assert!(database.prints(&["parked", "retry", &id]).starts_with("1 stored, 0 in the log"));
    assert_eq!(database.prints(&["parked", "drop", &ids[0], &ids[1]]).trim(), "2 deleted");
    assert!(database.prints(&["parked", "retry", "--all"]).starts_with("0 stored"));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_progress_projections_and_what_is_parked() {
    let (database, store) = filled("status", vec![record("/xmtp/0/m-1/proto", 1, "m")]).await;
    store.park("node", &record("", 1, "m"), "the topic is empty").await.unwrap();
    project(&store).await;
    store.rebuild(&["topics".to_owned()]).await.unwrap();
    let printed = database.prints(&["status"]);
    for part in ["1 envelopes, 1 parked", "read-back-to 7", "is being built beside it", "0 behind"]
    {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let json: Value = serde_json::from_str(&database.prints(&["status", "--json"])).unwrap();
    assert_eq!(json["parked"], 1);
    assert_eq!(json["sources"][0]["progress"]["read-back-to"], 7);
    let topics = json["projections"].as_array().unwrap().iter().find(|one| one["name"] == "topics");
    let topics = topics.unwrap();
    assert_eq!((&topics["stale"], &topics["error"]), (&false.into(), &Value::Null));
    assert!(topics["rebuild"]["version"].as_i64().is_some_and(|version| version > 0), "{topics}");
    store.close().await;
}
