//! A named destination and how it is reached. In xDS: `Cluster`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::EndpointSet;
use crate::health_check::HealthCheck;
use crate::load_balancing::Balancing;
pub use crate::load_balancing::LoadBalancing;
use crate::policy::Fraction;
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
    /// What holds for all ways of choosing.
    pub balancing: Balancing,
    /// Bound on making a connection, TLS included.
    pub connect_timeout: Duration,
    /// Which HTTP is spoken.
    pub http: UpstreamHttp,
    /// Whether TLS is spoken.
    pub transport: UpstreamTransport,
    /// Endpoints are told whose connection is passed on to them, before TLS and anything else; none: they are not. What
    /// is told holds for a connection, so requests of several clients never share one.
    pub proxy_protocol: Option<ProxyProtocolVersion>,
    /// Bounds on what is under way.
    pub limits: CircuitBreakers,
    /// The same for routes of priority HIGH, which are counted apart.
    pub high_priority_limits: CircuitBreakers,
    /// When an endpoint is left out for a while; none: never.
    pub outlier_detection: Option<OutlierDetection>,
    /// How endpoints are asked whether they are well; none: they are not.
    pub health_check: Option<HealthCheck>,
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
            load_balancing: LoadBalancing::LEAST_REQUEST,
            balancing: Balancing::default(),
            connect_timeout: Self::CONNECT_TIMEOUT,
            http: UpstreamHttp::SameAsDownstream,
            transport: UpstreamTransport::Plain,
            proxy_protocol: None,
            limits: CircuitBreakers::default(),
            high_priority_limits: CircuitBreakers::ENVOY,
            outlier_detection: None,
            health_check: None,
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

/// A version of the PROXY protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyProtocolVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
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
    /// In place of [`CircuitBreakers::max_retries`] and of the budget that is always on.
    pub retry_budget: Option<RetryBudget>,
}

/// A bound on retries as a share of what is under way, see
/// <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/circuit_breaker.proto>.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryBudget {
    /// Of the requests under way so many may be retries.
    pub budget: Fraction,
    /// So many retries may always be under way.
    pub min_retry_concurrency: u32,
}

impl CircuitBreakers {
    /// What Envoy takes when nothing is said.
    pub const ENVOY: Self = Self {
        max_connections: 1024,
        max_pending_requests: 1024,
        max_requests: 1024,
        max_retries: 3,
        retry_budget: None,
    };
}

impl Default for CircuitBreakers {
    /// Istio's: as good as no bound.
    fn default() -> Self {
        Self {
            max_connections: u32::MAX,
            max_pending_requests: u32::MAX,
            max_requests: u32::MAX,
            max_retries: u32::MAX,
            retry_budget: None,
        }
    }
}

/// When an endpoint is left out for a while, see
/// <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier>. Percentages are 0..=100.
///
/// An *external* error is an answer; a *local origin* error is one that the proxy itself noticed: no connection, a
/// reset, a time-out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutlierDetection {
    /// 5xx answers in a row; 0: not looked at.
    pub consecutive_5xx: u32,
    /// Chance that it ejects.
    pub enforcing_consecutive_5xx: u32,
    /// 502, 503, 504 in a row (and local origin errors, unless they are split off); 0: not looked at.
    pub consecutive_gateway_errors: u32,
    /// Chance that it ejects.
    pub enforcing_consecutive_gateway_errors: u32,
    /// Local origin errors are counted apart.
    pub split_local_origin_errors: bool,
    /// Local origin errors in a row, when they are split off; 0: not looked at.
    pub consecutive_local_origin_failures: u32,
    /// Chance that it ejects.
    pub enforcing_consecutive_local_origin_failures: u32,
    /// Compares endpoints by their share of successes; none: not looked at.
    pub success_rate: Option<SuccessRate>,
    /// Ejects by the share of failures; none: not looked at.
    pub failure_percentage: Option<FailurePercentage>,
    /// How often rates are looked at, and earlier ejections forgotten.
    pub interval: Duration,
    /// First ejection; grows by itself with each further one.
    pub base_ejection_time: Duration,
    /// The longest ejection; no less than the first counts.
    pub max_ejection_time: Duration,
    /// Anything up to this is added to each ejection.
    pub max_ejection_time_jitter: Duration,
    /// Percent of endpoints that may be out at once.
    pub max_ejection_percent: u32,
    /// One may be out whatever the percentage says.
    pub always_eject_one: bool,
}

/// Ejects those whose share of successes is less than the mean by some standard deviations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SuccessRate {
    /// Chance that it ejects.
    pub enforcing: u32,
    /// The same of local origin errors, when they are split off.
    pub enforcing_local_origin: u32,
    /// With fewer endpoints that have enough requests nothing is concluded.
    pub minimum_hosts: u32,
    /// An endpoint with fewer requests in an interval is not looked at.
    pub request_volume: u32,
    /// Standard deviations, in thousandths.
    pub stdev_factor: u32,
}

impl Default for SuccessRate {
    /// Envoy's.
    fn default() -> Self {
        Self {
            enforcing: 100,
            enforcing_local_origin: 100,
            minimum_hosts: 5,
            request_volume: 100,
            stdev_factor: 1_900,
        }
    }
}

/// Ejects those whose share of failures is at least so much.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailurePercentage {
    /// Chance that it ejects.
    pub enforcing: u32,
    /// The same of local origin errors, when they are split off.
    pub enforcing_local_origin: u32,
    /// Percent of requests that failed.
    pub threshold: u32,
    /// With fewer endpoints that have enough requests nothing is concluded.
    pub minimum_hosts: u32,
    /// An endpoint with fewer requests in an interval is not looked at.
    pub request_volume: u32,
}

impl OutlierDetection {
    /// Envoy's longest ejection.
    pub const MAX_EJECTION_TIME: Duration = Duration::from_secs(300);
}

impl Default for OutlierDetection {
    /// Times as Envoy and Istio have them; nothing that ejects.
    fn default() -> Self {
        Self {
            consecutive_5xx: 0,
            enforcing_consecutive_5xx: 100,
            consecutive_gateway_errors: 0,
            enforcing_consecutive_gateway_errors: 100,
            split_local_origin_errors: false,
            consecutive_local_origin_failures: 0,
            enforcing_consecutive_local_origin_failures: 100,
            success_rate: None,
            failure_percentage: None,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Self::MAX_EJECTION_TIME,
            max_ejection_time_jitter: Duration::ZERO,
            max_ejection_percent: 10,
            always_eject_one: true,
        }
    }
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
