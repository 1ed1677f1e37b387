//! Records to play with, and workers to record them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use weft_model::cluster::ServiceInfo;
use weft_model::endpoint::WorkloadInfo;
use weft_model::identity::WorkloadIdentity;
use weft_model::listener::Direction;
use weft_model::provenance::{ObjectRef, Provenance};

use super::record::{ConnectionRecord, RequestRecord, TcpRecord, UpstreamRecord};
use super::{Recorder, Telemetry, TelemetrySettings};
use crate::error::ResponseFlags;
use crate::filters::trace_context::Span;

pub(super) fn workload(name: &str, version: &str) -> WorkloadInfo {
    WorkloadInfo {
        name: format!("{name}-{version}").into(),
        namespace: "default".into(),
        service: name.into(),
        version: version.into(),
        cluster: "Kubernetes".into(),
    }
}

pub(super) fn identity(account: &str) -> Arc<WorkloadIdentity> {
    Arc::new(format!("spiffe://cluster.local/ns/default/sa/{account}").parse().unwrap())
}

/// What a record borrows. Fields may be changed before `request` or `tcp`.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) connection: ConnectionRecord,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) authority: String,
    pub(super) request_headers: HeaderMap,
    pub(super) response_headers: HeaderMap,
    pub(super) grpc: bool,
    pub(super) status: Option<StatusCode>,
    pub(super) grpc_status: Option<HeaderValue>,
    pub(super) flags: ResponseFlags,
    pub(super) transport_failure: String,
    pub(super) duration: Duration,
    pub(super) cluster: String,
    pub(super) route: String,
    pub(super) span: Option<Span>,
    pub(super) provenance: Vec<Provenance>,
    pub(super) upstream: Option<UpstreamRecord>,
    pub(super) closed: bool,
}

/// `productpage` calls `reviews` v2 over mutual TLS, seen from `productpage`.
pub(super) fn outbound() -> Sample {
    let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let cluster = "outbound|9080||reviews.default.svc.cluster.local";
    let mut request_headers = HeaderMap::new();
    request_headers.insert("user-agent", HeaderValue::from_static("curl/8"));
    request_headers.insert("x-request-id", HeaderValue::from_static("11111111-2222-4333-8444-555555555555"));
    let object = ObjectRef::new("gateway.networking.k8s.io/v1", "HTTPRoute", "default", "reviews");
    Sample {
        connection: ConnectionRecord {
            direction: Direction::Outbound,
            remote: address("10.0.0.7:51000"),
            direct_remote: address("10.0.0.7:51000"),
            local: address("10.96.0.9:9080"),
            peer_identity: None,
            peer_workload: None,
            server_name: None,
        },
        method: Method::GET,
        path: "/reviews/1?full=yes".to_owned(),
        authority: "reviews:9080".to_owned(),
        request_headers,
        response_headers: HeaderMap::new(),
        grpc: false,
        status: Some(StatusCode::OK),
        grpc_status: None,
        flags: ResponseFlags::default(),
        transport_failure: String::new(),
        duration: Duration::from_micros(7_300),
        cluster: cluster.to_owned(),
        route: "reviews-v2".to_owned(),
        span: None,
        provenance: vec![Provenance { object, generation: 3, field: "spec.rules[0]".into() }],
        upstream: Some(UpstreamRecord {
            cluster: cluster.into(),
            service: Some(ServiceInfo {
                host: "reviews.default.svc.cluster.local".into(),
                name: "reviews".into(),
                namespace: "default".into(),
            }),
            address: address("10.0.0.8:9080"),
            local: Some(address("10.0.0.7:40002")),
            workload: workload("reviews", "v2"),
            identity: Some(identity("reviews")),
            attempts: 2,
            service_time: Some(Duration::from_millis(6)),
        }),
        closed: true,
    }
}

/// The same call, seen from `reviews`.
pub(super) fn inbound() -> Sample {
    let mut sample = outbound();
    sample.connection.direction = Direction::Inbound;
    sample.connection.peer_identity = Some(identity("productpage"));
    sample.connection.peer_workload = Some(Arc::new(workload("productpage", "v1")));
    sample
}

impl Sample {
    pub(super) fn request(&self) -> RequestRecord<'_> {
        RequestRecord {
            connection: &self.connection,
            started_at: UNIX_EPOCH + Duration::from_millis(1_795_434_751_042),
            started: Instant::now(),
            method: &self.method,
            path: &self.path,
            authority: &self.authority,
            protocol: Version::HTTP_11,
            request_headers: &self.request_headers,
            response_headers: &self.response_headers,
            grpc: self.grpc,
            status: self.status,
            grpc_status: self.grpc_status.clone(),
            flags: self.flags,
            details: "via_upstream",
            transport_failure: &self.transport_failure,
            bytes_received: 12,
            bytes_sent: 345,
            duration: self.duration,
            cluster: &self.cluster,
            span: self.span,
            route: &self.route,
            provenance: &self.provenance,
            upstream: self.upstream.as_ref(),
        }
    }

    pub(super) fn tcp(&self) -> TcpRecord<'_> {
        TcpRecord {
            connection: &self.connection,
            started_at: SystemTime::now(),
            duration: self.duration,
            closed: self.closed,
            bytes_received: if self.closed { 100 } else { 0 },
            bytes_sent: if self.closed { 200 } else { 0 },
            flags: self.flags,
            details: "",
            upstream: self.upstream.as_ref(),
        }
    }
}

pub(super) fn settings() -> TelemetrySettings {
    TelemetrySettings {
        identity: Some(identity("productpage").as_ref().clone()),
        ..TelemetrySettings::new(workload("productpage", "v1"))
    }
}

/// A worker on a thread of its own; what it recorded is there when this returns, and it lives until `end` is dropped.
pub(super) fn worker(
    telemetry: &Telemetry,
    record: impl FnOnce(&Recorder) + Send + 'static,
) -> tokio::sync::oneshot::Sender<()> {
    let telemetry = telemetry.clone();
    let (end, ended) = tokio::sync::oneshot::channel();
    let (recorded, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let recorder = telemetry.recorder();
            record(&recorder);
            recorded.send(()).unwrap();
            drop(ended.await);
        });
    });
    done.recv().unwrap();
    end
}
