//! Send: from a chosen route to the head of a response.
//!
//! Everything here belongs to one worker. [`Upstreams`] knows the clusters of the current snapshot; [`Upstreams::send`]
//! makes as many attempts as policy and prudence allow, [`Upstreams::connect_tcp`] connects for what is not HTTP.
//!
//! - `send`, `attempt`: a request's attempts; one of them
//! - `retry`, `budget`, `replay`: whether there is another, and what it needs
//! - `cluster`, `resolve`, `limits`: a cluster's endpoints and bounds
//! - `pool`, `http2`, `connect`: connections
//! - `translate`, `peer`: heads between protocols and between sidecars
//! - `response`, `copy`, `tcp`: what streams afterwards
//! - `health`: which endpoints are well, by asking them
//! - `failure`: what the client is told

mod attempt;
mod budget;
mod cluster;
mod connect;
pub mod copy;
mod failure;
pub mod health;
mod http2;
mod limits;
pub mod peer;
mod pool;
mod replay;
mod resolve;
mod response;
mod retry;
mod send;
mod tcp;
mod translate;

#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod http2_tests;
#[cfg(test)]
mod mesh_tests;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod upstream_tests;

pub use pool::EndpointPool;
pub use response::ExchangeEnd;
pub(crate) use response::GRPC_STATUS;
pub use tcp::{TcpGuard, TcpUpstream};

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use http::{HeaderValue, Response, Version};
use tokio::time::Instant;
use weft_model::endpoint::WorkloadInfo;
use weft_model::listener::{Direction, Listener};
use weft_model::provenance::Provenance;
use weft_model::route::Forward;
use weft_model::snapshot::Snapshot;
use weft_model::subset::LbMetadata;

use crate::body::Body;
use crate::error::{ProxyError, ResponseFlags};
use crate::identity::Identity;
use crate::own_calls::OwnCalls;
use crate::proxy_protocol::Ends;
use crate::telemetry::record::UpstreamRecord;
use cluster::ClusterState;
use connect::Connector;
use health::HealthChecks;
use limits::Bounded;

/// What the upstream connections of all workers have in common.
#[derive(Clone, Debug, Default)]
pub struct UpstreamSettings {
    /// Packet mark of the proxy's own sockets, which interception lets pass (`SO_MARK`; needs `CAP_NET_ADMIN`).
    pub mark: Option<u32>,
    /// The workload's own addresses; mutual TLS to them is for this proxy's inbound side.
    pub own: Vec<IpAddr>,
    /// How the inbound side is told of it.
    pub own_calls: OwnCalls,
    /// Number of workers: each gets its part of the circuit breakers' bounds. 0 counts as 1.
    pub workers: u32,
    /// Whose certificate is presented; without one no mutual TLS can be spoken.
    pub identity: Option<Identity>,
    /// The own workload, told to other sidecars.
    pub workload: Option<WorkloadInfo>,
    /// Local address of connections; none: the kernel's choice.
    pub source: Option<IpAddr>,
    /// The way to addresses that the mesh's network does not lead to.
    pub egress: Option<crate::egress::Egress>,
    /// TLS with certificates of the user's own.
    pub contexts: Arc<crate::tls::TlsContexts>,
    /// What is known of endpoints' health by asking them.
    pub health: HealthChecks,
}

/// Where the client wanted to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OriginalDestination {
    /// What it dialled.
    pub address: SocketAddr,
    /// It is the address of an endpoint, which the client chose itself: a headless service. Nobody else will do.
    pub is_endpoint: bool,
}

