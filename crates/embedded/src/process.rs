//! Processes that outlived the one that started them: recognised for certain, and ended by pid.
//!
//! A pid alone proves nothing after a crash, since pids are reused. A pid with the start time that
//! the kernel keeps for it names one process for as long as the machine is up.

use std::{fs, io, path::Path, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{Instant, sleep};

/// How often a process that is expected to end is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// One process, named so that a recycled pid is not mistaken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pid: u32,
    started: u64,
}

impl Identity {
    /// The process that has this pid now. None when there is none, or only its corpse.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        parse_stat(&stat).map(|started| Self { pid, started })
    }

    /// The process that a pid file names, if that very process still runs.
    pub(crate) fn recorded(pid_file: &Path) -> Option<Self> {
        let text = fs::read_to_string(pid_file).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        let named = Self { pid: pid.parse().ok()?, started: started.parse().ok()? };
        named.is_alive().then_some(named)
    }

    /// Writes the pid file that `recorded` reads.
    pub(crate) fn record(self, pid_file: &Path) -> io::Result<()> {
        fs::write(pid_file, format!("{} {}\n", self.pid, self.started))
    }

    pub(crate) fn pid(self) -> u32 {
        self.pid
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Waits until the process is gone; false when it outlives the limit.
    pub(crate) async fn gone_within(self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.is_alive() {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(LOOK).await;
        }
        true
    }

    /// Ends the process: lets it go by itself first, then signals, each with its own patience.
    pub(crate) async fn end(self, patience: Duration, signals: &[(Signal, Duration)]) -> bool {
        if self.gone_within(patience).await {
            return true;
        }
        for (name, limit) in signals {
            send(self.pid, *name);
            if self.gone_within(*limit).await {
                return true;
            }
        }
        false
    }
}

/// Whether the command line of a process holds this argument.
pub(crate) fn has_argument(pid: u32, argument: &Path) -> bool {
    let wanted = argument.as_os_str().as_encoded_bytes();
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == wanted))
}

/// Whether a process was started in this folder. The kernel follows the folder when it is renamed, so a copy is told
/// from the original.
pub(crate) fn runs_in(pid: u32, folder: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|found| found == folder)
}

/// Sends a signal; a process that is gone already is what the caller wanted anyway.
pub(crate) fn send(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid)
        && let Err(error) = kill(Pid::from_raw(pid), signal)
        && error != nix::errno::Errno::ESRCH
    {
        tracing::warn!(pid, %signal, %error, "a signal could not be sent");
    }
}

/// The start time in a line of `/proc/PID/stat`; None for corpses. The command's name may hold
/// blanks and brackets, so the fields are counted from its last bracket.
fn parse_stat(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_with_brackets_in_the_name() {
        let line = "7 (a) R 1) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1 2";
        assert_eq!(parse_stat(line), Some(4242));
        assert_eq!(parse_stat(&line.replace(" S 1", " Z 1")), None);
    }

    #[tokio::test]
    async fn a_recorded_process_is_found_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap();
        identity.record(&file).unwrap();
        assert_eq!(Identity::recorded(&file), Some(identity));
        // The kernel lets us go on a moment before it shows the new arguments.
        while !has_argument(child.id(), Path::new("60")) {
            sleep(LOOK).await;
        }
        // The same pid with another start time is another process.
        fs::write(&file, format!("{} 1\n", child.id())).unwrap();
        assert_eq!(Identity::recorded(&file), None);
        let limit = Duration::from_secs(5);
        assert!(identity.end(Duration::ZERO, &[(Signal::SIGTERM, limit)]).await);
        child.wait().unwrap();
    }
}
