//! The metrics of the program: every name with its kind and help text, and the recorder that renders them.

use std::{sync::OnceLock, time::Duration};

use anyhow::Context as _;
use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Quantiles, count and sum of a measurement.
    Histogram,
}

impl Kind {
    /// As the README writes it, and the macro of the `metrics` crate.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A metric that some crate of the program records.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// What it is.
    pub kind: Kind,
    /// Its name, as `/metrics` shows it.
    pub name: &'static str,
    /// Its labels, separated by commas; empty without any.
    pub labels: &'static str,
    /// Its help text.
    pub help: &'static str,
}

const fn metric(
    kind: Kind,
    name: &'static str,
    labels: &'static str,
    help: &'static str,
) -> Metric {
    Metric { kind, name, labels, help }
}

/// Every metric of every crate. A test compares it with the code and with the table of the README.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    metric(Kind::Counter, "xmtp_indexer_commit_retries_total", "", "Commits of the index role that were retried after an error of PostgreSQL."),
    metric(Kind::Histogram, "xmtp_indexer_commit_seconds", "", "Time that a commit of the index role took, in seconds."),
    metric(Kind::Counter, "xmtp_indexer_envelopes_conflicting_total", "", "Numbered envelopes whose number the log has with other bytes."),
    metric(Kind::Counter, "xmtp_indexer_envelopes_duplicate_total", "", "Envelopes that the log had already."),
    metric(Kind::Counter, "xmtp_indexer_envelopes_ingested_total", "", "Envelopes that were appended to the log."),
    metric(Kind::Counter, "xmtp_indexer_envelopes_parked_total", "", "Envelopes that cannot be stored and were parked."),
    metric(Kind::Counter, "xmtp_indexer_envelopes_received_total", "source", "Envelopes that came on the stream of a source."),
    metric(Kind::Counter, "xmtp_indexer_envelopes_swept_total", "", "Envelopes that were queried by topic after a gap of a stream."),
    metric(Kind::Histogram, "xmtp_indexer_graphql_complexity", "", "Complexity of the GraphQL requests that were executed."),
    metric(Kind::Histogram, "xmtp_indexer_graphql_duration_seconds", "operation_type", "Time that a GraphQL request took, in seconds."),
    metric(Kind::Counter, "xmtp_indexer_graphql_requests_total", "operation_type, transport, code", "GraphQL requests, by how they ended."),
    metric(Kind::Counter, "xmtp_indexer_node_queries_total", "", "Queries sent to nodes by sweeps and crawls."),
    metric(Kind::Counter, "xmtp_indexer_pages_published_total", "", "Pages that were published to RabbitMQ."),
    metric(Kind::Counter, "xmtp_indexer_pages_redelivered_total", "", "Pages that RabbitMQ delivered again."),
    metric(Kind::Counter, "xmtp_indexer_projection_failures_total", "projection", "Pages that a projection could not write."),
    metric(Kind::Gauge, "xmtp_indexer_projection_lag", "projection", "Envelopes of the log that a projection has not read yet."),
    metric(Kind::Histogram, "xmtp_indexer_projection_page_seconds", "", "Time that a page of the log took to project, in seconds."),
    metric(Kind::Gauge, "xmtp_indexer_publisher_blocked", "", "1 while RabbitMQ blocks the publisher (an alarm of memory or disk), else 0."),
    metric(Kind::Counter, "xmtp_indexer_publisher_reconnects_total", "reason", "Connections of the publisher that ended and were opened again."),
    metric(Kind::Counter, "xmtp_indexer_publisher_resent_total", "reason", "Pages that RabbitMQ refused (nack) or had no queue for, and that were sent again alone."),
    metric(Kind::Gauge, "xmtp_indexer_queue_working", "", "1 while the queue delivers, confirms or answers checks, 0 while it does not; absent before the first answer."),
    metric(Kind::Counter, "xmtp_indexer_replayed_pages_total", "", "Pages that were read to replay what subscribers had missed."),
    metric(Kind::Counter, "xmtp_indexer_role_restarts_total", "role", "Failures of a role after which it was started again."),
    metric(Kind::Gauge, "xmtp_indexer_role_running", "role", "1 while a role runs, 0 while it is being restarted or has ended."),
    metric(Kind::Counter, "xmtp_indexer_silent_streams_total", "source", "Streams that left out envelopes that the node stores, and were opened again."),
    metric(Kind::Gauge, "xmtp_indexer_sockets_open", "", "WebSockets that are open."),
    metric(Kind::Gauge, "xmtp_indexer_source_gaps", "source, state", "Spans of a source that may be incomplete."),
    metric(Kind::Counter, "xmtp_indexer_stream_ends_total", "source", "Streams of a source that ended and were opened again."),
    metric(Kind::Gauge, "xmtp_indexer_subscriptions_active", "transport", "Subscriptions that run."),
    metric(Kind::Counter, "xmtp_indexer_subscriptions_cut_total", "reason", "Subscriptions that the server ended."),
    metric(Kind::Counter, "xmtp_indexer_tail_envelopes_total", "", "Envelopes of the log that the API read for its subscribers."),
];

/// Returns the recorder of this process; installs it, with every help text, when it is first called.
///
/// # Errors
/// When another recorder is installed already.
pub fn recorder() -> anyhow::Result<PrometheusHandle> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new().install_recorder().context("cannot set metrics up")?;
    describe();
    let upkeep = handle.clone();
    // Histograms keep every value until they are rendered or this runs. Ends with the process.
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });
    Ok(HANDLE.get_or_init(|| handle).clone())
}

fn describe() {
    for Metric { kind, name, help, .. } in METRICS {
        match kind {
            Kind::Counter => describe_counter!(*name, *help),
            Kind::Gauge => describe_gauge!(*name, *help),
            Kind::Histogram => describe_histogram!(*name, *help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_a_row_for_every_metric_and_no_other() {
        let readme = include_str!("../../README.md");
        let rows: Vec<&str> =
            readme.lines().filter(|line| line.starts_with("| `xmtp_indexer_")).collect();
        let expected: Vec<String> = METRICS
            .iter()
            .map(|Metric { kind, name, labels, help }| {
                format!("| `{name}` | {} | {labels} | {help} |", kind.as_str())
            })
            .collect();
        assert_eq!(rows, expected);
        assert!(METRICS.is_sorted_by_key(|metric| metric.name));
        assert!(METRICS.iter().all(|metric| metric.help.ends_with('.')));
    }

    #[tokio::test]
    async fn every_metric_is_rendered_with_its_help_text() {
        let handle = recorder().unwrap();
        for Metric { kind, name, .. } in METRICS {
            match kind {
                Kind::Counter => metrics::counter!(*name).increment(1),
                Kind::Gauge => metrics::gauge!(*name).set(1.0),
                Kind::Histogram => metrics::histogram!(*name).record(1.0),
            }
        }
        let rendered = handle.render();
        for Metric { name, help, .. } in METRICS {
            assert!(rendered.contains(&format!("# HELP {name} {help}\n")), "{name}: {rendered}");
        }
    }
}
