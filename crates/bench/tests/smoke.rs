//! Small runs of the benchmarks, with the program as it is built: they work, and their reports are complete.

#![cfg(test)]

use std::{path::Path, process::Command};

use serde_json::Value;

/// Runs a benchmark in a folder and reads its report.
fn report(folder: &Path, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_xmtp-indexer-bench"))
        .args(arguments)
        .arg("--json")
        .current_dir(folder)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn positive(report: &Value, pointers: &[&str]) {
    for pointer in pointers {
        let value = report.pointer(pointer).and_then(Value::as_f64);
        assert!(value.is_some_and(|value| value > 0.0), "{pointer}: {report}");
    }
}

#[test]
fn a_small_run_of_ingest_measures_rates_costs_and_latency() {
    let folder = tempfile::tempdir().unwrap();
    let small = ["--envelopes", "3000", "--topics", "300", "--limit-envelopes", "3000"];
    let short = ["--latency-rate", "200", "--latency-seconds", "2"];
    let report = report(folder.path(), &[&["ingest"], &small[..], &short[..]].concat());
    positive(
        &report,
        &["/limits/broker", "/limits/copy", "/flood/rate", "/statements/us", "/latency/samples"],
    );
}

#[test]
fn a_small_run_of_log_measures_appends_and_lookups() {
    let folder = tempfile::tempdir().unwrap();
    let report = report(folder.path(), &["log", "--envelopes", "5000", "--page", "500"]);
    assert_eq!(report["runs"].as_array().unwrap().len(), 3, "{report}");
    positive(&report, &["/copy", "/runs/0/1", "/runs/2/2", "/lookups/0/us", "/lookups/1/us"]);
}

#[test]
fn a_small_run_of_hostile_measures_refusals() {
    let folder = tempfile::tempdir().unwrap();
    let small = ["hostile", "--times", "1", "--seconds", "1", "--envelopes", "300"];
    let report = report(folder.path(), &[&small[..], &["--only", "fragment"]].concat());
    let sent = report["sent"].as_array().unwrap();
    assert!(!sent.is_empty() && sent.iter().all(|row| row["wrong"].is_null()), "{report}");
    positive(&report, &["/noticed/alone/answers", "/noticed/beside/answers"]);
}

#[test]
fn a_smoke_run_of_api_gets_equal_answers_from_everybody() {
    let folder = tempfile::tempdir().unwrap();
    // Downloads nothing: PostGraphile takes part where a run of the benchmark has installed it.
    let peer = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-peer");
    let peer = peer.to_str().unwrap();
    let report = report(folder.path(), &["api", "--smoke", "--no-install", "--peer-folder", peer]);
    if let Some(reason) = report["no_postgraphile"].as_str() {
        eprintln!("without PostGraphile: {reason}");
    }
    let questions = report["questions"].as_array().unwrap();
    assert_eq!(questions.len(), 3);
    for question in questions {
        for who in ["pgbench", "xmtp-indexer"] {
            assert!(question[who][0]["rate"].as_f64().unwrap() > 0.0, "{question}");
            assert!(question[who][0]["postgres"].as_f64().unwrap() > 0.0, "{question}");
        }
        assert!(question["half"]["p99"].as_f64().unwrap() > 0.0, "{question}");
    }
    let told = &report["subscribers"];
    let number = |name: &str| told[name].as_u64().unwrap();
    assert!(number("appended") > 0);
    assert_eq!(number("delivered"), number("appended") * number("subscribers"), "{told}");
}
