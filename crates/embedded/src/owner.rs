//! Who runs the services. PostgreSQL refuses root, so root hands them to an unprivileged user.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::{
    sys::signal::Signal,
    unistd::{Uid, User, geteuid},
};

use crate::error::{Context, EmbeddedError};

/// Debian's tool (util-linux) that sets what a child must have before it starts: the signal that
/// it gets when we die, and its user. It replaces itself by the program, so the pid stays.
const SETPRIV: &str = "setpriv";

/// The only folders that are searched for programs; the caller's `PATH` does not leak in.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The user that the services run as.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    /// None: as ourselves.
    other: Option<Other>,
}

#[derive(Clone, Debug)]
struct Other {
    name: Option<String>,
    uid: u32,
    gid: u32,
}

impl Owner {
    /// Root takes the owner of the data that is there, else `postgres`, else `nobody`. Everybody
    /// else runs the services as they are, and the data must be theirs.
    pub(crate) fn resolve(folders: &[PathBuf]) -> Result<Self, EmbeddedError> {
        for folder in folders {
            if let Ok(found) = fs::metadata(folder) {
                check_ownership(folder, &found)?;
            }
        }
        let existing = folders.iter().find_map(|path| fs::metadata(path).ok());
        if !geteuid().is_root() {
            return Ok(Self { other: None });
        }
        if let Some(found) = existing
            && found.uid() != 0
        {
            let name = lookup(found.uid()).map(|user| user.name);
            return Ok(Self { other: Some(Other { name, uid: found.uid(), gid: found.gid() }) });
        }
        let named = ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .ok_or(EmbeddedError::NotInstalled {
                what: "PostgreSQL",
                package: "postgresql",
                variable: "DATABASE_URL",
            })?;
        Ok(Self {
            other: Some(Other {
                name: Some(named.name),
                uid: named.uid.as_raw(),
                gid: named.gid.as_raw(),
            }),
        })
    }

    /// The user's name, for people.
    pub(crate) fn name(&self) -> String {
        match &self.other {
            Some(other) => other.name.clone().unwrap_or_else(|| other.uid.to_string()),
            None => user_name(geteuid().as_raw()),
        }
    }

    /// A command that runs as the owner, in its own process group (a Ctrl-C reaches only us), with
    /// an empty environment (`PG*` and `RABBITMQ_*` of the caller must not leak in), and that gets
    /// `on_our_death` when the thread that starts it ends.
    pub(crate) fn command(&self, program: &Path, on_our_death: Signal) -> Command {
        let mut command = Command::new(SETPRIV);
        let signal = on_our_death.as_str();
        command.arg("--pdeathsig").arg(signal.strip_prefix("SIG").unwrap_or(signal));
        if let Some(other) = &self.other {
            command.arg(format!("--reuid={}", other.uid)).arg(format!("--regid={}", other.gid));
            command.arg(if other.name.is_some() { "--init-groups" } else { "--clear-groups" });
            command.arg("--inh-caps=-all");
        }
        command.arg("--").arg(program);
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8");
        command.process_group(0).stdin(Stdio::null());
        command
    }

    /// Makes a folder that only the owner may enter.
    pub(crate) fn folder(&self, path: &Path) -> Result<(), EmbeddedError> {
        fs::create_dir_all(path).context(|| format!("make the folder {}", path.display()))?;
        self.give(path, 0o700)
    }

    /// Writes a file that only the owner may read.
    pub(crate) fn file(&self, path: &Path, text: &str) -> Result<(), EmbeddedError> {
        crate::secrets::write_private(path, text)?;
        self.give(path, 0o600)
    }

    /// Hands a file or folder to the owner.
    pub(crate) fn give(&self, path: &Path, mode: u32) -> Result<(), EmbeddedError> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .context(|| format!("set the permissions of {}", path.display()))?;
        let Some(other) = &self.other else { return Ok(()) };
        chown(path, Some(other.uid), Some(other.gid))
            .context(|| format!("give {} to user {}", path.display(), self.name()))
    }

    /// Proves that the owner can walk to a folder, by letting it try: modes alone do not tell
    /// (access lists, read-only mounts). Names the first folder on the way that is closed.
    pub(crate) fn check_access(&self, folder: &Path) -> Result<(), EmbeddedError> {
        if self.other.is_none() || self.can_enter(folder)? {
            return Ok(());
        }
        let mut way: Vec<&Path> = folder.ancestors().collect();
        way.reverse();
        for step in way {
            if !self.can_enter(step)? {
                let folder = step.to_path_buf();
                return Err(EmbeddedError::Unreachable { folder, user: self.name() });
            }
        }
        Ok(())
    }

    fn can_enter(&self, folder: &Path) -> Result<bool, EmbeddedError> {
        let arguments: [&OsStr; 2] = [OsStr::new("-x"), folder.as_os_str()];
        let status = self
            .command(Path::new("test"), Signal::SIGKILL)
            .args(arguments)
            .current_dir("/")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context(|| format!("run {SETPRIV} (apt-get install util-linux)"))?;
        Ok(status.success())
    }
}

/// Root may use everybody's folders, others only their own.
pub(crate) fn check_ownership(path: &Path, found: &fs::Metadata) -> Result<(), EmbeddedError> {
    let us = geteuid();
    if us.is_root() || found.uid() == us.as_raw() {
        return Ok(());
    }
    Err(EmbeddedError::WrongOwner {
        path: path.to_path_buf(),
        owner: user_name(found.uid()),
        user: user_name(us.as_raw()),
    })
}

fn lookup(uid: u32) -> Option<User> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten()
}

/// A user's name, or the number when there is none.
fn user_name(uid: u32) -> String {
    lookup(uid).map_or_else(|| uid.to_string(), |user| user.name)
}