impl OriginalDestination {
    /// An address that stands for a service, or for nobody known.
    #[must_use]
    pub fn of(address: SocketAddr) -> Self {
        Self { address, is_endpoint: false }
    }
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// Name of the cluster.
    pub cluster: &'a str,
    /// Time-outs and retries; its clusters are not looked at.
    pub forward: Option<&'a Forward>,
    /// Where the client wanted to go, for clusters that go there.
    pub original_dst: Option<OriginalDestination>,
    /// What the client spoke.
    pub downstream: Version,
    /// What led here, for error messages.
    pub provenance: &'a [Provenance],
    /// Which of the cluster's endpoints is preferred.
    pub preference: Preference<'a>,
    /// Whose connection it came by, for clusters that tell their endpoints; none: this proxy's own request.
    pub client: Option<Ends>,
}

/// Which of a cluster's endpoints is preferred.
#[derive(Clone, Copy, Debug, Default)]
pub struct Preference<'a> {
    /// The request's hash, for clusters that choose by it.
    pub hash: Option<u64>,
    /// What endpoints must have, in clusters with subsets.
    pub metadata_match: Option<&'a LbMetadata>,
}

/// A request that got a response.
#[derive(Debug)]
pub struct Exchange {
    /// The response; its body still comes.
    pub response: Response<Body>,
    /// Where it came from.
    pub record: UpstreamRecord,
    /// URX when retries ran out.
    pub flags: ResponseFlags,
    /// Envoy's `%RESPONSE_CODE_DETAILS%`.
    pub details: &'static str,
    /// How the body ends.
    pub end: ExchangeEnd,
}

/// A request that got none.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What the client is told.
    pub error: ProxyError,
    /// Where it was sent last, if anywhere.
    pub record: Option<UpstreamRecord>,
    /// The error's flag, and URX when retries ran out.
    pub flags: ResponseFlags,
}

impl Failure {
    fn of(error: ProxyError, record: Option<UpstreamRecord>) -> Self {
        let mut flags = ResponseFlags::default();
        flags.insert(error.flag);
        Self { error, record, flags }
    }
}

/// The clusters of one worker.
#[derive(Debug)]
pub struct Upstreams {
    clusters: RefCell<HashMap<Arc<str>, Rc<ClusterState>>>,
    workers: u32,
    connector: Connector,
    /// The value of `x-weft-peer`.
    introduction: Option<HeaderValue>,
    health: HealthChecks,
    /// Told of every newer snapshot.
    configured: Rc<tokio::sync::Notify>,
}

/// What goes on at one cluster in one worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterStats {
    /// Its name.
    pub cluster: Arc<str>,
    /// Endpoints, whatever their state.
    pub endpoints: u32,
    /// Of them ejected by outlier detection.
    pub ejected: u32,
    /// Open connections.
    pub connections: u32,
    /// Requests under way.
    pub requests: u32,
    /// Retries so far.
    pub retries: u64,
    /// Requests refused by circuit breakers so far.
    pub overflows: u64,
    /// Each endpoint, in no order.
    pub hosts: Vec<HostStats>,
}

/// What goes on at one endpoint in one worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostStats {
    /// Where it listens.
    pub address: SocketAddr,
    /// Requests and TCP connections under way.
    pub requests: u32,
    /// Pooled connections that are open.
    pub connections: u32,
    /// Left out by outlier detection.
    pub ejected: bool,
    /// What active health checks say; none: there are none.
    pub checked: Option<bool>,
}

impl Upstreams {
    /// Knows no cluster yet. To be called within the worker's `LocalSet`.
    #[must_use]
    pub fn new(settings: UpstreamSettings) -> Rc<Self> {
        let UpstreamSettings {
            mark,
            own,
            own_calls,
            workers,
            identity,
            workload,
            source,
            egress,
            contexts,
            health,
        } = settings;
        let upstreams = Rc::new(Self {
            clusters: RefCell::default(),
            workers: workers.max(1),
            connector: Connector {
                mark,
                own,
                own_calls,
                inbound: Cell::default(),
                source,
                identity,
                egress,
                contexts,
            },
            introduction: workload.as_ref().map(peer::encode),
            health: health.clone(),
            configured: Rc::default(),
        });
        let configured = upstreams.configured.clone();
        tokio::task::spawn_local(health::follow(Rc::downgrade(&upstreams), health, configured));
        tokio::task::spawn_local(sweep(Rc::downgrade(&upstreams)));
        upstreams
    }

