//! Runs the first queries of the README, and its tour in Rust, against a running program. `crates/api/src/tests/clients.rs` runs
//! the tour in JavaScript, beside the other clients from npm.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tests::{
    patience::{LONG, until},
    program::binary,
    world::World,
};

const README: &str = include_str!("../../../README.md");
const WHERE: &str = "http://127.0.0.1:8080";

/// The shell blocks of the section that call curl.
fn commands() -> Vec<&'static str> {
    let (_, tour) = README.split_once("\n## First queries\n").unwrap();
    let (tour, _) = tour.split_once("\n## ").unwrap();
    let blocks = tour.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    blocks.filter(|block| block.starts_with("curl ")).collect()
}

fn run(command: &mut Command) -> (bool, String) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_of_the_readme_is_true() {
    let mut world = World::up(&["--devnet", "--devnet-rate", "100"]).await;
    world.takes_in().await;
    let graph = world.graph().clone();
    until("the capture is indexed, and more than it", LONG, async || {
        let answer = graph.try_ask("{ status { envelopeCount } }", Value::Null).await.ok()?;
        let count: u64 = answer["data"]["status"]["envelopeCount"].as_str()?.parse().ok()?;
        (count > 3_500).then_some(())
    })
    .await;
    let url = world.url().trim_end_matches('/').to_owned();

    let mut followed = 0;
    for command in commands() {
        assert!(command.contains(WHERE), "{command}");
        let mut there = command.replace(WHERE, &url);
        let stream = there.contains("subscription");
        if stream {
            // It would not end.
            there = there.replacen("curl ", "curl --max-time 6 ", 1);
        }
        let (good, said) = run(Command::new("sh").args(["-c", &there]));
        if stream {
            followed += 1;
            assert!(said.contains("event: next") && said.contains("\"sender\""), "{there}\n{said}");
        } else {
            let answer: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
            assert!(good && answer.get("errors").is_none(), "{there}\n{said}");
            assert!(!answer["data"].is_null(), "{there}\n{said}");
        }
    }
    assert_eq!((commands().len(), followed), (6, 1), "five questions and a subscription");

    // What GraphiQL begins with: it shows something, too.
    let query = include_str!("../../../crates/api/graphiql/default.graphql");
    let (query, _) = query.split_once("subscription").unwrap();
    let answer = graph.ask(query, Value::Null).await;
    assert_eq!(answer["invites"]["edges"].as_array().map(Vec::len), Some(5), "{answer}");

    let program = binary().with_file_name("examples").join("tour");
    assert!(program.exists(), "build it first: cargo build -p tests --examples");
    let program = tokio::task::spawn_blocking(move || {
        run(Command::new(program).args([format!("{url}/graphql"), "3".to_owned()]))
    });
    let (good, said) =
        tokio::time::timeout(Duration::from_secs(60), program).await.unwrap().unwrap();
    assert!(good && said.matches(" invites ").count() == 3, "{said}");
    world.stop();
}
