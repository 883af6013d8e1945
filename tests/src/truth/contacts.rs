//! Every wallet's bundles: version, keys, who signed, which one counts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{COPY, Things, Truth, at, at_text, by_name, found_by_id, same, whole};
use crate::graphql::Graph;

pub(super) async fn compare(graph: &Graph, truth: &Truth) {
    let node = format!(
        "id account {{ address }} signer {{ address }} version verification current publishedAt
         identityKey {{ bytes createdAt }} preKey {{ bytes }} envelope {{ {COPY} }}"
    );
    let mut nodes = graph.all(whole("contactBundles", &node), 7, 41).await;
    found_by_id(graph, "ContactBundle", &mut nodes).await;
    same("contact bundles", &expected(truth), &by_name("contact bundles", nodes, name));
    for (_, wallet) in truth.wallets() {
        of_wallet(graph, truth, wallet).await;
    }
    reachability(graph, truth).await;
}

fn name(node: &Value) -> String {
    node["envelope"].to_string()
}

fn expected(truth: &Truth) -> Things {
    let newest: BTreeMap<&str, &str> = truth
        .wallets()
        .filter_map(|(wallet, address)| Some((address, newest(wallet)?["timestampNs"].as_str()?)))
        .collect();
    let bundle = |line: &super::Line| {
        let wallet = line.text("wallet");
        let published = line.envelope.timestamp_ns.to_string();
        let created_ms: u64 = line.text("identityKeyTimestamp").parse().unwrap();
        json!({
            "account": { "address": wallet },
            "signer": { "address": wallet },
            "version": version(line.text("form")),
            "verification": "VERIFIED",
            "current": newest[wallet] == published,
            "publishedAt": at_text(&published),
            "identityKey": {
                "bytes": format!("0x{}", line.text("identityKey")),
                "createdAt": at(created_ms * 1_000_000),
            },
            "preKey": { "bytes": format!("0x{}", line.text("preKey")) },
            "envelope": line.copy(),
        })
    };
    let bundles = truth.of_kinds(&["contact"]).map(bundle);
    bundles.map(|bundle| (name(&bundle), bundle)).collect()
}

/// What clients of today would use: the newest of a wallet's publications.
pub(super) fn newest(wallet: &Value) -> Option<&Value> {
    let published = wallet["contact"]["published"].as_array().unwrap();
    let newest = published
        .iter()
        .max_by_key(|bundle| bundle["timestampNs"].as_str().unwrap().parse::<u64>().unwrap())?;
    assert_eq!(newest["form"], wallet["contact"]["newestForm"], "the truth agrees with itself");
    Some(newest)
}

pub(super) fn version(form: &str) -> &'static str {
    match form {
        "bare" | "v1" => "V1",
        "v2" => "V2",
        other => panic!("a form that is not known here: {other}"),
    }
}

/// A wallet's own list, in order, and the filters that narrow to it.
async fn of_wallet(graph: &Graph, truth: &Truth, wallet: &str) {
    let mut published: Vec<u64> = truth
        .of_kinds(&["contact"])
        .filter(|line| line.text("wallet") == wallet)
        .map(|line| line.envelope.timestamp_ns)
        .collect();
    published.sort_unstable_by(|a, b| b.cmp(a));
    let query = "query($wallet: Address!) { account(address: $wallet) {
        contactBundles(first: 500) { totalCount nodes { publishedAt } } } }";
    // Any letter case will do.
    let answer = graph.ask(query, json!({ "wallet": wallet.to_lowercase() })).await;
    let listed = &answer["account"]["contactBundles"];
    let expected: Vec<Value> =
        published.iter().map(|ns| json!({ "publishedAt": at(*ns) })).collect();
    assert_eq!(listed["nodes"], json!(expected), "bundles of {wallet}");
    assert_eq!(listed["totalCount"], json!(expected.len().to_string()));
    let current =
        graph.count("contactBundles", &format!("account: \"{wallet}\", currentOnly: true")).await;
    assert_eq!(current, u64::from(!published.is_empty()), "current bundles of {wallet}");
}

/// Who can be written to, and how, in the order of asking.
async fn reachability(graph: &Graph, truth: &Truth) {
    let mut generations: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in truth.of_kinds(&["contact"]) {
        generations.entry(line.text("wallet")).or_default().insert(version(line.text("form")));
    }
    let stranger = "0x000000000000000000000000000000000000dEaD";
    let mut addresses: Vec<&str> = truth.wallets().map(|(_, address)| address).collect();
    addresses.insert(1, stranger);
    let expected: Vec<Value> = addresses
        .iter()
        .map(|address| {
            let of = generations.get(address).cloned().unwrap_or_default();
            json!({ "address": address, "reachable": !of.is_empty(), "generations": of })
        })
        .collect();
    let query = "query($of: [Address!]!) { reachability(addresses: $of) { address reachable generations } }";
    let answer = graph.ask(query, json!({ "of": addresses })).await;
    assert_eq!(answer["reachability"], json!(expected));
}
