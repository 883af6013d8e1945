//! Every metric that the code records is in the program's table of metrics, and nothing else is.

use std::collections::BTreeSet;

use indexer::telemetry::metrics::METRICS;

use super::tree::FILES;

/// The metrics that a file records: kind, name, labels.
fn recorded(code: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for kind in ["counter", "gauge", "histogram"] {
        for (at, start) in code.match_indices(&format!("metrics::{kind}!(")) {
            let call = &code[at + start.len()..];
            let call = call.split(';').next().unwrap();
            let mut texts = call.split('"').skip(1);
            let name = texts.next().unwrap_or_default();
            // A label is the text before an arrow.
            let parts: Vec<&str> = call.split("=>").collect();
            let labels = parts[..parts.len() - 1].iter();
            let labels: Vec<&str> =
                labels.map(|part| part.rsplit('"').nth(1).unwrap_or_default()).collect();
            found.push((kind.to_owned(), name.to_owned(), labels.join(", ")));
        }
    }
    found
}

#[test]
fn every_metric_has_a_row_in_the_table() {
    let products = FILES.iter().filter(|file| file.is_rust() && file.product().is_some());
    let ours = products.filter(|file| !file.path.ends_with("telemetry/metrics.rs"));
    let recorded: BTreeSet<_> = ours.flat_map(|file| recorded(&file.code())).collect();
    let listed: BTreeSet<_> = METRICS
        .iter()
        .map(|one| (one.kind.as_str().to_owned(), one.name.to_owned(), one.labels.to_owned()))
        .collect();
    let only = |a: &BTreeSet<_>, b: &BTreeSet<_>| format!("{:#?}", a.difference(b));
    assert!(
        recorded == listed,
        "METRICS in crates/indexer/src/telemetry/metrics.rs differs from the code\nonly in the code: {}\nonly listed: {}",
        only(&recorded, &listed),
        only(&listed, &recorded)
    );
}
