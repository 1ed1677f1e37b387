//! Why an attempt got no response, and what the client is told.

use std::net::SocketAddr;

use http::StatusCode;
use weft_model::cluster::Cluster;
use weft_model::provenance::Provenance;

use crate::body::{BodyError, BodyErrorKind};
use crate::error::{ErrorSource, Progress, ProxyError, ResponseFlag};

/// What happened to an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FailureKind {
    /// There is no endpoint that takes requests.
    NoEndpoint,
    /// A circuit breaker is open.
    Overflow,
    /// The load assignment refuses a share of requests.
    Dropped,
    /// No connection could be made.
    Connect,
    /// No connection could be made in time.
    ConnectTimeout,
    /// The connection ended before the response.
    Closed,
    /// The stream was reset.
    Reset,
    /// The stream was refused: provably unprocessed.
    RefusedStream,
    /// The response was no HTTP.
    Protocol,
    /// The attempt's time was up.
    PerTryTimeout,
    /// The request's time was up.
    Timeout,
    /// Neither side said anything for too long.
    Idle,
    /// The request's own body failed: the client's fault.
    RequestBody,
    /// A mistake of this proxy, or a request that cannot be expressed.
    Internal,
}

/// An attempt without a response.
#[derive(Clone, Debug)]
pub(crate) struct AttemptFailure {
    pub(crate) kind: FailureKind,
    pub(crate) progress: Progress,
    /// The cause in words; may be empty.
    pub(crate) cause: String,
}

impl AttemptFailure {
    pub(crate) fn unprocessed(kind: FailureKind, cause: impl Into<String>) -> Self {
        Self { kind, progress: Progress::Unprocessed, cause: cause.into() }
    }

    pub(crate) fn maybe_processed(kind: FailureKind, cause: impl Into<String>) -> Self {
        Self { kind, progress: Progress::MaybeProcessed, cause: cause.into() }
    }

    pub(crate) fn of_request_body(error: &BodyError) -> Self {
        let kind = if error.kind == BodyErrorKind::Consumed {
            FailureKind::Internal
        } else {
            FailureKind::RequestBody
        };
        Self::maybe_processed(kind, error.to_string())
    }

