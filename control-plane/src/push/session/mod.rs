//! One stream, as a state machine without I/O: requests and snapshots go in, responses come out when the connection
//! has room.
//!
//! For each type the session knows what the client *wants* (subscription), what it was last *offered* and how it
//! answered (held), and which names are *due*: their content may differ from what was offered. A change only adds names
//! to the due set; what is sent for them is looked up at the last moment. So a push that is superseded before it is
//! sent costs nothing, and there is never more than one pending.
//!
//! Order (make before break): clusters, endpoints, listeners, routes, names; clusters and endpoints that vanish are
//! taken away at the end, after the client acknowledged the listeners and routes that no longer use them.

mod ack;
mod delta;
mod respond;
mod sotw;
mod state;
mod subscription;

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;

use super::resource::ResourceType;
use super::settings::{Limits, PushSettings};
use super::snapshot::Snapshot;
use super::wire::{Protocol, Response};
use state::TypeState;
pub use state::{HeldState, RefusedResource, SentResource};
use subscription::WILDCARD;

#[cfg(test)]
#[path = "property_tests.rs"]
mod property_tests;

/// Intervals of revisions that are remembered as having concerned a proxy.
const INTERVALS: usize = 256;
/// Answers to requests for types that are not served; beyond them such requests go unanswered.
const UNSERVED: usize = 16;

/// The state of one stream.
#[derive(Debug)]
pub struct Session {
    protocol: Protocol,
    response_bytes: usize,
    patience: Duration,
    limits: Limits,
    snapshot: Arc<Snapshot>,
    types: [TypeState; 5],
    nonces: u64,
    opened: Instant,
    /// `(from, to]`: revisions that changed something this client subscribes to.
    concerned: Vec<(u64, u64)>,
    unserved: VecDeque<Response>,
}

impl Session {
    /// A fresh stream of a proxy that sees this snapshot.
    #[must_use]
    pub fn new(protocol: Protocol, snapshot: Arc<Snapshot>, settings: &PushSettings, now: Instant) -> Self {
        Self {
            protocol,
            response_bytes: settings.response_bytes,
            patience: settings.patience,
            limits: settings.limits.clone(),
            types: ResourceType::ALL.map(|kind| TypeState::new(kind, &snapshot, now)),
            snapshot,
            nonces: 0,
            opened: now,
            concerned: Vec::new(),
            unserved: VecDeque::new(),
        }
    }

    /// The proxy now sees another snapshot, of the same class or of another.
    pub fn see(&mut self, snapshot: Arc<Snapshot>) {
        let reached = self.snapshot.revision;
        // A lane may be ahead of the other, and so of the snapshot's revision.
        let mut concerned = None;
        for state in &mut self.types {
            let endpoints = state.kind == ResourceType::Endpoint;
            let lane = if endpoints { snapshot.endpoints } else { snapshot.configuration };
            if state.see(&snapshot) {
                concerned = concerned.max(Some(lane.max(snapshot.revision)));
            }
        }
        if let Some(to) = concerned {
            self.remember(reached.min(to.saturating_sub(1)), to);
        }
        self.snapshot = snapshot;
        self.settle();
    }

    fn remember(&mut self, from: u64, to: u64) {
        match self.concerned.last_mut() {
            Some(last) if last.1 >= from => last.1 = last.1.max(to),
            _ => self.concerned.push((from, to)),
        }
        if self.concerned.len() > INTERVALS {
            self.concerned.remove(0);
        }
    }

    /// Types that have nothing left to say are done with the revision. So are those with nothing but removals left that
    /// wait for a client which refused the listeners or routes that would make them possible.
    fn settle(&mut self) {
        let revision = self.snapshot.revision;
        let stuck = [ResourceType::Listener, ResourceType::Route]
            .iter()
            .any(|kind| !self.state(*kind).refused.is_empty());
        for state in &mut self.types {
            if state.is_idle() {
                state.settled = revision;
                if state.refused.is_empty() {
                    state.acknowledged = revision;
                }
            } else if stuck && state.outstanding.is_empty() && state.only_removals_due() {
                state.settled = revision;
            }
        }
    }

    fn next_nonce(&mut self) -> String {
        self.nonces += 1;
        format!("{:x}", self.nonces)
    }

    /// Refuses names that are too many or too long, before they take up memory.
    fn check_names<'a>(
        &self,
        kind: ResourceType,
        held: usize,
        names: impl ExactSizeIterator<Item = &'a String>,
    ) -> Result<(), Status> {
        let Limits { names: most, name_bytes, .. } = self.limits;
        if held + names.len() > most {
            let message = format!("a stream may subscribe to at most {most} {kind} by name");
            return Err(Status::resource_exhausted(message));
        }
        for name in names {
            if name.len() > name_bytes {
                let message = format!("names of {kind} may be at most {name_bytes} bytes long");
                return Err(Status::resource_exhausted(message));
            }
        }
        Ok(())
    }

    /// A type that is not served: an empty answer, so that the client need not wait for one.
    fn answer_unserved(&mut self, type_url: &str, removed: Vec<Arc<str>>) {
        if self.unserved.len() < UNSERVED {
            let nonce = self.next_nonce();
            let version = self.snapshot.revision.to_string();
            let (protocol, type_url) = (self.protocol, type_url.into());
            self.unserved.push_back(Response {
                protocol,
                type_url,
                version,
                nonce,
                resources: vec![],
                removed,
            });
        }
    }

    /// Which protocol the stream speaks.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The revision this session has been given.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.snapshot.revision
    }

    /// Whether a revision from the first to the last changed anything that this client subscribes to.
    #[must_use]
    pub fn is_concerned_by(&self, revisions: &RangeInclusive<u64>) -> bool {
        self.concerned.iter().any(|(from, to)| *from < *revisions.end() && *revisions.start() <= *to)
    }

    /// Up to which revision the client has answered everything, be it with a refusal.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.types
            .iter()
            .filter(|state| state.started)
            .map(|state| state.settled)
            .min()
            .unwrap_or(self.snapshot.revision)
    }

    /// The state of one type.
    #[must_use]
    pub(super) fn state(&self, kind: ResourceType) -> &TypeState {
        &self.types[kind as usize]
    }

    fn state_mut(&mut self, kind: ResourceType) -> &mut TypeState {
        &mut self.types[kind as usize]
    }

    /// Everything that was offered and not taken back.
    #[must_use]
    pub fn sent(&self) -> Vec<SentResource> {
        self.types.iter().flat_map(TypeState::sent).collect()
    }

    /// When to call [`next_response`](Self::next_response) again though nothing happened: a client that does not answer
    /// is not waited for forever.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let waiting = self.types.iter().filter(|state| state.waits_for_room);
        let answers =
            waiting.filter_map(|state| state.outstanding.front()).map(|first| first.sent_at + self.patience);
        let grace = self.opened + respond::GRACE;
        let removals = self.types.iter().any(TypeState::only_removals_due) && Instant::now() < grace;
        answers.chain(removals.then_some(grace)).min()
    }
}
