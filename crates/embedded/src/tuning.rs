//! Settings that depend on the machine.

use std::fs;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Assumed when the machine does not say.
const UNKNOWN_MEMORY: u64 = 4 * GIB;

/// The memory that this process may count on: the machine's, or less where a container limits it.
pub fn memory_bytes() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_total(&text));
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .into_iter()
        .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    machine.into_iter().chain(limits).min().unwrap_or(UNKNOWN_MEMORY)
}

fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// PostgreSQL's settings for a machine with this much memory and this much free disk.
pub(crate) fn postgres(major: u32, memory: u64, free_disk: u64) -> Vec<(&'static str, String)> {
    let mib = |bytes: u64| format!("{}MB", bytes / MIB);
    vec![
        // Half of what is usual on a machine for the database alone: the broker lives here too.
        ("shared_buffers", mib((memory / 4).clamp(64 * MIB, 2 * GIB))),
        ("effective_cache_size", mib((memory / 2).max(128 * MIB))),
        ("work_mem", mib((memory / 512).clamp(4 * MIB, 32 * MIB))),
        ("maintenance_work_mem", mib((memory / 16).clamp(64 * MIB, 512 * MIB))),
        // Few checkpoints: each makes the next change of every page twice as much to write.
        ("max_wal_size", mib((free_disk / 4).clamp(256 * MIB, 4 * GIB))),
        ("min_wal_size", "256MB".to_owned()),
        ("checkpoint_timeout", "15min".to_owned()),
        ("wal_compression", if major >= 15 { "lz4" } else { "on" }.to_owned()),
        ("random_page_cost", "1.1".to_owned()),
        // Short statements only: compiling them costs more than running them.
        ("jit", "off".to_owned()),
        ("max_connections", "100".to_owned()),
        // Nothing is acknowledged before it is durable.
        ("fsync", "on".to_owned()),
        ("synchronous_commit", "on".to_owned()),
        // A client that was stopped inside a transaction must not hold the log's horizon for ever.
        ("idle_in_transaction_session_timeout", "5min".to_owned()),
        // No statements, parameters or row values in logs: they hold what users sent.
        ("log_min_error_statement", "panic".to_owned()),
        ("log_error_verbosity", "terse".to_owned()),
        ("log_checkpoints", "off".to_owned()),
        ("log_line_prefix", "%m [%p] ".to_owned()),
        ("logging_collector", "off".to_owned()),
        ("cluster_name", "xmtp-indexer".to_owned()),
    ]
}

/// The memory at which the broker stops taking messages, until some are consumed.
pub(crate) fn broker_memory(memory: u64) -> u64 {
    (memory / 8).clamp(512 * MIB, GIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(settings: &[(&str, String)], name: &str) -> String {
        settings.iter().find(|(key, _)| *key == name).unwrap().1.clone()
    }

    #[test]
    fn large_and_small_machines() {
        let large = postgres(15, 64 * GIB, 500 * GIB);
        assert_eq!(setting(&large, "shared_buffers"), "2048MB");
        assert_eq!(setting(&large, "max_wal_size"), "4096MB");
        let small = postgres(14, GIB, GIB);
        assert_eq!(setting(&small, "shared_buffers"), "256MB");
        assert_eq!(setting(&small, "max_wal_size"), "256MB");
        assert_eq!(setting(&small, "wal_compression"), "on");
        assert_eq!(broker_memory(GIB), 512 * MIB);
        assert_eq!(broker_memory(64 * GIB), GIB);
    }

    #[test]
    fn the_memory_of_this_machine() {
        assert_eq!(mem_total("MemTotal:       2048 kB\nMemFree: 1 kB\n"), Some(2 * MIB));
        assert!(memory_bytes() >= 64 * MIB);
    }
}
