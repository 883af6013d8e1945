//! The command line: arguments, how errors are shown, exit codes.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    command::{self, Context},
    config::{Config, ConfigError, Overrides, Variables},
    health::Health,
    output::{self, Closed, note},
    shutdown::Shutdown,
    telemetry,
};

/// The exit code for wrong usage or configuration; clap uses the same.
const USAGE: u8 = 2;

/// Indexes XMTP: stores the envelopes of nodes in PostgreSQL and serves them as GraphQL.
#[derive(Debug, Parser)]
#[command(name = "xmtp-indexer", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Flags of every command.
#[derive(Debug, Args)]
struct Global {
    /// The configuration file [default: ./xmtp-indexer.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder of the program and of the embedded services [default: ./data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Sets any key of the configuration, for example http.listen=127.0.0.1:9000
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Prints the settings in force, without secrets, and exits
    #[arg(long, global = true)]
    print_config: bool,
    /// Shows the whole chain of causes of an error
    #[arg(long, short, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(command::up::Args),
    Pull(command::roles::PullArgs),
    Index(command::roles::IndexArgs),
    Project(command::roles::ProjectArgs),
    Serve(command::roles::ServeArgs),
    Migrate(command::migrate::Args),
    Crawl(command::crawl::Args),
    Import(command::import::Args),
    Export(command::export::Args),
    Rebuild(command::rebuild::Args),
    Erase(command::erase::Args),
    Parked(command::parked::Args),
    Status(command::status::Args),
    Sources(command::sources::Args),
    Keys(command::keys::Args),
    Devnet(command::devnet::Args),
    Schema(command::schema::Args),
    #[command(hide = true)]
    Services(command::services::Args),
}

impl Command {
    /// Sets the keys of the configuration that the flags of a command set.
    fn overrides(&self, overrides: &mut Overrides) {
        let operations = match self {
            Self::Up(command::up::Args { operations, .. })
            | Self::Pull(command::roles::PullArgs { operations, .. })
            | Self::Index(command::roles::IndexArgs { operations, .. })
            | Self::Project(command::roles::ProjectArgs { operations, .. })
            | Self::Serve(command::roles::ServeArgs { operations, .. }) => Some(operations),
            _ => None,
        };
        if let Some(address) = operations.and_then(|flags| flags.metrics_listen.as_ref()) {
            overrides.set("metrics.listen", address);
        }
        let mut listen = |address: &Option<String>, public: bool| {
            if let Some(address) = address {
                overrides.set("http.listen", address);
            }
            if public {
                overrides.set("http.public", "true");
            }
        };
        match self {
            Self::Up(args) => {
                listen(&args.listen, args.public);
                let mut sources = args.sources.clone();
                if let Some(network) = args.network {
                    sources.push(network.source());
                    overrides.set("network", network.name());
                }
                if !sources.is_empty() {
                    overrides.set("sources", sources.join(","));
                }
            }
            Self::Pull(args) if !args.sources.is_empty() => {
                overrides.set("sources", args.sources.join(","))
            }
            Self::Serve(args) => listen(&args.listen, args.public),
            _ => {}
        }
    }

    async fn run(self, context: Context) -> anyhow::Result<()> {
        match self {
            Self::Up(args) => command::up::run(args, context).await,
            Self::Pull(args) => command::roles::pull(args, context).await,
            Self::Index(args) => command::roles::index(args, context).await,
            Self::Project(args) => command::roles::project(args, context).await,
            Self::Serve(args) => command::roles::serve(args, context).await,
            Self::Migrate(args) => command::migrate::run(args, context).await,
            Self::Crawl(args) => command::crawl::run(args, context).await,
            Self::Import(args) => command::import::run(args, context).await,
            Self::Export(args) => command::export::run(args, context).await,
            Self::Rebuild(args) => command::rebuild::run(args, context).await,
            Self::Erase(args) => command::erase::run(args, context).await,
            Self::Parked(args) => command::parked::run(args, context).await,
            Self::Status(args) => command::status::run(args, context).await,
            Self::Sources(args) => command::sources::run(args, context).await,
            Self::Keys(args) => command::keys::run(args, context).await,
            Self::Devnet(args) => command::devnet::run(args, context).await,
            Self::Schema(args) => command::schema::run(&args, &context),
            Self::Services(args) => command::services::run(args, context).await,
        }
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let verbose = cli.global.verbose;
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Closed>() => ExitCode::SUCCESS,
        Err(error) => {
            note!("error: {}", one_line(&error, verbose));
            code(&error)
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    let variables = Variables::of_process();
    let config = settings(&cli, &variables)?;
    if cli.global.print_config {
        output::print(format_args!("{}", config.show()))?;
        return Ok(());
    }
    let Some(command) = cli.command else {
        return Err(
            ConfigError::Usage("no command is given; see xmtp-indexer --help".to_owned()).into()
        );
    };
    telemetry::init(&config.log, variables.rust_log())?;
    // One TLS provider for the process; a second call (in a test) changes nothing.
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals()?;
        command.run(Context { config, shutdown, health: Health::default() }).await
    })
}

fn settings(cli: &Cli, variables: &Variables) -> Result<Config, ConfigError> {
    let mut overrides = Overrides::default();
    for pair in &cli.global.set {
        overrides.set_pair(pair)?;
    }
    if let Some(command) = &cli.command {
        command.overrides(&mut overrides);
    }
    if let Some(folder) = &cli.global.data_dir {
        overrides.set("data_dir", folder.display().to_string());
    }
    Config::load(cli.global.config.as_deref(), variables, &overrides)
}

fn code(error: &anyhow::Error) -> ExitCode {
    let ours = error.chain().any(|cause| cause.is::<ConfigError>());
    if ours { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
}

/// The error on one line: what failed, and its root cause. Also all causes in between,
/// one per line, if `verbose`.
fn one_line(error: &anyhow::Error, verbose: bool) -> String {
    let flat = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut line = flat(error.to_string());
    let root = flat(error.root_cause().to_string());
    // Many errors include the text of their cause.
    if !line.contains(&root) {
        line = format!("{line}: {root}");
    }
    for cause in error.chain().skip(1).filter(|_| verbose) {
        line.push_str(&format!("\n  caused by: {}", flat(cause.to_string())));
    }
    line
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn errors_are_one_line_and_configuration_errors_are_told_apart() {
        let io = std::io::Error::other("refused");
        let error = anyhow::Error::new(io).context("cannot reach\n  the node");
        assert_eq!(one_line(&error, false), "cannot reach the node: refused");
        let all = one_line(&error, true);
        assert_eq!(all, "cannot reach the node: refused\n  caused by: refused");
        assert_eq!(code(&error), ExitCode::FAILURE);
        let usage = anyhow::Error::new(ConfigError::Usage("no".to_owned())).context("while");
        assert_eq!(code(&usage), ExitCode::from(USAGE));
    }
}
