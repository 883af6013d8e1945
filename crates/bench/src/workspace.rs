//! Where a benchmark keeps its files, and the private services that it runs there.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use embedded::{Options, Services, Stop};
use tempfile::TempDir;

/// A folder for the files of one run.
pub(crate) struct Workspace {
    folder: PathBuf,
    // Removes the temporary folder.
    _temporary: Option<TempDir>,
}

impl Workspace {
    /// This folder, or a temporary one that is removed afterwards.
    pub(crate) fn new(folder: Option<PathBuf>) -> anyhow::Result<Workspace> {
        if let Some(folder) = folder {
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            return Ok(Workspace { folder, _temporary: None });
        }
        let temporary = tempfile::Builder::new().prefix("xmtp-indexer-bench").tempdir()?;
        // Root runs PostgreSQL as another user, who must be able to enter.
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o711))?;
        Ok(Workspace { folder: temporary.path().to_owned(), _temporary: Some(temporary) })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a measurement beside private services, which are stopped afterwards, also when the run is interrupted.
    pub(crate) async fn with_services<T>(
        &self,
        options: Options,
        interrupted: impl Future<Output = ()>,
        measure: impl AsyncFnOnce(&Services) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let data = self.folder.join("data");
        let services = Services::start(&data, options, |step| eprintln!("  … {step}")).await?;
        let outcome = tokio::select! {
            outcome = measure(&services) => outcome,
            () = interrupted => Err(anyhow::anyhow!("interrupted")),
        };
        services.stop(Stop::Graceful).await;
        outcome
    }
}
