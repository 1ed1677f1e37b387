//! The filter chain that serves a connection, kept for as long as the connection lives.

use std::net::SocketAddr;
use std::sync::Arc;

use weft_model::listener::{ConnectionFacts, FilterChain, Inspection, Listener, Transport};
use weft_model::snapshot::Snapshot;

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;

/// A filter chain of a listener. Never a place where there is none: only [`ChosenChain::find`] makes one.
#[derive(Clone, Debug)]
pub struct ChosenChain {
    listener: Arc<Listener>,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Listed(usize),
    Default,
}

impl ChosenChain {
    /// The chain for a connection; none when the listener has none for it: the connection is refused.
    #[must_use]
    pub fn choose(listener: &Arc<Listener>, facts: &ConnectionFacts<'_>) -> Option<Self> {
        let chosen = listener.serving_chain(facts)?;
        Self::find(listener, |chain| std::ptr::eq(chain, chosen))
    }

    fn find(listener: &Arc<Listener>, is: impl Fn(&FilterChain) -> bool) -> Option<Self> {
        let listed = listener.filter_chains.iter().position(&is).map(Place::Listed);
        let place = listed
            .or_else(|| listener.default_filter_chain.as_ref().filter(|c| is(c)).map(|_| Place::Default))?;
        Some(Self { listener: listener.clone(), place })
    }

    /// The chain; none is a mistake of this module.
    #[must_use]
    pub fn chain(&self) -> Option<&FilterChain> {
        match self.place {
            Place::Listed(at) => self.listener.filter_chains.get(at),
            Place::Default => self.listener.default_filter_chain.as_ref(),
        }
    }

    /// Its listener.
    #[must_use]
    pub fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// The chain that serves such connections in another snapshot; none when there is none any more, or when it asks
    /// for another transport: a connection that was let in under other rules must not stay.
    #[must_use]
    pub fn in_snapshot(&self, snapshot: &Snapshot) -> Option<Self> {
        let listener = snapshot.listeners.get(&self.listener.name)?;
        if Arc::ptr_eq(listener, &self.listener) {
            return Some(self.clone());
        }
        let old = self.chain()?;
        Self::find(listener, |new| {
            new.name == old.name
                && new.matches == old.matches
                && new.tls.is_some() == old.tls.is_some()
                && std::mem::discriminant(&new.filter) == std::mem::discriminant(&old.filter)
        })
    }
}

/// What of a listener's inspection makes a difference to a connection to `destination`. Looking ahead delays protocols
/// in which the server speaks first, so nothing is looked for that no chain in question asks about.
#[must_use]
pub fn needed_inspection(listener: &Listener, destination: SocketAddr) -> Inspection {
    let in_question = || {
        listener.filter_chains.iter().filter(|chain| {
            let matches = &chain.matches;
            let ranges = &matches.destination_prefixes;
            matches.destination_port.is_none_or(|port| port == destination.port())
                && (ranges.is_empty() || ranges.iter().any(|range| range.contains(destination.ip())))
        })
    };
    // Chains for this very port win over those for any port, which then make no difference.
    let port_is_named = in_question().any(|chain| chain.matches.destination_port.is_some());
    let candidates =
        || in_question().filter(|chain| !port_is_named || chain.matches.destination_port.is_some());
    let asks_tls = candidates().any(|c| c.matches.transport.is_some() || !c.matches.server_names.is_empty());
    let asks_http = candidates()
        .any(|c| c.matches.transport != Some(Transport::Tls) && !c.matches.application_protocols.is_empty());
    let asks_alpn = candidates().any(|c| !c.matches.application_protocols.is_empty());
    Inspection {
        // Taken off before.
        proxy_protocol: None,
        tls: listener.inspection.tls && (asks_tls || asks_alpn),
        http: listener.inspection.http && asks_http,
        timeout: listener.inspection.timeout,
    }
}
