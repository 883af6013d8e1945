//! Both services together: started in order, stopped in order.

use std::{
    fmt, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{
    disk,
    error::{Context, EmbeddedError},
    first_start::FirstStart,
    identity,
    lock::{Announcement, Lock},
    owner::{self, Owner},
    ports::Ports,
    postgres::{self, Postgres},
    rabbitmq::{self, RabbitMq},
    secrets::{self, Secrets},
    tuning,
};

/// Which services are wanted, and what they may take.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether to run PostgreSQL: not when `DATABASE_URL` names one.
    pub postgres: bool,
    /// Whether to run RabbitMQ: not when `AMQP_URL` names one.
    pub rabbitmq: bool,
    /// The memory that the services are tuned for, in bytes: all that the machine gives us.
    pub memory_bytes: u64,
    /// Settings of PostgreSQL beyond its own: for benchmarks.
    pub postgres_settings: Vec<(&'static str, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            postgres: true,
            rabbitmq: true,
            memory_bytes: tuning::memory_bytes(),
            postgres_settings: Vec::new(),
        }
    }
}

/// A step of a start, for people who wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Looking for what an earlier run left.
    Recovering,
    /// A new cluster is made.
    CreatingPostgres,
    /// The server is started.
    StartingPostgres,
    /// The database answers on this port.
    PostgresReady(u16),
    /// The broker boots on this port, behind.
    StartingRabbitMq(u16),
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recovering => f.write_str("looking at what an earlier run left"),
            Self::CreatingPostgres => f.write_str("making a PostgreSQL cluster"),
            Self::StartingPostgres => f.write_str("starting PostgreSQL"),
            Self::PostgresReady(port) => write!(f, "PostgreSQL is ready on 127.0.0.1:{port}"),
            Self::StartingRabbitMq(port) => write!(f, "RabbitMQ is booting on 127.0.0.1:{port}"),
        }
    }
}

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Everything is written out first; takes a second or two.
    Graceful,
    /// At once. The next start recovers.
    Hard,
}

/// Who serves from the embedded database.
pub struct Login {
    /// The role.
    pub name: &'static str,
    /// A new password, good until the next one is made.
    pub password: String,
    /// Where it finds the database.
    pub url: String,
}

/// The services of a data folder, which is held as long as this lives.
pub struct Services {
    data_dir: PathBuf,
    postgres: Option<Postgres>,
    rabbitmq: Option<RabbitMq>,
    /// What other commands were told.
    announced: Mutex<Option<Announcement>>,
    // Last, so that it is let go last.
    lock: Lock,
}

impl Services {
    /// Takes the folder and starts what is wanted. Returns as soon as PostgreSQL answers;
    /// RabbitMQ boots behind (see [`Services::open_amqp`]).
    ///
    /// With nothing wanted it only takes the folder, so that two processes never share one.
    pub async fn start(
        data_dir: &Path,
        options: Options,
        on_progress: impl Fn(&Progress) + Send + Sync,
    ) -> Result<Self, EmbeddedError> {
        let data_dir = open(data_dir)?;
        let lock = Lock::take(&data_dir).await?;
        let mut services =
            Self { data_dir, postgres: None, rabbitmq: None, announced: Mutex::default(), lock };
        match services.bring_up(&options, &on_progress).await {
            Ok(()) => Ok(services),
            Err(error) => {
                services.stop(Stop::Graceful).await;
                Err(error)
            }
        }
    }

