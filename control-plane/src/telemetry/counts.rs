//! Counts that add up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weft_model::histogram;
use weft_proto::telemetry::{EdgeCounts, Histogram};

use super::series::Key;

#[cfg(test)]
#[path = "counts_tests.rs"]
mod tests;

/// Flags of requests that never reached the server.
const UNREACHED: [&str; 6] = ["UH", "UF", "NC", "NR", "UO", "FI"];
/// Flags of requests whose answer did not, or not wholly, reach the client.
const UNANSWERED: [&str; 5] = ["UT", "UC", "UR", "UPE", "SI"];
/// Different flags kept per series; a sidecar knows fewer than thirty.
const FLAGS: usize = 32;
/// Bytes of the longest flag.
const FLAG: usize = 8;

/// Sums of reports. Every operation saturates: a sidecar that lies cannot make another's numbers wrap.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Counts {
    /// Requests that were answered, one way or another.
    pub requests: u64,
    /// Of those, the failed ones.
    pub failures: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// TCP connections opened.
    pub tcp_opened: u64,
    /// Bytes of payload to the caller.
    pub bytes_sent: u64,
    /// Bytes of payload from the caller.
    pub bytes_received: u64,
    /// Requests, or TCP connections where there are no requests, over mutual TLS.
    pub mutual_tls: u64,
    /// Response flag to requests.
    pub flags: BTreeMap<Box<str>, u64>,
    /// Bucket to requests, ascending.
    pub latency: Vec<(u16, u64)>,
}

impl Counts {
    /// The counts of one edge of a report.
    #[must_use]
    pub fn of(counts: &EdgeCounts) -> Self {
        let mutual_tls = counts.edge.as_ref().is_some_and(|edge| edge.mutual_tls);
        let mut sum = Self {
            requests: counts.requests,
            failures: counts.failures.min(counts.requests),
            retries: counts.retries,
            tcp_opened: counts.tcp_opened,
            bytes_sent: counts.bytes_sent,
            bytes_received: counts.bytes_received,
            mutual_tls: if mutual_tls { counts.requests.max(counts.tcp_opened) } else { 0 },
            ..Self::default()
        };
        for (flag, count) in counts.response_flags.iter().filter(|(flag, _)| flag.len() <= FLAG) {
            sum.add_flag(flag, *count);
        }
        for (bucket, count) in counts.latency.iter().flat_map(|h| h.bucket.iter().zip(&h.count)) {
            let bucket = (*bucket as usize).min(histogram::BUCKETS - 1) as u16;
            sum.add_latency(&[(bucket, *count)]);
        }
        sum
    }

    /// As a report, which [`Self::of`] reads.
    #[must_use]
    pub fn to_report(&self, key: &Key) -> EdgeCounts {
        EdgeCounts {
            edge: Some(key.to_edge()),
            requests: self.requests,
            failures: self.failures,
            retries: self.retries,
            tcp_opened: self.tcp_opened,
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
            response_flags: self.flags.iter().map(|(flag, count)| (flag.to_string(), *count)).collect(),
            latency: Some(Histogram {
                bucket: self.latency.iter().map(|(bucket, _)| u32::from(*bucket)).collect(),
                count: self.latency.iter().map(|(_, count)| *count).collect(),
                sum_us: 0,
            }),
            ..EdgeCounts::default()
        }
    }

    /// The same within the bounds that hold for all counts, for those that were read from a file.
    #[must_use]
    pub fn checked(&self) -> Self {
        let mut sum = Self::default();
        let latency = self.latency.iter().map(|(bucket, count)| {
            ((*bucket).min(u16::try_from(histogram::BUCKETS - 1).unwrap_or(u16::MAX)), *count)
        });
        sum.add(&Self { latency: latency.collect(), ..self.clone() });
        sum.failures = sum.failures.min(sum.requests);
        sum.flags.retain(|flag, _| flag.len() <= FLAG);
        sum
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.requests, other.requests),
            (&mut self.failures, other.failures),
            (&mut self.retries, other.retries),
            (&mut self.tcp_opened, other.tcp_opened),
            (&mut self.bytes_sent, other.bytes_sent),
            (&mut self.bytes_received, other.bytes_received),
            (&mut self.mutual_tls, other.mutual_tls),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
        for (flag, count) in &other.flags {
            self.add_flag(flag, *count);
        }
        self.add_latency(&other.latency);
    }

    fn add_flag(&mut self, flag: &str, count: u64) {
        if let Some(sum) = self.flags.get_mut(flag) {
            *sum = sum.saturating_add(count);
        } else if self.flags.len() < FLAGS {
            self.flags.insert(flag.into(), count);
        }
    }

    fn add_latency(&mut self, other: &[(u16, u64)]) {
        for (bucket, count) in other {
            match self.latency.binary_search_by_key(bucket, |(bucket, _)| *bucket) {
                Ok(place) => self.latency[place].1 = self.latency[place].1.saturating_add(*count),
                Err(place) => self.latency.insert(place, (*bucket, *count)),
            }
        }
    }

    fn flagged(&self, flags: &[&str]) -> u64 {
        flags.iter().filter_map(|flag| self.flags.get(*flag)).fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Adds to a destination's counts what only the source has seen of the same requests.
    pub fn add_source_only(&mut self, source: &Self) {
        let unreached = source.flagged(&UNREACHED).min(source.requests);
        let unanswered = source.flagged(&UNANSWERED);
        self.requests = self.requests.saturating_add(unreached);
        self.failures = self.failures.saturating_add(unreached).saturating_add(unanswered).min(self.requests);
        self.retries = self.retries.saturating_add(source.retries);
        for (flag, count) in &source.flags {
            if UNREACHED.contains(&&**flag) || UNANSWERED.contains(&&**flag) || &**flag == "URX" {
                self.add_flag(flag, *count);
            }
        }
    }

    /// Share of requests that succeeded, 0..=1; 1 when there were none.
    #[must_use]
    pub fn success_rate(&self) -> f64 {
        if self.requests == 0 {
            1.0
        } else {
            (self.requests - self.failures.min(self.requests)) as f64 / self.requests as f64
        }
    }

    /// Share of requests (TCP: connections) over mutual TLS, 0..=1, of those that a connection carried.
    #[must_use]
    pub fn mutual_tls_share(&self) -> f64 {
        let all = self.requests.max(self.tcp_opened).saturating_sub(self.flagged(&UNREACHED));
        if all == 0 { 0.0 } else { (self.mutual_tls as f64 / all as f64).min(1.0) }
    }

    /// A quantile of the latency, in milliseconds.
    #[must_use]
    pub fn quantile_ms(&self, q: f64) -> f64 {
        let counts = self.latency.iter().map(|(bucket, count)| (*bucket as usize, *count));
        histogram::quantile(counts, q) / 1000.0
    }
}
