//! Processes, told apart from later ones that get the same id.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;

/// How often a condition is looked at that the system does not announce.
const GLANCE: Duration = Duration::from_millis(15);

/// A process that was running when this was written down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProcessRef {
    /// Process id.
    pub pid: i32,
    /// When it started, in clock ticks since the machine did (`proc(5)`, field 22 of `stat`).
    pub start_time: u64,
    /// Which boot of the machine it belongs to.
    pub boot: String,
}

impl ProcessRef {
    /// The process that has this id now; `None` when there is none.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let (_, start_time) = state_and_start(pid)?;
        Some(Self { pid, start_time, boot: boot()? })
    }

    /// This process.
    #[must_use]
    pub fn own() -> Option<Self> {
        Self::of(nix::unistd::getpid().as_raw())
    }

    /// Whether it still runs. One that ended and waits for its parent to notice does not.
    #[must_use]
    pub fn alive(&self) -> bool {
        state_and_start(self.pid)
            .is_some_and(|(state, start)| start == self.start_time && !matches!(state, 'Z' | 'X'))
            && boot().as_ref() == Some(&self.boot)
    }

    /// Sends a signal, when it still runs.
    pub fn signal(&self, signal: Signal) {
        if self.alive() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Waits until it has ended: `false` when it still runs after `most`.
    pub async fn gone_within(&self, most: Duration) -> bool {
        until(most, || !self.alive()).await
    }

    /// Asks it to end, and ends it after `most`.
    pub async fn end(&self, most: Duration) {
        self.signal(Signal::SIGTERM);
        if !self.gone_within(most).await {
            self.signal(Signal::SIGKILL);
            self.gone_within(Duration::from_secs(5)).await;
        }
    }
}

/// Waits until `condition` holds: `false` when it does not after `most`.
pub async fn until(most: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = tokio::time::Instant::now() + most;
    while !condition() {
        if tokio::time::Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(GLANCE).await;
    }
    true
}

/// A process that is being started: it is ended when this is dropped before [`Starting::up`].
#[derive(Debug)]
pub struct Starting(Option<Child>);

impl Starting {
    /// Watches over a child of this process.
    #[must_use]
    pub fn new(child: Child) -> Self {
        Self(Some(child))
    }

    /// How it ended; `None` while it runs.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.as_mut().map_or(Ok(None), Child::try_wait)
    }

    /// It is up and stays, whatever becomes of this process; `None` when it has ended meanwhile.
    #[must_use]
    pub fn up(mut self) -> Option<ProcessRef> {
        ProcessRef::of(self.0.take()?.id().cast_signed())
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // One that has ended is not there to be killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn boot() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

/// Fields 3 and 22 of `/proc/PID/stat`.
fn state_and_start(pid: i32) -> Option<(char, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name is in parentheses and may hold anything, parentheses included.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// The inode that names a process's network namespace; `None` when it cannot be seen.
#[must_use]
pub fn network_of(process: &str) -> Option<u64> {
    Some(fs::metadata(PathBuf::from("/proc").join(process).join("ns/net")).ok()?.ino())
}

/// All processes in a network namespace but those in `except`.
#[must_use]
pub fn in_network(network: u64, except: &BTreeSet<i32>) -> Vec<i32> {
    // Who asks ends what is listed: whatever went wrong before, that is never what shares the machine's own network.
    if network_of("1") == Some(network) {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| !except.contains(pid) && network_of(&pid.to_string()) == Some(network))
        .filter(|pid| state_and_start(*pid).is_some_and(|(state, _)| state != 'Z'))
        .collect()
}

/// Whether a process was started with this variable in its environment.
#[must_use]
pub fn has_variable(pid: i32, variable: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
}

/// Ends the processes that `list` gives, again and again until it gives none: asked first, ended after `most`.
pub async fn end_all(mut list: impl FnMut() -> Vec<i32>, most: Duration) {
    let send = |pids: Vec<i32>, signal| {
        for pid in pids {
            // One that ended meanwhile is what was wanted.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    };
    send(list(), Signal::SIGTERM);
    if until(most, || list().is_empty()).await {
        return;
    }
    // What forks while it is being ended is met by the next round.
    until(Duration::from_secs(5), || {
        send(list(), Signal::SIGKILL);
        list().is_empty()
    })
    .await;
}
