//! Odd and hostile envelopes, each held to what is wanted of it.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use devnet::{Devnet, Options};
use ingest::{Names, Publisher, PublisherOptions, Queue};
use serde_json::{Value, json};
use tests::{
    capture,
    graphql::List,
    patience::{LONG, until},
    program::{Program, run},
    world::World,
};
use tokio_util::sync::CancellationToken;
use wire::Envelope;

/// Where the index knows better than the table, and why.
const DISAGREEMENTS: &[(&str, &str)] = &[
    // As in the tests of `wire`.
    (
        "contact-v2-identity-sig-in-ecdsaCompact",
        "only the JavaScript client refuses it; the others read either arm, and some early mobile bundles are so",
    ),
    (
        "contact-topic-uppercase",
        "addresses on topics count in any letter case: old clients wrote what they were given",
    ),
    (
        "invite-created-0",
        "header and envelope agree, which is all that clients ask; times are the sender's claim",
    ),
    (
        "invite-created-max",
        "header and envelope agree; JavaScript refuses it only for want of 64-bit numbers",
    ),
    (
        "invite-sender-sig-tampered",
        "any well-formed signature recovers some wallet, here one that nobody has; clients take it, too",
    ),
    ("intro-foreign-topic", "the topic is not foreign: it is the recipient's own"),
    ("m-v1-and-v2", "the last arm of a oneof counts, and that is the one that fits the topic"),
    // Of the index alone, which holds one row for all copies of a payload.
    (
        "invite-foreign-topic",
        "the bytes of `invite-ok`: the invitation is genuine, this copy delivers it to nobody (see below)",
    ),
    (
        "dm-wrong-topic",
        "the bytes of `dm-ok`: the message is genuine, and stays in its conversation",
    ),
    (
        "dm-unsorted-topic",
        "the bytes of `dm-ok`: the message is genuine, and stays in its conversation",
    ),
];

const NODE: &str = "digest timestampNs kind undecodable message topic { name kind }
    payload { __typename
      ... on ContactBundle { verification current account { address } signer { address } }
      ... on Invite { verification deliveredToSender deliveredToRecipient envelopes { message } }
      ... on Message { generation verification conversation { topic { name } } envelopes { message } } }";

/// What became of an envelope.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Usable,
    /// Not to be used, and why.
    Unusable(String),
    Lost,
}

