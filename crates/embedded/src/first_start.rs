//! A broker's first start, which is completed or undone.
//!
//! RabbitMQ acknowledges the declaration of a quorum queue, and confirms messages in it, up to a second before it writes down
//! that the queue exists. When it is killed in between, the queue has no leader after the next start: it takes no message and
//! returns none, for good. So the broker's first start leaves a mark before there are data, and the mark goes when the queues
//! are written down. Until then nobody is told where the broker is, so it holds no message of anybody; a start that finds the
//! mark makes the broker's data anew. Data without a mark are never removed.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::error::{Context, EmbeddedError};

/// RabbitMQ writes its list of queues half a second after its last change.
const LIMIT: Duration = Duration::from_secs(30);

/// The mark and the data that it is about.
#[derive(Clone, Debug)]
pub(crate) struct FirstStart {
    mark: PathBuf,
    data: PathBuf,
}

impl FirstStart {
    /// Of the broker in this folder, which keeps its data in `data`.
    pub(crate) fn new(folder: &Path, data: PathBuf) -> Self {
        Self { mark: folder.join("first-start"), data }
    }

    /// Whether the queues of the broker are not known to be written down.
    pub(crate) fn is_open(&self) -> bool {
        self.mark.exists()
    }

    /// Before the broker is started: removes what a start left that was cut short, and marks a first start.
    pub(crate) fn prepare(&self) -> Result<(), EmbeddedError> {
        if self.is_open() && self.data.exists() {
            tracing::warn!(
                "RabbitMQ's first start was cut short before anybody could use it: its data are made anew"
            );
            fs::remove_dir_all(&self.data).context(|| format!("remove {}", self.data.display()))?;
        }
        let empty = fs::read_dir(&self.data).map_or(true, |mut entries| entries.next().is_none());
        if empty {
            let write = || fs::File::create(&self.mark)?.sync_all();
            write().context(|| format!("write {}", self.mark.display()))?;
            sync_folder(&self.mark)?;
        }
        Ok(())
    }

    /// Waits until every queue is written down, and ends the first start.
    pub(crate) async fn complete(&self) -> Result<(), EmbeddedError> {
        if !self.is_open() {
            return Ok(());
        }
        let deadline = Instant::now() + LIMIT;
        while !self.queues_are_written() {
            if Instant::now() >= deadline {
                return Err(EmbeddedError::QueuesNotWritten { limit: LIMIT.as_secs() });
            }
            sleep(Duration::from_millis(50)).await;
        }
        fs::remove_file(&self.mark).context(|| format!("remove {}", self.mark.display()))?;
        sync_folder(&self.mark)
    }

    /// Each quorum queue has a folder, whose name stands in `names.dets` when the queue is written down.
    fn queues_are_written(&self) -> bool {
        let folders = |folder: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
        };
        let nodes = folders(&self.data).into_iter().map(|node| node.join("quorum"));
        nodes.flat_map(|quorum| folders(&quorum)).all(|node| {
            let names = fs::read(node.join("names.dets")).unwrap_or_default();
            folders(&node).iter().filter_map(|queue| queue.file_name()).all(|queue| {
                let queue = queue.as_encoded_bytes();
                names.windows(queue.len()).any(|part| part == queue)
            })
        })
    }
}

fn sync_folder(file: &Path) -> Result<(), EmbeddedError> {
    let folder = file.parent().unwrap_or(file);
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .context(|| format!("write {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_marked_folder_is_made_anew_and_any_other_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("mnesia");
        let first = FirstStart::new(folder.path(), data.clone());
        first.prepare().unwrap();
        assert!(first.is_open());
        // Cut short: what it left goes.
        let node = data.join("node/quorum/node");
        fs::create_dir_all(node.join("2F_QUEUE")).unwrap();
        first.prepare().unwrap();
        assert!(first.is_open() && !data.exists());
        // Completed when the queue is written down, not before.
        fs::create_dir_all(node.join("2F_QUEUE")).unwrap();
        assert!(!first.queues_are_written());
        fs::write(node.join("names.dets"), b"..2F_QUEUE..").unwrap();
        first.complete().await.unwrap();
        assert!(!first.is_open());
        // From now on it is kept, whatever it looks like.
        fs::remove_file(node.join("names.dets")).unwrap();
        first.prepare().unwrap();
        assert!(!first.is_open() && node.exists());
    }
}
