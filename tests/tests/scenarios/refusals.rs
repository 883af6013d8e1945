//! What is hostile is refused by the program as it is run: by HTTP and over sockets, without a word about the inside and
//! without repeating what was sent. What that costs is told by the benchmark `hostile`.

use std::sync::Arc;

use bench::hostile::{Attack, inputs::Due};
use serde_json::Value;
use store::{Page, Projector, Store};
use tests::{
    capture,
    folder::Folder,
    program::{Program, succeed},
    world::{announced, start_serve},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hostile_is_refused_and_others_are_served() {
    let folder = Folder::new();
    let data = folder.data();
    let data = data.to_str().unwrap();
    let services = ["services", "--no-rabbitmq", "--data-dir", data];
    let mut services = Program::start(folder.path(), &services, &[]);
    let running = announced(&folder, &mut services).await;
    succeed(folder.path(), &["migrate", "--data-dir", data], &[]);
    let envelopes = capture::envelopes("legacy-a/envelopes.ndjson.gz");
    let store = Store::connect(store::Options::new(running.database_url.unwrap())).await.unwrap();
    let envelopes = envelopes[..500].to_vec();
    let page = Page {
        source: "capture".into(),
        progress: Vec::new(),
        records: envelopes.into_iter().map(Into::into).collect(),
    };
    store.append(&[page]).await.unwrap();
    let config = store::projector::Config::default();
    Projector::new(store, Arc::default(), config).catch_up().await.unwrap();

    // A body that stalls is waited for; not ten seconds here.
    let stalled = ["--set", "api.body_timeout_seconds=1"];
    let (mut serve, graph, address) = start_serve(&folder, &stalled).await;
    let usual = graph.ask("{ status { envelopeCount } }", Value::Null).await;

    let mut wrong = Vec::new();
    let attacks = Attack::all("");
    for attack in &attacks {
        if let Some(what) = attack.wrong(attack.send(address).await.said) {
            wrong.push(format!("{:?}: {what}", attack.name()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(attacks.iter().filter(|attack| *attack.due() != Due::Answer).count() > 140);
    assert_eq!(graph.ask("{ status { envelopeCount } }", Value::Null).await, usual);
    let log = serve.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    assert!(
        lines.into_iter().any(|line| line["outcome"] == "QUERY_TOO_DEEP"),
        "refusals have lines"
    );
    assert!(!log.contains("panicked") && !log.contains("zzzz"), "{}", serve.tail());
    assert!(serve.stop().success(), "{}", serve.tail());
    assert!(services.stop().success(), "{}", services.tail());
}
