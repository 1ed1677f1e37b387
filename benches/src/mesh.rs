//! Listeners, routes, clusters and endpoints, as a sidecar of a mesh with Istio's defaults has them.

use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderName;
use weft_model::cluster::{
    Cluster, Discovery, OutlierDetection, ServiceInfo, UpstreamHttp, UpstreamTls, UpstreamTransport,
};
use weft_model::endpoint::{Endpoint, EndpointSet, Health, Locality, LocalityEndpoints, WorkloadInfo};
use weft_model::listener::{
    Codec, Direction, DownstreamTls, FilterChain, FilterChainMatch, HttpConnection, Inspection, Listener,
    MeshTls, NetworkFilter, RouteSource, TcpProxy,
};
use weft_model::matcher::{HeaderKey, HeaderMatch, PathMatch, StringMatch, ValueMatch};
use weft_model::policy::{HeaderMutations, RetryConditions, RetryPolicy};
use weft_model::route::{Forward, Route, RouteAction, RouteMatch, RouteTable, VirtualHost, WeightedCluster};
use weft_model::xds::Resource;

/// How a sidecar speaks to an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encryption {
    /// In plain text.
    None,
    /// By mutual TLS with the other sidecar.
    MutualTls,
}

/// A service's cluster: outlier detection as `envoy-istio` has it, automatic mutual TLS.
#[must_use]
pub fn outbound_cluster(name: &str, host: &str, http: UpstreamHttp, encryption: Encryption) -> Cluster {
    let tls = UpstreamTls {
        identities: ["spiffe://cluster.local/ns/default/sa/server".into()].into(),
        sni: format!("outbound_.80_._.{host}").into(),
    };
    let mut parts = host.split('.');
    let mut part = || parts.next().unwrap_or_default().into();
    Cluster {
        http,
        transport: match encryption {
            Encryption::None => UpstreamTransport::Plain,
            Encryption::MutualTls => UpstreamTransport::ByEndpoint(tls),
        },
        outlier_detection: Some(OutlierDetection {
            consecutive_5xx: 5,
            consecutive_gateway_errors: 0,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_percent: 10,
            ..OutlierDetection::default()
        }),
        service: Some(ServiceInfo { host: host.into(), name: part(), namespace: part() }),
        ..Cluster::new(name, Discovery::Endpoints(name.into()))
    }
}

/// The workload itself.
#[must_use]
pub fn inbound_cluster(name: &str) -> Cluster {
    Cluster { http: UpstreamHttp::Http1, ..Cluster::new(name, Discovery::Endpoints(name.into())) }
}

/// The endpoints of a cluster, all of one workload.
#[must_use]
pub fn endpoints(cluster: &str, addresses: &[SocketAddr], encryption: Encryption) -> Resource {
    let workload = WorkloadInfo {
        name: "server".into(),
        namespace: "default".into(),
        service: "server".into(),
        version: "v1".into(),
        cluster: "Kubernetes".into(),
    };
    let endpoint = |address: &SocketAddr| Endpoint {
        address: *address,
        health: Health::Healthy,
        weight: 1,
        mutual_tls: encryption == Encryption::MutualTls,
        workload: workload.clone(),
        ..Endpoint::new(*address)
    };
    let locality = LocalityEndpoints {
        locality: Locality::default(),
        priority: 0,
        weight: 1,
        endpoints: addresses.iter().map(|address| endpoint(address).into()).collect(),
    };
    Resource::Endpoints(
        EndpointSet { cluster: cluster.into(), localities: vec![locality], policy: Default::default() }
            .into(),
    )
}

/// Takes HTTP of the workload; its protocol is declared, so that nothing is sniffed.
#[must_use]
pub fn outbound_http_listener(address: SocketAddr, routes: &str) -> Resource {
    listener(address, Direction::Outbound, None, http(routes, false))
}

/// Takes bytes of the workload.
#[must_use]
pub fn outbound_tcp_listener(address: SocketAddr, cluster: &str) -> Resource {
    listener(address, Direction::Outbound, None, tcp(cluster))
}

/// Terminates mutual TLS with HTTP inside, and tells the workload who called.
#[must_use]
pub fn inbound_http_listener(address: SocketAddr, routes: &str) -> Resource {
    listener(address, Direction::Inbound, Some(mutual_tls(&["h2", "http/1.1"])), http(routes, true))
}

/// Terminates mutual TLS with bytes inside.
#[must_use]
pub fn inbound_tcp_listener(address: SocketAddr, cluster: &str) -> Resource {
    listener(address, Direction::Inbound, Some(mutual_tls(&["istio"])), tcp(cluster))
}

fn mutual_tls(protocols: &[&str]) -> DownstreamTls {
    DownstreamTls::Mesh(MeshTls {
        require_client_certificate: true,
        application_protocols: protocols.iter().map(|&protocol| protocol.into()).collect(),
    })
}

fn http(routes: &str, forward_client_certificate: bool) -> NetworkFilter {
    NetworkFilter::Http(HttpConnection {
        stat_prefix: routes.into(),
        codec: Codec::Auto,
        routes: RouteSource::Named(routes.into()),
        forward_client_certificate,
        stream_idle_timeout: None,
        upgrades: vec!["websocket".into()],
        forward_proxy: false,
        filters: weft_model::filter::HttpFilter::of_the_mesh(),
    })
}

