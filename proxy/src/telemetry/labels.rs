//! What series and edges are told apart by, and how the label sets of a worker are found again without building them.

use std::sync::Arc;

use weft_model::cluster::{ClusterName, ServiceInfo};
use weft_model::endpoint::WorkloadInfo;
use weft_model::identity::WorkloadIdentity;
use weft_model::listener::Direction;

use super::record::{ConnectionRecord, RequestRecord, TcpRecord, UpstreamRecord};
use crate::error::ResponseFlags;

/// Istio's label `request_protocol`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum Protocol {
    Http,
    Grpc,
    Tcp,
}

impl Protocol {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }
}

/// The side that reports, as Istio names it.
pub(super) fn reporter(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "destination",
        Direction::Outbound => "source",
    }
}

/// The own workload: one end of every call.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) workload: WorkloadInfo,
    pub(super) identity: Option<Arc<WorkloadIdentity>>,
}

/// One end of a call.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Party {
    pub(super) workload: WorkloadInfo,
    /// Proven by the call's mutual TLS.
    pub(super) principal: Option<Arc<WorkloadIdentity>>,
}

/// The service that was called.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Service {
    pub(super) host: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) namespace: Arc<str>,
}

/// What calls of one edge have in common: who called whom.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Ends {
    pub(super) direction: Direction,
    pub(super) source: Party,
    pub(super) destination: Party,
    pub(super) service: Service,
    pub(super) protocol: Protocol,
    pub(super) mutual_tls: bool,
}

/// All labels of Istio's standard metrics (<https://istio.io/latest/docs/reference/config/metrics/>).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct SeriesLabels {
    pub(super) ends: Ends,
    /// 0 for no answer.
    pub(super) status: u16,
    pub(super) grpc_status: Option<u8>,
    pub(super) flags: ResponseFlags,
}

/// What the report to the control plane tells edges apart by.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct EdgeLabels {
    pub(super) ends: Ends,
    pub(super) route: Box<str>,
}

/// The parts of a record that labels depend on, borrowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) connection: &'a ConnectionRecord,
    pub(super) upstream: Option<&'a UpstreamRecord>,
    /// Where it was to be sent.
    pub(super) cluster: &'a str,
    pub(super) route: &'a str,
    pub(super) protocol: Protocol,
    pub(super) status: u16,
    pub(super) grpc_status: Option<u8>,
    pub(super) flags: ResponseFlags,
}

impl<'a> Call<'a> {
    pub(super) fn of_request(record: &RequestRecord<'a>) -> Self {
        Self {
            connection: record.connection,
            upstream: record.upstream,
            cluster: record.cluster,
            route: record.route,
            protocol: if record.grpc { Protocol::Grpc } else { Protocol::Http },
            status: record.status.map_or(0, |status| status.as_u16()),
            grpc_status: grpc_status(record),
            flags: record.flags,
        }
    }

    pub(super) fn of_tcp(record: &TcpRecord<'a>) -> Self {
        Self {
            connection: record.connection,
            upstream: record.upstream,
            cluster: "",
            route: "",
            protocol: Protocol::Tcp,
            status: 0,
            grpc_status: None,
            flags: record.flags,
        }
    }

    /// Where to look for it first. Calls that differ may collide, calls that are the same never do.
    pub(super) fn hash(&self) -> usize {
        let mut hash = Mix(u64::from(self.status) << 8 | u64::from(self.grpc_status.unwrap_or(255)));
        hash.text(self.route);
        hash.word(self.protocol as u64);
        if let Some(upstream) = self.upstream {
            hash.text(&upstream.workload.name);
            hash.text(&upstream.workload.version);
            hash.text(&upstream.cluster);
        } else {
            hash.text(self.cluster);
        }
        if let Some(peer) = &self.connection.peer_workload {
            hash.text(&peer.name);
            hash.text(&peer.version);
        }
        hash.finish()
    }
}

/// gRPC's status; numbers that the protocol does not know are UNKNOWN, as its clients read them
/// (<https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>).
pub(super) fn grpc_status(record: &RequestRecord<'_>) -> Option<u8> {
    if !record.grpc {
        return None;
    }
    let text = record.grpc_status.as_ref()?.as_bytes();
    let number = match text {
        [digit @ b'0'..=b'9'] => digit - b'0',
        [b'1', digit @ b'0'..=b'6'] => 10 + digit - b'0',
        _ => 2,
    };
    Some(number)
}

/// A fast hash for places in a cache: not for tables that somebody could fill on purpose.
struct Mix(u64);

impl Mix {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn text(&mut self, text: &str) {
        self.word(text.len() as u64);
        let (words, rest) = text.as_bytes().as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last));
    }

    fn finish(&self) -> usize {
        (self.0 >> 32) as usize
    }
}

