//! `up`: every role in one process, with private services where none are configured.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use devnet::{Devnet, Generator};
use embedded::{Announcement, Options, Services, Stop};
use ingest::Queue;
use store::{
    Store,
    grants::{BY_HAND, Readers},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Context,
    roles::{Operations, devnet_source, sources},
};
use crate::{
    config::Config,
    operations,
    output::{note, say},
    progress, reach, role,
    supervise::Roles,
    waiting::Wait,
};

/// A wallet of the capture that has bundles, invitations and conversations, for the first query.
const A_WALLET: &str = "0xF0AaB66E6c64557D426d80F0067042067ac2df8B";

/// How long the private services may take to stop when everything else has used up the budget of the shutdown.
const SERVICES: Duration = Duration::from_secs(4);

/// Runs everything in one process. Without DATABASE_URL and AMQP_URL it runs a private PostgreSQL
/// and a private RabbitMQ in the data folder, and keeps them there between runs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Adds a local network that plays captured real traffic and then generates more
    #[arg(long)]
    devnet: bool,
    /// How many new envelopes the local network generates per second
    #[arg(long, value_name = "RATE", default_value_t = 20, requires = "devnet")]
    devnet_rate: u32,
    /// A public network to read from
    #[arg(long, value_enum)]
    pub network: Option<Network>,
    /// A node to read from, KIND=URL, for example message-api=http://127.0.0.1:5556 (repeatable)
    #[arg(long = "source", value_name = "KIND=URL")]
    pub sources: Vec<String>,
    /// Where to serve GraphQL
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

/// The public networks of V1 and V2.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Network {
    /// dev.xmtp.network
    Dev,
    /// production.xmtp.network
    Production,
}

impl Network {
    /// Its name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Network::Dev => "dev",
            Network::Production => "production",
        }
    }

    /// Where its nodes answer.
    pub fn source(self) -> String {
        format!("message-api=https://grpc.{}.xmtp.network:443", self.name())
    }
}

/// Runs the command.
pub async fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let Context { config, shutdown, health } = &context;
    // Wrong settings are reported before anything is started.
    let sources = sources(config)?;
    operations::serve(config, health)?;
    let options = Options {
        postgres: config.database.url.is_none(),
        rabbitmq: config.queue.url.is_none(),
        ..Options::default()
    };
    let services = tokio::select! {
        services = Services::start(&config.data_dir, options, |step| note!("  … {step}")) => services?,
        () = shutdown.requested() => return Ok(()),
    };
    let outcome = with_services(&args, &context, sources, &services).await;
    shutdown.request();
    note!("  … stopping the private services");
    // The services keep their data however they are stopped; after a hard stop the next start recovers.
    let limit = shutdown.deadline() + SERVICES;
    if tokio::time::timeout_at(limit, services.stop(Stop::Graceful)).await.is_err() {
        services.stop(Stop::Hard).await;
    }
    outcome
}

async fn with_services(
    args: &Args,
    context: &Context,
    mut sources: Vec<ingest::Source>,
    services: &Services,
) -> anyhow::Result<()> {
    let Context { config, shutdown, health } = context;
    let database_url = match (&config.database.url, services.local_postgres_url()) {
        (Some(url), _) => url.expose(),
        (None, Some(url)) => url,
        (None, None) => anyhow::bail!("no database"),
    };
    let wait = args.wait;
    let prepare = || prepare(config, database_url, services);
    let Prepared { store, readers, login } =
        wait.for_service("PostgreSQL", shutdown, health, prepare).await?;
    role::needs_store(health, &store);

    // The API and the projector need no broker, and the broker boots for seconds.
    let mut roles = Roles::new(health.clone());
    role::start_project(&mut roles, &store, config)?;
    let known_queue = Arc::new(OnceLock::new());
    let addr = role::start_serve(&mut roles, readers, config, known_queue.clone(), health)?;
    let http_url = format!("http://{addr}");

    let devnet = match args.devnet {
        true => Some(start_devnet(args, &config.data_dir).await?),
        false => None,
    };
    if let Some(devnet) = &devnet {
        sources.push(devnet_source(devnet.grpc_url())?);
    }
    let announcement = Announcement {
        database_url: config.database.url.as_ref().map(|url| url.expose().to_owned()),
        reader_url: login,
        amqp_url: config.queue.url.as_ref().map(|url| url.expose().to_owned()),
        http_url: Some(http_url.clone()),
        node_url: devnet.as_ref().map(Devnet::grpc_url),
        network: Some(config.network.clone()),
    };
    services.announce(announcement)?;

    let open = || open_queue(config, services);
    let outcome = match wait.for_service("RabbitMQ", shutdown, health, open).await {
        Ok(queue) => {
            known_queue.set(queue.clone()).ok();
            role::needs_queue(health, &queue);
            role::start_index(&mut roles, &queue, &store, config);
            role::start_pull(&mut roles, sources.clone(), &queue, &store, config)?;
            print_addresses(&http_url, services, devnet.as_ref(), &sources).ok();
            // Only shows: roles are watched meanwhile, and report their own errors.
            let goal = devnet.as_ref().map_or(0, Devnet::stored);
            let showing = AbortOnDropHandle::new(tokio::spawn(show_catching_up(store, goal)));
            let outcome = roles.until_stopped(shutdown).await;
            drop(showing);
            outcome
        }
        Err(error) => {
            let stopping = shutdown.is_requested();
            shutdown.request();
            let stopped = roles.until_stopped(shutdown).await;
            if stopping { stopped } else { Err(error) }
        }
    };
    if let Some(devnet) = devnet {
        tokio::time::timeout_at(shutdown.deadline(), devnet.stop()).await.ok();
    }
    outcome
}

