//! The passwords of the private services: made once, kept in the data folder, for its owner only.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::error::{Context, EmbeddedError};

/// What opens the private services.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub(crate) postgres: String,
    pub(crate) amqp: String,
    /// What Erlang nodes recognise each other by.
    pub(crate) cookie: String,
}

impl Secrets {
    /// Reads the passwords, or makes them when there is no data yet that others would open.
    pub(crate) fn load(data_dir: &Path, opens: &[PathBuf]) -> Result<Self, EmbeddedError> {
        let path = data_dir.join("secrets.json");
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(std::io::Error::from)
                .context(|| format!("understand {}", path.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if let Some(folder) = opens.iter().find(|folder| folder.exists()) {
                    let folder = folder.clone();
                    return Err(EmbeddedError::SecretsLost { secrets: path, folder });
                }
                Self::make(data_dir)
            }
            Err(error) => Err(error).context(|| format!("read {}", path.display())),
        }
    }

    /// Makes new ones, whatever there was before.
    pub(crate) fn make(data_dir: &Path) -> Result<Self, EmbeddedError> {
        let made = Self { postgres: random_hex()?, amqp: random_hex()?, cookie: random_hex()? };
        let text = serde_json::to_string_pretty(&made)
            .map_err(std::io::Error::from)
            .context(|| "write down the passwords".to_owned())?;
        write_private(&data_dir.join("secrets.json"), &text)?;
        Ok(made)
    }
}

/// Writes a file that only its owner may read: whole or not at all, and never readable by others,
/// not even for a moment.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), EmbeddedError> {
    let write = || -> std::io::Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let fresh = PathBuf::from(name);
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().context(|| format!("write {}", path.display()))
}

/// 24 random bytes, as hexadecimal: safe in URLs and in configuration files without escaping.
pub(crate) fn random_hex() -> Result<String, EmbeddedError> {
    let mut bytes = [0_u8; 24];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context(|| "read /dev/urandom".to_owned())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn made_once_private_and_missed_when_lost() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let first = Secrets::load(folder.path(), std::slice::from_ref(&data)).unwrap();
        let again = Secrets::load(folder.path(), std::slice::from_ref(&data)).unwrap();
        assert_eq!(first.postgres, again.postgres);
        assert_ne!(first.postgres, first.amqp);
        let file = folder.path().join("secrets.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_file(&file).unwrap();
        fs::create_dir(&data).unwrap();
        let lost = Secrets::load(folder.path(), &[data]);
        assert!(matches!(lost, Err(EmbeddedError::SecretsLost { .. })));
    }
}
