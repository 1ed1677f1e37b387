//! Record: metrics, access log, traces, reports.
//!
//! Every worker has a [`Recorder`] of its own: tables and buffers that no other thread touches, so that recording
//! takes no lock. [`Telemetry`] is what the rest of the process holds: it asks the workers for what they have counted.

pub mod record;
pub mod access_log;
pub mod page;
pub mod report;
pub mod trace;

mod labels;
mod plain;
mod process;
mod recorder;
mod tables;
mod tally;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tonic::transport::Channel;
use weft_model::endpoint::WorkloadInfo;
use weft_model::identity::WorkloadIdentity;

use access_log::{AccessLogSettings, Destination, Writer};
use labels::Own;
use page::{PageFormat, Parts, Reading};
use recorder::Question;
pub use recorder::Recorder;
use report::{ReportSettings, Reports};
use tables::{Admission, Bounds, EdgeKey, SeriesKey};
use trace::{SpanQueue, TraceSettings};

#[cfg(test)]
#[path = "telemetry_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "test_support.rs"]
mod test_support;

/// A worker that does not answer for so long is stuck.
const ANSWER: Duration = Duration::from_secs(3);

/// What is recorded, and how.
#[derive(Debug)]
pub struct TelemetrySettings {
    /// The own workload.
    pub workload: WorkloadInfo,
    /// Its identity; none: it speaks no mutual TLS.
    pub identity: Option<WorkloadIdentity>,
    /// None: no access log.
    pub access_log: Option<AccessLogSettings>,
    /// None: spans are not exported.
    pub traces: Option<TraceSettings>,
    /// Further metrics, read with every page.
    pub readings: Vec<Reading>,
    /// Most label sets of all workers together; what goes beyond is counted with the labels `other`.
    pub max_series: usize,
    /// A label set that no request had for so long is forgotten.
    pub series_expiry: Duration,
    /// Most edges of a worker in a report; what goes beyond is reported as one edge `other`.
    pub max_edges: usize,
}

impl TelemetrySettings {
    /// Metrics and reports only; 1,000 series, forgotten after an hour; 500 edges. A label set is 66 lines of up to 1 KiB,
    /// so that a full page stays below 64 MiB.
    #[must_use]
    pub fn new(workload: WorkloadInfo) -> Self {
        Self {
            workload,
            identity: None,
            access_log: None,
            traces: None,
            readings: Vec::new(),
            max_series: 1_000,
            series_expiry: Duration::from_secs(3_600),
            max_edges: 500,
        }
    }
}

