//! What is sent next.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Session;
use super::state::{Held, Outstanding, Task, TypeState};
use crate::push::resource::{Resource, ResourceType, Version};
use crate::push::wire::{Protocol, Response};

/// Delta responses of one type that may be unanswered at once. More would not be faster, and would grow old.
const OUTSTANDING: usize = 4;
/// Bytes that a resource needs on the wire beside its content and name.
const OVERHEAD: usize = 160;

/// How long after a stream opened its client may take to ask for listeners and routes, before it is taken for one that
/// uses none: a client that comes back asks for clusters first, while its old routes still use what has vanished.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// What a type has to say.
enum Turn {
    Send(Response),
    /// Something, but the client must answer first; nothing that may depend on it goes before.
    Wait,
    Idle,
}

/// The contents of one response.
#[derive(Default)]
struct Batch {
    resources: Vec<Arc<Resource>>,
    removed: Vec<Arc<str>>,
    /// Of the resources, those that are new to the client.
    offered: Vec<Arc<str>>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, resource: Arc<Resource>) {
        self.bytes += resource.bytes.len() + resource.name.len() + OVERHEAD;
        self.offered.push(resource.name.clone());
        self.resources.push(resource);
    }
}

impl Session {
    /// The next response, to be called when the connection has room for one. `None`: nothing to say at present.
    pub fn next_response(&mut self, now: Instant) -> Option<Response> {
        self.due_response(now).or_else(|| self.unserved.pop_front())
    }

    fn due_response(&mut self, now: Instant) -> Option<Response> {
        for state in &mut self.types {
            state.waits_for_room = false;
        }
        for kind in ResourceType::ALL {
            match self.respond(kind, now) {
                Turn::Send(response) => return Some(response),
                Turn::Wait => return None,
                Turn::Idle => {}
            }
        }
        let removal = self.take_away(ResourceType::Cluster, now);
        let removal = removal.or_else(|| self.take_away(ResourceType::Endpoint, now));
        self.settle();
        removal
    }

    fn respond(&mut self, kind: ResourceType, now: Instant) -> Turn {
        let (protocol, limit) = (self.protocol, self.response_bytes);
        let state = self.state_mut(kind);
        if !state.has_work() {
            return Turn::Idle;
        }
        if !self.has_room(kind, now) {
            return Turn::Wait;
        }
        let state = self.state_mut(kind);
        let answer_due = std::mem::take(&mut state.answer_due);
        let full = protocol == Protocol::StateOfTheWorld && kind.is_full_state();
        let batch = if full { state.full_state(false) } else { state.next_batch(protocol, limit) };
        if batch.resources.is_empty() && batch.removed.is_empty() && !full && !answer_due {
            return Turn::Idle;
        }
        Turn::Send(self.send(kind, batch, now))
    }

    /// Sends removals that had to wait until nothing uses what they remove.
    fn take_away(&mut self, kind: ResourceType, now: Instant) -> Option<Response> {
        let protocol = self.protocol;
        if self.state(kind).due.is_empty() || !self.may_take_away(kind, now) || !self.has_room(kind, now) {
            return None;
        }
        let state = self.state_mut(kind);
        let batch = if protocol == Protocol::StateOfTheWorld && kind.is_full_state() {
            state.full_state(true)
        } else {
            let removed: Vec<_> = state.due.iter().cloned().collect();
            removed.iter().for_each(|name| state.forget(name));
            Batch { removed, ..Batch::default() }
        };
        if protocol == Protocol::StateOfTheWorld && !kind.is_full_state() {
            return None; // There is no way to say it; the client has dropped them with their clusters.
        }
        Some(self.send(kind, batch, now))
    }

    fn may_take_away(&self, kind: ResourceType, now: Instant) -> bool {
        let unused = [ResourceType::Listener, ResourceType::Route].into_iter().all(|user| {
            let state = self.state(user);
            let settled = state.is_idle() && state.refused.is_empty();
            settled && (state.started || now >= self.opened + GRACE)
        });
        let clusters_gone = kind == ResourceType::Cluster
            || (self.snapshot.consistent && self.state(ResourceType::Cluster).is_due_empty());
        unused && clusters_gone
    }

    fn has_room(&mut self, kind: ResourceType, now: Instant) -> bool {
        let (patience, most) =
            (self.patience, if self.protocol == Protocol::Delta { OUTSTANDING } else { 1 });
        let state = self.state_mut(kind);
        if state.outstanding.len() < most {
            return true;
        }
        let expired = state.outstanding.front().is_some_and(|oldest| oldest.sent_at + patience <= now);
        if expired {
            tracing::warn!(%kind, "a proxy does not answer; sending the newest all the same");
            state.outstanding.pop_front();
        } else {
            state.waits_for_room = true;
        }
        expired
    }

    fn send(&mut self, kind: ResourceType, batch: Batch, now: Instant) -> Response {
        let (protocol, revision, nonce) = (self.protocol, self.snapshot.revision, self.next_nonce());
        let state = self.state_mut(kind);
        let version = match protocol {
            Protocol::Delta => revision.to_string(),
            Protocol::StateOfTheWorld if kind.is_full_state() => {
                state.version_of(batch.resources.iter().map(|resource| (&resource.name, resource.version)))
            }
            Protocol::StateOfTheWorld => {
                state.version_of(state.held.iter().map(|(name, held)| (name, held.version)))
            }
        };
        if protocol == Protocol::StateOfTheWorld {
            state.outstanding.clear();
        }
        let (completes, sent_at) = (state.is_due_empty(), now);
        let names = batch.offered.clone();
        state.outstanding.push_back(Outstanding {
            nonce: nonce.clone(),
            names,
            revision,
            completes,
            sent_at,
        });
        state.last_nonce = Some(nonce.clone());
        state.changed_at = now;
        if protocol == Protocol::StateOfTheWorld && kind == ResourceType::Cluster {
            let endpoints = self.state_mut(ResourceType::Endpoint);
            let warming = batch
                .offered
                .into_iter()
                .filter(|name| endpoints.held.contains_key(name))
                .collect::<Vec<_>>();
            endpoints.warming.extend(warming);
        }
        let (resources, removed) = (batch.resources, batch.removed);
        Response { protocol, type_url: kind.url().into(), version, nonce, resources, removed }
    }
}

