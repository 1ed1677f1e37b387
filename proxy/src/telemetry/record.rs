//! What the request path hands to telemetry: one record an exchange, borrowed, filled in as the exchange goes on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use weft_model::cluster::ServiceInfo;
use weft_model::endpoint::WorkloadInfo;
use weft_model::identity::WorkloadIdentity;
use weft_model::listener::Direction;
use weft_model::provenance::Provenance;

use crate::error::ResponseFlags;
use crate::filters::trace_context::Span;
use crate::proxy_protocol::Ends;

/// The connection that an exchange came by. One for all exchanges of a connection.
#[derive(Clone, Debug)]
pub struct ConnectionRecord {
    /// Which way.
    pub direction: Direction,
    /// The client; where a load balancer says so, the one that it passes on.
    pub remote: SocketAddr,
    /// Who is at the other end of the connection itself.
    pub direct_remote: SocketAddr,
    /// Where the client wanted to go.
    pub local: SocketAddr,
    /// Over mutual TLS: who the client proved to be.
    pub peer_identity: Option<Arc<WorkloadIdentity>>,
    /// Who the client's sidecar said it is; believed only when it fits `peer_identity`.
    pub peer_workload: Option<Arc<WorkloadInfo>>,
    /// Server name indication.
    pub server_name: Option<Arc<str>>,
}

impl ConnectionRecord {
    /// From whom to where.
    #[must_use]
    pub fn ends(&self) -> Ends {
        Ends { source: self.remote, destination: self.local }
    }
}

/// One request and its response.
#[derive(Debug)]
pub struct RequestRecord<'a> {
    /// Its connection.
    pub connection: &'a ConnectionRecord,
    /// Wall-clock time of its head.
    pub started_at: SystemTime,
    /// The same, for durations.
    pub started: Instant,
    /// Such as `GET`.
    pub method: &'a Method,
    /// Path and query as the client sent them.
    pub path: &'a str,
    /// `Host` or `:authority` as the client sent it.
    pub authority: &'a str,
    /// What the client spoke.
    pub protocol: Version,
    /// Headers as sent upstream (after filters); when it was not sent, as far as filters have come with them.
    pub request_headers: &'a HeaderMap,
    /// Headers of the response.
    pub response_headers: &'a HeaderMap,
    /// `content-type: application/grpc…`.
    pub grpc: bool,
    /// What the client got; none when it got nothing.
    pub status: Option<StatusCode>,
    /// gRPC's own status, from trailers or headers.
    pub grpc_status: Option<HeaderValue>,
    /// Why the response is not simply what the upstream said.
    pub flags: ResponseFlags,
    /// Envoy's `%RESPONSE_CODE_DETAILS%`, such as `via_upstream`.
    pub details: &'static str,
    /// Why TLS to the upstream failed; empty if it did not.
    pub transport_failure: &'a str,
    /// Bytes of the request's body.
    pub bytes_received: u64,
    /// Bytes of the response's body.
    pub bytes_sent: u64,
    /// From the head of the request to the last byte of the response.
    pub duration: Duration,
    /// Name of the cluster that it was to be sent to, also when no endpoint of it was reached; empty for none.
    pub cluster: &'a str,
    /// Its part of a trace; none when no spans are made.
    pub span: Option<Span>,
    /// Name of the route that was chosen; empty for none.
    pub route: &'a str,
    /// What the user wrote that led to the route.
    pub provenance: &'a [Provenance],
    /// Where it was sent; none when it was not.
    pub upstream: Option<&'a UpstreamRecord>,
}

/// Where a request was sent: the last attempt.
#[derive(Clone, Debug)]
pub struct UpstreamRecord {
    /// Name of the cluster.
    pub cluster: Arc<str>,
    /// The service it stands for.
    pub service: Option<ServiceInfo>,
    /// The endpoint.
    pub address: SocketAddr,
    /// This proxy's end of the connection.
    pub local: Option<SocketAddr>,
    /// Who the endpoint is.
    pub workload: WorkloadInfo,
    /// Over mutual TLS: who it proved to be.
    pub identity: Option<Arc<WorkloadIdentity>>,
    /// 1 for no retry.
    pub attempts: u32,
    /// From sending the last attempt to the head of its response.
    pub service_time: Option<Duration>,
}

/// One connection passed on byte by byte; recorded when it opens (`closed` is false) and when it closes.
#[derive(Debug)]
pub struct TcpRecord<'a> {
    /// The connection.
    pub connection: &'a ConnectionRecord,
    /// Wall-clock time of its opening.
    pub started_at: SystemTime,
    /// From opening to now.
    pub duration: Duration,
    /// False at its opening, true at its end.
    pub closed: bool,
    /// Bytes from the client.
    pub bytes_received: u64,
    /// Bytes to the client.
    pub bytes_sent: u64,
    /// Why it ended, if not by itself.
    pub flags: ResponseFlags,
    /// The same in words, Envoy's `%CONNECTION_TERMINATION_DETAILS%`; empty: nothing to add.
    pub details: &'a str,
    /// Where it was passed on to.
    pub upstream: Option<&'a UpstreamRecord>,
}
