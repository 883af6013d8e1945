//! Real traffic of official clients, and the truth about it.

use devnet::{Devnet, Options};
use tests::{
    capture,
    truth::{Mode, Truth, compare},
    world::World,
};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_says_is_indexed_to_the_last_item() {
    let truth = Truth::of("legacy-a");
    let options = Options {
        captures: vec![capture::path("legacy-a/envelopes.ndjson.gz")],
        wait_for_subscriber: true,
        ..Options::default()
    };
    let node = Devnet::start(options, CancellationToken::new()).await.unwrap();
    let source = format!("message-api={}", node.grpc_url());

    let mut world = World::up(&["--source", &source]).await;
    world.never_says(capture::betraying(truth.lines.iter().map(|line| &line.envelope)));
    world.takes_in().await;
    node.finished().await;
    world.settled(truth.distinct()).await;
    compare(world.graph(), &truth, Mode::Node).await;

    // What was exported can be imported elsewhere, and private stores stay here.
    let exported = world.command(&["export"]);
    let private = truth.lines.iter().filter(|line| capture::is_private(&line.envelope)).count();
    assert_eq!(exported.lines().count(), truth.lines.len() - private);

    node.stop().await;
    world.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_imported_is_indexed_to_the_last_item() {
    let truth = Truth::of("legacy-a");
    let mut world = World::up(&[]).await;
    world.never_says(capture::betraying(truth.lines.iter().map(|line| &line.envelope)));
    world.takes_in().await;
    let file = capture::path("legacy-a/envelopes.ndjson.gz");
    let file = file.to_str().unwrap();
    world.command(&["import", file]);
    world.settled(truth.distinct()).await;
    compare(world.graph(), &truth, Mode::File).await;

    // Twice is once.
    world.command(&["import", file]);
    let relayed = (truth.lines.len() + truth.repeated.len()) as f64;
    let seen = |name: &'static str| world.metric(name);
    tests::patience::until("the second import is through", tests::patience::LONG, async || {
        let duplicates = seen("xmtp_indexer_envelopes_duplicate_total").await;
        (duplicates >= relayed + truth.repeated.len() as f64).then_some(())
    })
    .await;
    compare(world.graph(), &truth, Mode::File).await;

    // A rebuild of everything gives the same again.
    world.command(&["rebuild", "--all"]);
    world.settled(truth.distinct()).await;
    compare(world.graph(), &truth, Mode::File).await;
    world.stop();
}
