//! What a child says on stdout and stderr: kept in a file of bounded size, its last words at hand.

use std::{
    fs::{self, File, OpenOptions},
    io::{PipeReader, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// A log file that reaches this size is moved to `NAME.1`, which replaces the one before.
const FILE_BYTES: u64 = 8 << 20;

/// How much of the end is kept in memory.
const TAIL_BYTES: usize = 4 << 10;

/// The last words of a child, over restarts.
#[derive(Clone)]
pub(crate) struct Output {
    log: PathBuf,
    tail: Arc<Mutex<Vec<u8>>>,
}

impl Output {
    pub(crate) fn new(log: PathBuf) -> Self {
        Self { log, tail: Arc::default() }
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Forgets the words of the run before.
    pub(crate) fn forget(&self) {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The last words, as text.
    pub(crate) fn tail(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&tail).into_owned()
    }

    /// Reads until every writer of the pipe is gone. A file that cannot be written to (a full disk)
    /// must not stop the reading: a child whose pipe is full stands still.
    pub(crate) fn follow(&self, mut pipe: PipeReader) {
        let mut file = self.open();
        let mut buffer = [0_u8; 8 << 10];
        loop {
            let read = match pipe.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let Some(words) = buffer.get(..read) else { return };
            self.remember(words);
            if let Some((to, size)) = &mut file {
                // Best effort, as said above.
                _ = to.write_all(words);
                *size += words.len() as u64;
                if *size >= FILE_BYTES {
                    file = self.open();
                }
            }
        }
    }

    fn remember(&self, words: &[u8]) {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(words);
        let surplus = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..surplus);
    }

    fn open(&self) -> Option<(File, u64)> {
        if fs::metadata(&self.log).is_ok_and(|file| file.len() >= FILE_BYTES) {
            let mut old = self.log.clone().into_os_string();
            old.push(".1");
            _ = fs::rename(&self.log, old);
        }
        let file = OpenOptions::new().create(true).append(true).open(&self.log).ok()?;
        let size = file.metadata().ok()?.len();
        Some((file, size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_in_memory_and_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::new(folder.path().join("x.log"));
        let (reader, mut writer) = std::io::pipe().unwrap();
        let follower = output.clone();
        let thread = std::thread::spawn(move || follower.follow(reader));
        let line = [b'a'; 64 << 10];
        for _ in 0..(2 * FILE_BYTES / line.len() as u64 + 8) {
            writer.write_all(&line).unwrap();
        }
        writer.write_all(b"the end").unwrap();
        drop(writer);
        thread.join().unwrap();
        assert!(output.tail().ends_with("the end"));
        assert_eq!(output.tail().len(), TAIL_BYTES);
        let bytes: u64 = fs::read_dir(folder.path())
            .unwrap()
            .map(|f| f.unwrap().metadata().unwrap().len())
            .sum();
        assert!(bytes <= 2 * FILE_BYTES + (16 << 10), "{bytes}");
    }
}
