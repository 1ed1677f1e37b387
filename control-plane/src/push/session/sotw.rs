//! Requests of the state-of-the-world protocol.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::time::Instant;
use tonic::Status;
use weft_proto::xds::discovery::DiscoveryRequest;

use super::state::{Held, HeldState, TypeState};
use super::{Session, WILDCARD};
use crate::push::resource::ResourceType;

impl Session {
    /// A request of a state-of-the-world stream: at once the answer to the last response and the full list of names.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED beyond the limits; the stream must be closed with it.
    pub fn on_sotw(&mut self, request: DiscoveryRequest, now: Instant) -> Result<(), Status> {
        let Some(kind) = ResourceType::of_url(&request.type_url) else {
            tracing::info!(type_url = request.type_url, "a proxy asks for a type that is not served");
            if request.response_nonce.is_empty() {
                self.answer_unserved(&request.type_url, Vec::new());
            }
            return Ok(());
        };
        self.check_names(kind, 0, request.resource_names.iter())?;
        let state = self.state_mut(kind);
        let first = !state.started;
        state.started = true;
        if !first && let Some(last) = &state.last_nonce {
            if *last != request.response_nonce {
                // Written before the client saw the last response, which it will answer with its newest list. But what
                // this list lacks, the client has dropped, even if it asks for it again by then.
                state.drop_unnamed(&request.resource_names);
                return Ok(());
            }
            self.on_answer(kind, &request.response_nonce, request.error_detail.as_ref(), now);
        }
        self.change_names(kind, &request.resource_names, first);
        if first && !request.version_info.is_empty() {
            self.resume(kind, &request.version_info);
        }
        if kind == ResourceType::Endpoint {
            self.answer_warming();
        }
        self.settle();
        Ok(())
    }

    fn change_names(&mut self, kind: ResourceType, names: &[String], first: bool) {
        let state = self.state_mut(kind);
        let wanted: HashSet<Arc<str>> =
            names.iter().filter(|name| *name != WILDCARD).map(|name| name.as_str().into()).collect();
        let wildcard = state.is_wildcard(names);
        state.named_once |= !names.is_empty();

        let more = wildcard && !state.subscription.wildcard;
        let fewer = !wildcard && state.subscription.wildcard;
        let added: Vec<_> = wanted.difference(&state.subscription.names).cloned().collect();
        let dropped = state.subscription.names.difference(&wanted).next().is_some();
        state.subscription.names = wanted;
        state.subscription.wildcard = wildcard;
        if fewer || dropped {
            state.forget_uncovered();
        }
        for name in &added {
            state.consider(name);
        }
        if more {
            state.consider_all();
        }
        // Where "missing" means "does not exist", the client can be told so.
        state.answer_due |=
            more || (kind.is_full_state() && (first || !added.is_empty()) && state.subscription.is_any());
    }

    /// A client that comes back with the version of exactly what it would be sent has it. That is certain only where it
    /// asks for everything: by name, it may have dropped something since, without a new version.
    fn resume(&mut self, kind: ResourceType, version: &str) {
        let state = self.state_mut(kind);
        if !state.subscription.wildcard || !state.subscription.names.is_empty() {
            return;
        }
        let wanted = state.wanted();
        if wanted.is_empty()
            || state.version_of(wanted.iter().map(|resource| (&resource.name, resource.version))) != version
        {
            return;
        }
        for resource in wanted {
            let held = Held {
                version: resource.version,
                resource: Some(resource.clone()),
                good: None,
                state: HeldState::Acknowledged,
            };
            state.held.insert(resource.name.clone(), held);
        }
        state.due.clear();
        state.answer_due = false;
    }

    /// Envoy holds a re-sent cluster back until its endpoints arrive once more, and asks for them with an unchanged
    /// list of names.
    fn answer_warming(&mut self) {
        let state = self.state_mut(ResourceType::Endpoint);
        let warming = std::mem::take(&mut state.warming);
        for name in warming {
            if state.held.contains_key(&name) {
                state.ask(name);
            }
        }
    }
}

impl TypeState {
    /// Whether a list of names asks for everything.
    fn is_wildcard(&self, names: &[String]) -> bool {
        let legacy = self.kind.allows_legacy_wildcard() && !self.named_once && names.is_empty();
        legacy || names.iter().any(|name| name == WILDCARD)
    }

    /// Everything not in the list must be sent again if it is still wanted.
    fn drop_unnamed(&mut self, names: &[String]) {
        if self.is_wildcard(names) {
            return;
        }
        let names: HashSet<&str> = names.iter().map(String::as_str).collect();
        let dropped: Vec<_> = self.held.keys().filter(|name| !names.contains(&***name)).cloned().collect();
        for name in dropped {
            self.held.remove(&name);
            self.consider(&name);
        }
    }
}
