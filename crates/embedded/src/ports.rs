//! The loopback ports of the private services: chosen once, kept as long as they are free.

use std::{
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::error::{Context, EmbeddedError};

/// Below the range from which Linux takes the ports of outgoing connections (32768 and up): one of
/// those could be in use by anybody at the next start.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// How many ports are tried before giving up; in practice the first or second is free.
const TRIES: u32 = 1_000;

/// One port for each thing that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) postgres: u16,
    pub(crate) amqp: u16,
    /// Where the broker's Erlang node would talk to others of its cluster.
    pub(crate) distribution: u16,
    /// Where Erlang's port mapper listens.
    pub(crate) epmd: u16,
}

impl Ports {
    /// Ports that have nothing to do with those that were remembered, which belong to the folder that this is a copy of.
    pub(crate) fn choose_anew(data_dir: &Path) -> Result<Self, EmbeddedError> {
        let path = data_dir.join("ports.json");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context(|| format!("remove {}", path.display()))
            }
            _ => Self::choose(data_dir),
        }
    }

    /// The remembered ports; each that is taken is replaced, and the choice is remembered.
    pub(crate) fn choose(data_dir: &Path) -> Result<Self, EmbeddedError> {
        let path = data_dir.join("ports.json");
        let remembered: Option<Self> =
            fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str(&text).ok());
        // Held until all are chosen, so that no two are the same.
        let mut held = Vec::new();
        let mut next = |wanted: Option<u16>| take(wanted, &mut held);
        let chosen = Self {
            postgres: next(remembered.map(|ports| ports.postgres))?,
            amqp: next(remembered.map(|ports| ports.amqp))?,
            distribution: next(remembered.map(|ports| ports.distribution))?,
            epmd: next(remembered.map(|ports| ports.epmd))?,
        };
        if remembered != Some(chosen) {
            let text = serde_json::to_string(&chosen)
                .map_err(std::io::Error::from)
                .context(|| "write down the ports".to_owned())?;
            fs::write(&path, text).context(|| format!("write {}", path.display()))?;
        }
        Ok(chosen)
    }
}

fn take(wanted: Option<u16>, held: &mut Vec<TcpListener>) -> Result<u16, EmbeddedError> {
    let random = RandomState::new();
    let mut last = std::io::Error::other("no port is free");
    for attempt in 0..TRIES {
        let port = match (attempt, wanted) {
            (0, Some(port)) => port,
            _ => draw(&random, attempt),
        };
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => {
                held.push(listener);
                return Ok(port);
            }
            Err(error) => last = error,
        }
    }
    Err(last).context(|| "find a free port on 127.0.0.1".to_owned())
}

fn draw(random: &RandomState, attempt: u32) -> u16 {
    let mut hasher = random.build_hasher();
    hasher.write_u32(attempt);
    let width = u64::from(RANGE.end - RANGE.start);
    RANGE.start + u16::try_from(hasher.finish() % width).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembered_while_free() {
        let folder = tempfile::tempdir().unwrap();
        let first = Ports::choose(folder.path()).unwrap();
        assert_eq!(Ports::choose(folder.path()).unwrap(), first);
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first.amqp)).unwrap();
        let second = Ports::choose(folder.path()).unwrap();
        assert_ne!(second.amqp, first.amqp);
        assert_eq!(second.postgres, first.postgres);
        drop(taken);
        assert_eq!(Ports::choose(folder.path()).unwrap(), second);
    }
}
