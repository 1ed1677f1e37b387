//! Real servers on loopback, and snapshots that point to them.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use weft_model::cluster::{
    CircuitBreakers, Cluster, Discovery, LoadBalancing, UpstreamHttp, UpstreamTls, UpstreamTransport,
};
use weft_model::endpoint::{Endpoint, EndpointSet, Health, Locality, LocalityEndpoints, WorkloadInfo};
use weft_model::policy::{RetryConditions, RetryPolicy};
use weft_model::route::Forward;
use weft_model::snapshot::Snapshot;

use super::{Destination, Exchange, Failure, UpstreamSettings, Upstreams};
use crate::body::Body;
use crate::http1::{ServerSettings, serve};
use crate::io::Io;
use crate::tls::testing::{RATINGS, TestAuthority};

pub(super) const CLUSTER: &str = "outbound|80||reviews.default.svc.cluster.local";

/// Runs a test as a worker runs: one thread, tasks that are not `Send`.
pub(super) fn worker<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    let test = async { tokio::time::timeout(Duration::from_secs(60), test).await.expect("ends in time") };
    local.block_on(&runtime, test)
}

/// A server and what it has seen.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) requests: Rc<RefCell<Vec<Seen>>>,
    pub(super) connections: Rc<Cell<usize>>,
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) head: http::request::Parts,
    pub(super) body: Bytes,
}

impl Server {
    pub(super) fn count(&self) -> usize {
        self.requests.borrow().len()
    }
}

/// What a server answers to its nth request, from 0.
pub(super) type Answer = Rc<dyn Fn(usize, &Seen) -> Reply>;

pub(super) struct Reply {
    pub(super) after: Duration,
    pub(super) response: Response<Full<Bytes>>,
}

pub(super) fn status(code: u16) -> Reply {
    let mut response = Response::new(Full::new(Bytes::from_static(b"answer")));
    *response.status_mut() = http::StatusCode::from_u16(code).expect("valid");
    Reply { after: Duration::ZERO, response }
}

pub(super) fn late(after: Duration) -> Reply {
    Reply { after, ..status(200) }
}

/// Takes connections on a free port, counted from 0, each in a task of its own.
pub(super) async fn accept<F, R>(serve: F) -> SocketAddr
where
    F: Fn(usize, TcpStream) -> R + 'static,
    R: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::task::spawn_local(async move {
        for n in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            tokio::task::spawn_local(serve(n, stream));
        }
    });
    address
}

pub(super) async fn serve_http(version: Version, answer: impl Fn(usize, &Seen) -> Reply + 'static) -> Server {
    let (requests, connections) = (Rc::<RefCell<Vec<Seen>>>::default(), Rc::<Cell<usize>>::default());
    let (seen, count) = (requests.clone(), connections.clone());
    let answer: Answer = Rc::new(answer);
    let address = accept(move |n, stream| {
        count.set(n + 1);
        let (requests, answer) = (seen.clone(), answer.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (requests, answer) = (requests.clone(), answer.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let seen = Seen { head, body };
                let reply = answer(requests.borrow().len(), &seen);
                requests.borrow_mut().push(seen);
                tokio::time::sleep(reply.after).await;
                Ok::<_, Infallible>(reply.response)
            }
        });
        async move {
            let io = TokioIo::new(stream);
            let _ = if version == Version::HTTP_2 {
                hyper::server::conn::http2::Builder::new(LocalExecutor).serve_connection(io, service).await
            } else {
                hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
            };
        }
    })
    .await;
    Server { address, requests, connections }
}

/// A server of ours that sends all it gets upstream, on a connection that is there.
pub(super) async fn forward_all(io: Io, upstreams: Rc<Upstreams>) {
    let handler = |mut request: Request<Body>| {
        let upstreams = upstreams.clone();
        async move {
            match send(&upstreams, &mut request, None).await {
                Ok(exchange) => exchange.response,
                Err(failure) => {
                    let mut response = Response::new(Body::from(failure.error.message));
                    *response.status_mut() = failure.error.status;
                    response
                }
            }
        }
    };
    let _ = serve(io, &ServerSettings::default(), std::future::pending(), handler).await;
}

/// Upstreams with one endpoint, another sidecar, which is to prove that it is `expected`.
pub(super) fn caller(authority: &TestAuthority, address: SocketAddr, expected: &str) -> Rc<Upstreams> {
    caller_of(authority, &[address], expected)
}

