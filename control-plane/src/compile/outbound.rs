//! The workload's calls: for each service port a listener by address, a route table and its clusters.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use weft_model::cluster::{Cluster, ClusterName};
use weft_model::listener::{
    Codec, Direction, FilterChain, FilterChainMatch, HttpConnection, Inspection, Listener, NetworkFilter,
    RouteSource, TcpProxy,
};
use weft_model::route::{RouteTable, VirtualHost, WeightedCluster};

use super::scope::{Mode, OutboundScope, ProxyScope};
use super::{Compiled, clusters, http_route, names, virtual_service};
use crate::source::words::Protocol;
use crate::world::{EndpointSource, ServicePort, VirtualAddresses, World, WorldService};

/// Port that redirected calls of the workload arrive at.
pub(super) const OUTBOUND_PORT: u16 = 15001;
/// Route table of a forward proxy: explicit mode.
const EXPLICIT_TABLE: &str = "explicit-outbound";
/// How long an undeclared protocol is looked for. A client of a protocol in which the server speaks first waits so
/// long; declaring the protocol takes the wait away.
pub(super) const DETECTION_TIMEOUT: Duration = Duration::from_millis(500);
/// What sniffing calls the versions of HTTP that it finds.
pub(super) const SNIFFED_HTTP: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// Listeners (by address), route tables and clusters of all services that the class sees.
pub(super) fn compile(world: &World, scope: &OutboundScope) -> Compiled {
    let mut compiled = Compiled::default();
    let mut explicit_hosts = Vec::new();
    let mut taken = Taken::new();
    for service in world.visible_services(&scope.namespace) {
        compiled.clusters.extend(clusters::of_service(world, scope, service));
        for port in &service.ports {
            let host = is_http(port).then(|| virtual_host(world, scope, service, port));
            if scope.explicit {
                explicit_hosts.extend(host);
                continue;
            }
            let own = host.as_ref().map(|_| compiled.routes.len());
            let place = match place(world, service, port, own, &mut taken) {
                Place::Own(place) => Some(place),
                Place::Nowhere => None,
                Place::Others(table) => {
                    // Told apart by the name that is asked for; whoever asks for none of them gets the first.
                    if let (Some(table), Some(host)) = (table, host) {
                        let first = &mut compiled.routes[table];
                        let hosts = first.virtual_hosts.iter().cloned().chain([host]).collect();
                        *first = RouteTable::new(&first.name, hosts);
                    }
                    continue;
                }
            };
            if let Some(host) = host {
                let host = VirtualHost { domains: vec!["*".into()], ..host };
                compiled.routes.push(RouteTable::new(&table_name(service, port), vec![host]));
            }
            compiled.listeners.extend(place.map(|place| listener(world, scope, service, port, place)));
        }
    }
    if scope.explicit {
        compiled.routes.push(RouteTable::new(EXPLICIT_TABLE, explicit_hosts));
    }
    compiled.clusters.push(Cluster::original_destination(ClusterName::PASSTHROUGH));
    compiled.names = Arc::new(names::compile(world, &scope.namespace));
    compiled
}

/// The listeners that take the workload's calls before it is known where they go.
pub(super) fn entry_listeners(scope: &ProxyScope) -> Vec<Listener> {
    let base = Listener {
        name: "virtualOutbound".into(),
        addresses: any_address(OUTBOUND_PORT),
        bind: true,
        use_original_dst: true,
        headless: false,
        direction: Direction::Outbound,
        inspection: Inspection::default(),
        filter_chains: Vec::new(),
        default_filter_chain: Some(passthrough_chain()),
        provenance: Vec::new(),
    };
    match &scope.mode {
        Mode::Intercept => vec![base],
        Mode::Explicit(explicit) => {
            let Some(address) = explicit.outbound else { return Vec::new() };
            let http = HttpConnection { forward_proxy: true, ..http(EXPLICIT_TABLE) };
            let chain = chain("explicit", FilterChainMatch::default(), NetworkFilter::Http(http));
            vec![Listener {
                name: EXPLICIT_TABLE.into(),
                addresses: vec![address],
                use_original_dst: false,
                headless: false,
                default_filter_chain: Some(chain),
                ..base
            }]
        }
    }
}

/// A port of every address of both families.
pub(super) fn any_address(port: u16) -> Vec<SocketAddr> {
    vec![(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).into(), (IpAddr::V6(Ipv6Addr::UNSPECIFIED), port).into()]
}

fn passthrough_chain() -> FilterChain {
    let tcp = tcp(ClusterName::PASSTHROUGH, vec![WeightedCluster::new(ClusterName::PASSTHROUGH, 1)]);
    chain("virtualOutbound-catchall-tcp", FilterChainMatch::default(), tcp)
}

pub(super) fn chain(name: &str, matches: FilterChainMatch, filter: NetworkFilter) -> FilterChain {
    FilterChain::new(name, matches, None, filter)
}

fn tcp(stat_prefix: &str, clusters: Vec<WeightedCluster>) -> NetworkFilter {
    NetworkFilter::Tcp(TcpProxy {
        stat_prefix: stat_prefix.into(),
        clusters,
        idle_timeout: None,
        hash_source_ip: false,
        metadata_match: Default::default(),
    })
}

fn http(table: &str) -> HttpConnection {
    HttpConnection {
        stat_prefix: format!("outbound_{table}").into(),
        codec: Codec::Auto,
        routes: RouteSource::Named(table.into()),
        forward_client_certificate: false,
        stream_idle_timeout: None,
        upgrades: vec!["websocket".into()],
        forward_proxy: false,
        filters: weft_model::filter::HttpFilter::of_the_mesh(),
    }
}

