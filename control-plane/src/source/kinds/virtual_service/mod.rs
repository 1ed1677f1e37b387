//! Istio's `VirtualService`
//! (<https://istio.io/latest/docs/reference/config/networking/virtual-service/>).

mod actions;
mod http;
mod matches;
mod parse;

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderName, StatusCode};

use crate::source::words::{ExportTo, FieldPath, HeaderChanges, Host, Labels, Percentage, Port, StringMatch};

pub(crate) use parse::parse;

/// Routes of requests to its hosts.
#[derive(Clone, PartialEq, Debug)]
pub struct VirtualService {
    /// At least one. A short name is a service of the object's namespace.
    pub hosts: Vec<VirtualHost>,
    /// Whether sidecars apply it: `gateways` is absent or names `mesh`. Otherwise it is for gateways only.
    pub applies_to_mesh: bool,
    /// Gateways other than `mesh`, as written; of no effect in the mesh.
    pub gateways: Vec<Arc<str>>,
    /// In order; the first that matches applies.
    pub http: Vec<HttpRule>,
    /// In order; the first that matches applies.
    pub tcp: Vec<TcpRule>,
    /// Who sees it.
    pub export_to: ExportTo,
}

/// One host that is routed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VirtualHost {
    /// Where it stands, such as `spec.hosts[0]`.
    pub field: FieldPath,
    /// Wildcards allowed.
    pub host: Host,
}

/// One rule for HTTP requests.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpRule {
    /// Where it stands, such as `spec.http[0]`.
    pub field: FieldPath,
    /// For people.
    pub name: Option<Arc<str>>,
    /// Any of them; empty matches every request.
    pub matches: Vec<HttpMatchRequest>,
    /// What is done.
    pub action: HttpAction,
    /// Only with [`HttpAction::Route`].
    pub rewrite: Option<HttpRewrite>,
    /// Of the whole request with retries. Absent: no limit. (Istio: default is disabled.)
    pub timeout: Option<Duration>,
    /// Absent: the mesh's default.
    pub retries: Option<HttpRetry>,
    /// Injected on purpose at the client.
    pub fault: Option<HttpFault>,
    /// For all destinations.
    pub headers: Headers,
}

/// Header changes of requests and responses.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Headers {
    /// Before the request is sent on.
    pub request: HeaderChanges,
    /// Before the response is returned.
    pub response: HeaderChanges,
}

/// What is done with a request.
#[derive(Clone, PartialEq, Debug)]
pub enum HttpAction {
    /// Sent on, split by weight; never empty.
    Route(Vec<HttpRouteDestination>),
    /// Answered with a redirect.
    Redirect(HttpRedirect),
    /// Answered by the proxy itself.
    DirectResponse(HttpDirectResponse),
}

/// Conditions that must all hold.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HttpMatchRequest {
    /// Where it stands, such as `spec.http[0].match[0]`.
    pub field: FieldPath,
    /// For people.
    pub name: Option<Arc<str>>,
    /// The path, without the query when it is a regular expression or exact.
    pub uri: Option<StringMatch>,
    /// `http` or `https`.
    pub scheme: Option<StringMatch>,
    /// The method.
    pub method: Option<StringMatch>,
    /// The `Host` header or `:authority`.
    pub authority: Option<StringMatch>,
    /// All must hold.
    pub headers: Vec<HeaderCondition>,
    /// None may hold.
    pub without_headers: Vec<HeaderCondition>,
    /// The port of the service that is called.
    pub port: Option<Port>,
    /// Clients with these labels only; empty for all.
    pub source_labels: Labels,
    /// Clients of this namespace only.
    pub source_namespace: Option<Arc<str>>,
    /// All must hold; values are of the raw query.
    pub query_params: Vec<(Arc<str>, ValueCondition)>,
    /// Whether `uri` (exact or prefix) ignores case.
    pub ignore_uri_case: bool,
}

impl HttpMatchRequest {
    /// Whether every request matches, of every client.
    #[must_use]
    pub fn is_catch_all(&self) -> bool {
        let Self { uri, scheme, method, authority, headers, without_headers, .. } = self;
        let path = match uri {
            None => true,
            Some(StringMatch::Prefix(prefix)) => &**prefix == "/",
            Some(StringMatch::Regex(pattern)) => matches!(pattern.as_str(), ".*" | "/.*"),
            Some(StringMatch::Exact(_)) => false,
        };
        path && scheme.is_none()
            && method.is_none()
            && authority.is_none()
            && headers.is_empty()
            && without_headers.is_empty()
            && self.port.is_none()
            && self.source_labels.is_empty()
            && self.source_namespace.is_none()
            && self.query_params.is_empty()
    }
}

/// A condition on a request header. Pseudo headers (`:method` …) are not allowed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeaderCondition {
    /// Which header.
    pub name: HeaderName,
    /// Its value.
    pub value: ValueCondition,
}

/// What is asked of a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ValueCondition {
    /// Present, with any value (`{}` in YAML).
    Present,
    /// Present and compares.
    Matches(StringMatch),
}

/// One of the destinations of a rule.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpRouteDestination {
    /// Where it stands, such as `spec.http[0].route[1]`.
    pub field: FieldPath,
    /// Where to.
    pub destination: Destination,
    /// Share of all weights of the rule. A single destination without a weight has 1; of several, one without
    /// has 0.
    pub weight: u32,
    /// For requests to this destination only.
    pub headers: Headers,
}

