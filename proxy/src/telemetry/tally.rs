//! What is counted: of a series for Prometheus, of an edge for the control plane.

use std::time::Duration;

use weft_model::histogram;

use super::labels::{Call, Protocol};
use super::plain::PlainPeers;
use super::record::{RequestRecord, TcpRecord};
use crate::error::ResponseFlags;

/// Upper bounds of Envoy's default buckets, which Istio's dashboards and alerts know.
pub(super) const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// A histogram with [`BOUNDS`]; the last bucket has no bound. Buckets are not cumulative here.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Histogram {
    pub(super) buckets: [u64; BOUNDS.len() + 1],
    pub(super) sum: f64,
}

impl Histogram {
    pub(super) fn observe(&mut self, value: f64) {
        let bucket = BOUNDS.iter().position(|bound| value <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket] += 1;
        self.sum += value;
    }

    fn add(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(own, other)| *own += other);
        self.sum += other.sum;
    }
}

/// Counts of a label set of HTTP and gRPC.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct HttpTally {
    pub(super) requests: u64,
    pub(super) duration_ms: Histogram,
    pub(super) request_bytes: Histogram,
    pub(super) response_bytes: Histogram,
}

/// Counts of a label set of TCP.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct TcpTally {
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
}

/// Counts of one label set.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Tally {
    Http(Box<HttpTally>),
    Tcp(TcpTally),
}

impl Tally {
    pub(super) fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http | Protocol::Grpc => Self::Http(Box::default()),
            Protocol::Tcp => Self::Tcp(TcpTally::default()),
        }
    }

    pub(super) fn request(&mut self, record: &RequestRecord<'_>) {
        let Self::Http(tally) = self else { return };
        tally.requests += 1;
        tally.duration_ms.observe(record.duration.as_secs_f64() * 1_000.0);
        tally.request_bytes.observe(record.bytes_received as f64);
        tally.response_bytes.observe(record.bytes_sent as f64);
    }

    pub(super) fn tcp(&mut self, record: &TcpRecord<'_>) {
        let Self::Tcp(tally) = self else { return };
        let (opened, closed) = openings(record);
        tally.opened += opened;
        tally.closed += closed;
        tally.received_bytes += record.bytes_received;
        tally.sent_bytes += record.bytes_sent;
    }

    pub(super) fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Http(own), Self::Http(other)) => {
                own.requests += other.requests;
                own.duration_ms.add(&other.duration_ms);
                own.request_bytes.add(&other.request_bytes);
                own.response_bytes.add(&other.response_bytes);
            }
            (Self::Tcp(own), Self::Tcp(other)) => {
                own.opened += other.opened;
                own.closed += other.closed;
                own.received_bytes += other.received_bytes;
                own.sent_bytes += other.sent_bytes;
            }
            // The labels hold the protocol: the same labels never have different kinds of counts.
            _ => {}
        }
    }
}

/// How many connections a record opens and closes. One that never reached an upstream is recorded only at its end, and
/// was open all the same.
fn openings(record: &TcpRecord<'_>) -> (u64, u64) {
    match (record.closed, record.upstream) {
        (false, _) => (1, 0),
        (true, Some(_)) => (0, 1),
        (true, None) => (1, 1),
    }
}

/// Counts of an edge since they were last taken.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct EdgeTally {
    pub(super) requests: u64,
    pub(super) failures: u64,
    pub(super) retries: u64,
    /// Few, in the order in which they first came.
    pub(super) codes: Vec<(u16, u64)>,
    /// Few; sets of flags as they came.
    pub(super) flags: Vec<(ResponseFlags, u64)>,
    /// By bucket of [`weft_model::histogram`]; empty before the first request.
    pub(super) latency: Vec<u32>,
    pub(super) latency_sum_us: u64,
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
    /// Who called without mutual TLS.
    pub(super) plain: PlainPeers,
}

impl EdgeTally {
    pub(super) fn request(&mut self, record: &RequestRecord<'_>, call: &Call<'_>) {
        self.requests += 1;
        self.failures += u64::from(failed(call));
        self.retries += record.upstream.map_or(0, |upstream| u64::from(upstream.attempts.saturating_sub(1)));
        count(&mut self.codes, call.status, 1);
        if !call.flags.is_empty() {
            count(&mut self.flags, call.flags, 1);
        }
        self.observe(record.duration);
        self.plain.record(record.connection, record.upstream, 1);
        self.sent_bytes += record.bytes_sent;
        self.received_bytes += record.bytes_received;
    }

    fn observe(&mut self, duration: Duration) {
        if self.latency.is_empty() {
            self.latency.resize(histogram::BUCKETS, 0);
        }
        let micros = duration.as_micros() as u64;
        let bucket = &mut self.latency[histogram::index(micros)];
        *bucket = bucket.saturating_add(1);
        self.latency_sum_us += micros;
    }

    pub(super) fn tcp(&mut self, record: &TcpRecord<'_>) {
        let (opened, closed) = openings(record);
        self.opened += opened;
        self.closed += closed;
        self.plain.record(record.connection, record.upstream, opened);
        self.sent_bytes += record.bytes_sent;
        self.received_bytes += record.bytes_received;
        if !record.flags.is_empty() {
            count(&mut self.flags, record.flags, 1);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests == 0 && self.opened == 0 && self.closed == 0
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.retries += other.retries;
        other.codes.iter().for_each(|(code, n)| count(&mut self.codes, *code, *n));
        other.flags.iter().for_each(|(flags, n)| count(&mut self.flags, *flags, *n));
        if self.latency.is_empty() {
            self.latency.clone_from(&other.latency);
        } else {
            let sums = self.latency.iter_mut().zip(&other.latency);
            sums.for_each(|(own, other)| *own = own.saturating_add(*other));
        }
        self.latency_sum_us += other.latency_sum_us;
        self.opened += other.opened;
        self.closed += other.closed;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.plain.add(&other.plain);
    }
}

fn count<T: PartialEq>(counts: &mut Vec<(T, u64)>, key: T, n: u64) {
    match counts.iter_mut().find(|(known, _)| *known == key) {
        Some((_, count)) => *count += n,
        None => counts.push((key, n)),
    }
}

/// Answered with 5xx, not answered, or with a gRPC status that is the server's fault: those that OpenTelemetry calls
/// errors of servers (<https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>). A gRPC response without any status was
/// cut off.
pub(super) fn failed(call: &Call<'_>) -> bool {
    const SERVER_FAULTS: [u8; 6] = [2, 4, 12, 13, 14, 15];
    let answered = call.status != 0 && call.status < 500;
    match (call.protocol, call.grpc_status) {
        (Protocol::Grpc, Some(status)) => !answered || SERVER_FAULTS.contains(&status),
        (Protocol::Grpc, None) => !answered || call.status == 200,
        _ => !answered,
    }
}
