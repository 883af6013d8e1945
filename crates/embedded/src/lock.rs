//! Who has the data folder, and where its services are to be found.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{ErrorKind, Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::{
    error::{Context, EmbeddedError},
    process::Identity,
    secrets::write_private,
};

/// A look at the lock (`running`) holds it for an instant; a start must not fail because of that.
const TRIES: u32 = 10;

/// What a running holder of a data folder tells other commands.
#[derive(Clone, Serialize, Deserialize)]
pub struct Running {
    /// The holder's process id.
    pub pid: u32,
    /// The folder that it holds: a copy of the folder holds a copy of this.
    pub data_dir: PathBuf,
    /// When it took the folder, RFC 3339.
    pub since: String,
    /// How to reach its database. Holds a password.
    pub database_url: Option<String>,
    /// How those who serve reach it, who may do no more than read. Holds a password.
    #[serde(default)]
    pub reader_url: Option<String>,
    /// How to reach its broker. Holds a password.
    pub amqp_url: Option<String>,
    /// Where its HTTP server answers.
    pub http_url: Option<String>,
    /// Where its local network's node answers.
    pub node_url: Option<String>,
    /// The name of the network that its database holds.
    #[serde(default)]
    pub network: Option<String>,
}

/// Where the holder's own servers answer; the embedded services are filled in.
#[derive(Clone, Debug, Default)]
pub struct Announcement {
    /// How to reach the database, when it is not the embedded one.
    pub database_url: Option<String>,
    /// How those who serve reach it, when they have a login of their own.
    pub reader_url: Option<String>,
    /// How to reach the broker, when it is not the embedded one.
    pub amqp_url: Option<String>,
    /// Where the HTTP server answers.
    pub http_url: Option<String>,
    /// Where the local network's node answers.
    pub node_url: Option<String>,
    /// The name of the network that the database holds.
    pub network: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Holder {
    pid: u32,
    since: String,
}

/// The data folder, held by this process until this is dropped or the process ends, however.
pub(crate) struct Lock {
    _file: File,
    data_dir: PathBuf,
    holder: Holder,
}

impl Lock {
    /// Takes the folder, or says who has it.
    pub(crate) async fn take(data_dir: &Path) -> Result<Self, EmbeddedError> {
        let path = data_dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .context(|| format!("write to {}", path.display()))?;
        let mut tries = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries < TRIES => tries += 1,
                Err(TryLockError::WouldBlock) => return Err(held(data_dir, &path)),
                Err(TryLockError::Error(error)) => {
                    return Err(error).context(|| format!("lock {}", path.display()));
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
        let since = chrono::Local::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, false);
        let holder = Holder { pid: std::process::id(), since };
        let text = serde_json::to_string(&holder)
            .map_err(std::io::Error::from)
            .context(|| "write down who holds the data folder".to_owned())?;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .context(|| format!("write {}", path.display()))?;
        let lock = Self { _file: file, data_dir: data_dir.to_path_buf(), holder };
        // What an earlier holder announced, and could not take back, is not true any more.
        lock.withdraw();
        Ok(lock)
    }

    /// Tells other commands where everything is.
    pub(crate) fn announce(&self, what: Announcement) -> Result<(), EmbeddedError> {
        let running = Running {
            pid: self.holder.pid,
            data_dir: self.data_dir.clone(),
            since: self.holder.since.clone(),
            database_url: what.database_url,
            reader_url: what.reader_url,
            amqp_url: what.amqp_url,
            http_url: what.http_url,
            node_url: what.node_url,
            network: what.network,
        };
        let text = serde_json::to_string_pretty(&running)
            .map_err(std::io::Error::from)
            .context(|| "write down what runs".to_owned())?;
        write_private(&announced(&self.data_dir), &text)
    }

    pub(crate) fn withdraw(&self) {
        match fs::remove_file(announced(&self.data_dir)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%error, "running.json could not be removed");
            }
            _ => {}
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// What runs on this data folder, if somebody really holds it and has said so.
pub fn running(data_dir: &Path) -> Result<Option<Running>, EmbeddedError> {
    let path = data_dir.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(|| format!("read {}", path.display())),
    };
    match file.try_lock_shared() {
        // Nobody holds it, whatever was announced.
        Ok(()) => return Ok(None),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => {
            return Err(error).context(|| format!("look at {}", path.display()));
        }
    }
    let path = announced(data_dir);
    let running: Running = match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .map_err(std::io::Error::from)
            .context(|| format!("understand {}", path.display()))?,
        // Held, and still starting.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(|| format!("read {}", path.display())),
    };
    // For a moment after a start there is still what a killed holder announced, or the holder of the folder of which this
    // one is a copy.
    let ours = fs::canonicalize(data_dir).is_ok_and(|data_dir| data_dir == running.data_dir);
    Ok((ours && Identity::of(running.pid).is_some()).then_some(running))
}

fn announced(data_dir: &Path) -> PathBuf {
    data_dir.join("running.json")
}

fn held(data_dir: &Path, path: &Path) -> EmbeddedError {
    let holder = fs::read_to_string(path)
        .ok()
        .and_then(|text| serde_json::from_str::<Holder>(&text).ok())
        .unwrap_or_else(|| Holder { pid: 0, since: "an unknown time".to_owned() });
    let data_dir = data_dir.to_path_buf();
    EmbeddedError::Held { data_dir, pid: holder.pid, since: holder.since }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_holder_who_is_named_and_what_it_announces() {
        let folder = tempfile::tempdir().unwrap();
        assert!(running(folder.path()).unwrap().is_none());
        let lock = Lock::take(folder.path()).await.unwrap();
        assert!(running(folder.path()).unwrap().is_none());
        lock.announce(Announcement {
            http_url: Some("http://127.0.0.1:1".to_owned()),
            ..Announcement::default()
        })
        .unwrap();
        let seen = running(folder.path()).unwrap().unwrap();
        assert_eq!(seen.pid, std::process::id());
        assert_eq!(seen.http_url.as_deref(), Some("http://127.0.0.1:1"));
        let second = Lock::take(folder.path()).await.err().unwrap().to_string();
        assert!(second.contains(&format!("process {}", std::process::id())), "{second}");
        assert!(second.contains(&seen.since), "{second}");
        // A holder that was killed takes nothing back: the announcement stays, and is not believed.
        let left = fs::read_to_string(announced(folder.path())).unwrap();
        drop(lock);
        write_private(&announced(folder.path()), &left).unwrap();
        assert!(running(folder.path()).unwrap().is_none());
        // Nor is it in the moment in which the next holder has the lock, and nothing more.
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let dead = left.replace(&seen.pid.to_string(), &child.id().to_string());
        let lock = Lock::take(folder.path()).await.unwrap();
        write_private(&announced(folder.path()), &dead).unwrap();
        assert!(running(folder.path()).unwrap().is_none());
        // Nor is what the folder's original announced, of which this is a copy: its holder lives.
        let path = folder.path().to_str().unwrap();
        let copied = left.replace(path, &format!("{path}-original"));
        assert_ne!(copied, left);
        write_private(&announced(folder.path()), &copied).unwrap();
        assert!(running(folder.path()).unwrap().is_none());
        drop(lock);
    }
}
