//! A workload that calls its own service, and is chosen to answer.
//!
//! Mutual TLS to the workload's own address is not for the application but for this proxy's inbound side, as from any
//! other caller. The packet filter cannot bring it there: it lets all of the proxy's packets pass, and rules that tell
//! these from the others need a capability or spoil the caller's address. So the connection is made to the inbound
//! port on purpose, and where it should have gone is told here, from one worker of this process to another.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::listener::original_dst::unmapped;

#[cfg(test)]
#[path = "own_calls_tests.rs"]
mod tests;

/// Such calls that are under way: from where they come, to where they should have gone. Cheap to clone; locked only
/// for such calls.
#[derive(Clone, Default, Debug)]
pub struct OwnCalls(Arc<Mutex<HashMap<SocketAddr, SocketAddr>>>);

impl OwnCalls {
    /// Tells of a call from a local address, which must be bound already, so that nobody else can come from there.
    /// Held for as long as the guard is; until the handshake is done.
    #[must_use]
    pub(crate) fn announce(&self, from: SocketAddr, to: SocketAddr) -> Announced {
        let from = unmapped(from);
        self.with(|calls| calls.insert(from, to));
        Announced { calls: self.clone(), from }
    }

    /// Where the connection from `remote` should have gone; none: it is no call of this proxy.
    pub(crate) fn destination(&self, remote: SocketAddr) -> Option<SocketAddr> {
        self.with(|calls| calls.get(&unmapped(remote)).copied())
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<SocketAddr, SocketAddr>) -> T) -> T {
        // Whoever panicked left the map whole: each change is one call.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes the word back when it is dropped.
#[derive(Debug)]
pub(crate) struct Announced {
    calls: OwnCalls,
    from: SocketAddr,
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.calls.with(|calls| calls.remove(&self.from));
    }
}