/// Whether requests can be told apart on a port: HTTP by declaration, or not declared.
pub(super) fn is_http(port: &ServicePort) -> bool {
    port.protocol.is_none_or(Protocol::is_http)
}

/// `HOST:PORT`, as Istio names route tables of one service port.
fn table_name(service: &WorldService, port: &ServicePort) -> String {
    format!("{}:{}", service.host, port.number)
}

/// Which addresses have a listener, and the place of its route table among all; none where bytes are not read.
type Taken = BTreeMap<SocketAddr, Option<usize>>;

/// Where calls of a service port are taken.
enum Place {
    /// At a listener of its own.
    Own(OwnPlace),
    /// At that of another service, which has all its addresses; with the place of its route table.
    Others(Option<usize>),
    /// It has no address.
    Nowhere,
}

/// Where the listener of a service port is, and its name.
struct OwnPlace {
    name: String,
    addresses: Vec<SocketAddr>,
}

/// At the service's virtual addresses, as far as no other service has them (several hosts of a `ServiceEntry` share
/// theirs); for a headless service, at the addresses of its workloads and the ports that these
/// listen on, ready or not, so that only workloads that come and go change it. Of two headless services that share a
/// workload and a port the first has it (`taken`): an address alone does not tell which one a client means.
fn place(
    world: &World,
    service: &WorldService,
    port: &ServicePort,
    table: Option<usize>,
    taken: &mut Taken,
) -> Place {
    let mut take = |address: &SocketAddr| {
        let is_free = !taken.contains_key(address);
        if is_free {
            taken.insert(*address, table);
        }
        is_free
    };
    match &service.addresses {
        VirtualAddresses::Virtual(addresses) => {
            let all: Vec<_> =
                addresses.iter().map(|address| SocketAddr::new(*address, port.number)).collect();
            let own: Vec<SocketAddr> = all.iter().copied().filter(|address| take(address)).collect();
            match (own.first(), all.first()) {
                (Some(first), _) => {
                    Place::Own(OwnPlace { name: format!("{}_{}", first.ip(), port.number), addresses: own })
                }
                (None, Some(first)) => Place::Others(taken.get(first).copied().flatten()),
                (None, None) => Place::Nowhere,
            }
        }
        VirtualAddresses::Endpoints => {
            let called = world.workloads_of(service).filter_map(|workload| {
                Some(SocketAddr::new(workload.address, workload.port(&port.name, &port.target)?))
            });
            let mut addresses: Vec<SocketAddr> = called.filter(|address| take(address)).collect();
            addresses.sort_unstable();
            let name = format!("{}_{}", service.host, port.number);
            if addresses.is_empty() { Place::Nowhere } else { Place::Own(OwnPlace { name, addresses }) }
        }
        VirtualAddresses::None => Place::Nowhere,
    }
}

/// The listener of one service port.
fn listener(
    world: &World,
    scope: &OutboundScope,
    service: &WorldService,
    port: &ServicePort,
    place: OwnPlace,
) -> Listener {
    let table = table_name(service, port);
    let http = chain(&table, FilterChainMatch::default(), NetworkFilter::Http(http(&table)));
    let tcp_clusters = virtual_service::tcp_clusters(world, scope, service, port);
    let bytes = chain(&format!("{table}/tcp"), FilterChainMatch::default(), tcp(&table, tcp_clusters));
    let (filter_chains, default, inspection) = match port.protocol {
        Some(protocol) if protocol.is_http() => (Vec::new(), http, Inspection::default()),
        Some(_) => (Vec::new(), bytes, Inspection::default()),
        None => {
            let sniffed = FilterChainMatch {
                application_protocols: SNIFFED_HTTP.map(Arc::from).to_vec(),
                ..FilterChainMatch::default()
            };
            let inspection =
                Inspection { tls: false, http: true, timeout: DETECTION_TIMEOUT, ..Inspection::default() };
            (vec![FilterChain { matches: sniffed, ..http }], bytes, inspection)
        }
    };
    let mut provenance = service.provenance.clone();
    provenance.field = port.field.clone();
    Listener {
        name: place.name.into(),
        addresses: place.addresses,
        bind: false,
        use_original_dst: false,
        headless: service.is_headless(),
        direction: Direction::Outbound,
        inspection,
        filter_chains,
        default_filter_chain: Some(default),
        provenance: vec![provenance],
    }
}

/// The routes of one service port, for all the names it goes by. Routes of the Gateway API win over a virtual service;
/// without either everything goes to the service.
fn virtual_host(
    world: &World,
    scope: &OutboundScope,
    service: &WorldService,
    port: &ServicePort,
) -> VirtualHost {
    let gateway = http_route::routes(world, scope, service, port);
    let routes =
        if gateway.is_empty() { virtual_service::routes(world, scope, service, port) } else { gateway };
    let domains = names::forms(service, &scope.namespace, &world.mesh.domain);
    let with_port = domains.iter().map(|name| Arc::from(format!("{name}:{}", port.number)));
    // The name alone means port 80, as in a URL.
    let bare = domains.iter().filter(|_| port.number == 80).cloned();
    VirtualHost {
        name: table_name(service, port).into(),
        domains: with_port.chain(bare).collect(),
        routes,
        ..VirtualHost::default()
    }
}

/// Name of the cluster for a service port, or a subset of it.
pub(super) fn cluster_name(host: &str, port: u16, subset: &str) -> Arc<str> {
    ClusterName { direction: "outbound", port, subset, host }.to_string().into()
}

/// Whether a service's endpoints are delivered in their own lane.
pub(super) fn has_endpoint_lane(service: &WorldService) -> bool {
    matches!(
        service.endpoints,
        EndpointSource::Selected(_) | EndpointSource::Inline(_) | EndpointSource::Nowhere
    )
}
