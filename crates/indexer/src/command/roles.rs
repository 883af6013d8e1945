//! `pull`, `index`, `project`, `serve`: one role a process, for running on many machines.

use anyhow::bail;
use ingest::Puller;

use super::Context;
use crate::{
    config::{Config, ConfigError},
    reach,
    role::{self, Roles},
    web,
};

/// Reads from nodes into the queue.
#[derive(Debug, clap::Args)]
pub struct PullArgs {
    /// A node to read from, KIND=URL, for example message-api=http://127.0.0.1:5556 (repeatable)
    #[arg(long = "source", value_name = "KIND=URL")]
    pub sources: Vec<String>,
}

/// Runs `pull`.
pub async fn pull(_: PullArgs, context: Context) -> anyhow::Result<()> {
    let config = &context.config;
    let sources = sources(config)?;
    if sources.is_empty() {
        bail!(ConfigError::Usage(
            "no source: give --source KIND=URL, or [[sources]] in the configuration".into()
        ));
    }
    let store = reach::migrated_store(config).await?;
    let queue = reach::queue(config).await?;
    let mut roles = Roles::default();
    for source in sources {
        let puller = Puller {
            source,
            queue: queue.clone(),
            store: store.clone(),
            options: role::pulling(config)?,
        };
        roles.start("pull", |stop| puller.run(stop));
    }
    roles.until_stopped(&context.shutdown).await
}

/// Writes what is in the queue into the log.
#[derive(Debug, clap::Args)]
pub struct IndexArgs {}

/// Runs `index`.
pub async fn index(_: IndexArgs, context: Context) -> anyhow::Result<()> {
    let store = reach::migrated_store(&context.config).await?;
    let worker = role::index(store, reach::queue(&context.config).await?, &context.config);
    let mut roles = Roles::default();
    roles.start("index", |stop| worker.run(stop));
    roles.until_stopped(&context.shutdown).await
}

/// Derives tables from the log, and erases what the rules of retention want erased.
#[derive(Debug, clap::Args)]
pub struct ProjectArgs {}

/// Runs `project`.
pub async fn project(_: ProjectArgs, context: Context) -> anyhow::Result<()> {
    let store = reach::migrated_store(&context.config).await?;
    let mut roles = Roles::default();
    role::start_project(&mut roles, &store, &context.config)?;
    roles.until_stopped(&context.shutdown).await
}

/// Serves GraphQL.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Serves others on purpose: without a key, too, unless api.keys = "required"; lists need one (api.listings)
    #[arg(long)]
    pub public: bool,
}

/// Runs `serve`.
pub async fn serve(_: ServeArgs, context: Context) -> anyhow::Result<()> {
    let store = reach::found_readers(&context.config).await?;
    let server = web::bind(store, &context.config, Default::default())?;
    println!("GraphQL  http://{}/graphql", server.addr());
    let mut roles = Roles::default();
    roles.start("serve", |stop| server.run(stop));
    roles.until_stopped(&context.shutdown).await
}

/// The configured sources, each with a name and a known kind.
pub fn sources(config: &Config) -> anyhow::Result<Vec<ingest::Source>> {
    let mut sources: Vec<ingest::Source> = Vec::new();
    for source in &config.sources {
        let kind = source
            .kind
            .parse()
            .map_err(|error: ingest::source::UnknownKind| ConfigError::Usage(error.to_string()))?;
        let url = source.url.expose().to_owned();
        let name = source.name.clone().unwrap_or_else(|| name_of(&url));
        if sources.iter().any(|other| other.name == name) {
            bail!(ConfigError::Usage(format!(
                "two sources are named `{name}`: give each a name of its own"
            )));
        }
        sources.push(ingest::Source { name, kind, url });
    }
    Ok(sources)
}

/// Host and port: what tells nodes apart.
fn name_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?']).next().unwrap_or(rest);
    host.rsplit_once('@').map_or(host, |(_, host)| host).to_owned()
}