fn tcp(cluster: &str) -> NetworkFilter {
    NetworkFilter::Tcp(TcpProxy {
        stat_prefix: cluster.into(),
        clusters: vec![WeightedCluster::new(cluster, 1)],
        idle_timeout: None,
        hash_source_ip: false,
        metadata_match: Default::default(),
    })
}

fn listener(
    address: SocketAddr,
    direction: Direction,
    tls: Option<DownstreamTls>,
    filter: NetworkFilter,
) -> Resource {
    let chain = FilterChain::new("default", FilterChainMatch::default(), tls, filter);
    let listener = Listener {
        name: format!("{}_{}", address.ip(), address.port()).into(),
        addresses: vec![address],
        bind: true,
        use_original_dst: false,
        headless: false,
        direction,
        inspection: Inspection::default(),
        filter_chains: vec![chain],
        default_filter_chain: None,
        provenance: Vec::new(),
    };
    Resource::Listener(listener.into())
}

/// Routes of the workload's calls.
#[must_use]
pub fn outbound_routes(name: &str, hosts: Vec<VirtualHost>) -> Resource {
    Resource::Routes(RouteTable::new(name, hosts).into())
}

/// The one route of calls to the workload.
#[must_use]
pub fn inbound_routes(cluster: &str) -> Resource {
    let conditions = RetryConditions::RESET_BEFORE_REQUEST;
    let host = VirtualHost {
        name: "inbound|http|80".into(),
        domains: vec!["*".into()],
        routes: vec![route("default", RouteMatch::any(), cluster, retry(conditions, false))],
        ..VirtualHost::default()
    };
    Resource::Routes(RouteTable::new(cluster, vec![host]).into())
}

/// Every host goes to one cluster.
#[must_use]
pub fn any_host(cluster: &str) -> VirtualHost {
    VirtualHost {
        name: "any".into(),
        domains: vec!["*".into()],
        routes: vec![route("default", RouteMatch::any(), cluster, outbound_retry())],
        ..VirtualHost::default()
    }
}

/// A virtual host of W6: three routes, of which a request without the right headers takes the last.
#[must_use]
pub fn host_of_large_mesh(number: usize, [default, canary, beta]: [String; 3]) -> VirtualHost {
    let short = format!("svc-{number}.ns");
    let full = format!("{short}.svc.cluster.local");
    let ip = format!("10.{}.{}.1", number >> 8, number & 255);
    let names = [full.clone(), short.clone(), format!("{short}.svc"), ip];
    let header = |name: &'static str, value| HeaderMatch {
        name: HeaderKey::Header(HeaderName::from_static(name)),
        value: ValueMatch::Value(value),
        invert: false,
        absent_as_empty: false,
    };
    let with =
        |path: PathMatch, header| RouteMatch { path, headers: vec![header], query: Vec::new(), more: None };
    let beta_path = PathMatch::Prefix { prefix: "/beta/".into(), ignore_case: false };
    VirtualHost {
        name: format!("{full}:80").into(),
        domains: names.iter().flat_map(|name| [name.as_str().into(), format!("{name}:80").into()]).collect(),
        routes: vec![
            route(
                "canary",
                with(PathMatch::any(), header("x-canary", StringMatch::exact("v2"))),
                &canary,
                outbound_retry(),
            ),
            route("beta", with(beta_path, header("x-user", begins_with("test-"))), &beta, outbound_retry()),
            route("default", RouteMatch::any(), &default, outbound_retry()),
        ],
        ..VirtualHost::default()
    }
}

/// By a regular expression, as the Envoy configuration has it.
fn begins_with(text: &str) -> StringMatch {
    let pattern = match weft_model::matcher::FullRegex::new(&format!("{text}.*")) {
        Ok(regex) => weft_model::matcher::StringPattern::Regex(regex),
        Err(_) => weft_model::matcher::StringPattern::Prefix(text.into()),
    };
    StringMatch { pattern, ignore_case: false }
}

fn route(name: &str, matches: RouteMatch, cluster: &str, retry: RetryPolicy) -> Route {
    Route {
        name: name.into(),
        matches,
        action: RouteAction::Forward(Forward { retry: Some(retry), ..Forward::to(cluster) }),
        request_headers: HeaderMutations::default(),
        response_headers: HeaderMutations::default(),
        filters: Default::default(),
        provenance: Vec::new(),
    }
}

/// Istio's default: two retries of what most likely was not processed.
fn outbound_retry() -> RetryPolicy {
    let conditions = RetryConditions::CONNECT_FAILURE
        .and(RetryConditions::REFUSED_STREAM)
        .and(RetryConditions::GRPC_UNAVAILABLE)
        .and(RetryConditions::GRPC_CANCELLED)
        .and(RetryConditions::STATUS_CODES);
    RetryPolicy { status_codes: [503].into(), ..retry(conditions, true) }
}

fn retry(conditions: RetryConditions, avoid_tried_endpoints: bool) -> RetryPolicy {
    RetryPolicy {
        retries: 2,
        conditions,
        status_codes: [].into(),
        per_try_timeout: None,
        per_try_idle_timeout: None,
        backoff_base: RetryPolicy::BACKOFF_BASE,
        backoff_max: RetryPolicy::BACKOFF_MAX,
        idempotent_only: false,
        avoid_tried_endpoints,
        ..RetryPolicy::default()
    }
}
