//! Asking endpoints whether they are well: Envoy's active health checks
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/health_checking>).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use crate::policy::HeaderMutations;

/// How, and how often, each endpoint of a cluster is asked.
#[derive(Clone, PartialEq, Debug)]
pub struct HealthCheck {
    /// An answer that takes longer is none; more than 0.
    pub timeout: Duration,
    /// Between two checks of a healthy endpoint; more than 0. The other intervals are this one where they are absent.
    pub interval: Duration,
    /// Between two checks while no request was ever sent to the cluster.
    pub no_traffic_interval: Duration,
    /// The same for endpoints that are healthy.
    pub no_traffic_healthy_interval: Option<Duration>,
    /// Between two checks of an unhealthy endpoint.
    pub unhealthy_interval: Option<Duration>,
    /// After the check that found an endpoint unhealthy.
    pub unhealthy_edge_interval: Option<Duration>,
    /// After the check that found an endpoint healthy.
    pub healthy_edge_interval: Option<Duration>,
    /// The first check waits for anything up to this.
    pub initial_jitter: Duration,
    /// Anything up to this is added to an interval.
    pub interval_jitter: Duration,
    /// Anything up to this percentage of an interval is added to it.
    pub interval_jitter_percent: u32,
    /// So many time-outs or broken connections in a row make an endpoint unhealthy; a wrong answer does so at once.
    pub unhealthy_threshold: u32,
    /// So many good answers in a row make it healthy; after it came one is enough.
    pub healthy_threshold: u32,
    /// Instead of the port that requests go to, where the endpoint itself does not name one.
    pub alt_port: Option<u16>,
    /// A connection is kept between two checks.
    pub reuse_connection: bool,
    /// What is asked.
    pub question: HealthQuestion,
}

/// What is asked, and which answer is good.
#[derive(Clone, PartialEq, Debug)]
pub enum HealthQuestion {
    /// A request, and its status.
    Http(HttpQuestion),
    /// gRPC's health protocol (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).
    Grpc {
        /// Name of the service that is asked about; empty: the server as a whole.
        service: Arc<str>,
        /// Instead of the cluster's name; may be empty.
        authority: Arc<str>,
    },
    /// A connection, and bytes.
    Tcp {
        /// Sent first, if anything.
        send: Option<Bytes>,
        /// All must come back, one after another, with anything between them.
        receive: Vec<Bytes>,
    },
}

/// A request that asks for health.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpQuestion {
    /// Its host; empty: the cluster's name.
    pub host: Arc<str>,
    /// Its path and query.
    pub path: Arc<str>,
    /// Its method; never CONNECT.
    pub method: Method,
    /// Changes to its headers.
    pub headers: HeaderMutations,
    /// Good ones, each from the first number up to, but without, the second.
    pub expected_statuses: Vec<(u16, u16)>,
    /// Bad ones that count as a time-out does, in the same form.
    pub retriable_statuses: Vec<(u16, u16)>,
    /// HTTP/2 is spoken.
    pub http2: bool,
}

impl HealthCheck {
    /// Envoy's interval while there is no traffic.
    pub const NO_TRAFFIC_INTERVAL: Duration = Duration::from_secs(60);
}