    async fn bring_up(
        &mut self,
        options: &Options,
        on_progress: &(impl Fn(&Progress) + Send + Sync),
    ) -> Result<(), EmbeddedError> {
        if !options.postgres && !options.rabbitmq {
            return Ok(());
        }
        let folder = |name: &str| self.data_dir.join(name);
        let (postgres_dir, rabbitmq_dir) = (folder("postgres"), folder("rabbitmq"));
        let (logs, pids) = (folder("logs"), folder("pids"));
        let postgres_programs =
            options.postgres.then(|| postgres::Programs::find(&postgres_dir)).transpose()?;
        let rabbitmq_programs = options.rabbitmq.then(rabbitmq::Programs::find).transpose()?;
        let owner = Owner::resolve(&[postgres_dir.clone(), rabbitmq_dir.clone()])?;
        owner.check_access(&self.data_dir)?;
        on_progress(&Progress::Recovering);
        tokio::join!(
            postgres::stop_leftover(&postgres_dir, &pids),
            rabbitmq::stop_leftover(&rabbitmq_dir, &pids)
        );
        let free_disk = disk::check(&self.data_dir)?;
        let opened = [postgres_dir.join("data"), rabbitmq_dir.join("mnesia")];
        let is_copy = identity::is_copy(&self.data_dir)?;
        if is_copy {
            tracing::warn!(
                "this data folder was copied or moved: it gets ports and passwords of its own"
            );
            if opened[0].exists() {
                owner.file(&postgres_dir.join(postgres::STALE_PASSWORD), "")?;
            }
        }
        let (secrets, ports) = match is_copy {
            false => (Secrets::load(&self.data_dir, &opened)?, Ports::choose(&self.data_dir)?),
            true => (Secrets::make(&self.data_dir)?, Ports::choose_anew(&self.data_dir)?),
        };
        // Everything that a copy must not share is replaced, or marked to be.
        identity::remember(&self.data_dir)?;
        for folder in [&logs, &pids] {
            fs::create_dir_all(folder)
                .context(|| format!("make the folder {}", folder.display()))?;
        }

        if let Some(programs) = postgres_programs {
            owner.folder(&postgres_dir)?;
            owner.folder(&postgres_dir.join("sock"))?;
            let plan = postgres::Plan {
                folder: postgres_dir,
                log: logs.join("postgres.log"),
                pids: pids.clone(),
                programs,
                owner: owner.clone(),
                port: ports.postgres,
                password: secrets.postgres.clone(),
                memory: options.memory_bytes,
                free_disk,
                settings: options.postgres_settings.clone(),
            };
            if !plan.is_created() {
                on_progress(&Progress::CreatingPostgres);
                plan.create().await?;
            }
            plan.renew_password().await?;
            on_progress(&Progress::StartingPostgres);
            self.postgres = Some(plan.start().await?);
            on_progress(&Progress::PostgresReady(ports.postgres));
        }
        if let Some(programs) = rabbitmq_programs {
            let first_start = FirstStart::new(&rabbitmq_dir, rabbitmq_dir.join("mnesia"));
            let plan = rabbitmq::Plan {
                first_start,
                folder: rabbitmq_dir,
                logs,
                pids,
                programs,
                owner,
                ports,
                secrets,
                memory: options.memory_bytes,
            };
            self.rabbitmq = Some(plan.start().await?);
            on_progress(&Progress::StartingRabbitMq(ports.amqp));
        }
        Ok(())
    }

    /// How to reach the embedded database, which answers. None when it was not wanted.
    pub fn postgres_url(&self) -> Option<&str> {
        self.postgres.as_ref().map(Postgres::url)
    }

    /// How processes on this machine reach the embedded database at the least cost. None when it was not wanted.
    pub fn local_postgres_url(&self) -> Option<&str> {
        self.postgres.as_ref().map(Postgres::local_url)
    }

    /// A login for those who serve, for the database to be told about. None when the database is not embedded. One process
    /// holds the folder at a time, so a new password is made whenever one is needed, and kept nowhere.
    pub fn reader_login(&self) -> Result<Option<Login>, EmbeddedError> {
        let name = "xmtp_serve";
        let Some(postgres) = &self.postgres else { return Ok(None) };
        let password = secrets::random_hex()?;
        let url = postgres.url_as(name, &password);
        Ok(Some(Login { name, password, url }))
    }

    /// The URL of the embedded broker, which may still be booting. None when it was not wanted, or while its first start is
    /// not complete; see [`Services::open_amqp`].
    pub fn amqp_url(&self) -> Option<&str> {
        let usable = self.rabbitmq.as_ref().filter(|broker| !broker.is_first_start());
        usable.map(RabbitMq::url)
    }

