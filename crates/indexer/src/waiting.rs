//! Waiting, at a start, for services that are not up yet.

use std::{future::Future, time::Duration};

use anyhow::{Context as _, bail};
use backon::{BackoffBuilder, ExponentialBuilder};
use embedded::EmbeddedError;
use tokio::time::Instant;

use crate::{health::Health, shutdown::Shutdown};

/// The flag of commands that wait for database and broker.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Wait {
    /// How many seconds to wait for PostgreSQL, and for RabbitMQ, to answer; 0 tries once
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
}

impl Wait {
    /// Calls `connect` until it succeeds, fails in a way that waiting does not heal, or the time is up. The first failure is
    /// logged with what is waited for.
    ///
    /// # Errors
    /// The last failure, or that a stop was requested meanwhile.
    pub async fn for_service<T, F>(
        self,
        service: &str,
        shutdown: &Shutdown,
        health: &Health,
        mut connect: impl FnMut() -> F,
    ) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        let seconds = self.wait;
        let limit = Instant::now() + Duration::from_secs(seconds);
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(2))
            .without_max_times()
            .build();
        let mut waiting = false;
        loop {
            let error = tokio::select! {
                connected = connect() => match connected {
                    Ok(connected) => break Ok(connected),
                    Err(error) => error,
                },
                () = shutdown.requested() => bail!("stopped while connecting to {service}"),
            };
            if seconds == 0 || !is_away(&error) {
                break Err(error);
            }
            let pause = pauses.next().unwrap_or_default();
            if Instant::now() + pause >= limit {
                break Err(error).with_context(|| {
                    format!("{service} did not answer within {seconds} s (--wait)")
                });
            }
            if !waiting {
                waiting = true;
                health.waiting(Some(service.to_owned()));
                tracing::warn!(
                    error = format!("{error:#}"),
                    "waiting up to {seconds} s for {service}"
                );
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.requested() => bail!("stopped while waiting for {service}"),
            }
        }
        .inspect(|_| health.waiting(None))
    }
}

/// Whether the service may answer later: it cannot be reached, or it is starting.
fn is_away(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<store::Error>().is_some_and(store::Error::is_transient)
            || cause.downcast_ref::<ingest::Error>().is_some_and(ingest::Error::is_transient)
            || matches!(cause.downcast_ref(), Some(EmbeddedError::NotAnnounced { .. }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> anyhow::Error {
        let (target, reason) = ("there".to_owned(), "refused".to_owned());
        anyhow::Error::from(store::Error::Unreachable { target, reason })
    }

    #[tokio::test]
    async fn a_service_that_comes_later_is_waited_for() {
        let (shutdown, health, mut tries) = (Shutdown::new(), Health::default(), 0);
        let found = Wait { wait: 30 }.for_service("it", &shutdown, &health, || {
            tries += 1;
            assert_eq!(health.ready().is_err_and(|why| why == "waiting for it"), tries > 1);
            std::future::ready(if tries < 3 { Err(away()) } else { Ok(tries) })
        });
        assert_eq!(found.await.unwrap(), 3);
        assert_eq!(health.ready().unwrap_err(), "no role runs yet");
    }

    #[tokio::test]
    async fn what_waiting_does_not_heal_and_the_end_of_the_time_are_errors() {
        let (shutdown, health) = (Shutdown::new(), Health::default());
        let mut tries = 0;
        let outdated = Wait { wait: 30 }.for_service("it", &shutdown, &health, || {
            tries += 1;
            std::future::ready(Err::<(), _>(store::Error::Older { found: 1, known: 2 }.into()))
        });
        assert!(outdated.await.unwrap_err().to_string().contains("xmtp-indexer migrate"));
        assert_eq!(tries, 1);

        let never = || std::future::ready(Err::<(), _>(away()));
        let error =
            Wait { wait: 1 }.for_service("it", &shutdown, &health, never).await.unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("it did not answer within 1 s (--wait)"), "{error}");
        assert!(error.contains("cannot reach PostgreSQL at there: refused"), "{error}");

        shutdown.request();
        let error =
            Wait { wait: 30 }.for_service("it", &shutdown, &health, never).await.unwrap_err();
        assert!(error.to_string().contains("stopped while"), "{error}");
    }
}
