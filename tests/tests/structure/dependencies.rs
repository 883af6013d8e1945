//! Which crate may depend on which, and on which libraries.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

use super::tree::{FILES, ROOT, none};

/// A crate depends on crates of lower layers only; those of one layer do not depend on each other. This package is the top layer.
const LAYERS: [(&str, u32); 11] = [
    ("wire", 0),
    ("store", 1),
    ("dashboard", 1),
    ("ingest", 2),
    ("api", 2),
    ("push", 2),
    ("devnet", 2),
    ("embedded", 2),
    ("indexer", 3),
    ("bench", 3),
    ("tests", 4),
];

/// Libraries, and the only crates that may use them outside of tests.
const RESTRICTED: [(&str, &[&str]); 13] = [
    ("tokio-postgres", &[]),
    ("deadpool-postgres", &[]),
    ("refinery", &[]),
    ("sqlx", &["store"]),
    ("lapin", &["ingest"]),
    ("tonic", &["ingest", "devnet"]),
    ("tonic-health", &["devnet"]),
    ("actix-web", &["api", "indexer"]),
    ("async-graphql", &["api"]),
    ("axum", &["devnet"]),
    ("clap", &["indexer", "bench"]),
    ("nix", &["embedded", "bench"]),
    ("secp256k1", &["wire", "devnet"]),
];

/// Libraries that `wire` must not use, because it does no IO.
const IO: [&str; 8] =
    ["tokio", "tokio-util", "tonic", "reqwest", "chrono", "tracing", "metrics", "futures"];

struct Package {
    name: String,
    /// Name and kind of each dependency; the kind of a normal one is `None`.
    needs: Vec<(String, Option<String>)>,
    manifest: String,
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(&*ROOT)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let packages = all["packages"].as_array().unwrap().iter().map(|package| {
        let needs = package["dependencies"].as_array().unwrap();
        let path = package["manifest_path"].as_str().unwrap();
        Package {
            name: text(&package["name"]).unwrap(),
            needs: needs.iter().map(|n| (text(&n["name"]).unwrap(), text(&n["kind"]))).collect(),
            manifest: std::fs::read_to_string(path).unwrap(),
        }
    });
    packages.collect()
}

#[test]
fn crates_depend_on_lower_layers_only() {
    let layers: BTreeMap<&str, u32> = LAYERS.into_iter().collect();
    let mut wrong = Vec::new();
    for package in packages() {
        let Some(layer) = layers.get(package.name.as_str()) else {
            wrong.push(format!("{} has no layer: add it to LAYERS", package.name));
            continue;
        };
        for (needed, _) in &package.needs {
            if layers.get(needed.as_str()).is_some_and(|other| other >= layer) {
                wrong.push(format!("{} (layer {layer}) depends on {needed}", package.name));
            }
        }
    }
    none("a crate depends upwards or sideways", wrong);
}

#[test]
fn libraries_are_used_by_the_crates_that_may() {
    let mut wrong = Vec::new();
    let products = packages();
    for package in products.iter().filter(|package| package.name != "tests") {
        let normal = package.needs.iter().filter(|(_, kind)| kind.is_none());
        for (needed, _) in normal {
            let rule = RESTRICTED.iter().find(|(library, _)| library == needed);
            if rule.is_some_and(|(_, allowed)| !allowed.contains(&package.name.as_str())) {
                wrong.push(format!("{} uses {needed}", package.name));
            }
            if package.name == "wire" && IO.contains(&needed.as_str()) {
                wrong.push(format!("wire uses {needed}, but must not do IO"));
            }
        }
    }
    none("a crate uses a library that it must not use", wrong);
}

#[test]
fn versions_and_lints_are_those_of_the_workspace() {
    let mut wrong = Vec::new();
    for package in packages() {
        let manifest = &package.manifest;
        for (part, needed) in [
            ("[lints]\nworkspace = true", "inherits the lints"),
            ("publish.workspace = true", "inherits whether it is published"),
            ("edition.workspace = true", "inherits the edition"),
        ] {
            if !manifest.contains(part) {
                wrong.push(format!("{}: no line {needed}: {part}", package.name));
            }
        }
        let dependencies = manifest.split("dependencies]").skip(1);
        let lines = dependencies.flat_map(|part| part.lines().take_while(|l| !l.starts_with('[')));
        for line in lines.filter(|line| line.contains('=') && !line.contains("workspace = true")) {
            wrong.push(format!(
                "{}: `{line}`: versions belong in the workspace's Cargo.toml",
                package.name
            ));
        }
    }
    none("a crate does not inherit a setting of the workspace", wrong);
}

#[test]
fn the_clock_and_the_environment_are_not_in_wire() {
    let mut wrong = Vec::new();
    for file in FILES.iter().filter(|file| file.product() == Some("wire")) {
        let code = file.code();
        for word in ["std::env", "std::fs", "std::net", "SystemTime", "Instant::now", "std::thread"]
        {
            if code.contains(word) {
                wrong.push(format!("{}: {word}", file.path));
            }
        }
    }
    none("`wire` does no IO", wrong);
}
