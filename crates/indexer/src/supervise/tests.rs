//! Roles that panic, fail, end, hang and stop.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use tokio::sync::Barrier;

use super::*;

/// A role that runs until a stop is requested.
async fn works(stop: CancellationToken) -> anyhow::Result<()> {
    stop.cancelled().await;
    Ok(())
}

async fn panics(_: CancellationToken) -> anyhow::Result<()> {
    panic!("out of cheese")
}

#[tokio::test]
async fn a_role_that_panics_once_is_restarted_and_the_others_go_on() {
    let (health, shutdown) = (Health::default(), Shutdown::new());
    let mut roles = Roles::new(health.clone());
    let starts = Arc::new(AtomicU32::new(0));
    let counted = starts.clone();
    roles.start(Step::Pull, "shaky", move |stop| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if first { panics(stop).await } else { works(stop).await } }
    });
    roles.start(Step::Serve, "steady", works);
    let watching = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { roles.until_stopped(&shutdown).await }
    });
    while starts.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(health.alive().is_ok());
    }
    health.ready().unwrap();
    shutdown.request();
    watching.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_role_that_always_panics_ends_the_process_with_its_cause() {
    let (health, shutdown, began) = (Health::default(), Shutdown::new(), Instant::now());
    let mut roles = Roles::new(health.clone());
    roles.start(Step::Pull, "broken", panics);
    roles.start(Step::Serve, "steady", works);
    let error = format!("{:#}", roles.until_stopped(&shutdown).await.unwrap_err());
    assert!(error.contains("the role `broken` failed: failed again and again"), "{error}");
    assert!(error.contains("panicked: out of cheese"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(health.alive().unwrap_err().contains("out of cheese"));
    assert!(shutdown.is_requested(), "everything else must stop, too");
}

#[tokio::test]
async fn what_no_restart_heals_ends_at_once() {
    let mut roles = Roles::default();
    let starts = Arc::new(AtomicU32::new(0));
    let counted = starts.clone();
    roles.start(Step::Index, "outdated", move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Err::<(), _>(store::Error::Older { found: 1, known: 2 }) }
    });
    let error = format!("{:#}", roles.until_stopped(&Shutdown::new()).await.unwrap_err());
    assert!(error.contains("xmtp-indexer migrate"), "{error}");
    assert_eq!(starts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_role_that_ends_by_itself_has_failed() {
    let mut roles = Roles::default();
    roles.start(Step::Index, "idle", |_| async { anyhow::Ok(()) });
    let error = format!("{:#}", roles.until_stopped(&Shutdown::new()).await.unwrap_err());
    assert!(error.contains("without a request to stop"), "{error}");
}

#[tokio::test]
async fn steps_stop_one_after_the_other_and_the_roles_of_one_side_by_side() {
    let shutdown = Shutdown::new();
    let mut roles = Roles::default();
    let stopped = Arc::new(Mutex::new(Vec::new()));
    // Two pullers that stopped one after the other would wait for each other for ever.
    let together = Arc::new(Barrier::new(2));
    for (step, name) in
        [(Step::Serve, "serve"), (Step::Pull, "a"), (Step::Pull, "b"), (Step::Index, "index")]
    {
        let (stopped, together) = (stopped.clone(), together.clone());
        roles.start(step, name, move |stop| {
            let (stopped, together) = (stopped.clone(), together.clone());
            async move {
                stop.cancelled().await;
                if step == Step::Pull {
                    together.wait().await;
                }
                stopped.lock().unwrap().push(name);
                anyhow::Ok(())
            }
        });
    }
    shutdown.request();
    roles.until_stopped(&shutdown).await.unwrap();
    let mut order = stopped.lock().unwrap().clone();
    order[..2].sort_unstable();
    assert_eq!(order, ["a", "b", "index", "serve"]);
}

#[tokio::test]
async fn roles_that_hang_do_not_stretch_the_budget() {
    let budget = Duration::from_secs(2);
    let shutdown = Shutdown::within(budget);
    let mut roles = Roles::default();
    for (step, name) in [(Step::Pull, "pull"), (Step::Index, "index"), (Step::Project, "project")] {
        roles.start(step, name, |_| std::future::pending::<anyhow::Result<()>>());
    }
    let last = Arc::new(AtomicU32::new(0));
    let told = last.clone();
    roles.start(Step::Serve, "serve", move |stop| {
        let told = told.clone();
        async move {
            stop.cancelled().await;
            told.fetch_add(1, Ordering::SeqCst);
            anyhow::Ok(())
        }
    });
    shutdown.request();
    let began = Instant::now();
    roles.until_stopped(&shutdown).await.unwrap();
    assert!(began.elapsed() < budget + Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(last.load(Ordering::SeqCst), 1, "the last step had no time left");
}

#[tokio::test]
async fn a_failure_while_stopping_is_not_lost() {
    let shutdown = Shutdown::new();
    let mut roles = Roles::default();
    roles.start(Step::Pull, "pull", |stop| async move {
        stop.cancelled().await;
        anyhow::bail!("could not let go")
    });
    shutdown.request();
    let error = format!("{:#}", roles.until_stopped(&shutdown).await.unwrap_err());
    assert!(error.contains("could not let go"), "{error}");
}