/// A service, or a subset of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Destination {
    /// Where it stands, such as `spec.http[0].route[1].destination`.
    pub field: FieldPath,
    /// A short name is a service of the object's namespace.
    pub host: Host,
    /// Named in a `DestinationRule`.
    pub subset: Option<Arc<str>>,
    /// Needed only when the service has several ports.
    pub port: Option<Port>,
}

/// A redirect.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpRedirect {
    /// Replaces the whole path; may hold `%PREFIX()%`-style operators of Istio as written.
    pub uri: Option<Arc<str>>,
    /// Replaces the authority.
    pub authority: Option<Arc<str>>,
    /// Where the port comes from; kept as the request's when absent.
    pub port: Option<RedirectPort>,
    /// `http` or `https`.
    pub scheme: Option<Arc<str>>,
    /// 301, 302, 303, 307 or 308; 301 when absent.
    pub status: StatusCode,
}

/// The port of a redirect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RedirectPort {
    /// This one.
    Port(Port),
    /// 80 for http, 443 for https.
    FromProtocolDefault,
    /// The request's.
    FromRequestPort,
}

/// An answer of the proxy itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpDirectResponse {
    /// 100 to 599.
    pub status: StatusCode,
    /// At most 1 MiB; empty when absent.
    pub body: Arc<[u8]>,
}

/// A rewrite before the request is sent on.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpRewrite {
    /// Replaces the path, or with a prefix match the prefix.
    pub uri: Option<Arc<str>>,
    /// Replaces the authority.
    pub authority: Option<Arc<str>>,
}

/// When a request is sent again.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpRetry {
    /// Where it stands, such as `spec.http[0].retries`.
    pub field: FieldPath,
    /// Retries after the first attempt; 0 switches retries off.
    pub attempts: u32,
    /// Of one attempt; at least 1 ms. Absent: the rule's timeout.
    pub per_try_timeout: Option<Duration>,
    /// Absent: the mesh's default conditions.
    pub retry_on: Option<Vec<RetryCondition>>,
    /// Whether hosts that were tried are skipped; true when absent.
    pub retry_ignore_previous_hosts: bool,
    /// Shortest pause before a retry; Istio's default is 25 ms.
    pub backoff: Option<Duration>,
}

/// When to retry, by Envoy's names
/// (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-retry-on>).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RetryCondition {
    /// `5xx`: any 5xx status, or no answer at all.
    ServerError,
    /// `gateway-error`: 502, 503 or 504.
    GatewayError,
    /// `reset`: no answer at all.
    Reset,
    /// `reset-before-request`: the connection broke before the head was sent.
    ResetBeforeRequest,
    /// `connect-failure`.
    ConnectFailure,
    /// `envoy-ratelimited`.
    RateLimited,
    /// `retriable-4xx`: 409.
    Retriable4xx,
    /// `refused-stream`: HTTP/2 REFUSED_STREAM.
    RefusedStream,
    /// `retriable-status-codes`: those listed beside it.
    RetriableStatusCodes,
    /// `retriable-headers`.
    RetriableHeaders,
    /// `http3-post-connect-failure`.
    Http3PostConnectFailure,
    /// `cancelled`: gRPC status 1.
    GrpcCancelled,
    /// `deadline-exceeded`: gRPC status 4.
    GrpcDeadlineExceeded,
    /// `internal`: gRPC status 13.
    GrpcInternal,
    /// `resource-exhausted`: gRPC status 8.
    GrpcResourceExhausted,
    /// `unavailable`: gRPC status 14.
    GrpcUnavailable,
    /// A status such as `503`.
    Status(u16),
}

/// Faults injected on purpose.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HttpFault {
    /// Where it stands, such as `spec.http[0].fault`.
    pub field: FieldPath,
    /// Before the request is sent on.
    pub delay: Option<FaultDelay>,
    /// Instead of sending it.
    pub abort: Option<FaultAbort>,
}

/// A pause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultDelay {
    /// At least 1 ms.
    pub fixed_delay: Duration,
    /// Share of requests; none when absent (as Istio documents).
    pub percentage: Percentage,
}

/// An answer instead of the service's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultAbort {
    /// With what.
    pub status: AbortStatus,
    /// Share of requests; none when absent (as Istio documents).
    pub percentage: Percentage,
}

/// What an injected abort answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AbortStatus {
    /// 200 to 599.
    Http(StatusCode),
    /// 0 to 16 (<https://grpc.io/docs/guides/status-codes/>).
    Grpc(u8),
}

/// One rule for TCP connections.
#[derive(Clone, PartialEq, Debug)]
pub struct TcpRule {
    /// Where it stands, such as `spec.tcp[0]`.
    pub field: FieldPath,
    /// Any of them; empty matches every connection.
    pub matches: Vec<L4Match>,
    /// Split by weight; never empty.
    pub route: Vec<TcpRouteDestination>,
}

/// Conditions on a connection that must all hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct L4Match {
    /// Where it stands.
    pub field: FieldPath,
    /// The port of the service that is called.
    pub port: Option<Port>,
    /// Clients with these labels only; empty for all.
    pub source_labels: Labels,
    /// Clients of this namespace only.
    pub source_namespace: Option<Arc<str>>,
}

/// One of the destinations of a TCP rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TcpRouteDestination {
    /// Where it stands.
    pub field: FieldPath,
    /// Where to.
    pub destination: Destination,
    /// As in [`HttpRouteDestination::weight`].
    pub weight: u32,
}
