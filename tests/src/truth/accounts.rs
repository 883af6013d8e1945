//! Every wallet that anything names: since when, its bundle, and how much it takes part in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Line, Things, Truth, at, at_text, by_name, contacts, found_by_id, same, whole};
use crate::graphql::Graph;

const NODE: &str = "id address firstSeenAt lastSeenAt
    contactBundle { version publishedAt identityKey { bytes } preKey { bytes } }
    contactBundles(first: 0) { totalCount } invites(first: 0) { totalCount }
    conversations(first: 0) { totalCount } topics(first: 0) { totalCount }";

pub(super) async fn compare(graph: &Graph, truth: &Truth) {
    let expected = expected(truth);
    // A page asks for several lists of each: small ones stay below what one query may cost.
    let mut nodes = graph.all(whole("accounts", NODE), 17, 19).await;
    found_by_id(graph, "Account", &mut nodes).await;
    same("accounts", &expected, &by_name("accounts", nodes, name));
    let with = graph.count("accounts", "hasContactBundle: true").await;
    let published = expected.values().filter(|account| !account["contactBundle"].is_null());
    assert_eq!(with, published.count() as u64);
}

fn name(node: &Value) -> String {
    node["address"].as_str().unwrap().to_owned()
}

/// The wallets that an envelope names: in its topic's name, in its bundle, in its header.
fn named<'a>(truth: &'a Truth, line: &'a Line) -> BTreeSet<&'a str> {
    let mut wallets = BTreeSet::new();
    let topic = &truth.summary["topics"][&line.topic];
    match line.kind() {
        "contact" => wallets.extend([line.text("wallet")]),
        "v2-invite" | "v1-intro" | "v1-conversation" => {
            wallets.extend([line.text("sender"), line.text("recipient")]);
        }
        _ => {}
    }
    match line.kind() {
        "privatestore" | "contact" | "v1-intro" | "v2-invite" => {
            wallets.insert(topic["address"].as_str().unwrap());
        }
        "v1-conversation" => {
            wallets.extend(topic["addresses"].as_array().unwrap().iter().filter_map(Value::as_str));
        }
        _ => {}
    }
    wallets
}

fn expected(truth: &Truth) -> Things {
    let mut seen: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for line in &truth.lines {
        let ns = line.envelope.timestamp_ns;
        for wallet in named(truth, line) {
            let times = seen.entry(wallet).or_insert((ns, ns));
            *times = (times.0.min(ns), times.1.max(ns));
        }
    }
    let wallets: BTreeMap<&str, &Value> =
        truth.wallets().map(|(wallet, address)| (address, wallet)).collect();
    let things = seen.iter().map(|(address, (first, last))| {
        let bundle = wallets.get(address).and_then(|wallet| contacts::newest(wallet));
        let bundle = bundle.map_or(Value::Null, |bundle| {
            let key = |name: &str| json!({ "bytes": format!("0x{}", bundle[name].as_str().unwrap()) });
            json!({
                "version": contacts::version(bundle["form"].as_str().unwrap()),
                "publishedAt": at_text(bundle["timestampNs"].as_str().unwrap()),
                "identityKey": key("identityKey"),
                "preKey": key("preKey"),
            })
        });
        let thing = json!({
            "address": address,
            "firstSeenAt": at(*first),
            "lastSeenAt": at(*last),
            "contactBundle": bundle,
            "contactBundles": total(truth.of_kinds(&["contact"]).filter(|line| line.text("wallet") == *address)),
            "invites": total(truth.summary["invites"].as_array().unwrap().iter().filter(|invite| {
                invite["sender"] == json!(address) || invite["recipient"] == json!(address)
            })),
            "conversations": total(topics(truth, address).filter(|topic| topic["kind"] == json!("v1-conversation"))),
            "topics": total(topics(truth, address)),
        });
        (name(&thing), thing)
    });
    things.collect()
}

/// The topics whose name says a wallet.
fn topics<'a>(truth: &'a Truth, address: &'a str) -> impl Iterator<Item = &'a Value> {
    let topics = truth.summary["topics"].as_object().unwrap();
    topics.iter().filter(move |(name, _)| name.contains(address)).map(|(_, topic)| topic)
}

fn total(members: impl Iterator) -> Value {
    json!({ "totalCount": members.count().to_string() })
}