/// The same, of several instances.
pub(super) fn caller_of(
    authority: &TestAuthority,
    addresses: &[SocketAddr],
    expected: &str,
) -> Rc<Upstreams> {
    let mut cluster = cluster(UpstreamHttp::Http1, &[]);
    if let Discovery::Static(set) = &mut cluster.discovery {
        let secured = |address: &SocketAddr| Endpoint { mutual_tls: true, ..(*endpoint(*address)).clone() };
        set.localities[0].endpoints = addresses.iter().map(secured).map(Arc::new).collect();
    }
    let tls = UpstreamTls { identities: Arc::from([Arc::from(expected)]), sni: "".into() };
    let upstreams = Upstreams::new(UpstreamSettings {
        identity: Some(authority.identity(RATINGS)),
        workload: Some(WorkloadInfo { name: "ratings-v1".into(), ..WorkloadInfo::default() }),
        ..UpstreamSettings::default()
    });
    upstreams.update(&snapshot(vec![Cluster { transport: UpstreamTransport::ByEndpoint(tls), ..cluster }]));
    upstreams
}

#[derive(Clone, Copy)]
pub(super) struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

pub(super) fn endpoint(address: SocketAddr) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        address,
        health: Health::Healthy,
        weight: 1,
        mutual_tls: false,
        workload: WorkloadInfo { name: "reviews-v1".into(), ..WorkloadInfo::default() },
        ..Endpoint::new(address)
    })
}

pub(super) fn cluster(http: UpstreamHttp, addresses: &[SocketAddr]) -> Cluster {
    let endpoints = addresses.iter().copied().map(endpoint).collect();
    Cluster {
        name: CLUSTER.into(),
        discovery: Discovery::Static(EndpointSet {
            cluster: CLUSTER.into(),
            localities: vec![LocalityEndpoints {
                locality: Locality::default(),
                priority: 0,
                weight: 0,
                endpoints,
            }],
            policy: Default::default(),
        }),
        load_balancing: LoadBalancing::RoundRobin,
        connect_timeout: Duration::from_secs(5),
        http,
        transport: UpstreamTransport::Plain,
        limits: CircuitBreakers::default(),
        outlier_detection: None,
        max_requests_per_connection: None,
        idle_timeout: Duration::from_secs(60),
        service: None,
        provenance: Vec::new(),
        ..Cluster::new("", Discovery::OriginalDst)
    }
}

pub(super) fn snapshot(clusters: Vec<Cluster>) -> Arc<Snapshot> {
    let mut snapshot = Snapshot::default();
    for cluster in clusters {
        snapshot.clusters.insert(cluster.name.clone(), Arc::new(cluster));
    }
    Arc::new(snapshot)
}

pub(super) fn upstreams(cluster: Cluster) -> Rc<Upstreams> {
    let upstreams = Upstreams::new(UpstreamSettings::default());
    upstreams.update(&snapshot(vec![cluster]));
    upstreams
}

pub(super) fn retry(words: &[&str]) -> RetryPolicy {
    let conditions = words.iter().fold(RetryConditions::default(), |all, word| {
        all.and(RetryConditions::from_word(word).expect("a word of Envoy's"))
    });
    RetryPolicy {
        retries: 3,
        conditions,
        status_codes: Arc::from([]),
        per_try_timeout: None,
        per_try_idle_timeout: None,
        backoff_base: Duration::from_millis(1),
        backoff_max: Duration::from_millis(5),
        idempotent_only: true,
        avoid_tried_endpoints: true,
        ..RetryPolicy::default()
    }
}

pub(super) fn forward(retry: Option<RetryPolicy>) -> Forward {
    Forward { retry, ..Forward::to(CLUSTER) }
}

pub(super) fn request(method: &str, body: Body) -> Request<Body> {
    Request::builder().method(method).uri("/a?b").header("host", "reviews").body(body).expect("valid")
}

/// A body that comes in pieces and cannot simply be sent again.
pub(super) fn pieces(parts: Vec<Bytes>) -> Body {
    let frames: Vec<_> = parts.into_iter().map(|part| Ok(http_body::Frame::data(part))).collect();
    Body::boxed(http_body_util::StreamBody::new(tokio_stream::iter(frames)))
}

pub(super) async fn send(
    upstreams: &Upstreams,
    request: &mut Request<Body>,
    forward: Option<&Forward>,
) -> Result<Exchange, Failure> {
    let destination = Destination {
        cluster: CLUSTER,
        forward,
        original_dst: None,
        downstream: request.version(),
        provenance: &[],
        preference: Default::default(),
        client: None,
    };
    upstreams.send(request, &destination).await
}

pub(super) async fn content(exchange: Exchange) -> Bytes {
    exchange.response.into_body().collect().await.expect("the whole body").to_bytes()
}