    /// The answer to the client.
    pub(crate) fn into_error(
        self,
        cluster: &Cluster,
        endpoint: Option<SocketAddr>,
        provenance: &[Provenance],
    ) -> ProxyError {
        use FailureKind as K;
        let to = service_of(cluster);
        let at = endpoint.map_or_else(String::new, |endpoint| format!(" at {endpoint}"));
        let cause = if self.cause.is_empty() { String::new() } else { format!(": {}", self.cause) };
        let (flag, status, details, what) = match self.kind {
            K::NoEndpoint => (
                ResponseFlag::NoHealthyUpstream,
                StatusCode::SERVICE_UNAVAILABLE,
                "no_healthy_upstream",
                format!("no healthy endpoint for {to}{cause}"),
            ),
            K::Overflow => (
                ResponseFlag::UpstreamOverflow,
                StatusCode::SERVICE_UNAVAILABLE,
                "upstream_reset_before_response_started{overflow}",
                format!("too much is under way to {to}{cause}"),
            ),
            K::Dropped => (
                ResponseFlag::DropOverload,
                StatusCode::SERVICE_UNAVAILABLE,
                "drop_overload",
                format!("the request to {to} is dropped on purpose{cause}"),
            ),
            K::Connect => (
                ResponseFlag::UpstreamConnectionFailure,
                StatusCode::SERVICE_UNAVAILABLE,
                "upstream_reset_before_response_started{connection_failure}",
                format!("cannot connect to {to}{at}{cause}"),
            ),
            K::ConnectTimeout => (
                ResponseFlag::UpstreamConnectionFailure,
                StatusCode::SERVICE_UNAVAILABLE,
                "upstream_reset_before_response_started{connection_timeout}",
                format!(
                    "cannot connect to {to}{at}: it did not answer within its connect timeout of {}",
                    humantime::format_duration(cluster.connect_timeout)
                ),
            ),
            K::Closed => (
                ResponseFlag::UpstreamConnectionTermination,
                StatusCode::SERVICE_UNAVAILABLE,
                "upstream_reset_before_response_started{connection_termination}",
                format!("{to}{at} closed the connection before it answered{cause}"),
            ),
            K::Reset => (
                ResponseFlag::UpstreamRemoteReset,
                StatusCode::SERVICE_UNAVAILABLE,
                "upstream_reset_before_response_started{remote_reset}",
                format!("{to}{at} reset the request before it answered{cause}"),
            ),
            K::RefusedStream => (
                ResponseFlag::UpstreamRemoteReset,
                StatusCode::SERVICE_UNAVAILABLE,
                "upstream_reset_before_response_started{remote_refused_stream_reset}",
                format!("{to}{at} refused the request{cause}"),
            ),
            K::Protocol => (
                ResponseFlag::UpstreamProtocolError,
                StatusCode::BAD_GATEWAY,
                "upstream_reset_before_response_started{protocol_error}",
                format!("{to}{at} did not answer in valid HTTP{cause}"),
            ),
            K::PerTryTimeout => (
                ResponseFlag::UpstreamRequestTimeout,
                StatusCode::GATEWAY_TIMEOUT,
                "upstream_per_try_timeout",
                format!("{to}{at} did not answer within the per-try timeout{cause}"),
            ),
            K::Timeout => (
                ResponseFlag::UpstreamRequestTimeout,
                StatusCode::GATEWAY_TIMEOUT,
                "upstream_response_timeout",
                format!("{to}{at} did not answer within the route's timeout{cause}"),
            ),
            K::Idle => (
                ResponseFlag::StreamIdleTimeout,
                StatusCode::GATEWAY_TIMEOUT,
                "stream_idle_timeout",
                format!("{to}{at} said nothing for as long as the route's idle timeout{cause}"),
            ),
            K::RequestBody => (
                ResponseFlag::DownstreamConnectionTermination,
                StatusCode::BAD_REQUEST,
                "downstream_remote_disconnect",
                format!("the request's content did not arrive{cause}"),
            ),
            K::Internal => (
                ResponseFlag::UpstreamProtocolError,
                StatusCode::BAD_GATEWAY,
                "upstream_reset_before_response_started{protocol_error}",
                format!("the request cannot be sent to {to}{cause}"),
            ),
        };
        let fault = match self.kind {
            K::RequestBody => ErrorSource::Downstream,
            K::Overflow | K::Dropped | K::Internal => ErrorSource::Internal,
            _ => ErrorSource::Upstream,
        };
        let message =
            format!("{what} (cluster {}{})", cluster.name, because(&cluster.provenance, provenance));
        ProxyError { fault, progress: self.progress, status, flag, details, message }
    }
}

/// 503 NC.
pub(crate) fn no_cluster(name: &str, provenance: &[Provenance]) -> ProxyError {
    ProxyError {
        fault: ErrorSource::Internal,
        progress: Progress::Unprocessed,
        status: StatusCode::SERVICE_UNAVAILABLE,
        flag: ResponseFlag::NoClusterFound,
        details: "cluster_not_found",
        message: format!(
            "cluster {name} is not known{}: no such service, port or subset, or its configuration has not arrived",
            because(provenance, &[])
        ),
    }
}

fn service_of(cluster: &Cluster) -> &str {
    cluster.service.as_ref().map_or(&cluster.name, |service| &service.host)
}

fn because(of_cluster: &[Provenance], of_route: &[Provenance]) -> String {
    let mut objects: Vec<String> = of_route.iter().chain(of_cluster).map(ToString::to_string).collect();
    objects.dedup();
    if objects.is_empty() { String::new() } else { format!("; see {}", objects.join(", ")) }
}
