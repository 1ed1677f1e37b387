//! A named destination and how it is reached. In xDS: `Cluster`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::EndpointSet;
use crate::provenance::Provenance;
use crate::tls::ClientContext;

/// A named destination.
#[derive(Clone, PartialEq, Debug)]
pub struct Cluster {
    /// In the mesh a [`ClusterName`] as text.
    pub name: Arc<str>,
    /// Where its endpoints come from.
    pub discovery: Discovery,
    /// How one of them is chosen.
    pub load_balancing: LoadBalancing,
    /// Bound on making a connection, TLS included.
    pub connect_timeout: Duration,
    /// Which HTTP is spoken.
    pub http: UpstreamHttp,
    /// Whether TLS is spoken.
    pub transport: UpstreamTransport,
    /// Bounds on what is under way.
    pub limits: CircuitBreakers,
    /// When an endpoint is left out for a while; none: never.
    pub outlier_detection: Option<OutlierDetection>,
    /// A connection is closed after so many requests; none: no bound.
    pub max_requests_per_connection: Option<u32>,
    /// An unused connection is closed after this.
    pub idle_timeout: Duration,
    /// The service it stands for, for telemetry; none for passthrough.
    pub service: Option<ServiceInfo>,
    /// What the user wrote that shaped it.
    pub provenance: Vec<Provenance>,
}

impl Cluster {
    /// A bound that nobody reaches by accident: Envoy's default and Istio's.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
    /// Unused connections are closed after an hour, as Envoy's.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

    /// A cluster with everything as Istio has it by default, in plain text.
    #[must_use]
    pub fn new(name: &str, discovery: Discovery) -> Self {
        Self {
            name: name.into(),
            discovery,
            load_balancing: LoadBalancing::LeastRequest,
            connect_timeout: Self::CONNECT_TIMEOUT,
            http: UpstreamHttp::SameAsDownstream,
            transport: UpstreamTransport::Plain,
            limits: CircuitBreakers::default(),
            outlier_detection: None,
            max_requests_per_connection: None,
            idle_timeout: Self::IDLE_TIMEOUT,
            service: None,
            provenance: Vec::new(),
        }
    }

    /// Sends everything where the client wanted it to go.
    #[must_use]
    pub fn original_destination(name: &str) -> Self {
        Self::new(name, Discovery::OriginalDst)
    }
}

/// Where endpoints come from.
#[derive(Clone, PartialEq, Debug)]
pub enum Discovery {
    /// EDS, by this name.
    Endpoints(Arc<str>),
    /// EDS, by this name; of the endpoints the one whose address the client dialled: a headless service. Clients that
    /// dialled something else are balanced over those that take requests.
    Dialled(Arc<str>),
    /// The configuration itself.
    Static(EndpointSet),
    /// Names that are resolved again and again; every address is an endpoint.
    Dns(Vec<(Arc<str>, u16)>),
    /// The connection's original destination.
    OriginalDst,
}

impl Discovery {
    /// The name that endpoints are asked for by; none when they are found in another way.
    #[must_use]
    pub fn endpoint_set(&self) -> Option<&Arc<str>> {
        match self {
            Self::Endpoints(name) | Self::Dialled(name) => Some(name),
            Self::Static(_) | Self::Dns(_) | Self::OriginalDst => None,
        }
    }
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadBalancing {
    /// One after the other, by weight.
    RoundRobin,
    /// Any, by weight.
    Random,
    /// The one with fewer requests under way, of two drawn at random; Istio's default.
    LeastRequest,
}

/// Which HTTP is spoken to an upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpstreamHttp {
    /// What the client spoke.
    SameAsDownstream,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Whether TLS is spoken to an upstream.
#[derive(Clone, PartialEq, Debug)]
pub enum UpstreamTransport {
    /// Never.
    Plain,
    /// Mutual TLS to endpoints that terminate it, plain to others: Istio's automatic mutual TLS.
    ByEndpoint(UpstreamTls),
    /// Mutual TLS to all.
    MutualTls(UpstreamTls),
    /// TLS to all, with certificates that the user gives.
    Context(Arc<ClientContext>),
}

/// Mutual TLS with the workload's own certificate.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct UpstreamTls {
    /// SPIFFE URIs, one of which the server must hold; empty: any of the trust domain.
    pub identities: Arc<[Arc<str>]>,
    /// Server name indication; may be empty.
    pub sni: Arc<str>,
}

/// Bounds on what one proxy has under way to a cluster; beyond them requests get 503 and the flag UO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CircuitBreakers {
    /// Connections.
    pub max_connections: u32,
    /// Requests waiting for a connection.
    pub max_pending_requests: u32,
    /// Requests under way.
    pub max_requests: u32,
    /// Retries under way, whatever the budget says.
    pub max_retries: u32,
}

impl Default for CircuitBreakers {
    /// Istio's: as good as no bound.
    fn default() -> Self {
        Self {
            max_connections: u32::MAX,
            max_pending_requests: u32::MAX,
            max_requests: u32::MAX,
            max_retries: u32::MAX,
        }
    }
}

/// When an endpoint is left out for a while. Fields and defaults as Istio's `OutlierDetection`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutlierDetection {
    /// 5xx answers in a row; 0: not looked at.
    pub consecutive_5xx: u32,
    /// 502, 503, 504 and connection failures in a row; 0: not looked at.
    pub consecutive_gateway_errors: u32,
    /// How often ejections are looked through.
    pub interval: Duration,
    /// First ejection; grows by itself with each further one.
    pub base_ejection_time: Duration,
    /// Percent of endpoints that may be out at once, 0..=100; one may always be.
    pub max_ejection_percent: u32,
    /// With fewer percent in, ejections are ignored, 0..=100.
    pub min_health_percent: u32,
}

/// The service a cluster stands for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ServiceInfo {
    /// Fully qualified.
    pub host: Arc<str>,
    /// Short name.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
}

/// Istio's form of cluster names, `DIRECTION|PORT|SUBSET|HOST`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ClusterName<'a> {
    /// `outbound` or `inbound`.
    pub direction: &'a str,
    /// Port of the service.
    pub port: u16,
    /// Empty for all endpoints.
    pub subset: &'a str,
    /// Fully qualified; empty for inbound.
    pub host: &'a str,
}

impl ClusterName<'_> {
    /// Where traffic to unknown destinations goes.
    pub const PASSTHROUGH: &'static str = "PassthroughCluster";
    /// Where traffic goes that must not go anywhere.
    pub const BLACK_HOLE: &'static str = "BlackHoleCluster";

    /// Takes a name apart.
    #[must_use]
    pub fn parse(text: &str) -> Option<ClusterName<'_>> {
        let mut parts = text.splitn(4, '|');
        Some(ClusterName {
            direction: parts.next()?,
            port: parts.next()?.parse().ok()?,
            subset: parts.next()?,
            host: parts.next()?,
        })
    }
}

impl fmt::Display for ClusterName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { direction, port, subset, host } = self;
        write!(f, "{direction}|{port}|{subset}|{host}")
    }
}
