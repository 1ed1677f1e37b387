//! The calls to a workload: one listener whose filter chains say, by port, what is accepted and how it is read.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use weft_model::cluster::{Cluster, ClusterName, Discovery, ServiceInfo, UpstreamHttp};
use weft_model::endpoint::{Endpoint, EndpointSet, Health, Locality, LocalityEndpoints, WorkloadInfo};
use weft_model::listener::{
    Codec, Direction, DownstreamTls, FilterChain, FilterChainMatch, HttpConnection, Inspection, Listener,
    MeshTls, NetworkFilter, RouteSource, TcpProxy, Transport,
};
use weft_model::policy::HeaderMutations;
use weft_model::provenance::Provenance;
use weft_model::route::{Forward, Route, RouteAction, RouteMatch, RouteTable, VirtualHost, WeightedCluster};

use super::authentication::{Accepts, accepts};
use super::outbound::{DETECTION_TIMEOUT, SNIFFED_HTTP, any_address};
use super::scope::{Mode, ProxyScope};
use crate::source::words::Protocol;
use crate::world::{Port, World};

/// Port that redirected calls to the workload arrive at.
const INBOUND_PORT: u16 = 15006;
/// Where calls to ports that no service names go: to where they wanted to go.
const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";
/// What a client's sidecar offers when it speaks HTTP inside mutual TLS, as Istio's do.
const MESH_HTTP: [&str; 3] = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// What it offers otherwise.
const MESH_TCP: [&str; 2] = ["istio-peer-exchange", "istio"];

/// The inbound half of a configuration.
pub(super) struct Inbound {
    pub listeners: Vec<Listener>,
    pub clusters: Vec<Cluster>,
}

/// A port of the application.
struct AppPort {
    number: u16,
    protocol: Option<Protocol>,
    // The service that telemetry names; of several the first.
    service: Option<ServiceInfo>,
    provenance: Vec<Provenance>,
}

pub(super) fn compile(world: &World, scope: &ProxyScope) -> Inbound {
    let ports = app_ports(world, scope);
    let clusters = ports.iter().map(cluster);
    let passthrough = Cluster::original_destination(INBOUND_PASSTHROUGH);
    let listeners = match &scope.mode {
        Mode::Intercept => vec![intercepted(world, scope, &ports)],
        Mode::Explicit(explicit) => {
            let addressed =
                ports.iter().filter_map(|port| Some((port, *explicit.inbound.get(&port.number)?)));
            addressed.map(|(port, address)| explicit_listener(world, scope, port, address)).collect()
        }
    };
    Inbound { listeners, clusters: clusters.chain([passthrough]).collect() }
}

/// Ports that services which select the workload target, and those it says it listens on.
fn app_ports(world: &World, scope: &ProxyScope) -> Vec<AppPort> {
    let mut ports: BTreeMap<u16, AppPort> = BTreeMap::new();
    for service in world.services_of(&scope.namespace, &scope.labels) {
        for port in &service.ports {
            // A name that the workload does not have is one that it cannot be called by.
            let number = match &port.target {
                Port::Number(number) => Some(*number),
                Port::Named(name) => scope.named_ports.get(name).copied(),
            };
            let Some(number) = number else { continue };
            let mut provenance = service.provenance.clone();
            provenance.field = port.field.clone();
            let info = ServiceInfo {
                host: service.host.clone(),
                name: service.name.clone(),
                namespace: service.namespace.clone(),
            };
            let fresh =
                AppPort { number, protocol: port.protocol, service: Some(info), provenance: Vec::new() };
            let known = ports.entry(number).or_insert(fresh);
            known.protocol = known.protocol.or(port.protocol);
            known.provenance.push(provenance);
        }
    }
    for number in &scope.app_ports {
        ports.entry(*number).or_insert(AppPort {
            number: *number,
            protocol: None,
            service: None,
            provenance: Vec::new(),
        });
    }
    ports.into_values().collect()
}

