//! Whether there is free space on the disk.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::error::EmbeddedError;

const MIB: u64 = 1 << 20;

/// What a fresh cluster and the first minutes of its log take.
const NEEDED_MIB: u64 = 256;

/// The free bytes on the disk of a folder; `u64::MAX` when it does not say.
pub(crate) fn free(folder: &Path) -> u64 {
    statvfs(folder).map_or(u64::MAX, |disk| disk.blocks_available() * disk.fragment_size())
}

/// Refuses to start where a start would soon fail.
pub(crate) fn check(folder: &Path) -> Result<u64, EmbeddedError> {
    let bytes = free(folder);
    if bytes / MIB < NEEDED_MIB { Err(full(folder)) } else { Ok(bytes) }
}

/// The error for a disk that is full.
pub(crate) fn full(folder: &Path) -> EmbeddedError {
    let free_mib = free(folder) / MIB;
    EmbeddedError::DiskFull { folder: folder.to_path_buf(), free_mib, needed_mib: NEEDED_MIB }
}
