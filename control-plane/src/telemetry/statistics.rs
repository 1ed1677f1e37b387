//! Takes in reports: each once, in bounded memory.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use weft_model::node::ProxyId;
use weft_proto::telemetry::{ReportRequest, ReportResponse};

use super::counts::Counts;
use super::plaintext::{History, PlainCaller};
use super::series::{Key, Ring};

#[cfg(test)]
#[path = "statistics_tests.rs"]
mod tests;

/// Dropped series that are told apart; beyond, their number is a lower bound.
const DROPPED: usize = 65_536;

/// How much is kept.
#[derive(Clone, Debug)]
pub struct StatisticsSettings {
    /// Series at most; further ones are dropped and counted. The bound of this module's memory: a busy series takes
    /// about 50 KB.
    pub series: usize,
    /// Sidecars at most.
    pub proxies: usize,
    /// Short slots, for windows of up to `fine.0 * fine.1`.
    pub fine: (Duration, u64),
    /// Long slots, for longer windows.
    pub coarse: (Duration, u64),
    /// How often sidecars are told to report; zero leaves it to them.
    pub report_interval: Duration,
}

impl Default for StatisticsSettings {
    fn default() -> Self {
        Self {
            series: 10_000,
            proxies: 20_000,
            fine: (Duration::from_secs(10), 60),
            coarse: (Duration::from_secs(60), 60),
            report_interval: Duration::ZERO,
        }
    }
}

impl StatisticsSettings {
    /// What is older than this is not kept.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.coarse.0 * u32::try_from(self.coarse.1).unwrap_or(u32::MAX)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) fine: Ring,
    pub(super) coarse: Ring,
}

#[derive(Clone, Debug)]
pub(super) struct Proxy {
    pub(super) sequence: u64,
    pub(super) cpu_us: u64,
    pub(super) resident_bytes: u64,
    heard: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) series: HashMap<Key, Series>,
    pub(super) proxies: HashMap<String, Proxy>,
    dropped: HashSet<u64>,
    lost_reports: u64,
    pub(super) first: Option<Instant>,
    swept: u64,
    pub(super) plain: HashMap<PlainCaller, History>,
}

/// What the sidecars reported in the last hour.
pub struct Statistics {
    pub(super) settings: StatisticsSettings,
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
    origin: Instant,
    hasher: RandomState,
    store: Mutex<Store>,
    /// One writer of the file at a time.
    pub(super) saving: Mutex<()>,
}

impl fmt::Debug for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statistics").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Statistics {
    /// An empty store that tells the time by `clock`.
    #[must_use]
    pub fn new(settings: StatisticsSettings, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        // Before everything that may be taken over from an earlier process.
        let origin = clock();
        let origin = origin.checked_sub(settings.longest()).unwrap_or(origin);
        Self {
            settings,
            clock: Box::new(clock),
            origin,
            hasher: RandomState::new(),
            store: Mutex::default(),
            saving: Mutex::default(),
        }
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Instant {
        (self.clock)()
    }

    /// The slot of a moment, and how far into it the moment is.
    pub(super) fn slot(&self, width: Duration, at: Instant) -> (u64, Duration) {
        let since = at.saturating_duration_since(self.origin).as_millis();
        let width = width.as_millis().max(1);
        ((since / width) as u64, Duration::from_millis((since % width) as u64))
    }

    /// Counts a report, unless it was counted before. A sidecar resends what was not acknowledged, unchanged and under
    /// its old number. One that starts anew starts its numbers anew: it is known by its CPU time, which went back.
    pub fn ingest(&self, report: &ReportRequest) -> ReportResponse {
        let now = self.now();
        let mut store = self.store();
        self.sweep(&mut store, now);
        if store.accept(report, now, self.settings.proxies) {
            let started =
                now.checked_sub(Duration::from_millis(report.interval_ms.min(3_600_000))).unwrap_or(now);
            store.first = Some(store.first.map_or(started, |first| first.min(started)));
            let (fine, coarse) =
                (self.slot(self.settings.fine.0, now).0, self.slot(self.settings.coarse.0, now).0);
            let id: Option<ProxyId> = report.node.parse().ok();
            for counts in &report.edges {
                if let Some(id) = &id {
                    self.ingest_plaintext(&mut store, id, counts, now);
                }
                let Some(key) = counts.edge.as_ref().and_then(Key::of) else { continue };
                let Some(series) = self.series(&mut store, key) else { continue };
                let counts = Counts::of(counts);
                series.fine.add(fine, &counts);
                series.coarse.add(coarse, &counts);
            }
        }
        let interval_ms = u64::try_from(self.settings.report_interval.as_millis()).unwrap_or(u64::MAX);
        ReportResponse { acknowledged_sequence: report.sequence, interval_ms }
    }

    fn series<'a>(&self, store: &'a mut Store, key: Key) -> Option<&'a mut Series> {
        if !store.series.contains_key(&key) && store.series.len() >= self.settings.series {
            if store.dropped.len() < DROPPED {
                store.dropped.insert(self.hasher.hash_one(&key));
            }
            return None;
        }
        let (fine, coarse) = (self.settings.fine.1, self.settings.coarse.1);
        Some(
            store
                .series
                .entry(key)
                .or_insert_with(|| Series { fine: Ring::new(fine), coarse: Ring::new(coarse) }),
        )
    }

    /// Once per long slot, forgets what nobody can ask for any more.
    pub(super) fn sweep(&self, store: &mut Store, now: Instant) {
        let (fine, coarse) =
            (self.slot(self.settings.fine.0, now).0, self.slot(self.settings.coarse.0, now).0);
        if std::mem::replace(&mut store.swept, coarse) == coarse {
            return;
        }
        store.series.retain(|_, series| {
            series.fine.expire(fine);
            !series.coarse.expire(coarse)
        });
        self.expire_plaintext(store, now);
        if store.series.len() < self.settings.series {
            store.dropped.clear();
        }
        let kept = self.settings.longest();
        store.proxies.retain(|_, proxy| now.saturating_duration_since(proxy.heard) < kept);
    }

    /// Resident memory of a sidecar, as it last said.
    #[must_use]
    pub fn resident_bytes(&self, node: &str) -> Option<u64> {
        self.store().proxies.get(node).map(|proxy| proxy.resident_bytes)
    }

    /// Series dropped because of the cap, and reports that never arrived.
    #[must_use]
    pub fn losses(&self) -> (u64, u64) {
        let store = self.store();
        (store.dropped.len() as u64, store.lost_reports)
    }
}

impl Store {
    /// Whether a report is new. Notes gaps.
    pub(super) fn accept(&mut self, report: &ReportRequest, now: Instant, most: usize) -> bool {
        let ReportRequest { sequence, cpu_us, resident_bytes, .. } = *report;
        let proxy = Proxy { sequence, cpu_us, resident_bytes, heard: now };
        if let Some(known) = self.proxies.get_mut(&report.node) {
            let restarted = cpu_us < known.cpu_us;
            if sequence <= known.sequence && !restarted {
                known.heard = now;
                return false;
            }
            let expected = if restarted { sequence } else { known.sequence + 1 };
            self.lost_reports = self.lost_reports.saturating_add(sequence.saturating_sub(expected));
            *known = proxy;
            return true;
        }
        if self.proxies.len() < most {
            self.proxies.insert(report.node.clone(), proxy);
            return true;
        }
        false
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.len() as u64
    }
}
