//! One cluster as a worker sees it: its configuration, endpoints, counters and TLS.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;
use weft_model::cluster::{Cluster, Discovery, LoadBalancing};
use weft_model::endpoint::{Endpoint, EndpointSet};
use weft_model::route::RoutingPriority;
use weft_model::snapshot::Snapshot;

use super::OriginalDestination;
use super::budget::RetryBudget;
use super::connect::ClusterTls;
use super::failure::{AttemptFailure, FailureKind};
use super::health::{HealthChecks, Results};
use super::limits::Limits;
use super::resolve::{Resolution, plain_endpoint};
use crate::balance::{EndpointState, LoadBalancer, Outcome, Pick};

/// One cluster and worker.
#[derive(Debug)]
pub(crate) struct ClusterState {
    config: RefCell<Arc<Cluster>>,
    balancer: RefCell<LoadBalancer>,
    pub(super) limits: Rc<Limits>,
    /// Of routes of priority HIGH.
    high_priority_limits: Rc<Limits>,
    pub(super) budget: RetryBudget,
    pub(super) tls: RefCell<Rc<ClusterTls>>,
    pub(super) resolution: Resolution,
    pub(super) retries: Cell<u64>,
    /// What is known of its endpoints by asking them.
    health: RefCell<Arc<Results>>,
    /// A request was sent to it, by any worker.
    traffic: Arc<AtomicBool>,
}

impl ClusterState {
    pub(super) fn new(
        config: &Arc<Cluster>,
        snapshot: &Snapshot,
        workers: u32,
        health: &HealthChecks,
    ) -> Rc<Self> {
        let state = Rc::new(Self {
            config: RefCell::new(config.clone()),
            balancer: RefCell::new(LoadBalancer::new(
                config.load_balancing,
                config.balancing.clone(),
                config.outlier_detection,
            )),
            limits: Limits::new(config.limits, workers),
            high_priority_limits: Limits::new(config.high_priority_limits, workers),
            budget: RetryBudget::new(Instant::now()),
            tls: RefCell::default(),
            resolution: Resolution::default(),
            retries: Cell::new(0),
            health: RefCell::new(health.results()),
            traffic: health.traffic(&config.name),
        });
        state.discover(snapshot);
        state
    }

    /// Takes a newer configuration; keeps what it does not change.
    pub(super) fn update(self: &Rc<Self>, config: &Arc<Cluster>, snapshot: &Snapshot, workers: u32) {
        let old = self.config.replace(config.clone());
        if !Arc::ptr_eq(&old, config) && old != *config {
            self.limits.configure(config.limits, workers);
            self.high_priority_limits.configure(config.high_priority_limits, workers);
            self.balancer.borrow_mut().configure(
                config.load_balancing,
                &config.balancing,
                config.outlier_detection,
            );
            if old.transport != config.transport {
                self.tls.take();
            }
            let connects_otherwise = old.transport != config.transport
                || old.http != config.http
                || old.idle_timeout != config.idle_timeout
                || old.max_requests_per_connection != config.max_requests_per_connection;
            if connects_otherwise {
                self.endpoints().iter().for_each(|endpoint| endpoint.retire_pool());
            }
            if std::mem::discriminant(&old.discovery) != std::mem::discriminant(&config.discovery) {
                self.replace_endpoints(&Arc::new(EndpointSet::empty(&config.name)));
            }
        }
        self.discover(snapshot);
        if old.health_check != config.health_check {
            self.apply_health();
        }
    }

    fn discover(self: &Rc<Self>, snapshot: &Snapshot) {
        let config = self.config();
        match &config.discovery {
            Discovery::Dns(names) => self.resolution.start(names, Rc::downgrade(self)),
            Discovery::OriginalDst => self.resolution.stop(),
            Discovery::Endpoints(_) | Discovery::Dialled(_) | Discovery::Static(_) => {
                self.resolution.stop();
                // Endpoints that are not (or not yet) in a snapshot are not endpoints that are gone.
                if let Some(known) = snapshot.endpoints_of(&config) {
                    self.replace_endpoints(&known);
                }
            }
        }
    }

    /// Takes another set of endpoints; connections to those that went close when their requests are done.
    pub(super) fn replace_endpoints(&self, set: &Arc<EndpointSet>) {
        let gone = self.balancer.borrow_mut().update(set);
        gone.iter().for_each(|endpoint| endpoint.retire_pool());
        self.apply_health();
    }

    /// Takes over what asking its endpoints has shown.
    pub(super) fn learn_health(&self, results: &Arc<Results>) {
        self.health.replace(results.clone());
        self.apply_health();
    }

    fn apply_health(&self) {
        let config = self.config();
        let results = self.health.borrow().clone();
        let results = results.get(&config.name);
        let asked = config.health_check.is_some();
        let of = |endpoint: &Endpoint| {
            let known =
                || results.and_then(|results| results.get(&endpoint.address)).copied().unwrap_or(false);
            (asked && !endpoint.health_check.disabled).then(known)
        };
        self.balancer.borrow_mut().checked(of, Instant::now());
    }