/// An envelope that is sent, with the label by which the capture knows it.
struct Sent {
    label: String,
    envelope: Envelope,
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_taken_as_wanted_and_none_is_lost() {
    let rows = capture::rows("legacy-hostile.ndjson.gz");
    assert_eq!(rows.len(), 148);
    let (lines, others): (Vec<&Value>, Vec<&Value>) =
        rows.iter().partition(|row| row["jsonLine"].is_string());
    let hostile: Vec<Sent> = others
        .iter()
        .map(|row| Sent { label: label(row).into(), envelope: capture::envelope_proto(row) })
        .collect();
    let good = capture::envelopes("legacy-a/envelopes.ndjson.gz");
    let good = &good[..400];

    let mut world = World::up(&[]).await;
    let private = hostile.iter().map(|sent| &sent.envelope).chain(good);
    world.never_says(capture::betraying(private));
    world.takes_in().await;

    // Hostile ones and good ones side by side, in one page after another.
    let mut sent = publish(&mut world, &hostile, good).await;
    let (imported, refused) = import(&world, &lines);
    sent += imported.len();
    accounted(&world, sent).await;

    let found = everything(&world).await;
    let parked = parked(&world);
    let all = hostile.iter().chain(&imported);
    let mut outcomes: BTreeMap<&str, Outcome> =
        all.map(|sent| (sent.label.as_str(), outcome(&sent.envelope, &found, &parked))).collect();
    for (label, reason) in &refused {
        outcomes.insert(label.as_str(), Outcome::Unusable(reason.clone()));
    }
    as_wanted(&rows, &outcomes);
    copies_of_good_ones(&hostile, &found);
    neighbours(good, &found);
    read_everything_else(&world).await;

    // The same once more, from a node: nothing changes, since all of it is known.
    again_from_a_node(&world, &hostile, sent).await;
    assert_eq!(everything(&world).await.len(), found.len());
    assert_eq!(self::parked(&world), parked);
    world.stop();
}

fn label(row: &Value) -> &str {
    row["label"].as_str().unwrap()
}

async fn publish(world: &mut World, hostile: &[Sent], good: &[Envelope]) -> usize {
    let queue = Queue::connect(&world.amqp_url().await, Names::default(), "local").await.unwrap();
    let stop = CancellationToken::new();
    let (publisher, task) = Publisher::start(queue, PublisherOptions::default(), stop);
    let mut good = good.chunks(50);
    let (mut last, mut sent) = (0, 0);
    for bad in hostile.chunks(15) {
        let neighbours = good.next().unwrap_or_default();
        let bad = bad.iter().map(|sent| &sent.envelope);
        let envelopes: Vec<Envelope> = neighbours.iter().chain(bad).cloned().collect();
        sent += envelopes.len();
        let page = store::Page {
            source: "hostile".into(),
            progress: Vec::new(),
            records: envelopes.into_iter().map(Into::into).collect(),
        };
        last = publisher.send_page(page).await.unwrap();
    }
    assert!(good.next().is_none(), "all neighbours are sent");
    publisher.confirmed(last).await.unwrap();
    drop(publisher);
    task.await.unwrap();
    sent
}

/// Each line is imported alone. Gives what was taken in, and why the rest was not.
fn import(world: &World, lines: &[&Value]) -> (Vec<Sent>, Vec<(String, String)>) {
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    let (folder, data) = (world.folder(), world.data());
    for row in lines {
        let line = row["jsonLine"].as_str().unwrap();
        let file = folder.write("line.ndjson", line);
        let file = file.to_str().unwrap();
        let output = run(folder.path(), &["import", file, "--data-dir", &data], &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        if output.status.success() {
            let envelope = wire::json::from_line(line).unwrap();
            taken.push(Sent { label: label(row).into(), envelope });
        } else {
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains("line 1 of"), "{}: {said}", label(row));
            refused.push((label(row).to_owned(), said));
        }
    }
    // Together they are no obstacle to each other.
    let texts: Vec<&str> = lines.iter().filter_map(|row| row["jsonLine"].as_str()).collect();
    let file = folder.write("lines.ndjson", &texts.join("\n"));
    let printed = world.command(&["import", file.to_str().unwrap(), "--skip-bad-lines"]);
    assert!(printed.contains(&format!("{} envelopes", taken.len())), "{printed}");
    assert!(
        printed.contains(&format!("{} lines or objects were no envelopes", refused.len())),
        "{printed}"
    );
    let again = taken.iter().map(|sent| Sent {
        label: format!("{} (with others)", sent.label),
        envelope: sent.envelope.clone(),
    });
    let again: Vec<Sent> = again.collect();
    taken.extend(again);
    (taken, refused)
}

/// Indexed, known already, or put aside: together all that was sent.
async fn accounted(world: &World, sent: usize) {
    let mut last = (0.0, 0.0, 0.0);
    until("all that was sent is accounted for", LONG, async || {
        last = (
            world.metric("xmtp_indexer_envelopes_ingested_total").await,
            world.metric("xmtp_indexer_envelopes_duplicate_total").await,
            world.metric("xmtp_indexer_envelopes_parked_total").await,
        );
        (last.0 + last.1 + last.2 >= sent as f64).then_some(())
    })
    .await;
    assert_eq!(last.0 + last.1 + last.2, sent as f64, "indexed, duplicates, parked: {last:?}");
    assert!(last.0 > 0.0 && last.1 > 0.0 && last.2 > 0.0, "{last:?}");
    until("every table has it", LONG, async || {
        let progress = tests::world::progress(world.graph()).await?;
        (progress.lag == 0 && progress.visible as f64 == last.0).then_some(())
    })
    .await;
}

type Identity = (u64, String);

fn identity(envelope: &Envelope) -> Identity {
    (envelope.timestamp_ns, format!("0x{}", envelope.digest()))
}

/// All envelopes that the API shows.
async fn everything(world: &World) -> BTreeMap<Identity, Value> {
    let list = List { field: "envelopes", arguments: "", node: NODE };
    let nodes = world.graph().all(list, 43, 97).await;
    let count = nodes.len();
    let found: BTreeMap<Identity, Value> = nodes
        .into_iter()
        .map(|node| {
            let ns = node["timestampNs"].as_str().unwrap().parse().unwrap();
            ((ns, node["digest"].as_str().unwrap().to_owned()), node)
        })
        .collect();
    assert_eq!(found.len(), count, "an envelope is there twice");
    found
}

/// What was put aside: topic, time and message lead to the reason.
fn parked(world: &World) -> BTreeMap<(String, String, String), String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let printed = world.command(&["parked", "list", "--json", "--limit", "1000"]);
    let rows = printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| {
        let envelope = &row["envelope"];
        let key = (text(&row["topic"]), text(&envelope["timestampNs"]), text(&envelope["message"]));
        (key, text(&row["reason"]))
    })
    .collect()
}

