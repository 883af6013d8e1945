//! What the machine says of itself and of processes, from `/proc`.

use std::{fs, io::Write, path::Path, time::Instant};

/// The load of the last minute: figures under other people's load are worth less.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}

/// The longest resident set that a process ever had, in MiB.
pub fn peak_mib(pid: u32) -> Option<u64> {
    status_kib(pid, "VmHWM:").map(|kib| kib / 1024)
}

/// The longest resident set since it was forgotten, in KiB.
pub fn peak_kib(pid: u32) -> Option<u64> {
    status_kib(pid, "VmHWM:")
}

/// The resident set of a process, in KiB.
pub fn resident_kib(pid: u32) -> Option<u64> {
    status_kib(pid, "VmRSS:")
}

/// Forgets the longest resident set of a process: it is that of now.
pub fn forget_peak(pid: u32) -> std::io::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
}

fn status_kib(pid: u32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// CPU seconds that a process and all its descendants have used so far.
pub fn cpu_seconds(pid: u32) -> f64 {
    let mut total = 0.0;
    let mut waiting = vec![pid];
    while let Some(pid) = waiting.pop() {
        total += own_cpu_seconds(pid);
        let children =
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        waiting.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    total
}

/// CPU seconds of one process, with those of children that it has waited for.
fn own_cpu_seconds(pid: u32) -> f64 {
    // Of the numeric fields after the state: utime, stime, cutime, cstime are the 11th to the 14th. A tick is 10 ms.
    fields(&pid.to_string()).get(10..14).map_or(0.0, |ticks| ticks.iter().sum::<f64>() / 100.0)
}

/// The numbers behind the name and the state of a process.
fn fields(process: &str) -> Vec<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything; fields count from behind it.
    text.rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().filter_map(|field| field.parse().ok()).collect())
        .unwrap_or_default()
}

/// CPU seconds of all children that this process has waited for.
pub fn waited_cpu_seconds() -> f64 {
    fields("self").get(12..14).map_or(0.0, |ticks| ticks.iter().sum::<f64>() / 100.0)
}

/// CPU seconds of the thread that asks.
pub fn thread_cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// The median time of a small write that must reach the disk, in milliseconds.
pub fn fdatasync_ms(folder: &Path) -> std::io::Result<f64> {
    let path = folder.join("fdatasync");
    let mut file = fs::File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..21 {
        file.write_all(&[7; 8192])?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    fs::remove_file(path)?;
    times.sort_by(f64::total_cmp);
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}