impl TypeState {
    /// Whether anything may go out now. Drops names that need nothing any more.
    fn has_work(&mut self) -> bool {
        if self.is_due_empty() {
            return false;
        }
        let due: Vec<_> = self.due.iter().cloned().collect();
        let mut work = self.answer_due || !self.isolating.is_empty();
        for name in due {
            match self.task(&name) {
                Task::Nothing => {
                    self.due.remove(&name);
                }
                Task::Remove => work |= !self.removes_last(),
                Task::Send(_) | Task::Deny => work = true,
            }
        }
        work
    }

    /// Whether all that is due is to be taken away at the end of a push.
    pub(super) fn only_removals_due(&self) -> bool {
        let removal = |name| matches!(self.task(name), Task::Remove);
        !self.due.is_empty()
            && self.removes_last()
            && !self.answer_due
            && self.isolating.is_empty()
            && self.due.iter().all(removal)
    }

    /// Whether what vanishes of this type is taken away at the end of a push.
    fn removes_last(&self) -> bool {
        matches!(self.kind, ResourceType::Cluster | ResourceType::Endpoint)
    }

    /// What the client subscribes to and exists.
    pub(super) fn wanted(&self) -> Vec<Arc<Resource>> {
        self.lane.set.iter().filter(|resource| self.subscription.covers(resource)).cloned().collect()
    }

    /// One version for a state: independent of order, equal exactly when names and contents are.
    pub(super) fn version_of<'a>(&self, state: impl Iterator<Item = (&'a Arc<str>, Version)>) -> String {
        let mixed = state.map(|(name, version)| version.0.wrapping_mul(name_hash(name)));
        Version(mixed.fold(0, u128::wrapping_add)).to_string()
    }

    /// As many of the due names as fit.
    fn next_batch(&mut self, protocol: Protocol, limit: usize) -> Batch {
        let mut batch = Batch::default();
        while let Some(names) = self.isolating.pop_front() {
            for name in names {
                let resource =
                    self.lane.set.get(&name).filter(|resource| self.subscription.covers(resource)).cloned();
                if let Some(resource) = resource {
                    self.settle_name(&name);
                    self.offer(&resource);
                    batch.push(resource);
                }
            }
            if !batch.resources.is_empty() {
                return batch;
            }
        }
        let mut taken: HashSet<Arc<str>> = HashSet::new();
        let due: Vec<_> = self.due.iter().cloned().collect();
        for name in due {
            match self.task(&name) {
                Task::Send(resource) => {
                    let larger = batch.bytes + resource.bytes.len() + resource.name.len() + OVERHEAD > limit;
                    if larger && !batch.resources.is_empty() {
                        break;
                    }
                    // Due under its name and under an alias.
                    if taken.insert(resource.name.clone()) {
                        self.offer(&resource);
                        batch.push(resource);
                    }
                }
                Task::Remove if self.removes_last() => {
                    self.asked.remove(&name);
                    continue;
                }
                Task::Remove => {
                    self.held.remove(&name);
                    self.refused.remove(&name);
                    batch.removed.push(name.clone());
                }
                Task::Deny => batch.removed.push(name.clone()),
                Task::Nothing => {}
            }
            self.settle_name(&name);
        }
        if protocol == Protocol::StateOfTheWorld {
            batch.removed.clear(); // This protocol cannot say it.
        }
        batch
    }

    fn settle_name(&mut self, name: &str) {
        self.due.remove(name);
        self.asked.remove(name);
    }

    /// The complete state, with the last good content of what the client refused. Unless removals are taken along,
    /// what vanished stays in it.
    fn full_state(&mut self, taking_away: bool) -> Batch {
        let keep_vanished = self.removes_last() && !taking_away;
        let mut batch = Batch::default();
        let wanted = self.wanted();
        let names: HashSet<Arc<str>> = wanted.iter().map(|resource| resource.name.clone()).collect();
        let vanished: Vec<_> = self.held.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in vanished {
            // What the client never took it does not use.
            let used = self.held.get(&name).and_then(Held::in_use).cloned().filter(|_| keep_vanished);
            if let Some(resource) = used {
                batch.resources.push(resource);
            } else {
                self.forget(&name);
            }
        }
        for resource in wanted {
            let refused =
                self.refused.get(&resource.name).is_some_and(|refused| refused.version == resource.version);
            if refused {
                let good = self.held.get(&resource.name).and_then(Held::in_use).cloned();
                batch.resources.extend(good);
            } else if let Task::Send(resource) = self.task(&resource.name) {
                self.offer(&resource);
                batch.push(resource);
            } else {
                batch.resources.push(resource);
            }
        }
        let held = &self.held;
        self.due.retain(|name| keep_vanished && held.contains_key(name) && !names.contains(name));
        self.asked.clear();
        batch
    }
}

/// FNV-1a, made odd so that multiplying by it loses nothing. The same in every process, as versions outlive one.
fn name_hash(name: &str) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    name.bytes().fold(BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME)) | 1
}
