//! A proxy of real workers, servers that do as they are told, and clients.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use weft_model::cluster::{
    CircuitBreakers, Cluster, Discovery, LoadBalancing, UpstreamHttp, UpstreamTransport,
};
use weft_model::endpoint::{Endpoint, EndpointSet, Health, Locality, LocalityEndpoints, WorkloadInfo};
use weft_model::listener::{
    Codec, Direction, FilterChain, FilterChainMatch, HttpConnection, Inspection, Listener, NetworkFilter,
    RouteSource,
};
use weft_model::route::{Forward, Route, RouteAction, RouteMatch, RouteTable, VirtualHost};
use weft_model::snapshot::Snapshot;

use crate::discovery;
use crate::drain::Drain;
use crate::identity::Identity;
use crate::listener::statistics::ListenerStatistics;
use crate::telemetry::{Recorder, Telemetry};
use crate::tls::ServerAcceptor;
use crate::upstream::UpstreamSettings;
use crate::worker::{Limits, Shared, WorkerHandle};

/// No test waits longer for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for `future`, but not for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it took too long")
}

/// A proxy with one worker.
pub(crate) struct Proxy {
    discovery: discovery::Discovery,
    changed: watch::Sender<u64>,
    pub(crate) drain: Arc<Drain>,
    pub(crate) shared: Arc<Shared>,
    worker: Option<WorkerHandle>,
}

impl Proxy {
    pub(crate) fn start(snapshot: Snapshot) -> Self {
        Self::start_as(snapshot, None, None)
    }

    pub(crate) fn start_as(
        snapshot: Snapshot,
        identity: Option<Identity>,
        workload: Option<WorkloadInfo>,
    ) -> Self {
        Self::start_with(snapshot, identity, workload, Box::new(Recorder::default))
    }

    pub(crate) fn start_recording(snapshot: Snapshot, telemetry: &Telemetry) -> Self {
        let telemetry = telemetry.clone();
        Self::start_with(snapshot, None, None, Box::new(move || telemetry.recorder()))
    }

    /// The workload's own address is [`OWN`], which nothing else uses.
    fn start_with(
        snapshot: Snapshot,
        identity: Option<Identity>,
        workload: Option<WorkloadInfo>,
        recorder: Box<dyn Fn() -> Recorder + Send + Sync>,
    ) -> Self {
        let (changed, receiver) = watch::channel(0);
        let discovery = discovery::Discovery { changed: receiver, ..discovery::Discovery::fixed(snapshot) };
        let drain = Arc::new(Drain::default());
        let shared = Arc::new(Shared {
            discovery: discovery.clone(),
            contexts: Arc::default(),
            acceptor: identity.clone().map(ServerAcceptor::new),
            identity: identity.clone(),
            drain: drain.signal(),
            listening: drain.listening(),
            open: drain.open_connections(),
            limits: Limits::new(DEADLINE),
            sampling: None,
            statistics: ListenerStatistics::default(),
            upstream: UpstreamSettings {
                own: vec![OWN],
                workers: 1,
                identity,
                workload,
                ..UpstreamSettings::default()
            },
            recorder,
        });
        let worker = WorkerHandle::start(shared.clone(), 0).unwrap();
        Self { discovery, changed, drain, shared, worker: Some(worker) }
    }

    /// The address of the listener at an IP address.
    pub(crate) async fn at(&self, ip: &str) -> SocketAddr {
        let ip: IpAddr = ip.parse().unwrap();
        let mut bound = self.worker.as_ref().unwrap().bound();
        let bound =
            soon(bound.wait_for(|bound| bound.iter().any(|address| address.ip() == ip))).await.unwrap();
        *bound.iter().rev().find(|address| address.ip() == ip).unwrap()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut snapshot = self.discovery.snapshot.load().as_ref().clone();
        change(&mut snapshot);
        snapshot.version += 1;
        snapshot.index();
        let version = snapshot.version;
        self.discovery.snapshot.store(Arc::new(snapshot));
        self.changed.send_replace(version);
    }
}

/// The workload's own address.
pub(crate) const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 77));

impl Drop for Proxy {
    fn drop(&mut self) {
        self.drain.end();
        self.worker.take().unwrap().join();
    }
}

/// A configuration of one route table `routes` for an outbound listener at 127.0.0.1, port chosen by the kernel.
pub(crate) fn outbound(routes: Vec<Route>, clusters: Vec<Cluster>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    add_listener(
        &mut snapshot,
        listener("outbound", "127.0.0.1", Direction::Outbound, http_filter("routes")),
    );
    set_routes(&mut snapshot, routes);
    for cluster in clusters {
        snapshot.clusters.insert(cluster.name.clone(), Arc::new(cluster));
    }
    snapshot.index();
    snapshot
}

pub(crate) fn add_listener(snapshot: &mut Snapshot, listener: Listener) {
    snapshot.listeners.insert(listener.name.clone(), Arc::new(listener));
    snapshot.index();
}

pub(crate) fn set_routes(snapshot: &mut Snapshot, routes: Vec<Route>) {
    let host =
        VirtualHost { name: "all".into(), domains: vec!["*".into()], routes, ..VirtualHost::default() };
    snapshot.routes.insert("routes".into(), Arc::new(RouteTable::new("routes", vec![host])));
}

pub(crate) fn listener(name: &str, ip: &str, direction: Direction, filter: NetworkFilter) -> Listener {
    let ip: IpAddr = ip.parse().unwrap();
    Listener {
        name: name.into(),
        addresses: vec![SocketAddr::new(ip, 0)],
        bind: true,
        use_original_dst: false,
        headless: false,
        direction,
        inspection: Inspection::default(),
        filter_chains: Vec::new(),
        default_filter_chain: Some(chain("default", FilterChainMatch::default(), filter)),
        provenance: Vec::new(),
    }
}