    /// A request is sent to it.
    pub(super) fn note_traffic(&self) {
        if !self.traffic.load(Ordering::Relaxed) {
            self.traffic.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn config(&self) -> Arc<Cluster> {
        self.config.borrow().clone()
    }

    pub(super) fn name(&self) -> Arc<str> {
        self.config.borrow().name.clone()
    }

    pub(super) fn endpoints(&self) -> Vec<Rc<EndpointState>> {
        self.balancer.borrow().endpoints().cloned().collect()
    }

    pub(super) fn endpoint_count(&self) -> usize {
        self.balancer.borrow().len()
    }

    /// Whether a next attempt can get to an endpoint that was not `tried`.
    pub(super) fn has_another(
        &self,
        tried: impl Fn(SocketAddr) -> bool,
        original_dst: Option<OriginalDestination>,
    ) -> bool {
        self.by_original_destination(original_dst).is_none() && self.balancer.borrow().has_another(tried)
    }

    /// The endpoint for the next attempt.
    pub(super) async fn choose(
        &self,
        pick: &Pick<'_>,
        original_dst: Option<OriginalDestination>,
        now: Instant,
    ) -> Result<Rc<EndpointState>, AttemptFailure> {
        if let Some(chosen) = self.by_original_destination(original_dst) {
            return chosen;
        }
        let resolves = matches!(self.config.borrow().discovery, Discovery::Dns(_));
        if resolves {
            self.resolution.first_answer().await;
        }
        let chosen = self.balancer.borrow_mut().choose(pick, now);
        chosen.ok_or_else(|| AttemptFailure::unprocessed(FailureKind::NoEndpoint, self.why_none(now)))
    }

    /// The endpoint, where the client has chosen it by what it dialled; none where it is to be chosen here.
    fn by_original_destination(
        &self,
        original: Option<OriginalDestination>,
    ) -> Option<Result<Rc<EndpointState>, AttemptFailure>> {
        let none = |cause: String| Some(Err(AttemptFailure::unprocessed(FailureKind::NoEndpoint, cause)));
        match (&self.config.borrow().discovery, original) {
            (Discovery::OriginalDst, None) => none("the connection has no original destination".to_owned()),
            (Discovery::OriginalDst, Some(OriginalDestination { address, .. })) => {
                Some(Ok(self.balancer.borrow_mut().adopt(address, || plain_endpoint(address))))
            }
            (Discovery::Dialled(_), Some(OriginalDestination { address, is_endpoint })) => {
                match self.balancer.borrow().endpoint(address) {
                    Some(endpoint) => Some(Ok(endpoint)),
                    // Another member of a headless service may hold other data: nobody else will do.
                    None if is_endpoint => {
                        none(format!("{address}, which the client chose, is none of its endpoints"))
                    }
                    None => None,
                }
            }
            _ => None,
        }
    }

    fn why_none(&self, now: Instant) -> String {
        let endpoints = self.endpoints();
        if let Some(failure) = self.resolution.failure.borrow().as_ref() {
            return failure.clone();
        }
        match (endpoints.len(), endpoints.iter().filter(|endpoint| endpoint.is_ejected(now)).count()) {
            (0, _) => "it has none".to_owned(),
            (all, 0) => format!("all {all} are unhealthy or draining"),
            (all, ejected) => {
                format!("of {all}, {ejected} are ejected for failing and none of the others is healthy")
            }
        }
    }

    /// The bounds on what is under way by routes of a priority.
    pub(super) fn limits_of(&self, priority: RoutingPriority) -> &Rc<Limits> {
        match priority {
            RoutingPriority::Default => &self.limits,
            RoutingPriority::High => &self.high_priority_limits,
        }
    }

    /// The category of a request that is refused on purpose; none: it may go on.
    pub(super) fn drops(&self) -> Option<Arc<str>> {
        self.balancer.borrow().drops()
    }

    /// Learns how long an answer took.
    pub(super) fn observe(&self, endpoint: &EndpointState, latency: std::time::Duration) {
        if matches!(self.config.borrow().load_balancing, LoadBalancing::PeakEwma(_)) {
            self.balancer.borrow().observe(endpoint, latency, Instant::now());
        }
    }

    /// Learns how a request or a connection went.
    pub(super) fn report(&self, endpoint: &EndpointState, outcome: Outcome) {
        let matters = outcome == Outcome::ConnectFailed || self.config.borrow().outlier_detection.is_some();
        if matters {
            self.balancer.borrow_mut().report(endpoint, outcome, Instant::now());
        }
    }

    /// Makes it the last choice for a moment, though its connections work.
    pub(super) fn avoid(&self, endpoint: &EndpointState) {
        self.balancer.borrow_mut().avoid(endpoint, Instant::now());
    }

    /// A connection works again.
    pub(super) fn forgive(&self, endpoint: &EndpointState) {
        if endpoint.has_refused() {
            self.balancer.borrow_mut().forgive(endpoint);
        }
    }

    /// Closes what is idle; nothing is kept open from now.
    pub(super) fn drain(&self) {
        self.endpoints().iter().for_each(|endpoint| endpoint.pool().retire());
        self.resolution.stop();
    }
}