/// The application itself. It is called on the loopback address, so that one that listens only there is reached too.
fn cluster(port: &AppPort) -> Cluster {
    let name = inbound_name(port.number);
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.number);
    let endpoint = Endpoint {
        address,
        health: Health::Healthy,
        weight: 1,
        mutual_tls: false,
        workload: WorkloadInfo::default(),
        ..Endpoint::new(address)
    };
    let local = LocalityEndpoints {
        locality: Locality::default(),
        priority: 0,
        weight: 1,
        endpoints: vec![Arc::new(endpoint)],
    };
    let endpoints =
        EndpointSet { cluster: name.as_str().into(), localities: vec![local], policy: Default::default() };
    let http = match port.protocol {
        Some(Protocol::Grpc | Protocol::Http2) => UpstreamHttp::Http2,
        Some(Protocol::Http) => UpstreamHttp::Http1,
        _ => UpstreamHttp::SameAsDownstream,
    };
    Cluster {
        http,
        service: port.service.clone(),
        provenance: port.provenance.clone(),
        ..Cluster::new(&name, Discovery::Static(endpoints))
    }
}

fn inbound_name(port: u16) -> String {
    ClusterName { direction: "inbound", port, subset: "", host: "" }.to_string()
}

fn intercepted(world: &World, scope: &ProxyScope, ports: &[AppPort]) -> Listener {
    let mut chains: Vec<FilterChain> =
        ports.iter().flat_map(|port| chains(world, scope, port, Some(port.number))).collect();
    chains.extend(other_ports(world, scope));
    listener(
        "virtualInbound",
        any_address(INBOUND_PORT),
        true,
        chains,
        ports.iter().flat_map(|p| &p.provenance),
    )
}

fn explicit_listener(world: &World, scope: &ProxyScope, port: &AppPort, address: SocketAddr) -> Listener {
    let chains = chains(world, scope, port, None);
    listener(&format!("inbound_{address}"), vec![address], false, chains, port.provenance.iter())
}

fn listener<'a>(
    name: &str,
    addresses: Vec<SocketAddr>,
    use_original_dst: bool,
    filter_chains: Vec<FilterChain>,
    provenance: impl Iterator<Item = &'a Provenance>,
) -> Listener {
    Listener {
        name: name.into(),
        addresses,
        bind: true,
        use_original_dst,
        headless: false,
        direction: Direction::Inbound,
        inspection: Inspection { tls: true, http: true, timeout: DETECTION_TIMEOUT, ..Inspection::default() },
        filter_chains,
        default_filter_chain: None,
        provenance: provenance.cloned().collect(),
    }
}

/// What a port accepts: over mutual TLS from the mesh, in plain text, or both; read as HTTP or as bytes.
fn chains(
    world: &World,
    scope: &ProxyScope,
    port: &AppPort,
    destination_port: Option<u16>,
) -> Vec<FilterChain> {
    let accepts = accepts(world, &scope.namespace, &scope.labels, port.number);
    let cluster = inbound_name(port.number);
    let name = format!("inbound_{}", port.number);
    let reads_http = port.protocol.is_none_or(Protocol::is_http);
    let reads_bytes = port.protocol.is_none_or(|protocol| !protocol.is_http());
    let on_port = |transport, protocols: &[&str]| FilterChainMatch {
        destination_port,
        transport: Some(transport),
        application_protocols: protocols.iter().map(|p| Arc::from(*p)).collect(),
        ..FilterChainMatch::default()
    };
    let mut chains = Vec::new();
    if accepts.mutual_tls {
        let tls = |name: String, protocols: &[&str], filter| {
            FilterChain::new(&name, on_port(Transport::Tls, protocols), Some(mutual_tls()), filter)
        };
        if reads_http {
            // A client that offers only the bytes' protocol to a port of declared HTTP is read as HTTP all the same.
            let all: Vec<&str> =
                MESH_HTTP.iter().chain(if reads_bytes { &[][..] } else { &MESH_TCP[..] }).copied().collect();
            chains.push(tls(format!("{name}_mtls_http"), &all, http(&name, &cluster, port, true)));
        }
        if reads_bytes {
            let all: Vec<&str> =
                MESH_TCP.iter().chain(if reads_http { &[][..] } else { &MESH_HTTP[..] }).copied().collect();
            chains.push(tls(format!("{name}_mtls_tcp"), &all, tcp(&name, &cluster)));
        }
    }
    if accepts.plain_text {
        let plain = |name: String, matches, filter| FilterChain::new(&name, matches, None, filter);
        let sniffed: &[&str] = if reads_bytes { &SNIFFED_HTTP } else { &[] };
        if reads_http {
            let matches = on_port(Transport::Raw, sniffed);
            chains.push(plain(format!("{name}_http"), matches, http(&name, &cluster, port, false)));
        }
        if reads_bytes {
            chains.push(plain(format!("{name}_tcp"), on_port(Transport::Raw, &[]), tcp(&name, &cluster)));
        }
        // TLS that is not the mesh's is the application's own: passed on as it is.
        chains.push(plain(format!("{name}_tls"), on_port(Transport::Tls, &[]), tcp(&name, &cluster)));
    }
    chains
}