/// The same parts, owned.
#[derive(Debug)]
pub(super) struct CallKey {
    direction: Direction,
    peer_workload: Option<Arc<WorkloadInfo>>,
    peer_identity: Option<Arc<WorkloadIdentity>>,
    upstream: Option<UpstreamKey>,
    cluster: Box<str>,
    route: Box<str>,
    protocol: Protocol,
    status: u16,
    grpc_status: Option<u8>,
    flags: ResponseFlags,
}

#[derive(Debug)]
struct UpstreamKey {
    service: Option<ServiceInfo>,
    cluster: Arc<str>,
    workload: WorkloadInfo,
    identity: Option<Arc<WorkloadIdentity>>,
}

impl CallKey {
    pub(super) fn of(call: &Call<'_>) -> Self {
        Self {
            direction: call.connection.direction,
            peer_workload: call.connection.peer_workload.clone(),
            peer_identity: call.connection.peer_identity.clone(),
            upstream: call.upstream.map(|upstream| UpstreamKey {
                service: upstream.service.clone(),
                cluster: upstream.cluster.clone(),
                workload: upstream.workload.clone(),
                identity: upstream.identity.clone(),
            }),
            cluster: call.cluster.into(),
            route: call.route.into(),
            protocol: call.protocol,
            status: call.status,
            grpc_status: call.grpc_status,
            flags: call.flags,
        }
    }

    /// By content; `Arc`s of the same allocation are equal at first sight.
    pub(super) fn is(&self, call: &Call<'_>) -> bool {
        self.status == call.status
            && self.flags == call.flags
            && self.grpc_status == call.grpc_status
            && self.protocol == call.protocol
            && self.direction == call.connection.direction
            && *self.route == *call.route
            && self.peer_workload == call.connection.peer_workload
            && self.peer_identity == call.connection.peer_identity
            && match (&self.upstream, call.upstream) {
                (None, None) => *self.cluster == *call.cluster,
                (Some(own), Some(upstream)) => {
                    own.workload == upstream.workload
                        && own.identity == upstream.identity
                        && own.cluster == upstream.cluster
                        && own.service == upstream.service
                }
                _ => false,
            }
    }
}

/// Who called whom. Principals are told only where mutual TLS has proven them, as Istio does.
pub(super) fn ends(own: &Own, call: &Call<'_>) -> Ends {
    let connection = call.connection;
    let (source, destination, mutual_tls) = match connection.direction {
        Direction::Inbound => {
            let mutual_tls = connection.peer_identity.is_some();
            let source = Party { workload: peer(connection), principal: connection.peer_identity.clone() };
            let principal = own.identity.clone().filter(|_| mutual_tls);
            (source, Party { workload: own.workload.clone(), principal }, mutual_tls)
        }
        Direction::Outbound => {
            let proven = call.upstream.and_then(|upstream| upstream.identity.clone());
            let mutual_tls = proven.is_some();
            let principal = own.identity.clone().filter(|_| mutual_tls);
            let workload = call.upstream.map(|upstream| upstream.workload.clone()).unwrap_or_default();
            let source = Party { workload: own.workload.clone(), principal };
            (source, Party { workload, principal: proven }, mutual_tls)
        }
    };
    Ends {
        direction: connection.direction,
        source,
        destination,
        service: service(call),
        protocol: call.protocol,
        mutual_tls,
    }
}

/// What the client's sidecar has told; else at least what its identity proves.
fn peer(connection: &ConnectionRecord) -> WorkloadInfo {
    match (&connection.peer_workload, &connection.peer_identity) {
        (Some(workload), _) => workload.as_ref().clone(),
        (None, Some(identity)) => {
            WorkloadInfo { namespace: identity.namespace.clone(), ..WorkloadInfo::default() }
        }
        (None, None) => WorkloadInfo::default(),
    }
}

/// The service; where nothing was reached, the one that the cluster's name tells. Never what the client wrote into
/// `Host`: anyone could make any number of series by it.
fn service(call: &Call<'_>) -> Service {
    if let Some(service) = call.upstream.and_then(|upstream| upstream.service.as_ref()) {
        let ServiceInfo { host, name, namespace } = service;
        return Service { host: host.clone(), name: name.clone(), namespace: namespace.clone() };
    }
    let cluster = call.upstream.map_or(call.cluster, |upstream| &upstream.cluster);
    if let Some(ClusterName { host, .. }) = ClusterName::parse(cluster)
        && !host.is_empty()
    {
        let mut parts = host.split('.');
        let name = parts.next().unwrap_or_default().into();
        let namespace = parts.next().filter(|_| parts.next() == Some("svc")).unwrap_or_default().into();
        return Service { host: host.into(), name, namespace };
    }
    let special = matches!(cluster, ClusterName::PASSTHROUGH | ClusterName::BLACK_HOLE);
    let name: Arc<str> = if special { cluster.into() } else { "".into() };
    Service { host: name.clone(), name, namespace: "".into() }
}