fn outcome(
    envelope: &Envelope,
    found: &BTreeMap<Identity, Value>,
    parked: &BTreeMap<(String, String, String), String>,
) -> Outcome {
    let Some(node) = found.get(&identity(envelope)) else {
        let key = (
            envelope.topic.escape_ascii().to_string(),
            envelope.timestamp_ns.to_string(),
            STANDARD.encode(&envelope.message),
        );
        return match parked.get(&key) {
            Some(reason) => Outcome::Unusable(format!("parked: {reason}")),
            None => Outcome::Lost,
        };
    };
    if node["kind"] == json!("UNDECODABLE") {
        let reason = node["undecodable"].as_str().unwrap();
        assert!(!reason.is_empty(), "{node}");
        return Outcome::Unusable(reason.to_owned());
    }
    assert_eq!(node["undecodable"], Value::Null, "{node}");
    assert_ne!(node["topic"]["kind"], json!("UNKNOWN"), "{node}");
    let payload = &node["payload"];
    // The second generation's messages are unsigned: there is nothing that could be wrong.
    let proven =
        payload["generation"] == json!("V2") || payload["verification"] == json!("VERIFIED");
    if payload.is_null() || proven {
        return Outcome::Usable;
    }
    Outcome::Unusable(payload["verification"].as_str().unwrap().to_owned())
}

