//! What a capture is known to say, and whether an index says the same: all of it, item by item.
//!
//! The truth files were made by the official clients, not by a parser of ours. What is expected here is computed from them
//! alone; from the envelopes themselves come only topic, time and bytes, which need no understanding.

mod accounts;
mod contacts;
mod conversations;
mod envelopes;
mod invites;
mod messages;
mod topics;

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};
use wire::Envelope;

use crate::{
    capture,
    graphql::{Graph, List},
    patience::{LONG, until},
};

/// One line of a capture, and what is known about it.
pub struct Line {
    /// What was published.
    pub envelope: Envelope,
    /// The topic's name.
    pub topic: String,
    /// The row of the truth.
    pub row: Value,
}

impl Line {
    /// What the truth calls the kind of topic.
    fn kind(&self) -> &str {
        self.row["kind"].as_str().unwrap()
    }

    fn text(&self, field: &str) -> &str {
        self.row[field].as_str().unwrap_or_else(|| panic!("{field} in {}", self.row))
    }

    /// The envelope as the member of a list of copies: what `COPY` selects.
    fn copy(&self) -> Value {
        json!({
            "topic": { "name": self.topic },
            "timestampNs": self.envelope.timestamp_ns.to_string(),
            "digest": format!("0x{}", self.envelope.digest()),
        })
    }
}

/// Enough of an envelope to tell it from all others.
const COPY: &str = "topic { name } timestampNs digest";

/// The truth about one capture.
pub struct Truth {
    /// The lines, without those that repeat an earlier one exactly.
    pub lines: Vec<Line>,
    /// The lines that repeat an earlier one: a node relays them, an index holds them once.
    pub repeated: Vec<Line>,
    /// The summary.
    pub summary: Value,
}

/// How the capture came into the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// From a node's stream.
    Node,
    /// From a file.
    File,
}

impl Truth {
    /// The truth about the capture in this folder.
    pub fn of(folder: &str) -> Truth {
        let envelopes = capture::envelopes(&format!("{folder}/envelopes.ndjson.gz"));
        let rows = capture::rows(&format!("{folder}/envelopes.truth.ndjson.gz"));
        assert_eq!(envelopes.len(), rows.len());
        let summary =
            serde_json::from_str(&capture::text(&format!("{folder}/truth.json.gz"))).unwrap();
        let mut truth = Truth { lines: Vec::new(), repeated: Vec::new(), summary };
        let mut seen = HashSet::new();
        for (number, (envelope, row)) in envelopes.into_iter().zip(rows).enumerate() {
            assert_eq!(row["i"], json!(number), "rows and lines belong together");
            let topic = String::from_utf8(envelope.topic.to_vec()).unwrap();
            let line = Line { envelope, topic, row };
            let ephemeral = line.kind() == "v2-conversation-ephemeral";
            let repeats = !line.row["stored"].as_bool().unwrap() && !ephemeral;
            let identity = (line.envelope.timestamp_ns, line.envelope.digest());
            assert_eq!(seen.insert(identity), !repeats, "line {number}");
            if repeats { truth.repeated.push(line) } else { truth.lines.push(line) }
        }
        truth
    }

    /// How many different envelopes there are.
    pub fn distinct(&self) -> u64 {
        self.lines.len() as u64
    }

    /// The lines whose topic is of one of these kinds.
    fn of_kinds<'a>(&'a self, kinds: &'a [&str]) -> impl Iterator<Item = &'a Line> {
        self.lines.iter().filter(|line| kinds.contains(&line.kind()))
    }

    /// The addresses of all wallets.
    fn wallets(&self) -> impl Iterator<Item = (&Value, &str)> {
        let wallets = self.summary["wallets"].as_array().unwrap();
        wallets.iter().map(|wallet| (wallet, wallet["address"].as_str().unwrap()))
    }
}

/// Holds an index against the truth. Panics with what differs.
pub async fn compare(graph: &Graph, truth: &Truth, mode: Mode) {
    status(graph, truth, mode).await;
    envelopes::compare(graph, truth).await;
    topics::compare(graph, truth).await;
    contacts::compare(graph, truth).await;
    invites::compare(graph, truth).await;
    messages::compare(graph, truth).await;
    conversations::compare(graph, truth).await;
    accounts::compare(graph, truth).await;
}

