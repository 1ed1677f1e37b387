//! Who called whom without mutual TLS: known before a policy makes it a must.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weft_model::node::ProxyId;
use weft_proto::api::{PlaintextRow, StatRequest};
use weft_proto::telemetry::{EdgeCounts, PlaintextPeer};

use super::query::names;
use super::statistics::{Statistics, Store};

#[cfg(test)]
#[path = "plaintext_tests.rs"]
mod tests;

/// Callers that are told apart, of the whole mesh. With [`SLOTS`], the bound of this module's memory: about 12 MB.
const CALLERS: usize = 2_000;
/// Time is counted in slots of this width, as many as make an hour.
const WIDTH: Duration = Duration::from_secs(10);
const SLOTS: u64 = 360;
/// What a caller is part of when there are too many to tell apart; also what sidecars say of theirs.
const OTHERS: Option<IpAddr> = None;

/// One caller of one port.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PlainCaller {
    /// Namespace of the workload that was called.
    pub namespace: Arc<str>,
    /// Its name.
    pub workload: Arc<str>,
    /// Host of the service; empty when the port belongs to none.
    pub service: Arc<str>,
    /// The workload's port.
    pub port: u16,
    /// `http`, `grpc` or `tcp`.
    pub protocol: Arc<str>,
    /// The caller; none for those beyond the number that is told apart.
    pub address: Option<IpAddr>,
}

/// What a caller did in a window of time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlainCalls {
    /// Who.
    pub caller: PlainCaller,
    /// Requests; of TCP, connections.
    pub count: u64,
    /// Since the report of the last one.
    pub ago: Duration,
}

/// Calls of one caller over the last hour.
#[derive(Clone, Debug)]
pub(super) struct History {
    slots: VecDeque<(u64, u64)>,
    last: Instant,
}

impl History {
    fn add(&mut self, slot: u64, count: u64, now: Instant) {
        self.last = now;
        match self.slots.back_mut() {
            Some((last, sum)) if *last >= slot => *sum = sum.saturating_add(count),
            _ => self.slots.push_back((slot, count)),
        }
        self.expire(slot);
    }

    /// Forgets what is too old; whether anything is left.
    pub(super) fn expire(&mut self, slot: u64) -> bool {
        while self.slots.front().is_some_and(|(oldest, _)| oldest + SLOTS <= slot) {
            self.slots.pop_front();
        }
        !self.slots.is_empty()
    }

    fn sum(&self, slot: u64, slots: u64) -> u64 {
        let recent = self.slots.iter().filter(|(at, _)| at + slots > slot);
        recent.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

impl Statistics {
    /// Counts what a sidecar reported of one edge.
    pub(super) fn ingest_plaintext(
        &self,
        store: &mut Store,
        id: &ProxyId,
        counts: &EdgeCounts,
        now: Instant,
    ) {
        let Some(edge) = counts.edge.as_ref().filter(|edge| edge.reporter == "destination") else { return };
        let slot = self.slot(WIDTH, now).0;
        for PlaintextPeer { address, port, count } in counts.plaintext_peers.iter().filter(|it| it.count > 0)
        {
            let mut caller = PlainCaller {
                namespace: id.namespace.as_str().into(),
                workload: id.workload.as_str().into(),
                service: super::series::label(&edge.destination_service),
                port: u16::try_from(*port).unwrap_or_default(),
                protocol: super::series::label(&edge.protocol),
                address: address.parse().ok(),
            };
            if store.plain.len() >= CALLERS && !store.plain.contains_key(&caller) {
                // The others are one caller a service: what they did must not be lost from sight.
                (caller.address, caller.port) = (OTHERS, 0);
                if store.plain.len() >= CALLERS * 2 {
                    continue;
                }
            }
            let fresh = || History { slots: VecDeque::new(), last: now };
            store.plain.entry(caller).or_insert_with(fresh).add(slot, *count, now);
        }
    }

    /// Forgets callers that nobody can ask for any more.
    pub(super) fn expire_plaintext(&self, store: &mut Store, now: Instant) {
        let slot = self.slot(WIDTH, now).0;
        store.plain.retain(|_, history| history.expire(slot));
    }

    /// Who called without mutual TLS in the last `window`, an hour at most, ordered by who was called.
    #[must_use]
    pub fn plaintext(&self, window: Duration) -> Vec<PlainCalls> {
        let (store, now) = (self.store(), self.now());
        let slots = (window.as_millis().div_ceil(WIDTH.as_millis()) as u64).clamp(1, SLOTS);
        let slot = self.slot(WIDTH, now).0;
        let calls = |(caller, history): (&PlainCaller, &History)| PlainCalls {
            caller: caller.clone(),
            count: history.sum(slot, slots),
            ago: now.saturating_duration_since(history.last),
        };
        let mut all: Vec<PlainCalls> =
            store.plain.iter().map(calls).filter(|calls| calls.count > 0).collect();
        drop(store);
        all.sort_by(|one, other| one.caller.cmp(&other.caller));
        all
    }

    /// As rows of an answer, the most first. Which workload an address is, is for others to fill in.
    pub(super) fn plaintext_rows(&self, request: &StatRequest, window: Duration) -> Vec<PlaintextRow> {
        let mut all = self.plaintext(window);
        all.retain(|PlainCalls { caller, .. }| {
            (request.namespace.is_empty() || *caller.namespace == *request.namespace)
                && (request.service.is_empty() || names(&caller.service, &request.service))
        });
        all.sort_by_key(|calls| std::cmp::Reverse(calls.count));
        all.into_iter().map(row).collect()
    }
}

fn row(PlainCalls { caller, count, ago }: PlainCalls) -> PlaintextRow {
    PlaintextRow {
        namespace: caller.namespace.to_string(),
        service: caller.service.to_string(),
        workload: caller.workload.to_string(),
        port: u32::from(caller.port),
        protocol: caller.protocol.to_string(),
        address: caller.address.map(|address| address.to_string()).unwrap_or_default(),
        count,
        last_seconds_ago: ago.as_secs(),
        ..PlaintextRow::default()
    }
}
