//! Answers: acknowledged, or refused and by which resource's fault.

use std::sync::Arc;

use tokio::time::Instant;
use weft_proto::xds::Status as RpcStatus;

use super::Session;
use super::state::{HeldState, Outstanding, RefusedResource};
use crate::push::resource::ResourceType;
use crate::push::wire::Protocol;

#[cfg(test)]
#[path = "ack_tests.rs"]
mod tests;

/// Bytes kept of a client's complaint.
const MESSAGE: usize = 4096;

impl Session {
    /// Takes the answer to the response that the nonce names. One to no response we know is stale, and says nothing.
    pub(super) fn on_answer(
        &mut self,
        kind: ResourceType,
        nonce: &str,
        error: Option<&RpcStatus>,
        now: Instant,
    ) {
        let state = self.state_mut(kind);
        let Some(place) = state.outstanding.iter().position(|sent| sent.nonce == nonce) else { return };
        let Some(mut answered) = state.outstanding.remove(place) else { return };
        state.changed_at = now;
        let alone = answered.names.len() == 1;
        // What was sent again since is for the later answer to decide.
        answered
            .names
            .retain(|name| state.outstanding.iter().skip(place).all(|later| !later.names.contains(name)));
        match error {
            None => self.on_ack(kind, &answered),
            Some(error) => self.on_nack(kind, &answered, alone, &error.message),
        }
        let state = self.state_mut(kind);
        if answered.completes && state.isolating.is_empty() {
            state.settled = state.settled.max(answered.revision);
            if state.refused.is_empty() {
                state.acknowledged = state.acknowledged.max(answered.revision);
            }
        }
    }

    fn on_ack(&mut self, kind: ResourceType, answered: &Outstanding) {
        let state = self.state_mut(kind);
        for name in &answered.names {
            if let Some(held) = state.held.get_mut(name) {
                (held.state, held.good) = (HeldState::Acknowledged, None);
            }
        }
    }

    /// The refused content is not sent again until it changes. What shared the response with it is: alone, so that one
    /// bad object does not keep the good ones away. When the client does not say which is bad, halves are tried.
    fn on_nack(&mut self, kind: ResourceType, answered: &Outstanding, alone: bool, message: &str) {
        let message = shortened(message);
        let full_state = self.protocol == Protocol::StateOfTheWorld && kind.is_full_state();
        let (named, others): (Vec<_>, Vec<_>) =
            answered.names.iter().cloned().partition(|name| mentions(message, name));
        tracing::warn!(%kind, ?named, of = answered.names.len(), message, "a proxy refused resources");
        let all_at_fault = alone || (full_state && named.is_empty());
        let at_fault = if all_at_fault { &answered.names } else { &named };
        for name in at_fault {
            self.refuse(kind, name, answered.revision, message);
        }
        if all_at_fault || others.is_empty() {
            return;
        }
        let state = self.state_mut(kind);
        if full_state {
            // The state is composed anew, with the last good of what was refused.
            others.into_iter().for_each(|name| state.ask(name));
            state.answer_due = true;
        } else if named.is_empty() {
            let (left, right) = others.split_at(others.len() / 2);
            state
                .isolating
                .extend([left, right].into_iter().filter(|half| !half.is_empty()).map(<[_]>::to_vec));
        } else {
            state.isolating.push_back(others);
        }
    }

    fn refuse(&mut self, kind: ResourceType, name: &Arc<str>, revision: u64, message: &str) {
        let state = self.state_mut(kind);
        if let Some(held) = state.held.get_mut(name) {
            held.state = HeldState::Refused;
            let (version, resource, message) = (held.version, held.resource.clone(), message.to_owned());
            state.refused.insert(name.clone(), RefusedResource { version, revision, message, resource });
        }
    }
}

fn shortened(message: &str) -> &str {
    let mut end = message.len().min(MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

/// Whether a text speaks of a name: as a whole, not as a part of a longer one.
fn mentions(text: &str, name: &str) -> bool {
    let of_name = |c: char| c.is_alphanumeric() || "_-|*/~".contains(c);
    let starts = |before: &str| before.chars().next_back().is_none_or(|c| !of_name(c) && c != '.');
    let ends = |after: &str| {
        let mut after = after.chars();
        match after.next() {
            Some('.' | ':') => !after.next().is_some_and(of_name),
            Some(c) => !of_name(c),
            None => true,
        }
    };
    !name.is_empty()
        && text.match_indices(name).any(|(at, _)| starts(&text[..at]) && ends(&text[at + name.len()..]))
}