pub(crate) fn chain(name: &str, matches: FilterChainMatch, filter: NetworkFilter) -> FilterChain {
    FilterChain::new(name, matches, None, filter)
}

pub(crate) fn http_filter(routes: &str) -> NetworkFilter {
    NetworkFilter::Http(HttpConnection {
        stat_prefix: "test".into(),
        codec: Codec::Auto,
        routes: RouteSource::Named(routes.into()),
        forward_client_certificate: false,
        stream_idle_timeout: None,
        upgrades: Vec::new(),
        forward_proxy: false,
        filters: weft_model::filter::HttpFilter::of_the_mesh(),
    })
}

pub(crate) fn route(action: RouteAction) -> Route {
    Route { name: "route".into(), ..Route::new(RouteMatch::any(), action) }
}

pub(crate) fn to(cluster: &str) -> Route {
    route(RouteAction::Forward(Forward::to(cluster)))
}

pub(crate) fn endpoints(addresses: &[SocketAddr], mutual_tls: bool) -> EndpointSet {
    let endpoint = |address: &SocketAddr| {
        Arc::new(Endpoint {
            address: *address,
            health: Health::Healthy,
            weight: 1,
            mutual_tls,
            workload: WorkloadInfo::default(),
            ..Endpoint::new(*address)
        })
    };
    EndpointSet {
        cluster: "static".into(),
        localities: vec![LocalityEndpoints {
            locality: Locality::default(),
            priority: 0,
            weight: 1,
            endpoints: addresses.iter().map(endpoint).collect(),
        }],
        policy: Default::default(),
    }
}

pub(crate) fn cluster(name: &str, addresses: &[SocketAddr]) -> Cluster {
    Cluster {
        name: name.into(),
        discovery: Discovery::Static(endpoints(addresses, false)),
        load_balancing: LoadBalancing::RoundRobin,
        connect_timeout: Duration::from_secs(5),
        http: UpstreamHttp::SameAsDownstream,
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

/// A server; ends with the test's runtime.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Rc<RefCell<Vec<Seen>>>,
}

/// A request as a server got it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) type Answer = Response<http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>>;

pub(crate) fn text(status: u16, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

impl Backend {
    /// Answers every request by `answer`, HTTP/1 and HTTP/2 alike. Must run inside a `LocalSet`.
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Answer + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let backend = Self { address, seen: seen.clone() };
        let answer = Rc::new(answer);
        tokio::task::spawn_local(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::task::spawn_local(serve(stream, seen.clone(), answer.clone()));
            }
        });
        backend
    }

    /// Answers with its name.
    pub(crate) async fn named(name: &'static str) -> Self {
        Self::start(move |_| text(200, name)).await
    }

    pub(crate) fn last(&self) -> Seen {
        self.seen.borrow().last().cloned().expect("no request came")
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.borrow().len()
    }
}

async fn serve(
    stream: TcpStream,
    seen: Rc<RefCell<Vec<Seen>>>,
    answer: Rc<impl Fn(&Seen) -> Answer + 'static>,
) {
    let mut start = [0; 3];
    while stream.peek(&mut start).await.unwrap_or(0) < 3 {
        if stream.peek(&mut start).await.unwrap_or(0) == 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (seen, answer) = (seen.clone(), answer.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let now =
                Seen { path: parts.uri.path_and_query().unwrap().to_string(), headers: parts.headers, body };
            seen.borrow_mut().push(now.clone());
            Ok::<_, std::convert::Infallible>(answer(&now))
        }
    });
    if &start == b"PRI" {
        let builder = hyper::server::conn::http2::Builder::new(Local);
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    } else {
        let builder = hyper::server::conn::http1::Builder::new();
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    }
}

#[derive(Clone)]
struct Local;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) trailers: Option<HeaderMap>,
}

/// A client with one connection.
pub(crate) enum Client {
    H1(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    H2(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

impl Client {
    pub(crate) async fn h1(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::task::spawn_local(connection);
        Self::H1(client)
    }

    pub(crate) async fn h2(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::task::spawn_local(connection);
        Self::H2(client)
    }

    pub(crate) async fn try_send(&mut self, request: Request<Full<Bytes>>) -> Result<Got, hyper::Error> {
        let sending = async {
            let response = match self {
                Self::H1(client) => {
                    client.ready().await?;
                    client.send_request(request).await?
                }
                Self::H2(client) => {
                    client.ready().await?;
                    client.send_request(request).await?
                }
            };
            let (parts, body) = response.into_parts();
            let body = body.collect().await?;
            let trailers = body.trailers().cloned();
            let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            Ok(Got { status: parts.status.as_u16(), headers: parts.headers, body, trailers })
        };
        soon(sending).await
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Got {
        self.try_send(request).await.unwrap()
    }
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "shop.example").body(Full::default()).unwrap()
}

/// One GET on a connection of its own.
pub(crate) async fn get_once(address: SocketAddr, path: &str) -> Got {
    Client::h1(address).await.send(get(path)).await
}

/// Sends bytes as they are, and returns what comes back until the other side closes.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut got = Vec::new();
    // A reset after the answer is as good as a close.
    let _ = soon(stream.read_to_end(&mut got)).await;
    String::from_utf8_lossy(&got).into_owned()
}

/// A TCP server that says `greeting` first, and then all it hears.
pub(crate) async fn echo_server(greeting: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            tokio::task::spawn_local(async move {
                let _ = stream.write_all(greeting.as_bytes()).await;
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    address
}

/// Runs a test inside of a `LocalSet`.
pub(crate) fn local(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}