/// The database at this program's version, opened for writers and for readers.
struct Prepared {
    store: Store,
    readers: Store,
    /// The address of the readers' own login, where the private PostgreSQL has one.
    login: Option<String>,
}

async fn prepare(
    config: &Config,
    database_url: &str,
    services: &Services,
) -> anyhow::Result<Prepared> {
    let store = reach::connect(config, database_url).await?;
    let migrated = store.migrate().await?;
    store.check_network(&config.network).await?;
    store.extend_partitions().await?;
    let login = match services.reader_login()? {
        Some(login) => {
            store.reader_login(login.name, &login.password).await?;
            Some(login.url)
        }
        None => None,
    };
    if migrated.readers == Readers::NoRole {
        tracing::warn!(
            "readers have no role of their own; an administrator can create it: {BY_HAND}"
        );
    }
    let readers = reach::readers(config, database_url, login.as_deref()).await?;
    Ok(Prepared { store, readers, login })
}

async fn open_queue(config: &Config, services: &Services) -> anyhow::Result<Queue> {
    let connect = async |url: &str| -> anyhow::Result<Queue> {
        Ok(Queue::connect(url, config.names()?, &config.network).await?)
    };
    match &config.queue.url {
        Some(url) => connect(url.expose()).await,
        None => services.open_amqp(connect).await,
    }
}

/// The capture is compiled in and written to a file, because a devnet plays files.
async fn start_devnet(args: &Args, data_dir: &Path) -> anyhow::Result<Devnet> {
    let folder = data_dir.join("devnet");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let capture: PathBuf = folder.join("legacy-a.ndjson.gz");
    std::fs::write(&capture, devnet::CAPTURE)
        .with_context(|| format!("cannot write {}", capture.display()))?;
    let options = devnet::Options {
        captures: vec![capture],
        http: Some(([127, 0, 0, 1], 0).into()),
        generate: (args.devnet_rate > 0).then(|| Generator {
            rate: Some(args.devnet_rate),
            keep: Some(200_000),
            ..Generator::new(1)
        }),
        wait_for_subscriber: true,
        ..devnet::Options::default()
    };
    // Stopped by hand, after the pullers: a stream that ends first would look like a gap.
    Ok(Devnet::start(options, tokio_util::sync::CancellationToken::new()).await?)
}

/// Prints where the API, the services and the data are.
fn print_addresses(
    http_url: &str,
    services: &Services,
    devnet: Option<&Devnet>,
    sources: &[ingest::Source],
) -> anyhow::Result<()> {
    say!()?;
    say!("  GraphQL    {http_url}/graphql")?;
    say!("  GraphiQL   {http_url}/graphiql")?;
    say!("  Health     {http_url}/healthz, {http_url}/readyz")?;
    say!("  Metrics    {http_url}/metrics")?;
    if let Some(devnet) = devnet {
        say!(
            "  Devnet     {} (gRPC), {} (HTTP/JSON)",
            devnet.grpc_url(),
            devnet.http_url().unwrap_or_default()
        )?;
    }
    for source in sources.iter().filter(|source| source.name != "devnet") {
        say!("  Source     {} ({}) {}", source.name, source.kind, source.urls.join(", "))?;
    }
    say!("  Data       {}", services.data_dir().display())?;
    if devnet.is_some() {
        say!()?;
        say!("  Try        curl -s {http_url}/graphql -H 'content-type: application/json' \\")?;
        say!(
            "               -d '{{\"query\":\"{{ account(address: \\\"{A_WALLET}\\\") {{ contactBundle {{ version verification }} invites(first: 3) {{ totalCount nodes {{ sender {{ address }} recipient {{ address }} createdAt }} }} }} }}\"}}'"
        )?;
    } else if sources.is_empty() {
        say!()?;
        say!(
            "  No source is configured: `xmtp-indexer import FILE` brings envelopes in, --source or --devnet reads nodes"
        )?;
    }
    say!()
}

/// Shows how far projections are behind the log and `goal`, until they have caught up.
async fn show_catching_up(store: Store, goal: usize) {
    let bar = progress::bar("envelopes indexed", 0);
    let began = std::time::Instant::now();
    loop {
        match reached(&store).await {
            Ok((head, served)) => {
                bar.set_length(goal.max(head) as u64);
                bar.set_position(served as u64);
                if served >= goal && served >= head.saturating_sub(100) {
                    bar.finish_and_clear();
                    say!(
                        "  Indexed    {served} envelopes in {:.1} s; new ones follow as they come. Ctrl-C stops and keeps the data.",
                        began.elapsed().as_secs_f64()
                    ).ok();
                    return;
                }
            }
            // The roles report and outlast a database that is away.
            Err(error) => tracing::debug!(%error, "cannot read how far projections are"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The head of the log, and the position of the projections that are furthest: the head that answers have.
async fn reached(store: &Store) -> store::Result<(usize, usize)> {
    let head = store.head().await?.0;
    let served = store.watermarks().await?.iter().map(|mark| mark.position.0).max();
    let count = |position: i64| usize::try_from(position).unwrap_or(0);
    Ok((count(head), count(served.unwrap_or(0))))
}
