//! One series: an edge as one side reports it, over time.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weft_proto::telemetry::Edge;

use super::counts::Counts;

/// Bytes kept of a label; a workload's name has at most 253.
const LABEL: usize = 300;

/// Who reports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Reporter {
    /// The client's sidecar.
    Source,
    /// The server's sidecar.
    Destination,
}

/// What tells series apart.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Key {
    /// Who reports.
    pub reporter: Reporter,
    /// The caller's workload; empty or `unknown` outside the mesh.
    pub source: Arc<str>,
    /// The caller's namespace.
    pub source_namespace: Arc<str>,
    /// The called service's host.
    pub service: Arc<str>,
    /// The called workload.
    pub workload: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// `http`, `grpc` or `tcp`.
    pub protocol: Arc<str>,
    /// The route rule.
    pub route: Arc<str>,
    /// Whether over mutual TLS.
    pub mutual_tls: bool,
}

impl Key {
    /// The series of an edge; `None` when its reporter is neither side.
    #[must_use]
    pub fn of(edge: &Edge) -> Option<Self> {
        let reporter = match edge.reporter.as_str() {
            "source" => Reporter::Source,
            "destination" => Reporter::Destination,
            _ => return None,
        };
        Some(Self {
            reporter,
            source: label(&edge.source_workload),
            source_namespace: label(&edge.source_namespace),
            service: label(&edge.destination_service),
            workload: label(&edge.destination_workload),
            namespace: label(&edge.destination_namespace),
            version: label(&edge.destination_version),
            protocol: label(&edge.protocol),
            route: label(&edge.route),
            mutual_tls: edge.mutual_tls,
        })
    }

    /// As an edge, which [`Self::of`] reads.
    #[must_use]
    pub fn to_edge(&self) -> Edge {
        let reporter = match self.reporter {
            Reporter::Source => "source",
            Reporter::Destination => "destination",
        };
        Edge {
            reporter: reporter.to_owned(),
            source_workload: self.source.to_string(),
            source_namespace: self.source_namespace.to_string(),
            destination_service: self.service.to_string(),
            destination_workload: self.workload.to_string(),
            destination_namespace: self.namespace.to_string(),
            destination_version: self.version.to_string(),
            protocol: self.protocol.to_string(),
            route: self.route.to_string(),
            mutual_tls: self.mutual_tls,
            ..Edge::default()
        }
    }

    /// Whether the caller is known by name.
    #[must_use]
    pub fn has_source(&self) -> bool {
        !self.source.is_empty() && &*self.source != "unknown"
    }
}

/// A label as it is kept: of bounded length.
pub(super) fn label(text: &str) -> Arc<str> {
    let mut end = text.len().min(LABEL);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}

/// A ring of time slots; only those in which something happened take memory.
#[derive(Clone, Debug)]
pub struct Ring {
    /// Slots that are kept.
    slots: u64,
    filled: VecDeque<(u64, Counts)>,
}

impl Ring {
    /// A ring of so many slots.
    #[must_use]
    pub fn new(slots: u64) -> Self {
        Self { slots, filled: VecDeque::new() }
    }

    /// Adds to the slot of now.
    pub fn add(&mut self, slot: u64, counts: &Counts) {
        self.expire(slot);
        match self.filled.back_mut() {
            Some((last, sum)) if *last >= slot => sum.add(counts),
            _ => self.filled.push_back((slot, counts.clone())),
        }
    }

    /// Forgets what is too old; whether nothing is left.
    pub fn expire(&mut self, slot: u64) -> bool {
        while self.filled.front().is_some_and(|(oldest, _)| oldest + self.slots <= slot) {
            self.filled.pop_front();
        }
        self.filled.is_empty()
    }

    /// The slots in which something happened, oldest first.
    pub fn filled(&self) -> impl Iterator<Item = (u64, &Counts)> {
        self.filled.iter().map(|(slot, counts)| (*slot, counts))
    }

    /// The sum of the last `slots` slots, the present one included; `None` when nothing happened in them.
    #[must_use]
    pub fn sum(&self, slot: u64, slots: u64) -> Option<Counts> {
        let mut recent = self.filled.iter().filter(|(at, _)| at + slots > slot).map(|(_, counts)| counts);
        let mut sum = recent.next()?.clone();
        recent.for_each(|counts| sum.add(counts));
        Some(sum)
    }
}
