//! What was counted, on disk: a control plane that was killed comes back with it, but for the last seconds. A file that
//! cannot be used costs the history and nothing else.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use weft_proto::telemetry::ReportRequest;

use super::counts::Counts;
use super::series::{Key, Ring};
use super::statistics::{Series, Statistics};

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;

/// How often it is written: so much is lost at most when the process is killed.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// Bytes of the file at most; series beyond are not kept across a restart.
const BYTES: usize = 8 << 20;

/// The first line. Times are told by how long ago they were when it was written, since what [`Instant`]s mean ends with
/// a process.
#[derive(Serialize, Deserialize)]
struct Header {
    /// Milliseconds since 1970.
    written: u64,
    /// Milliseconds before that: the first report.
    first: Option<u64>,
    /// What was last taken from each sidecar, so that what it sends again is not counted again.
    proxies: Vec<LastReport>,
}

#[derive(Serialize, Deserialize)]
struct LastReport {
    node: String,
    sequence: u64,
    cpu_us: u64,
    resident_bytes: u64,
}

/// Each further line.
#[derive(Serialize, Deserialize)]
struct Line {
    key: Key,
    /// How many slots ago, and what was counted in it.
    fine: Vec<(u64, Counts)>,
    coarse: Vec<(u64, Counts)>,
}

/// Writes the history now and then, for as long as the process lives.
pub async fn keep(statistics: Arc<Statistics>, file: &Path) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let (statistics, path) = (statistics.clone(), file.to_owned());
        let saved = tokio::task::spawn_blocking(move || statistics.save(&path, SystemTime::now())).await;
        if let Ok(Err(error)) = saved {
            tracing::warn!(%error, file = %file.display(), "the history of `weft stat` could not be written");
        }
    }
}

impl Statistics {
    /// Replaces the file as a whole. Mode 0600.
    ///
    /// # Errors
    /// What the system says.
    pub fn save(&self, file: &Path, now: SystemTime) -> io::Result<()> {
        let _alone = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let text = self.history(now)?;
        let fresh = file.with_extension("new");
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?
            .write_all(&text)?;
        fs::rename(&fresh, file)
    }

    fn history(&self, now: SystemTime) -> io::Result<Vec<u8>> {
        let at = self.now();
        let store = self.store();
        let last = |(node, proxy): (&String, &super::statistics::Proxy)| LastReport {
            node: node.clone(),
            sequence: proxy.sequence,
            cpu_us: proxy.cpu_us,
            resident_bytes: proxy.resident_bytes,
        };
        let header = Header {
            written: since_1970(now),
            first: store.first.map(|first| at.saturating_duration_since(first).as_millis() as u64),
            proxies: store.proxies.iter().map(last).collect(),
        };
        let mut text = serde_json::to_vec(&header)?;
        let (fine, coarse) = (self.slot(self.settings.fine.0, at).0, self.slot(self.settings.coarse.0, at).0);
        for (key, series) in &store.series {
            let ago = |ring: &Ring, slot: u64| {
                ring.filled().map(|(at, counts)| (slot.saturating_sub(at), counts.clone())).collect()
            };
            let (fine, coarse) = (ago(&series.fine, fine), ago(&series.coarse, coarse));
            let line = serde_json::to_vec(&Line { key: key.clone(), fine, coarse })?;
            if text.len() + line.len() > BYTES {
                break;
            }
            text.push(b'\n');
            text.extend(line);
        }
        Ok(text)
    }

    /// Takes over what an earlier process wrote. Asked once, before the first report.
    pub fn restore(&self, file: &Path, now: SystemTime) {
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                tracing::warn!(%error, file = %file.display(), "the history of `weft stat` cannot be read: it begins anew");
                return;
            }
        };
        match parsed(&text) {
            Ok((header, lines)) => self.take_over(header, lines, now),
            Err(error) => {
                tracing::warn!(%error, file = %file.display(), "the history of `weft stat` is damaged: it begins anew");
            }
        }
    }

    fn take_over(&self, header: Header, lines: Vec<Line>, now: SystemTime) {
        let away = Duration::from_millis(since_1970(now).saturating_sub(header.written));
        let at = self.now();
        let mut store = self.store();
        let first = header.first.map(|ago| Duration::from_millis(ago).saturating_add(away));
        store.first = first.map(|ago| at.checked_sub(ago.min(self.settings.longest())).unwrap_or(at));
        for LastReport { node, sequence, cpu_us, resident_bytes } in header.proxies {
            let report = ReportRequest { node, sequence, cpu_us, resident_bytes, ..ReportRequest::default() };
            store.accept(&report, at, self.settings.proxies);
        }
        for Line { key, fine, coarse } in lines.into_iter().take(self.settings.series) {
            let ring = |setting: (Duration, u64), mut parts: Vec<(u64, Counts)>| {
                let mut ring = Ring::new(setting.1);
                // Oldest first.
                parts.sort_by_key(|(ago, _)| std::cmp::Reverse(*ago));
                for (ago, counts) in parts {
                    if let Some(slot) = self.slot_before(setting.0, at, ago, away) {
                        ring.add(slot, &counts);
                    }
                }
                ring.expire(self.slot(setting.0, at).0);
                ring
            };
            let series =
                Series { fine: ring(self.settings.fine, fine), coarse: ring(self.settings.coarse, coarse) };
            store.series.insert(key, series);
        }
    }

    /// The slot that was so many slots before one that was left so long ago. None before what is kept.
    fn slot_before(&self, width: Duration, at: Instant, ago: u64, away: Duration) -> Option<u64> {
        let passed = away.as_millis().checked_div(width.as_millis()).unwrap_or_default();
        self.slot(width, at).0.checked_sub(ago.checked_add(u64::try_from(passed).ok()?)?)
    }
}

fn parsed(text: &[u8]) -> Result<(Header, Vec<Line>), serde_json::Error> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let header = serde_json::from_slice(lines.next().unwrap_or_default())?;
    let lines = lines.map(serde_json::from_slice::<Line>);
    Ok((header, lines.map(|line| line.map(Line::checked)).collect::<Result<_, _>>()?))
}

impl Line {
    /// As reports would have made it.
    fn checked(mut self) -> Self {
        for (_, counts) in self.fine.iter_mut().chain(&mut self.coarse) {
            *counts = counts.checked();
        }
        self
    }
}

fn since_1970(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
