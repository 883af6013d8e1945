//! Folders of a test's own.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// A temporary folder that is gone when this is.
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// A new one. Others may walk through it: root hands PostgreSQL to another user, who must get to the data.
    pub fn new() -> Folder {
        let folder = tempfile::Builder::new().prefix("xmtp-indexer-tests.").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        Folder(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The data folder of the program within it.
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Default for Folder {
    fn default() -> Self {
        Folder::new()
    }
}
