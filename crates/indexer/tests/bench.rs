//! The benchmark of the API at a hundredth of its size: it runs, everybody answers, and the answers are equal.

#![cfg(test)]

use std::process::Command;

use serde_json::Value;

#[test]
fn a_smoke_run_of_the_api_s_benchmark_works() {
    let folder = tempfile::tempdir().unwrap();
    // Downloads nothing: the peer takes part where a run of the benchmark has installed it.
    let peer = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-peer");
    let output = Command::new(env!("CARGO_BIN_EXE_xmtp-indexer"))
        .args(["bench", "api", "--smoke", "--json", "--no-install", "--peer-folder"])
        .arg(peer)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
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
