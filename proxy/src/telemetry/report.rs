//! Reports to the control plane: what every edge counted, every few seconds, so that `weft stat` needs nothing else.
//!
//! A report that is not acknowledged is sent again as it was, under the same number, on the next stream; a control
//! plane that has seen the number need not count it twice. What is counted meanwhile is merged into one next report,
//! so that memory stays bounded however long the control plane is away. Numbers begin with the wall clock's
//! milliseconds, so that a restarted sidecar's are new.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use weft_proto::telemetry as wire;
use weft_proto::telemetry::telemetry_service_client::TelemetryServiceClient;

use super::Telemetry;
use super::labels::{EdgeLabels, Ends, Party, reporter};
use super::process::ProcessUse;
use super::tables::EdgeKey;
use super::tally::EdgeTally;
use crate::error::ResponseFlags;

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;

/// A report that is not acknowledged for so long is lost: its stream is given up.
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(10);

/// How long the end of the process waits for the last acknowledgement.
const LAST: Duration = Duration::from_secs(3);

/// What a control plane may ask for.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(300));

/// Who reports, and how often.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReportSettings {
    /// Node id as in xDS: `sidecar~IP~WORKLOAD.NAMESPACE~DOMAIN`.
    pub node: String,
    /// Until the control plane says otherwise.
    pub interval: Duration,
}

impl ReportSettings {
    /// Every 2 seconds.
    #[must_use]
    pub fn new(node: &str) -> Self {
        Self { node: node.to_owned(), interval: Duration::from_secs(2) }
    }
}

/// How reports fared.
#[derive(Debug, Default)]
pub(super) struct Counts {
    acknowledged: AtomicU64,
    broken: AtomicU64,
}

impl Counts {
    /// Reports acknowledged, streams that ended early.
    pub(super) fn read(&self) -> (u64, u64) {
        (self.acknowledged.load(Ordering::Relaxed), self.broken.load(Ordering::Relaxed))
    }
}

/// Reports to the control plane, to be [run](Self::run).
#[derive(Debug)]
pub struct Reports {
    telemetry: Telemetry,
    client: TelemetryServiceClient<Channel>,
    node: String,
    interval: Duration,
    sequence: u64,
    /// Counted and not sent yet.
    pending: HashMap<Option<Arc<EdgeLabels>>, EdgeTally>,
    pending_since: Instant,
    /// Sent and not acknowledged.
    sent: Option<wire::ReportRequest>,
}

/// Why a stream is left.
enum Left {
    /// It broke, or was never there.
    Broken(String),
    /// The process ends, and all has been said.
    Done,
}

impl Reports {
    pub(super) fn new(telemetry: Telemetry, channel: Channel, settings: ReportSettings) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            telemetry,
            client: TelemetryServiceClient::new(channel),
            node: settings.node,
            interval: settings.interval.clamp(INTERVALS.0, INTERVALS.1),
            sequence: since.as_millis() as u64,
            pending: HashMap::new(),
            pending_since: Instant::now(),
            sent: None,
        }
    }

    /// Reports until `stop`, and once more after it; ends at most three seconds later.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut stopping = None;
        let mut warned = false;
        loop {
            let left = match stopping {
                None => tokio::select! {
                    left = self.stream(None) => left,
                    () = stop.as_mut() => {
                        stopping = Some(Instant::now() + LAST);
                        continue;
                    }
                },
                // A stream of its own for the rest: whatever was under way is sent again on it.
                Some(deadline) => {
                    match tokio::time::timeout_at(deadline, self.stream(Some(deadline))).await {
                        Ok(left) => left,
                        Err(_) => Left::Broken(format!(
                            "no acknowledgement in {}",
                            humantime::format_duration(LAST)
                        )),
                    }
                }
            };
            match left {
                Left::Done => return,
                Left::Broken(reason) => {
                    self.telemetry.0.reports.broken.fetch_add(1, Ordering::Relaxed);
                    if stopping.is_some() {
                        return tracing::warn!("the last report to the control plane is lost: {reason}");
                    }
                    if !std::mem::replace(&mut warned, true) {
                        tracing::warn!("reports to the control plane wait until it is back: {reason}");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.interval) => {}
                () = stop.as_mut(), if stopping.is_none() => stopping = Some(Instant::now() + LAST),
            }
            // Workers keep counts of their own; merging them now keeps theirs small.
            self.gather().await;
        }
    }

    /// Reports on one stream until it breaks, or until all is said when the process ends.
    async fn stream(&mut self, last: Option<Instant>) -> Left {
        let (requests, outgoing) = mpsc::channel(2);
        // A server may answer the head only with its first message, and that only after ours.
        if self.sent.is_none() {
            self.next_report(last.is_some()).await;
        }
        let Some(first) = &self.sent else { return Left::Done };
        drop(requests.try_send(first.clone()));
        let opening = self.client.report(ReceiverStream::new(outgoing));
        let mut acknowledgements = match tokio::time::timeout(ACKNOWLEDGEMENT, opening).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Left::Broken(status.to_string()),
            Err(_) => return Left::Broken("it does not answer".to_owned()),
        };
        loop {
            if let Err(reason) = self.acknowledged(&mut acknowledgements).await {
                return Left::Broken(reason);
            }
            if last.is_none()
                && let Err(reason) = self.wait(&mut acknowledgements).await
            {
                return Left::Broken(reason);
            }
            self.next_report(last.is_some()).await;
            let Some(next) = &self.sent else { return Left::Done };
            if requests.send(next.clone()).await.is_err() {
                return Left::Broken("the stream ended".to_owned());
            }
        }
    }

    /// Waits for the acknowledgement of what was sent.
    async fn acknowledged(&mut self, answers: &mut Streaming<wire::ReportResponse>) -> Result<(), String> {
        let deadline = Instant::now() + ACKNOWLEDGEMENT;
        while let Some(sent) = &self.sent {
            let sequence = sent.sequence;
            let answer = match tokio::time::timeout_at(deadline, answers.message()).await {
                Ok(answer) => self.answer(answer)?,
                Err(_) => return Err(format!("report {sequence} was not acknowledged")),
            };
            if answer >= sequence {
                self.sent = None;
                self.telemetry.0.reports.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Waits until the next report is due.
    async fn wait(&mut self, answers: &mut Streaming<wire::ReportResponse>) -> Result<(), String> {
        let mut since = tokio::time::interval_at(Instant::now() + self.interval, self.interval);
        since.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = since.tick() => return Ok(()),
                answer = answers.message() => drop(self.answer(answer)?),
            }
        }
    }

    /// Notes what the control plane says; gives the number that it acknowledges.
    fn answer(&mut self, answer: Result<Option<wire::ReportResponse>, tonic::Status>) -> Result<u64, String> {
        match answer {
            Ok(Some(answer)) => {
                if answer.interval_ms > 0 {
                    let wanted = Duration::from_millis(answer.interval_ms);
                    self.interval = wanted.clamp(INTERVALS.0, INTERVALS.1);
                }
                Ok(answer.acknowledged_sequence)
            }
            Ok(None) => Err("the control plane ended the stream".to_owned()),
            Err(status) => Err(status.to_string()),
        }
    }

    async fn gather(&mut self) {
        let edges = self.telemetry.take_edges().await;
        let bound = self.telemetry.0.bounds.edges;
        merge(&mut self.pending, edges, bound);
    }

    /// Makes a report of all that is pending. One without edges tells that this sidecar lives; but not at its end.
    async fn next_report(&mut self, last: bool) {
        self.gather().await;
        if last && self.pending.is_empty() {
            return;
        }
        let now = Instant::now();
        self.sequence += 1;
        let process = ProcessUse::now();
        let report = wire::ReportRequest {
            node: self.node.clone(),
            sequence: self.sequence,
            interval_ms: now.duration_since(self.pending_since).as_millis() as u64,
            edges: std::mem::take(&mut self.pending)
                .into_iter()
                .map(|(labels, tally)| wire_counts(labels, tally))
                .collect(),
            resident_bytes: process.resident_bytes,
            cpu_us: process.cpu.as_micros() as u64,
        };
        self.pending_since = now;
        self.sent = Some(report);
    }
}

