//! Counts of what happens to connections before they are served. Rare events, shared by all workers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What happened to connections before they were served.
#[derive(Default, Debug)]
pub struct ListenerStatistics {
    /// Connections that were closed because there were too many.
    pub over_limit: AtomicU64,
    /// Times that accepting failed, as when the process was out of file descriptors.
    pub accept_errors: AtomicU64,
    /// Panics in connections: mistakes of this proxy.
    pub panics: AtomicU64,
    /// What role-based access control decided of requests.
    pub rbac: RbacStatistics,
    /// The same of connections.
    pub connection_rbac: RbacStatistics,
    by_port: Mutex<BTreeMap<(Event, u16), u64>>,
}

/// What role-based access control decided, and what its shadow rules would have.
#[derive(Default, Debug)]
pub struct RbacStatistics {
    /// Allowed.
    pub allowed: AtomicU64,
    /// Denied.
    pub denied: AtomicU64,
    /// Would be allowed.
    pub shadow_allowed: AtomicU64,
    /// Would be denied.
    pub shadow_denied: AtomicU64,
}

/// What can happen to a connection, by port of its destination.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Event {
    /// The client was silent for so long that it was taken for one that waits for the server to speak first.
    SniffTimeout,
    /// No filter chain serves such a connection, as plain text where mutual TLS is required.
    Refused,
    /// It had no header of the PROXY protocol that could be believed.
    ProxyProtocol,
    /// Its TLS handshake failed.
    HandshakeFailed,
    /// It was sent to this proxy itself, which would have gone round in circles.
    Loop,
}

impl ListenerStatistics {
    /// Ports beyond this number are counted together, as port 0: a port scan must not fill the memory.
    const MAX_PORTS: usize = 1024;

    /// Counts one more; returns how many that makes.
    pub fn count(&self, event: Event, port: u16) -> u64 {
        let mut counts = self.by_port.lock().unwrap_or_else(PoisonError::into_inner);
        let full = counts.len() >= Self::MAX_PORTS && !counts.contains_key(&(event, port));
        let count = counts.entry((event, if full { 0 } else { port })).or_default();
        *count += 1;
        *count
    }

    /// All counts by event and port.
    #[must_use]
    pub fn by_port(&self) -> BTreeMap<(Event, u16), u64> {
        self.by_port.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts one more; returns how many that makes.
    pub(crate) fn add(counter: &AtomicU64) -> u64 {
        counter.fetch_add(1, Ordering::Relaxed) + 1
    }
}