fn as_wanted(rows: &[Value], outcomes: &BTreeMap<&str, Outcome>) {
    let mut wrong = Vec::new();
    for row in rows {
        let (label, want) = (label(row), row["want"].as_str().unwrap());
        let outcome = outcomes.get(label).unwrap_or(&Outcome::Lost);
        let wanted = match want {
            // Nobody without keys can tell a forged header; duplicates are the log's business.
            "accept" | "flag" | "undetectable" | "duplicate" | "duplicate?" => {
                *outcome == Outcome::Usable
            }
            "reject" | "ignore-kind" => matches!(outcome, Outcome::Unusable(_)),
            other => panic!("{label}: unknown wish {other}"),
        };
        let excused = DISAGREEMENTS.iter().any(|(excused, _)| *excused == label);
        if wanted == excused || *outcome == Outcome::Lost {
            wrong.push(format!("{label}: want {want} ({}), got {outcome:?}", row["why"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (excused, reason) in DISAGREEMENTS {
        assert!(rows.iter().any(|row| label(row) == *excused), "{excused} ({reason})");
    }
}

/// A genuine payload on a topic where it does not belong changes nothing for the genuine copy.
fn copies_of_good_ones(hostile: &[Sent], found: &BTreeMap<Identity, Value>) {
    let node = |label: &str| {
        let sent = hostile.iter().find(|sent| sent.label == label).unwrap();
        (&found[&identity(&sent.envelope)], sent)
    };
    let (stray, _) = node("invite-foreign-topic");
    let (invite, _) = node("invite-ok");
    assert_eq!(stray["payload"], invite["payload"]);
    let delivered =
        ["deliveredToSender", "deliveredToRecipient"].map(|field| &invite["payload"][field]);
    assert_eq!(delivered.iter().filter(|flag| **flag == &json!(true)).count(), 1, "{invite}");
    let (message, sent) = node("dm-ok");
    let own = std::str::from_utf8(&sent.envelope.topic).unwrap();
    assert_eq!(message["payload"]["conversation"]["topic"]["name"], json!(own));
    for label in ["dm-wrong-topic", "dm-unsorted-topic"] {
        assert_eq!(node(label).0["payload"], message["payload"], "{label}");
    }
}

fn neighbours(good: &[Envelope], found: &BTreeMap<Identity, Value>) {
    for envelope in good {
        let node = &found[&identity(envelope)];
        assert_ne!(node["kind"], json!("UNDECODABLE"), "{node}");
        let private = capture::is_private(envelope);
        let served = node["message"].as_str().map(str::to_owned);
        assert_eq!(served, (!private).then(|| STANDARD.encode(&envelope.message)));
    }
}

/// Every other way to bytes. The client itself fails if an answer betrays a private store.
async fn read_everything_else(world: &World) {
    let node = "id message payload { __typename }";
    for (field, of) in [
        ("topics", format!("name envelopes(first: 60) {{ nodes {{ {node} }} }}")),
        ("contactBundles", format!("signer {{ address }} envelope {{ {node} }}")),
        ("invites", format!("envelopes {{ {node} }}")),
        ("messages", format!("envelopes {{ {node} }}")),
        (
            "conversations",
            format!(
                "topic {{ name }} messages(first: 20) {{ nodes {{ envelopes {{ {node} }} }} }}"
            ),
        ),
        (
            "accounts",
            format!(
                "address contactBundle {{ envelope {{ {node} }} }} topics {{ nodes {{ name }} }}"
            ),
        ),
    ] {
        let list = List { field, arguments: "", node: &of };
        assert!(!world.graph().all(list, 7, 9).await.is_empty(), "{field}");
    }
    // By id, too.
    let private = List {
        field: "envelopes",
        arguments: "filter: { topicKinds: [PRIVATE_STORE, UNKNOWN] },",
        node: "id message topic { name }",
    };
    let nodes = world.graph().all(private, 50, 50).await;
    let ids: Vec<&Value> = nodes.iter().map(|node| &node["id"]).collect();
    assert!(ids.len() > 2);
    let query =
        "query($ids: [ID!]!) { nodes(ids: $ids) { ... on Envelope { message topic { name } } } }";
    let answer = world.graph().ask(query, json!({ "ids": ids })).await;
    for node in answer["nodes"].as_array().unwrap() {
        let private = wire::topic::is_private(node["topic"]["name"].as_str().unwrap());
        assert_eq!(node["message"].is_null(), private, "{}", node["topic"]);
    }
}

async fn again_from_a_node(world: &World, hostile: &[Sent], sent: usize) {
    let node = Devnet::start(Options::default(), CancellationToken::new()).await.unwrap();
    let source = format!("message-api={}", node.grpc_url());
    let folder = world.folder().path();
    let data = world.data();
    let mut pull = Program::start(folder, &["pull", "--source", &source, "--data-dir", &data], &[]);
    until("the node's stream is open", LONG, async || {
        pull.must_run();
        let answer = world.graph().ask("{ status { sources { connected } } }", Value::Null).await;
        let sources = answer["status"]["sources"].as_array().unwrap().clone();
        sources.iter().any(|source| source["connected"] == json!(true)).then_some(())
    })
    .await;
    node.publish(hostile.iter().map(|sent| sent.envelope.clone()).collect());
    until("the node's envelopes are through", LONG, async || {
        let mut sum = 0.0;
        for name in ["ingested", "duplicate", "parked"] {
            sum += world.metric(&format!("xmtp_indexer_envelopes_{name}_total")).await;
        }
        (sum >= (sent + hostile.len()) as f64).then_some(())
    })
    .await;
    assert!(pull.stop().success());
    node.stop().await;
}