/// Ports that no service names: passed on as bytes, by the rule of the workload.
fn other_ports(world: &World, scope: &ProxyScope) -> Vec<FilterChain> {
    let Accepts { mutual_tls: mutual, plain_text } = accepts(world, &scope.namespace, &scope.labels, 0);
    let name = "virtualInbound-catchall";
    let chain = |suffix: &str, transport, protocols: &[&str], tls| {
        let matches = FilterChainMatch {
            transport: Some(transport),
            application_protocols: protocols.iter().map(|p| Arc::from(*p)).collect(),
            ..FilterChainMatch::default()
        };
        FilterChain::new(&format!("{name}{suffix}"), matches, tls, tcp(name, INBOUND_PASSTHROUGH))
    };
    let mesh: Vec<&str> = MESH_TCP.iter().chain(&MESH_HTTP).copied().collect();
    let mut chains = Vec::new();
    if mutual {
        chains.push(chain("-mtls", Transport::Tls, &mesh, Some(mutual_tls())));
    }
    if plain_text {
        chains.push(chain("-tls", Transport::Tls, &[], None));
        chains.push(chain("", Transport::Raw, &[], None));
    }
    chains
}

fn mutual_tls() -> DownstreamTls {
    let offered = MESH_HTTP.iter().rev().chain(&MESH_TCP);
    DownstreamTls::Mesh(MeshTls {
        require_client_certificate: true,
        application_protocols: offered.map(|protocol| Arc::from(*protocol)).collect(),
    })
}

fn tcp(stat_prefix: &str, cluster: &str) -> NetworkFilter {
    NetworkFilter::Tcp(TcpProxy {
        stat_prefix: stat_prefix.into(),
        clusters: vec![WeightedCluster::new(cluster, 1)],
        idle_timeout: None,
        hash_source_ip: false,
        metadata_match: Default::default(),
    })
}

fn http(stat_prefix: &str, cluster: &str, port: &AppPort, mutual_tls: bool) -> NetworkFilter {
    let route = Route {
        name: "default".into(),
        matches: RouteMatch::any(),
        action: RouteAction::Forward(Forward::to(cluster)),
        request_headers: HeaderMutations::default(),
        response_headers: HeaderMutations::default(),
        filters: Default::default(),
        provenance: port.provenance.clone(),
    };
    let host = VirtualHost {
        name: format!("inbound|http|{}", port.number).into(),
        domains: vec!["*".into()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    NetworkFilter::Http(HttpConnection {
        stat_prefix: stat_prefix.into(),
        codec: Codec::Auto,
        routes: RouteSource::Inline(Arc::new(RouteTable::new(cluster, vec![host]))),
        // In plain text nobody has proved anything: what a client says of itself is removed all the same.
        forward_client_certificate: mutual_tls,
        stream_idle_timeout: None,
        upgrades: vec!["websocket".into()],
        forward_proxy: false,
        filters: weft_model::filter::HttpFilter::of_the_mesh(),
    })
}
