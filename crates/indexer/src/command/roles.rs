//! `pull`, `index`, `project`, `serve`: one role a process, for running on many machines.

use std::sync::Arc;

use anyhow::bail;
use ingest::Queue;
use store::Store;

use super::Context;
use crate::{
    config::{Config, ConfigError},
    operations,
    output::say,
    reach, role,
    supervise::Roles,
    waiting::Wait,
};

/// The flags of a process that operators watch.
#[derive(Debug, clap::Args)]
pub struct Operations {
    /// Where to serve /healthz, /readyz and /metrics, for operators only: it requires no key
    #[arg(long, value_name = "ADDR")]
    pub metrics_listen: Option<String>,
}

/// Reads envelopes from nodes and publishes them to the queue.
#[derive(Debug, clap::Args)]
pub struct PullArgs {
    /// A node to read from, KIND=URL, for example message-api=http://127.0.0.1:5556 (repeatable)
    #[arg(long = "source", value_name = "KIND=URL")]
    pub sources: Vec<String>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    pub(crate) operations: Operations,
}

/// Runs `pull`.
pub async fn pull(args: PullArgs, context: Context) -> anyhow::Result<()> {
    let sources = sources(&context.config)?;
    if sources.is_empty() {
        bail!(ConfigError::Usage(
            "no source: give --source KIND=URL, or [[sources]] in the configuration".into()
        ));
    }
    let mut roles = watched(&context)?;
    let store = store(args.wait, &context).await?;
    let queue = queue(args.wait, &context).await?;
    role::start_pull(&mut roles, sources, &queue, &store, &context.config)?;
    roles.until_stopped(&context.shutdown).await
}

/// Writes envelopes from the queue into the log.
#[derive(Debug, clap::Args)]
pub struct IndexArgs {
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    pub(crate) operations: Operations,
}

/// Runs `index`.
pub async fn index(args: IndexArgs, context: Context) -> anyhow::Result<()> {
    let mut roles = watched(&context)?;
    let store = store(args.wait, &context).await?;
    let queue = queue(args.wait, &context).await?;
    role::start_index(&mut roles, &queue, &store, &context.config);
    roles.until_stopped(&context.shutdown).await
}

/// Writes derived tables from the log, and applies the rules of retention.
#[derive(Debug, clap::Args)]
pub struct ProjectArgs {
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    pub(crate) operations: Operations,
}

/// Runs `project`.
pub async fn project(args: ProjectArgs, context: Context) -> anyhow::Result<()> {
    let mut roles = watched(&context)?;
    let store = store(args.wait, &context).await?;
    role::start_project(&mut roles, &store, &context.config)?;
    roles.until_stopped(&context.shutdown).await
}

/// Serves GraphQL.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Serves the public, also without a key unless api.keys = "required"; unfiltered lists need a key (api.listings)
    #[arg(long)]
    pub public: bool,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    pub(crate) operations: Operations,
}

/// Runs `serve`.
pub async fn serve(args: ServeArgs, context: Context) -> anyhow::Result<()> {
    let Context { config, shutdown, health } = &context;
    let mut roles = watched(&context)?;
    let connect = || reach::found_readers(config);
    let store = args.wait.for_service("PostgreSQL", shutdown, health, connect).await?;
    role::needs_store(health, &store);
    let addr = role::start_serve(&mut roles, store, config, Arc::default(), health)?;
    say!("GraphQL  http://{addr}/graphql").ok();
    roles.until_stopped(shutdown).await
}

/// Starts the operators' port, before there are any roles.
fn watched(context: &Context) -> anyhow::Result<Roles> {
    operations::serve(&context.config, &context.health)?;
    Ok(Roles::new(context.health.clone()))
}

/// The database, which the process needs from now on.
pub(super) async fn store(wait: Wait, context: &Context) -> anyhow::Result<Store> {
    let Context { config, shutdown, health } = context;
    let connect = || reach::migrated_store(config);
    let store = wait.for_service("PostgreSQL", shutdown, health, connect).await?;
    role::needs_store(health, &store);
    Ok(store)
}

/// The broker, which the process needs from now on.
pub(super) async fn queue(wait: Wait, context: &Context) -> anyhow::Result<Queue> {
    let Context { config, shutdown, health } = context;
    let connect = || reach::queue(config);
    let queue = wait.for_service("RabbitMQ", shutdown, health, connect).await?;
    role::needs_queue(health, &queue);
    Ok(queue)
}

/// The configured sources, each with a name and a known kind.
pub fn sources(config: &Config) -> anyhow::Result<Vec<ingest::Source>> {
    let mut sources: Vec<ingest::Source> = Vec::new();
    for source in &config.sources {
        let kind = source
            .kind
            .parse()
            .map_err(|error: ingest::source::UnknownKind| ConfigError::Usage(error.to_string()))?;
        let urls: Vec<String> = source.addresses().map(str::to_owned).collect();
        let name = source
            .name
            .clone()
            .unwrap_or_else(|| urls.first().map(|url| name_of(url)).unwrap_or_default());
        if sources.iter().any(|other| other.name == name) {
            bail!(ConfigError::Usage(format!(
                "two sources are named `{name}`: give each a name of its own"
            )));
        }
        let (budget, options) = (source.budget, source.options.clone());
        let source = ingest::Source { name, kind, urls, options, budget };
        // Wrong addresses and options are reported before anything is started.
        source.reader().map_err(|error| ConfigError::Usage(error.to_string()))?;
        sources.push(source);
    }
    Ok(sources)
}

/// The local network of `up --devnet`.
pub fn devnet_source(url: String) -> anyhow::Result<ingest::Source> {
    Ok(ingest::Source::new("devnet", "message-api".parse()?, url))
}

/// Host and port, which distinguish nodes.
fn name_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?']).next().unwrap_or(rest);
    host.rsplit_once('@').map_or(host, |(_, host)| host).to_owned()
}
