//! Whether a data folder is a copy of another one.
//!
//! A copy (a backup, a staging machine) would come with the ports and passwords of the original: started beside it, the
//! two would take each other's clients. So a folder remembers which folder it is, and a copy gets ports, passwords and a
//! cookie of its own before anything is started in it.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Context, EmbeddedError},
    secrets::write_private,
};

const FILE: &str = "identity.json";

/// Names one folder of a machine. A copy elsewhere has another path, and one that takes the place of the original has
/// another inode.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    path: String,
    inode: u64,
}

impl Identity {
    fn of(data_dir: &Path) -> Result<Self, EmbeddedError> {
        let found = fs::metadata(data_dir).context(|| format!("look at {}", data_dir.display()))?;
        let path = data_dir.display().to_string();
        Ok(Self { path, inode: found.ino() })
    }
}

/// Whether the folder was copied or moved since it was last used. A folder that never remembered what it is counts as
/// new, not as a copy.
pub(crate) fn is_copy(data_dir: &Path) -> Result<bool, EmbeddedError> {
    let path = data_dir.join(FILE);
    let remembered: Identity = match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .map_err(std::io::Error::from)
            .context(|| format!("understand {}", path.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).context(|| format!("read {}", path.display())),
    };
    Ok(remembered != Identity::of(data_dir)?)
}

/// Remembers which folder this is: last, when everything that a copy must not share was replaced.
pub(crate) fn remember(data_dir: &Path) -> Result<(), EmbeddedError> {
    let text = serde_json::to_string(&Identity::of(data_dir)?)
        .map_err(std::io::Error::from)
        .context(|| "write down which folder this is".to_owned())?;
    write_private(&data_dir.join(FILE), &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_and_a_folder_in_the_place_of_another_are_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let (original, copy) = (folder.path().join("a"), folder.path().join("b"));
        fs::create_dir(&original).unwrap();
        assert!(!is_copy(&original).unwrap());
        remember(&original).unwrap();
        assert!(!is_copy(&original).unwrap());
        fs::create_dir(&copy).unwrap();
        fs::copy(original.join(FILE), copy.join(FILE)).unwrap();
        assert!(is_copy(&copy).unwrap());
        fs::rename(&original, folder.path().join("c")).unwrap();
        fs::rename(&copy, &original).unwrap();
        assert!(is_copy(&original).unwrap());
        remember(&original).unwrap();
        assert!(!is_copy(&original).unwrap());
    }
}
