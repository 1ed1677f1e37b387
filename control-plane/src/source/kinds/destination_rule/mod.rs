//! Istio's `DestinationRule`
//! (<https://istio.io/latest/docs/reference/config/networking/destination-rule/>).

mod parse;
mod policy;

use std::sync::Arc;
use std::time::Duration;

use crate::source::words::{ExportTo, FieldPath, Host, Labels, Percentage, Port};

pub(crate) use parse::parse;

/// What holds for traffic to a host after routing.
#[derive(Clone, PartialEq, Debug)]
pub struct DestinationRule {
    /// A short name is a service of the object's namespace; wildcards allowed.
    pub host: Host,
    /// For the host.
    pub traffic_policy: TrafficPolicy,
    /// Named parts of the host's workloads; names are unique.
    pub subsets: Vec<Subset>,
    /// Who sees it.
    pub export_to: ExportTo,
    /// Clients with these labels, in the rule's namespace, only; absent for all.
    pub workload_selector: Option<Labels>,
}

/// A named part of a host's workloads.
#[derive(Clone, PartialEq, Debug)]
pub struct Subset {
    /// Where it stands, such as `spec.subsets[0]`.
    pub field: FieldPath,
    /// Unique in the rule.
    pub name: Arc<str>,
    /// Labels its workloads have; empty for all of the host's.
    pub labels: Labels,
    /// Replaces the host's, field by field at the first level (load balancer, connection pool, outlier detection,
    /// TLS), as Istio merges them.
    pub traffic_policy: TrafficPolicy,
}

/// How traffic is sent. Absent parts are inherited, at last from the mesh's defaults.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TrafficPolicy {
    /// Where it stands; empty when absent.
    pub field: FieldPath,
    /// Who is chosen.
    pub load_balancer: Option<LoadBalancerPolicy>,
    /// Limits.
    pub connection_pool: Option<ConnectionPool>,
    /// Who is left out for a while.
    pub outlier_detection: Option<OutlierDetection>,
    /// mTLS to the destination.
    pub tls: Option<TlsMode>,
    /// By port of the service. What a port sets replaces the whole of it for that port: absent parts come from the
    /// defaults, not from the destination-level policy (as Istio documents).
    pub port_level: Vec<PortPolicy>,
}

/// The policy of one port.
#[derive(Clone, PartialEq, Debug)]
pub struct PortPolicy {
    /// Where it stands, such as `spec.trafficPolicy.portLevelSettings[0]`.
    pub field: FieldPath,
    /// Of the service.
    pub port: Port,
    /// Who is chosen.
    pub load_balancer: Option<LoadBalancerPolicy>,
    /// Limits.
    pub connection_pool: Option<ConnectionPool>,
    /// Who is left out for a while.
    pub outlier_detection: Option<OutlierDetection>,
    /// mTLS to the destination.
    pub tls: Option<TlsMode>,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadBalancerPolicy {
    /// `UNSPECIFIED` is the default: least request. `LEAST_CONN` is the old name of `LEAST_REQUEST`.
    pub algorithm: LoadBalancerAlgorithm,
}

/// `loadBalancer.simple`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LoadBalancerAlgorithm {
    /// `LEAST_REQUEST`, `LEAST_CONN` and `UNSPECIFIED`.
    #[default]
    LeastRequest,
    /// `ROUND_ROBIN`.
    RoundRobin,
    /// `RANDOM`.
    Random,
    /// `PASSTHROUGH`: to the address the client asked for.
    Passthrough,
}

/// Limits of connections and requests; absent: no limit (Envoy's 2^32−1 in Istio).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConnectionPool {
    /// Where it stands.
    pub field: FieldPath,
    /// `tcp.maxConnections`, of each proxy to the host.
    pub max_connections: Option<u32>,
    /// `tcp.connectTimeout`; Istio's default is 10 s.
    pub connect_timeout: Option<Duration>,
    /// `http.http1MaxPendingRequests`: requests that wait for a connection.
    pub max_pending_requests: Option<u32>,
    /// `http.http2MaxRequests`: requests under way, of HTTP/1.1 too.
    pub max_requests: Option<u32>,
    /// `http.maxRequestsPerConnection`; absent or 0: no limit, 1: no keep-alive.
    pub max_requests_per_connection: Option<u32>,
    /// `http.maxRetries`: retries under way at the same time.
    pub max_retries: Option<u32>,
    /// `http.idleTimeout`, of connections without requests; Istio's default is 1 h.
    pub idle_timeout: Option<Duration>,
    /// `http.h2UpgradePolicy`.
    pub h2_upgrade: H2UpgradePolicy,
    /// `http.useClientProtocol`.
    pub use_client_protocol: bool,
}

/// `http.h2UpgradePolicy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum H2UpgradePolicy {
    /// The mesh's default: do not upgrade.
    #[default]
    Default,
    /// `DO_NOT_UPGRADE`
    DoNotUpgrade,
    /// `UPGRADE`
    Upgrade,
}

/// Ejection of endpoints that fail. Defaults are filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutlierDetection {
    /// Where it stands.
    pub field: FieldPath,
    /// `consecutiveGatewayErrors` (502, 503, 504); 0 (the default) is off.
    pub consecutive_gateway_errors: u32,
    /// `consecutive5xxErrors`; 5 when absent, 0 is off.
    pub consecutive_5xx_errors: u32,
    /// Between sweeps; 10 s when absent, at least 1 ms.
    pub interval: Duration,
    /// Shortest ejection, times the number of ejections; 30 s when absent, at least 1 ms.
    pub base_ejection_time: Duration,
    /// Share of endpoints that may be ejected; 10 % when absent.
    pub max_ejection_percent: Percentage,
    /// Below this share of healthy endpoints ejection is ignored; 0 % when absent.
    pub min_health_percent: Percentage,
}

/// `tls.mode` of those that the mesh supports; SIMPLE and MUTUAL are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsMode {
    /// Plain text.
    Disable,
    /// The mesh's own mutual TLS.
    IstioMutual,
}