/// Why telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The access log's file or thread.
    #[error("cannot open the access log {path}: {source}", path = path.display())]
    AccessLog {
        /// The file, or `stdout`.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The access log's format.
    #[error(transparent)]
    Format(#[from] access_log::FormatErrors),
    /// The exporter of spans.
    #[error("cannot export spans to `{endpoint}`: {reason}")]
    Traces {
        /// As configured.
        endpoint: String,
        /// Why.
        reason: String,
    },
}

/// The process's telemetry; a cheap handle.
#[derive(Clone, Debug)]
pub struct Telemetry(Arc<Shared>);

/// What workers and the rest of the process share. Its locks are taken when a worker begins or ends, when a label set
/// is seen for the first time, and by pages and reports.
#[derive(Debug)]
struct Shared {
    own: Own,
    bounds: Bounds,
    admission: Arc<Admission>,
    log: Option<(AccessLogSettings, Arc<Writer>)>,
    spans: Option<SpanQueue>,
    readings: Vec<Reading>,
    started: Instant,
    workers: Mutex<Vec<mpsc::UnboundedSender<Question>>>,
    left: Mutex<Left>,
    reports: report::Counts,
    folded: AtomicU64,
    // Workers that have begun to hand over what they counted, and that have done so: a page that is made while one
    // does could count it twice.
    ending: AtomicU64,
    ended: AtomicU64,
}

/// What workers have left for the rest of the process.
#[derive(Debug, Default)]
struct Left {
    /// Of workers that have ended: what they counted beyond the cap.
    others: Vec<SeriesKey>,
    /// For the next report.
    edges: Vec<EdgeKey>,
}

impl Telemetry {
    /// Sets up all that workers share. Within a tokio runtime, on which spans are exported.
    ///
    /// # Errors
    /// The access log cannot be opened, or the endpoint for spans is none.
    pub fn new(settings: TelemetrySettings) -> Result<Self, TelemetryError> {
        let log = settings.access_log.map(|log| {
            let path = match &log.destination {
                Destination::Stdout => PathBuf::from("stdout"),
                Destination::File(path) => path.clone(),
            };
            match Writer::start(&log.destination) {
                Ok(writer) => Ok((log, Arc::new(writer))),
                Err(source) => Err(TelemetryError::AccessLog { path, source }),
            }
        });
        let own = Own { workload: settings.workload, identity: settings.identity.map(Arc::new) };
        let spans = settings.traces.map(|traces| trace::start(traces, &own)).transpose()?;
        Ok(Self(Arc::new(Shared {
            own,
            bounds: Bounds {
                edges: settings.max_edges,
                expiry: u32::try_from(settings.series_expiry.as_secs()).unwrap_or(u32::MAX).max(1),
            },
            admission: Arc::new(Admission::new(settings.max_series)),
            log: log.transpose()?,
            spans,
            readings: settings.readings,
            started: Instant::now(),
            workers: Mutex::default(),
            left: Mutex::default(),
            reports: report::Counts::default(),
            folded: AtomicU64::new(0),
            ending: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        })))
    }

    /// A worker's own telemetry. On the worker's thread, within its `LocalSet`.
    #[must_use]
    pub fn recorder(&self) -> Recorder {
        Recorder::start(&self.0)
    }

    /// All metrics as they are now, as text that is written while it is read.
    pub async fn parts(&self, format: PageFormat) -> Parts {
        let Counted { tables, folded, silent } = self.counted().await;
        // Sums without one of the workers would fall, which looks like a restart: better none than wrong ones.
        let series = if silent == 0 { sum(tables) } else { HashMap::new() };
        page::parts(&self.0, format, series, folded, silent)
    }

    /// All metrics, as one text.
    pub async fn page(&self, format: PageFormat) -> String {
        self.parts(format).await.collect()
    }

    /// What all workers counted, at a moment at which none was ending or forgetting a label set; both are seldom, so once
    /// is mostly enough.
    async fn counted(&self) -> Counted {
        let deadline = tokio::time::Instant::now() + ANSWER;
        loop {
            let ended = self.0.ended.load(Ordering::Acquire);
            let expired = self.0.admission.expired();
            let mut folded = self.0.folded.load(Ordering::Relaxed);
            let answers = self.ask(Question::Series).await;
            let silent = answers.iter().filter(|answer| answer.is_none()).count();
            let mut tables = vec![self.0.admission.left(), self.0.left().others.clone()];
            for answer in answers.into_iter().flatten() {
                folded += answer.folded;
                tables.push(answer.series);
            }
            // A label set that moved meanwhile from a worker's table to what is left of it is in neither.
            let quiet =
                self.0.ending.load(Ordering::Acquire) == ended && self.0.admission.expired() == expired;
            if quiet || tokio::time::Instant::now() >= deadline {
                return Counted { tables, folded, silent };
            }
            tokio::task::yield_now().await;
        }
    }

    /// Reports to the control plane.
    #[must_use]
    pub fn reports(&self, channel: Channel, settings: ReportSettings) -> Reports {
        Reports::new(self.clone(), channel, settings)
    }

    /// Waits, but not for long, until what was recorded is written and exported. Reports end by themselves.
    pub async fn flush(&self) {
        self.ask(Question::HandOver).await;
        if let Some((_, writer)) = &self.0.log
            && let Some(written) = writer.flush()
        {
            drop(tokio::time::timeout(ANSWER, written).await);
        }
        if let Some(spans) = &self.0.spans {
            drop(tokio::time::timeout(ANSWER, spans.flush()).await);
        }
    }

    /// Opens the access log's file anew.
    pub fn reopen_logs(&self) {
        if let Some((_, writer)) = &self.0.log {
            writer.reopen();
        }
    }

    /// What all edges counted since the last time. Nothing is lost when the future is dropped.
    async fn take_edges(&self) -> Vec<EdgeKey> {
        self.ask(Question::Edges).await;
        std::mem::take(&mut self.0.left().edges)
    }

    /// Asks every worker; none for one that is stuck. Those that have ended are forgotten.
    async fn ask<T>(&self, question: impl Fn(oneshot::Sender<T>) -> Question) -> Vec<Option<T>> {
        let mut answers = Vec::new();
        self.0.workers().retain(|worker| {
            let (answer, answered) = oneshot::channel();
            let alive = worker.send(question(answer)).is_ok();
            if alive {
                answers.push(answered);
            }
            alive
        });
        let deadline = tokio::time::Instant::now() + ANSWER;
        let mut all = Vec::new();
        for answer in answers {
            match tokio::time::timeout_at(deadline, answer).await {
                Ok(Ok(answer)) => all.push(Some(answer)),
                // It has ended: what it counted is in `left`.
                Ok(Err(_)) => {}
                Err(_) => all.push(None),
            }
        }
        all
    }
}

impl Shared {
    fn workers(&self) -> std::sync::MutexGuard<'_, Vec<mpsc::UnboundedSender<Question>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) -> std::sync::MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a page is made of.
struct Counted {
    tables: Vec<Vec<SeriesKey>>,
    folded: u64,
    // Workers that did not answer.
    silent: usize,
}

/// Sums the tables of workers. Label sets beyond the cap are summed by kind: those of TCP have another one.
type Sums = HashMap<(Option<Arc<labels::SeriesLabels>>, bool), tally::Tally>;

fn sum(tables: Vec<Vec<SeriesKey>>) -> Sums {
    let mut sums = Sums::new();
    for (labels, tally) in tables.into_iter().flatten() {
        let tcp = matches!(tally, tally::Tally::Tcp(_));
        match sums.entry((labels, tcp)) {
            std::collections::hash_map::Entry::Occupied(mut entry) => entry.get_mut().add(&tally),
            std::collections::hash_map::Entry::Vacant(entry) => drop(entry.insert(tally)),
        }
    }
    sums
}