    /// Waits until the embedded broker answers, has the queues declared, and returns when they would survive a crash of
    /// the broker. The broker is then announced to other commands.
    ///
    /// `declare` gets the broker's URL. On the broker's first start it must not publish: a start that is cut short until
    /// this returns makes the broker's data anew.
    pub async fn open_amqp<T, E: From<EmbeddedError>>(
        &self,
        declare: impl AsyncFnOnce(&str) -> Result<T, E>,
    ) -> Result<T, E> {
        let broker = self.rabbitmq.as_ref().ok_or(EmbeddedError::NotRunHere("RabbitMQ"))?;
        broker.wait_ready().await?;
        let declared = declare(broker.url()).await?;
        broker.complete_first_start().await?;
        let announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(what) = announced {
            self.announce(what)?;
        }
        Ok(declared)
    }

    /// The process ids of the children right now: PostgreSQL's server, the broker, its port mapper.
    pub fn pids(&self) -> Vec<u32> {
        let postgres = self.postgres.as_ref().and_then(Postgres::pid);
        let rabbitmq = self.rabbitmq.as_ref().map(RabbitMq::pids).unwrap_or_default();
        postgres.into_iter().chain(rabbitmq).collect()
    }

    /// The folder, absolute.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Tells other commands on this machine where everything answers; see [`running`].
    /// The embedded broker is named as soon as it may be used.
    pub fn announce(&self, mut what: Announcement) -> Result<(), EmbeddedError> {
        let mut announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        *announced = Some(what.clone());
        what.database_url = what.database_url.or_else(|| self.postgres_url().map(str::to_owned));
        what.amqp_url = what.amqp_url.or_else(|| self.amqp_url().map(str::to_owned));
        self.lock.announce(what)
    }

    /// Stops the broker, then the database. Their clients should be gone by then. Says whether
    /// everything went; calling it again is harmless.
    pub async fn stop(&self, how: Stop) -> bool {
        self.lock.withdraw();
        let hard = how == Stop::Hard;
        let mut gone = true;
        if let Some(rabbitmq) = &self.rabbitmq {
            gone &= rabbitmq.stop(hard).await;
        }
        if let Some(postgres) = &self.postgres {
            gone &= postgres.stop(hard).await;
        }
        gone
    }
}

impl Drop for Services {
    /// For those who forget to stop: nothing is waited for, nothing is lost (the next start
    /// recovers). After a stop there is nobody left to tell.
    fn drop(&mut self) {
        if let Some(rabbitmq) = &self.rabbitmq {
            rabbitmq.abandon();
        }
        if let Some(postgres) = &self.postgres {
            postgres.abandon();
        }
    }
}

/// Makes the folder. Everybody may pass through it (to the subfolders, which are closed to all but
/// their owner), nobody else may look around.
fn open(data_dir: &Path) -> Result<PathBuf, EmbeddedError> {
    let name = data_dir.to_string_lossy();
    if name.chars().any(char::is_control) {
        return Err(EmbeddedError::UnusableName { name: name.into_owned() });
    }
    let made = !data_dir.exists();
    fs::create_dir_all(data_dir).context(|| format!("make the folder {}", data_dir.display()))?;
    let data_dir =
        fs::canonicalize(data_dir).context(|| format!("find the folder {}", data_dir.display()))?;
    let found = fs::metadata(&data_dir).context(|| format!("look at {}", data_dir.display()))?;
    owner::check_ownership(&data_dir, &found)?;
    let mode = found.permissions().mode();
    let wanted = if made { 0o711 } else { mode | 0o111 };
    if mode & 0o7777 != wanted & 0o7777 {
        fs::set_permissions(&data_dir, fs::Permissions::from_mode(wanted))
            .context(|| format!("set the permissions of {}", data_dir.display()))?;
    }
    Ok(data_dir)
}
