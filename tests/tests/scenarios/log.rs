//! The log has one line for each request, whatever becomes of it, and the gauges come back to where they were.

use std::net::SocketAddr;

use bench::socket::{Frame, Socket};
use serde_json::{Value, json};
use tests::{
    graphql::Graph,
    patience::{LONG, until},
    program::Program,
    tables::Database,
    world::{World, metric},
};

fn subscribe(id: &str, query: &str) -> Frame {
    let payload = json!({ "query": query });
    Frame::text(json!({ "id": id, "type": "subscribe", "payload": payload }).to_string())
}

fn complete(id: &str) -> Frame {
    Frame::text(json!({ "id": id, "type": "complete" }).to_string())
}

/// The line about an operation, once it is there; there must not be two.
async fn line(program: &Program, operation: &str) -> Value {
    let what = format!("a line about {operation}");
    until(&what, LONG, async || {
        let log = program.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let found: Vec<Value> = lines.filter(|line| line["operation"] == operation).collect();
        assert!(found.len() < 2, "{found:?}");
        found.into_iter().next()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_leaves_one_line_without_a_word_of_what_was_asked() {
    let mut world = World::up(&[]).await;
    let graph = world.graph().clone();
    answered(&graph, world.program()).await;
    // What reads envelopes waits from here on.
    let database = Database::connect(world.database_url()).await;
    database.execute("begin; lock table derived.envelopes in access exclusive mode").await;
    given_up(&graph, &database, world.program()).await;
    let url = world.url().to_owned();
    over_a_socket(&graph, &url, world.program()).await;
    database.execute("rollback").await;
    world.stop();
}

async fn answered(graph: &Graph, program: &Program) {
    let asked =
        "query Counted($of: Address!) { account(address: $of) { address } status { network } }";
    graph.ask(asked, json!({ "of": "0x00000000000000000000000000000000000ca11e" })).await;
    let line = line(program, "Counted").await;
    for (field, value) in [
        ("target", json!("api::request")),
        ("transport", json!("http")),
        ("kind", json!("query")),
        ("outcome", json!("ok")),
        ("status", json!(200)),
    ] {
        assert_eq!(line[field], value, "{line}");
    }
    for field in ["milliseconds", "statements", "sql_milliseconds", "cost", "bytes"] {
        assert!(line[field].as_f64().unwrap() > 0.0, "{field}: {line}");
    }
    assert!(line["document"].is_string() && line["request"].is_string(), "{line}");
    assert!(line.get("key").is_none() && !program.log().contains("0000000000ca11e"), "{line}");
}

async fn given_up(graph: &Graph, database: &Database, program: &Program) {
    let asked = graph.try_ask("query GaveUp { envelopes { nodes { digest } } }", Value::Null);
    let waits = "select count(*) from pg_locks where relation = 'derived.envelopes'::regclass and not granted";
    let waiting = until("the request waits for the table", LONG, async || {
        (database.number(waits).await > 0).then_some(())
    });
    // The connection is closed with it.
    tokio::select! {
        answer = asked => panic!("nothing waits for a table that is locked: {answer:?}"),
        () = waiting => {}
    }
    let line = line(program, "GaveUp").await;
    assert_eq!(
        (&line["transport"], &line["outcome"]),
        (&json!("http"), &json!("CANCELLED")),
        "{line}"
    );
}

async fn over_a_socket(graph: &Graph, url: &str, program: &Program) {
    let address: SocketAddr =
        url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    let mut socket = Socket::open(address, "/graphql", Some("graphql-transport-ws")).await.unwrap();
    socket.initialise().await.unwrap();
    // Taken back in the same breath: the first may not even have begun, the second cannot have ended.
    let asked = [
        subscribe("1", "subscription Followed { envelopes { cursor } }"),
        complete("1"),
        subscribe("2", "query TakenBack { envelopes { nodes { digest } } }"),
        complete("2"),
        subscribe("3", r#"subscription Mistaken { envelopes(after: "x") { cursor } }"#),
    ];
    let is_error = |frame: &Frame| String::from_utf8_lossy(&frame.payload).contains("BAD_CURSOR");
    socket.converse(&asked, is_error).await.unwrap();
    for (operation, kind, outcome) in [
        ("Followed", "subscription", "ok"),
        ("TakenBack", "query", "CANCELLED"),
        ("Mistaken", "subscription", "invalid"),
    ] {
        let line = line(program, operation).await;
        let told = (&line["transport"], &line["kind"], &line["outcome"]);
        assert_eq!(told, (&json!("ws"), &json!(kind), &json!(outcome)), "{line}");
    }
    drop(socket);
    until("nobody follows any more", LONG, async || {
        let active =
            metric(&graph.get("/metrics").await.ok()?, "xmtp_indexer_subscriptions_active");
        assert!(active >= 0.0, "{active}");
        (active == 0.0).then_some(())
    })
    .await;
}
