//! Requests of the incremental protocol.

use std::sync::Arc;

use tonic::Status;
use weft_proto::xds::discovery::DeltaDiscoveryRequest;

use super::state::{Held, HeldState};
use super::{Session, WILDCARD};
use crate::push::resource::{ResourceType, Version};
use tokio::time::Instant;

#[cfg(test)]
#[path = "delta_tests.rs"]
mod tests;

impl Session {
    /// A request of a delta stream: any mix of an answer and a change of subscription.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED beyond the limits; the stream must be closed with it.
    pub fn on_delta(&mut self, request: DeltaDiscoveryRequest, now: Instant) -> Result<(), Status> {
        let Some(kind) = ResourceType::of_url(&request.type_url) else {
            return self.on_unserved_delta(&request);
        };
        let known = &self.state(kind).subscription.names;
        let fresh: Vec<_> =
            request.resource_names_subscribe.iter().filter(|name| !known.contains(name.as_str())).collect();
        self.check_names(kind, known.len(), fresh.into_iter())?;
        self.check_names(kind, 0, request.initial_resource_versions.keys().collect::<Vec<_>>().into_iter())?;

        if !request.response_nonce.is_empty() {
            self.on_answer(kind, &request.response_nonce, request.error_detail.as_ref(), now);
        }
        if self.state(kind).started {
            self.change_subscription(kind, request);
        } else {
            self.start_delta(kind, request);
        }
        self.settle();
        Ok(())
    }

    fn on_unserved_delta(&mut self, request: &DeltaDiscoveryRequest) -> Result<(), Status> {
        tracing::info!(type_url = request.type_url, "a proxy asks for a type that is not served");
        self.check_names(ResourceType::NameTable, 0, request.resource_names_subscribe.iter())?;
        let asked = request.resource_names_subscribe.iter().filter(|name| *name != WILDCARD);
        let removed: Vec<Arc<str>> = asked.map(|name| name.as_str().into()).collect();
        if request.response_nonce.is_empty() || !removed.is_empty() {
            self.answer_unserved(&request.type_url, removed);
        }
        Ok(())
    }

    /// The first request of a type on a stream. A client that comes back says what it has, and gets the rest.
    fn start_delta(&mut self, kind: ResourceType, request: DeltaDiscoveryRequest) {
        let state = self.state_mut(kind);
        state.started = true;
        for (name, version) in &request.initial_resource_versions {
            // A version that is none of ours differs from every one of ours.
            let version = version.parse().unwrap_or(Version(0));
            let held = Held { version, resource: None, good: None, state: HeldState::Acknowledged };
            state.held.insert(name.as_str().into(), held);
        }
        let names = &request.resource_names_subscribe;
        let asked_for_all = names.iter().any(|name| name == WILDCARD);
        let legacy = names.is_empty() && kind.allows_legacy_wildcard();
        state.subscription.wildcard = asked_for_all || legacy;
        state.answer_due = state.subscription.wildcard;
        for name in names.iter().filter(|name| *name != WILDCARD) {
            let name: Arc<str> = name.as_str().into();
            state.subscription.names.insert(name.clone());
            if !state.held.contains_key(&name) {
                state.ask(name);
            }
        }
        for name in &request.resource_names_unsubscribe {
            state.subscription.names.remove(name.as_str());
        }
        state.forget_uncovered();
        state.consider_all();
    }

    fn change_subscription(&mut self, kind: ResourceType, request: DeltaDiscoveryRequest) {
        let state = self.state_mut(kind);
        for name in request.resource_names_unsubscribe {
            if name == WILDCARD {
                state.subscription.wildcard = false;
                state.forget_uncovered();
                continue;
            }
            let name: Arc<str> = name.into();
            state.subscription.names.remove(&name);
            if state.subscription.wildcard {
                // The client has dropped it, though `*` covers it still: it must hear how it stands. Of a name that means
                // nothing there is nothing to say, and nothing to remember: a client can think of any number of them.
                if state.lane.set.get(&name).is_some() || state.held.contains_key(&name) {
                    state.ask(name);
                } else {
                    state.forget(&name);
                }
            } else if !state.lane.set.get(&name).is_some_and(|resource| state.subscription.covers(resource)) {
                let real = state.lane.set.get(&name).map(|resource| resource.name.clone());
                state.forget(&name);
                if let Some(real) = real {
                    state.forget(&real);
                }
            }
        }
        for name in request.resource_names_subscribe {
            if name == WILDCARD {
                state.subscription.wildcard = true;
                state.answer_due = true;
                state.remember_what_is_on_its_way();
                state.consider_all();
                continue;
            }
            // Always answered: the client may have dropped it and changed its mind before it could say so.
            let name: Arc<str> = name.into();
            state.subscription.names.insert(name.clone());
            state.ask(name);
        }
    }
}