async fn status(graph: &Graph, truth: &Truth, mode: Mode) {
    let query = "{ status { envelopeCount head sources { kind connected error lastEnvelopeAt }
        projections { name lag rebuilding } queue { answering depth unacknowledged parked } } }";
    let answer = graph.ask(query, Value::Null).await;
    let status = &answer["status"];
    assert_eq!(status["envelopeCount"], json!(truth.distinct().to_string()));
    assert_eq!(
        status["queue"],
        json!({ "answering": true, "depth": "0", "unacknowledged": "0", "parked": "0" })
    );
    let projections = status["projections"].as_array().unwrap();
    assert!(projections.len() >= 8, "{projections:?}");
    for projection in projections {
        assert_eq!(projection["lag"], json!("0"), "{projection}");
        assert_eq!(projection["rebuilding"], json!(false), "{projection}");
    }
    match mode {
        // A source tells about itself now and then.
        Mode::Node => {
            until("the source says how it is", LONG, async || {
                let query = "{ status { sources { kind connected error lastEnvelopeAt } } }";
                let answer = graph.ask(query, Value::Null).await;
                let source = &answer["status"]["sources"][0];
                let well = source["kind"] == json!("message-api")
                    && source["connected"] == json!(true)
                    && source["error"].is_null();
                (well && source["lastEnvelopeAt"].is_string()).then_some(())
            })
            .await
        }
        Mode::File => {
            let sources = status["sources"].as_array().unwrap();
            assert!(
                sources.iter().all(|source| source["connected"] == json!(false)),
                "{sources:?}"
            );
        }
    }
    // What `head` says is the cursor of the last envelope.
    let last = graph.ask("{ envelopes(last: 1) { pageInfo { endCursor } } }", Value::Null).await;
    assert_eq!(status["head"], last["envelopes"]["pageInfo"]["endCursor"]);
}

/// A table of things by their names, to be compared with another one.
type Things = BTreeMap<String, Value>;

/// Both must be the same. Says what is missing, what is too much and what differs, the first few of each.
fn same(what: &str, expected: &Things, got: &Things) {
    let mut wrong = Vec::new();
    for (key, value) in expected {
        match got.get(key) {
            None => wrong.push(format!("missing: {key} {value}")),
            Some(other) if other != value => {
                wrong.push(format!("{key}\n   expected {value}\n   got      {other}"));
            }
            Some(_) => {}
        }
    }
    for key in got.keys().filter(|key| !expected.contains_key(*key)) {
        wrong.push(format!("not expected: {key} {}", got[key]));
    }
    let count = wrong.len();
    wrong.truncate(8);
    assert!(count == 0, "{what}: {count} differ\n{}", wrong.join("\n"));
}

/// The members of a list by a name that is made of each; no two may have the same.
fn by_name(what: &str, nodes: Vec<Value>, name: impl Fn(&Value) -> String) -> Things {
    let count = nodes.len();
    let things: Things = nodes.into_iter().map(|node| (name(&node), node)).collect();
    assert_eq!(things.len(), count, "{what}: two have the same name");
    things
}

/// Everything that has an id is found again by it, as what it is. Takes the ids out of the nodes.
async fn found_by_id(graph: &Graph, kind: &str, nodes: &mut [Value]) {
    let ids: Vec<String> =
        nodes.iter_mut().map(|node| take(node, "id").as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "{kind}: an id is there twice");
    for ids in ids.chunks(500) {
        let query = "query($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }";
        let answer = graph.ask(query, json!({ "ids": ids })).await;
        let expected: Vec<Value> =
            ids.iter().map(|id| json!({ "__typename": kind, "id": id })).collect();
        assert_eq!(answer["nodes"], json!(expected), "{kind}");
    }
}

/// Takes a field out of an object.
fn take(node: &mut Value, field: &str) -> Value {
    node.as_object_mut().unwrap().remove(field).unwrap()
}

/// Puts the members of an array in an order that does not depend on the order of indexing.
fn sort(array: &mut Value) {
    array.as_array_mut().unwrap().sort_by_key(Value::to_string);
}

/// A time of the network as the API writes it.
fn at(ns: u64) -> String {
    let seconds = i64::try_from(ns / 1_000_000_000).unwrap();
    let nanos = u32::try_from(ns % 1_000_000_000).unwrap();
    let at = DateTime::from_timestamp(seconds, nanos).unwrap();
    at.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// The same of a decimal text.
fn at_text(ns: &str) -> String {
    at(ns.parse().unwrap())
}

/// What the API calls the topics and the payloads that the truth calls so.
fn kinds(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "privatestore" => ("PRIVATE_STORE", "PRIVATE_STORE"),
        "contact" => ("CONTACT", "CONTACT_BUNDLE"),
        "v1-intro" => ("INTRO", "MESSAGE_V1"),
        "v1-conversation" => ("DIRECT_MESSAGE", "MESSAGE_V1"),
        "v2-invite" => ("INVITE", "INVITE"),
        "v2-conversation" | "v2-conversation-ephemeral" => ("CONVERSATION", "MESSAGE_V2"),
        "userpreferences" => ("PREFERENCES", "PREFERENCES"),
        other => panic!("the truth has a kind that is not known here: {other}"),
    }
}

/// A list without a filter.
fn whole<'a>(field: &'a str, node: &'a str) -> List<'a> {
    List { field, arguments: "", node }
}