fn merge(pending: &mut HashMap<Option<Arc<EdgeLabels>>, EdgeTally>, edges: Vec<EdgeKey>, bound: usize) {
    for (labels, tally) in edges {
        let full = pending.len() > bound;
        let labels = if full && !pending.contains_key(&labels) { None } else { labels };
        match pending.entry(labels) {
            Entry::Occupied(mut entry) => entry.get_mut().add(&tally),
            Entry::Vacant(entry) => drop(entry.insert(tally)),
        }
    }
}

fn wire_counts(labels: Option<Arc<EdgeLabels>>, tally: EdgeTally) -> wire::EdgeCounts {
    let counted = tally.latency.iter().enumerate().filter(|(_, count)| **count > 0);
    let (bucket, count) = counted.map(|(bucket, count)| (bucket as u32, u64::from(*count))).unzip();
    let latency = wire::Histogram { bucket, count, sum_us: tally.latency_sum_us };
    wire::EdgeCounts {
        edge: Some(labels.map_or_else(other, |labels| wire_edge(&labels))),
        requests: tally.requests,
        failures: tally.failures,
        retries: tally.retries,
        responses_by_code: tally.codes.into_iter().map(|(code, n)| (u32::from(code), n)).collect(),
        response_flags: single_flags(&tally.flags),
        latency: Some(latency).filter(|latency| !latency.bucket.is_empty()),
        tcp_opened: tally.opened,
        tcp_closed: tally.closed,
        bytes_sent: tally.sent_bytes,
        bytes_received: tally.received_bytes,
        plaintext_peers: tally.plain.into_peers().collect(),
    }
}

/// Counts of every single flag of sets of flags.
fn single_flags(sets: &[(ResponseFlags, u64)]) -> HashMap<String, u64> {
    let mut counts = HashMap::new();
    for (flags, n) in sets {
        for flag in flags.to_string().split(',') {
            *counts.entry(flag.to_owned()).or_default() += n;
        }
    }
    counts
}

fn other() -> wire::Edge {
    wire::Edge {
        reporter: "other".to_owned(),
        source_workload: "other".to_owned(),
        destination_service: "other".to_owned(),
        destination_workload: "other".to_owned(),
        ..wire::Edge::default()
    }
}

fn wire_edge(labels: &EdgeLabels) -> wire::Edge {
    let EdgeLabels { ends: Ends { direction, source, destination, service, protocol, mutual_tls }, route } =
        labels;
    let principal = |party: &Party| party.principal.as_ref().map(ToString::to_string).unwrap_or_default();
    wire::Edge {
        reporter: reporter(*direction).to_owned(),
        source_workload: source.workload.name.to_string(),
        source_namespace: source.workload.namespace.to_string(),
        source_version: source.workload.version.to_string(),
        source_principal: principal(source),
        destination_service: service.host.to_string(),
        destination_workload: destination.workload.name.to_string(),
        destination_namespace: destination.workload.namespace.to_string(),
        destination_version: destination.workload.version.to_string(),
        destination_principal: principal(destination),
        protocol: protocol.as_str().to_owned(),
        route: route.to_string(),
        mutual_tls: *mutual_tls,
    }
}
