//! What the kernel counts of this process.

use std::time::Duration;

/// Clock ticks of `/proc/self/stat` in a second: `USER_HZ`, 100 on every architecture that Linux runs sidecars on.
const TICKS: u64 = 100;

/// What the kernel counts of this process; 0 where `/proc` cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct ProcessUse {
    pub(super) resident_bytes: u64,
    pub(super) cpu: Duration,
    pub(super) open_files: u64,
}

impl ProcessUse {
    pub(super) fn now() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            resident_bytes: resident(&read("/proc/self/status")).unwrap_or_default(),
            cpu: cpu(&read("/proc/self/stat")).unwrap_or_default(),
            open_files: std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64),
        }
    }
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// Fields 14 and 15, counted after the name, which may hold spaces and parentheses (proc_pid_stat(5)).
fn cpu(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1_000 / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_text_is_read() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t   12 kB\n"), Some(12 * 1024));
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 99";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        let now = ProcessUse::now();
        assert!(now.resident_bytes > 1024 * 1024 && now.open_files > 2, "{now:?}");
    }
}