    /// Takes a newer snapshot. What it does not change keeps its counters and connections; connections to what is
    /// gone close when their requests are done. To be called within the worker's `LocalSet`.
    pub fn update(&self, snapshot: &Arc<Snapshot>) {
        let mut gone = self.clusters.take();
        let mut clusters = HashMap::with_capacity(snapshot.clusters.len());
        for (name, config) in &snapshot.clusters {
            let state = match gone.remove(name) {
                Some(state) => {
                    state.update(config, snapshot, self.workers);
                    state
                }
                None => ClusterState::new(config, snapshot, self.workers, &self.health),
            };
            clusters.insert(name.clone(), state);
        }
        self.clusters.replace(clusters);
        self.connector.inbound.set(inbound_port(snapshot));
        gone.values().for_each(|cluster| cluster.drain());
        self.configured.notify_one();
    }

    /// Closes idle connections and keeps none from now: the proxy is about to end. Requests still work.
    pub fn drain(&self) {
        self.clusters.borrow().values().for_each(|cluster| cluster.drain());
    }

    /// What goes on, by cluster name.
    #[must_use]
    pub fn stats(&self) -> Vec<ClusterStats> {
        let now = Instant::now();
        let mut stats: Vec<_> =
            self.clusters.borrow().values().map(|cluster| stats_of(cluster, now)).collect();
        stats.sort_by(|a, b| a.cluster.cmp(&b.cluster));
        stats
    }

    fn all(&self) -> Vec<Rc<ClusterState>> {
        self.clusters.borrow().values().cloned().collect()
    }

    fn cluster(&self, name: &str) -> Option<Rc<ClusterState>> {
        self.clusters.borrow().get(name).cloned()
    }
}

impl Drop for Upstreams {
    fn drop(&mut self) {
        self.drain();
    }
}

/// Where calls to the workload are redirected to; none: they are not.
fn inbound_port(snapshot: &Snapshot) -> Option<u16> {
    let takes = |listener: &&Arc<Listener>| {
        listener.bind && listener.use_original_dst && listener.direction == Direction::Inbound
    };
    let listener = snapshot.listeners.values().find(takes)?;
    listener.addresses.first().map(SocketAddr::port)
}

fn stats_of(cluster: &ClusterState, now: Instant) -> ClusterStats {
    let endpoints = cluster.endpoints();
    ClusterStats {
        cluster: cluster.name(),
        endpoints: endpoints.len() as u32,
        ejected: endpoints.iter().filter(|endpoint| endpoint.is_ejected(now)).count() as u32,
        connections: cluster.limits.count(Bounded::Connections),
        requests: cluster.limits.count(Bounded::Requests),
        retries: cluster.retries.get(),
        overflows: cluster.limits.overflows(),
        hosts: endpoints.iter().map(|endpoint| host_stats(endpoint, now)).collect(),
    }
}

fn host_stats(endpoint: &crate::balance::EndpointState, now: Instant) -> HostStats {
    HostStats {
        address: endpoint.address(),
        requests: endpoint.active(),
        connections: endpoint.pool().connections(),
        ejected: endpoint.is_ejected(now),
        checked: endpoint.checked(),
    }
}

/// Looks through the idle connections of a worker, for as long as it is there.
async fn sweep(upstreams: Weak<Upstreams>) {
    loop {
        tokio::time::sleep(pool::SWEEP).await;
        let Some(upstreams) = upstreams.upgrade() else { return };
        let now = Instant::now();
        let certificate = upstreams.connector.identity.as_ref().and_then(Identity::current);
        let clusters: Vec<_> = upstreams.clusters.borrow().values().cloned().collect();
        for endpoint in clusters.iter().flat_map(|cluster| cluster.endpoints()) {
            endpoint.pool().sweep(now, certificate.as_ref());
        }
    }
}
