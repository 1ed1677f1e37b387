//! The connections to one endpoint.
//!
//! HTTP/1 connections are used last in, first out, so that the few that are needed stay warm and the others run out.
//! An upstream closes idle connections too, and a request that meets such a closing may be lost (PAIN 5). So the pool
//! learns how long the upstream keeps them, from what it says (`Keep-Alive: timeout`) and from what it does, and
//! closes earlier.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use weft_model::identity::WorkloadIdentity;

use super::connect::ConnectError;
use super::http2::Http2Connection;
use super::limits::LimitGuard;
use crate::http1::{ClientConnection, OnIdle};
use crate::identity::WorkloadCertificate;

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;

/// A connection that closed while it was idle for less than this says nothing of the upstream's idle time-out: it may
/// just have been restarted.
const TELLING: Duration = Duration::from_secs(1);
/// What was learned is forgotten after this.
const MEMORY: Duration = Duration::from_secs(600);
/// Connections are looked through this often.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);

/// The connections to one endpoint.
#[derive(Debug, Default)]
pub struct EndpointPool {
    idle: RefCell<Vec<Idle>>,
    connections: Cell<u32>,
    retired: Cell<bool>,
    /// How long the upstream was seen to keep idle connections, and until when that is believed.
    learned: Cell<Option<(Duration, Instant)>>,
    /// An HTTP/1 connection was given back or closed.
    pub(super) freed: Notify,
    pub(super) http2: RefCell<Vec<Rc<Http2Connection>>>,
    /// An HTTP/2 connection is being made; others wait for it.
    pub(super) http2_connecting: Cell<bool>,
    /// It was made, or not.
    pub(super) http2_connected: Notify,
    /// How often it was not, and why it was not the last time.
    pub(super) http2_failure: RefCell<(u64, Option<ConnectError>)>,
}

#[derive(Debug)]
struct Idle {
    connection: ClientConnection,
    handle: Rc<Http1Handle>,
    since: Instant,
}

/// What is known of a connection, whatever it speaks; lives as long as the connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) local: Option<SocketAddr>,
    pub(crate) peer: Option<Arc<WorkloadIdentity>>,
    pub(crate) certificate: Option<Arc<WorkloadCertificate>>,
    /// The other sidecar was told who we are.
    pub(crate) introduced: Cell<bool>,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_requests: Option<u32>,
    pool: Weak<EndpointPool>,
    _limit: LimitGuard,
}

/// Brings an HTTP/1 connection back to its pool. One a connection, made with it.
#[derive(Debug)]
pub(crate) struct Http1Handle {
    pub(crate) connection: Connection,
    pub(crate) idle_since: Cell<Option<Instant>>,
    me: Weak<Self>,
}

impl Connection {
    pub(crate) fn new(
        pool: &Rc<EndpointPool>,
        connected: &super::connect::Connected,
        limit: LimitGuard,
        idle_timeout: Duration,
        max_requests: Option<u32>,
    ) -> Self {
        pool.connections.set(pool.connections.get() + 1);
        Self {
            local: connected.io.local_addr().ok(),
            peer: connected.peer.clone(),
            certificate: connected.certificate.clone(),
            introduced: Cell::new(false),
            idle_timeout,
            max_requests,
            pool: Rc::downgrade(pool),
            _limit: limit,
        }
    }

    pub(crate) fn pool(&self) -> Option<Rc<EndpointPool>> {
        self.pool.upgrade()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.connections.set(pool.connections.get().saturating_sub(1));
            pool.freed.notify_one();
        }
    }
}

impl Http1Handle {
    pub(crate) fn new(connection: Connection) -> Rc<Self> {
        Rc::new_cyclic(|me| Self { connection, idle_since: Cell::new(None), me: me.clone() })
    }
}

impl OnIdle for Http1Handle {
    fn on_idle(&self, connection: ClientConnection) {
        let (Some(pool), Some(handle)) = (self.connection.pool(), self.me.upgrade()) else { return };
        let used_up = self.connection.max_requests.is_some_and(|max| connection.requests() >= u64::from(max));
        if pool.retired.get() || used_up {
            return;
        }
        let since = Instant::now();
        pool.idle.borrow_mut().push(Idle { connection, handle, since });
        pool.freed.notify_one();
    }
}

impl EndpointPool {
    /// Connections that are open.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.connections.get()
    }

    /// HTTP/1 connections that wait for a request.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Closes what is idle, and what is not when its requests are done.
    pub fn retire(&self) {
        self.retired.set(true);
        let idle = self.idle.take();
        let http2 = self.http2.take();
        http2.iter().for_each(|connection| connection.retire());
        drop((idle, http2));
    }

    /// The connection that was used last, unless it has been idle for too long.
    pub(crate) fn checkout(&self, now: Instant) -> Option<(ClientConnection, Rc<Http1Handle>)> {
        loop {
            let Idle { connection, handle, since } = self.idle.borrow_mut().pop()?;
            if now.saturating_duration_since(since) < self.bound(&connection, &handle, now) {
                handle.idle_since.set(Some(since));
                return Some((connection, handle));
            }
        }
    }

    /// How long a connection may be idle.
    fn bound(&self, connection: &ClientConnection, handle: &Http1Handle, now: Instant) -> Duration {
        let mut bound = handle.connection.idle_timeout;
        if let Some(said) = connection.keep_alive_timeout() {
            // The response took a while to come here, and the next request will to get there.
            bound = bound.min(said.saturating_sub(Duration::from_secs(1)).max(said / 2));
        }
        match self.learned.get() {
            Some((seen, until)) if until > now => bound.min(seen),
            _ => bound,
        }
    }

    /// The upstream closed a connection that had been idle for so long; `blur` is how much later that was noticed.
    pub(crate) fn learn(&self, idle: Duration, blur: Duration, now: Instant) {
        let seen = idle.saturating_sub(blur).mul_f32(0.9);
        if idle < TELLING || seen < TELLING / 2 {
            return;
        }
        let seen = match self.learned.get() {
            Some((earlier, until)) if until > now => seen.min(earlier),
            _ => seen,
        };
        self.learned.set(Some((seen, now + MEMORY)));
    }

    /// Closes what has been idle for too long, was closed by the upstream, or was made with an older certificate.
    pub(crate) fn sweep(&self, now: Instant, certificate: Option<&Arc<WorkloadCertificate>>) {
        let renewed = |made_with: &Option<Arc<WorkloadCertificate>>| match (made_with, certificate) {
            (Some(old), Some(new)) => !Arc::ptr_eq(old, new),
            _ => false,
        };
        let all = self.idle.take();
        let mut closed = Vec::new();
        for mut idle in all {
            let age = now.saturating_duration_since(idle.since);
            let expired = age >= self.bound(&idle.connection, &idle.handle, now);
            if !expired && !renewed(&idle.handle.connection.certificate) {
                if idle.connection.is_reusable() {
                    self.idle.borrow_mut().push(idle);
                    continue;
                }
                self.learn(age, SWEEP, now);
            }
            closed.push(idle);
        }
        drop(closed);
        let stale = |connection: &Rc<Http2Connection>| {
            connection.is_expired(now) || renewed(&connection.connection.certificate)
        };
        let gone: Vec<_> = self.http2.borrow_mut().extract_if(.., |connection| stale(connection)).collect();
        gone.iter().for_each(|connection| connection.retire());
    }
}
