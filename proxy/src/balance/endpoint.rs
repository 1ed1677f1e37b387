//! What a worker knows of one endpoint.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weft_model::endpoint::{Endpoint, Health};

use super::outlier::OutlierState;
use super::peak_ewma::Latency;
use crate::upstream::EndpointPool;

/// An endpoint refused: it is the last choice for this long; doubles with each further refusal.
const REFUSAL: Duration = Duration::from_millis(500);
/// The longest that a refusal counts.
const REFUSAL_MAX: Duration = Duration::from_secs(10);

/// One endpoint: its configuration, counters and connections. Shared by `Rc` within a worker.
#[derive(Debug)]
pub struct EndpointState {
    address: SocketAddr,
    endpoint: RefCell<Arc<Endpoint>>,
    /// Requests and TCP connections under way.
    active: Cell<u32>,
    /// Of all endpoints of the cluster.
    active_of_all: Rc<Cell<u32>>,
    /// For smooth weighted round robin: what it has saved up.
    pub(super) credit: Cell<i64>,
    pub(super) outlier: OutlierState,
    pub(super) latency: Latency,
    /// What active checks say; none: there are none.
    checked: Cell<Option<bool>>,
    /// When it came, or became healthy again.
    since: Cell<Instant>,
    refusals: Cell<u32>,
    refused_until: Cell<Option<Instant>>,
    pool: RefCell<Rc<EndpointPool>>,
}

impl EndpointState {
    /// An endpoint of which nothing is known.
    #[must_use]
    pub fn new(endpoint: Arc<Endpoint>, active_of_all: Rc<Cell<u32>>) -> Rc<Self> {
        Rc::new(Self {
            address: endpoint.address,
            endpoint: RefCell::new(endpoint),
            active: Cell::new(0),
            active_of_all,
            latency: Latency::default(),
            checked: Cell::new(None),
            since: Cell::new(Instant::now()),
            credit: Cell::new(0),
            outlier: OutlierState::default(),
            refusals: Cell::new(0),
            refused_until: Cell::new(None),
            pool: RefCell::default(),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its configuration as it is now.
    #[must_use]
    pub fn endpoint(&self) -> Arc<Endpoint> {
        self.endpoint.borrow().clone()
    }

    /// Requests under way.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.active.get()
    }

    /// Whether anything is under way or kept open.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.active.get() > 0 || self.pool.borrow().connections() > 0
    }

    /// Its connections.
    #[must_use]
    pub fn pool(&self) -> Rc<EndpointPool> {
        self.pool.borrow().clone()
    }

    /// Lets go of its connections: idle ones close, others when their request is done.
    pub fn retire_pool(&self) {
        self.pool.replace(Rc::default()).retire();
    }

    /// Counts a request until the guard is dropped.
    #[must_use]
    pub fn enter(self: &Rc<Self>) -> ActiveGuard {
        self.active.set(self.active.get() + 1);
        self.active_of_all.set(self.active_of_all.get() + 1);
        ActiveGuard(self.clone())
    }

    pub(super) fn replace(&self, endpoint: &Arc<Endpoint>) {
        let old = self.endpoint.replace(endpoint.clone());
        if old.mutual_tls != endpoint.mutual_tls {
            self.retire_pool();
        }
    }

    pub(super) fn refused(&self, now: Instant) {
        let wait = REFUSAL.saturating_mul(1 << self.refusals.get().min(5)).min(REFUSAL_MAX);
        self.refusals.set(self.refusals.get().saturating_add(1));
        self.refused_until.set(Some(now + wait));
    }

    /// A connection works: earlier refusals are forgotten. Whether there were any.
    pub(super) fn forgive(&self) -> bool {
        if self.refusals.get() == 0 {
            return false;
        }
        self.refusals.set(0);
        self.refused_until.take().is_some()
    }

    pub(super) fn refused_until(&self, now: Instant) -> Option<Instant> {
        self.refused_until.get().filter(|until| *until > now)
    }

    /// Whether refusals are on record.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        self.refusals.get() > 0
    }

    /// Whether outlier detection leaves it out.
    #[must_use]
    pub fn is_ejected(&self, now: Instant) -> bool {
        self.outlier.is_ejected(now)
    }

    /// Whether it is healthy by what the control plane and active checks say.
    #[must_use]
    pub fn takes_requests(&self) -> bool {
        self.endpoint.borrow().health == Health::Healthy && self.checked.get() != Some(false)
    }

    /// What active checks say; none: there are none.
    #[must_use]
    pub fn checked(&self) -> Option<bool> {
        self.checked.get()
    }

    /// When it came, or became healthy again.
    pub(super) fn since(&self) -> Instant {
        self.since.get()
    }

    /// Learns what active checks say; none: there are none any more. Whether that changes anything.
    pub(super) fn check(&self, healthy: Option<bool>, now: Instant) -> bool {
        let before = self.checked.replace(healthy);
        if before == Some(false) && healthy == Some(true) {
            self.since.set(now);
        }
        before != healthy
    }
}

/// A request under way at an endpoint.
#[derive(Debug)]
pub struct ActiveGuard(Rc<EndpointState>);

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get().saturating_sub(1));
        self.0.active_of_all.set(self.0.active_of_all.get().saturating_sub(1));
    }
}
