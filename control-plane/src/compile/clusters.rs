//! Clusters of a service port: one for the service, one for each subset.

use std::sync::Arc;
use std::time::Duration;

use weft_model::cluster::{
    CircuitBreakers, Cluster, Discovery, LoadBalancing, OutlierDetection, ServiceInfo, UpstreamHttp,
    UpstreamTls, UpstreamTransport,
};
use weft_model::provenance::Provenance;

use super::authentication::is_disabled;
use super::naming;
use super::outbound::{cluster_name, has_endpoint_lane};
use super::scope::OutboundScope;
use crate::source::Object;
use crate::source::kinds::destination_rule::{
    ConnectionPool, DestinationRule, H2UpgradePolicy, LoadBalancerAlgorithm, LoadBalancerPolicy, TlsMode,
    TrafficPolicy,
};
use crate::source::words::{Labels, Protocol};
use crate::world::{EndpointSource, ServicePort, World, WorldService};

/// A named part of a service's workloads.
pub(super) struct Subset<'a> {
    /// Empty for the whole service.
    pub name: &'a str,
    /// What its workloads have.
    pub labels: Labels,
    policy: Option<&'a TrafficPolicy>,
    provenance: Vec<Provenance>,
}

/// The whole service and each subset that its destination rules name. Of two subsets of one name the first counts.
pub(super) fn subsets<'a>(
    world: &'a World,
    scope: &OutboundScope,
    service: &WorldService,
) -> (Vec<Subset<'a>>, Option<(&'a Arc<Object>, &'a DestinationRule)>) {
    let rules =
        world.policies.destination_rules(&service.host, &service.namespace, &scope.namespace, &scope.labels);
    let mut subsets = vec![Subset { name: "", labels: Labels::new(), policy: None, provenance: Vec::new() }];
    for (object, rule) in &rules {
        for subset in &rule.subsets {
            if subsets.iter().all(|known| known.name != &*subset.name) {
                subsets.push(Subset {
                    name: &subset.name,
                    labels: subset.labels.clone(),
                    policy: Some(&subset.traffic_policy),
                    provenance: vec![object.provenance(&subset.field)],
                });
            }
        }
    }
    (subsets, rules.first().copied())
}

/// The clusters of a service: for each port one for the service and one for each subset.
pub(super) fn of_service(world: &World, scope: &OutboundScope, service: &WorldService) -> Vec<Cluster> {
    let (subsets, rule) = subsets(world, scope, service);
    let named: Vec<_> = subsets
        .iter()
        .map(|subset| (subset, naming::accepted(world, scope, service, subset).identities()))
        .collect();
    let ports = service.ports.iter().flat_map(|port| named.iter().map(move |named| (port, named)));
    let clusters = ports.map(|(port, (subset, identities))| {
        let policy = Effective::of(rule.map(|(_, rule)| &rule.traffic_policy), subset.policy, port.number);
        let name = cluster_name(&service.host, port.number, subset.name);
        let mut cluster = Cluster::new(&name, discovery(service, port, &name));
        cluster.service = Some(ServiceInfo {
            host: service.host.clone(),
            name: service.name.clone(),
            namespace: service.namespace.clone(),
        });
        cluster.http = http_version(port.protocol, policy.pool);
        cluster.transport = transport(world, service, port, policy.tls, || UpstreamTls {
            identities: identities.clone(),
            sni: format!("outbound_.{}_.{}_.{}", port.number, subset.name, service.host).into(),
        });
        cluster.provenance = subset.provenance.clone();
        cluster.provenance.extend(rule.map(|(object, _)| object.provenance("spec.trafficPolicy")));
        apply(&mut cluster, &policy);
        if service.is_headless() {
            // As it travels: what chooses for those who dialled none of the endpoints is not a matter of policy.
            cluster.load_balancing = LoadBalancing::RoundRobin;
        }
        cluster
    });
    clusters.collect()
}

/// The parts of the traffic policies that hold for a port: a subset's replace the host's part by part; what a port
/// sets replaces the whole of what its level sets
/// (<https://istio.io/latest/docs/reference/config/networking/destination-rule/#TrafficPolicy-PortTrafficPolicy>).
#[derive(Default)]
struct Effective<'a> {
    load_balancer: Option<LoadBalancerPolicy>,
    pool: Option<&'a ConnectionPool>,
    outlier: Option<&'a crate::source::kinds::destination_rule::OutlierDetection>,
    tls: Option<TlsMode>,
}

impl<'a> Effective<'a> {
    fn of(host: Option<&'a TrafficPolicy>, subset: Option<&'a TrafficPolicy>, port: u16) -> Self {
        let level = |policy: &'a TrafficPolicy| match policy.port_level.iter().find(|p| p.port.get() == port)
        {
            Some(own) => Self {
                load_balancer: own.load_balancer,
                pool: own.connection_pool.as_ref(),
                outlier: own.outlier_detection.as_ref(),
                tls: own.tls,
            },
            None => Self {
                load_balancer: policy.load_balancer,
                pool: policy.connection_pool.as_ref(),
                outlier: policy.outlier_detection.as_ref(),
                tls: policy.tls,
            },
        };
        let (host, subset) = (host.map(level).unwrap_or_default(), subset.map(level).unwrap_or_default());
        Self {
            load_balancer: subset.load_balancer.or(host.load_balancer),
            pool: subset.pool.or(host.pool),
            outlier: subset.outlier.or(host.outlier),
            tls: subset.tls.or(host.tls),
        }
    }
}

fn discovery(service: &WorldService, port: &ServicePort, name: &Arc<str>) -> Discovery {
    match &service.endpoints {
        EndpointSource::Dns(names) => {
            let target = match &port.target {
                crate::world::Port::Number(number) => *number,
                crate::world::Port::Named(_) => port.number,
            };
            Discovery::Dns(
                names
                    .iter()
                    .map(|(host, ports)| (host.clone(), ports.get(&port.name).copied().unwrap_or(target)))
                    .collect(),
            )
        }
        EndpointSource::OriginalDestination => Discovery::OriginalDst,
        _ if service.is_headless() => Discovery::Dialled(name.clone()),
        _ => {
            debug_assert!(has_endpoint_lane(service));
            Discovery::Endpoints(name.clone())
        }
    }
}

fn http_version(protocol: Option<Protocol>, pool: Option<&ConnectionPool>) -> UpstreamHttp {
    let upgrade = pool.is_some_and(|pool| pool.h2_upgrade == H2UpgradePolicy::Upgrade);
    let same = pool.is_some_and(|pool| pool.use_client_protocol);
    match protocol {
        Some(Protocol::Http2 | Protocol::Grpc) => UpstreamHttp::Http2,
        Some(Protocol::Http) if upgrade => UpstreamHttp::Http2,
        // A port that is declared HTTP may be called by HTTP/2 too; the application is then spoken to in HTTP/1.1.
        Some(Protocol::Http) if !same => UpstreamHttp::Http1,
        _ => UpstreamHttp::SameAsDownstream,
    }
}

/// Automatic mutual TLS inside the mesh, unless a destination rule says otherwise.
fn transport(
    world: &World,
    service: &WorldService,
    port: &ServicePort,
    tls: Option<TlsMode>,
    own: impl Fn() -> UpstreamTls,
) -> UpstreamTransport {
    match tls {
        Some(TlsMode::Disable) => UpstreamTransport::Plain,
        Some(TlsMode::IstioMutual) => UpstreamTransport::MutualTls(own()),
        // Envoy does not know the endpoints of a cluster that goes to the original destination: that all speak mutual TLS
        // must be said by the cluster itself.
        None if service.is_headless() && all_speak_mutual_tls(world, service, port) => {
            UpstreamTransport::MutualTls(own())
        }
        None if service.internal => UpstreamTransport::ByEndpoint(own()),
        None => UpstreamTransport::Plain,
    }
}

/// Whether there are workloads behind a port, and every one of them has a sidecar and takes mutual TLS.
fn all_speak_mutual_tls(world: &World, service: &WorldService, port: &ServicePort) -> bool {
    let mut targets = world
        .workloads_of(service)
        .filter_map(|workload| Some((workload, workload.port(&port.name, &port.target)?)))
        .peekable();
    targets.peek().is_some()
        && targets.all(|(workload, number)| {
            workload.mutual_tls && !is_disabled(world, &workload.namespace, &workload.labels, number)
        })
}

fn apply(cluster: &mut Cluster, policy: &Effective<'_>) {
    let headless = matches!(cluster.discovery, Discovery::Dialled(_));
    if let Some(balancer) = policy.load_balancer {
        match balancer.algorithm {
            LoadBalancerAlgorithm::LeastRequest => {
                cluster.load_balancing = LoadBalancing::LEAST_REQUEST;
            }
            LoadBalancerAlgorithm::RoundRobin => cluster.load_balancing = LoadBalancing::RoundRobin,
            LoadBalancerAlgorithm::Random => cluster.load_balancing = LoadBalancing::Random,
            // Where the client chooses among known endpoints, it is so anyway.
            LoadBalancerAlgorithm::Passthrough if headless => {}
            LoadBalancerAlgorithm::Passthrough => cluster.discovery = Discovery::OriginalDst,
        }
    }
    if let Some(pool) = policy.pool {
        let unlimited = CircuitBreakers::default();
        cluster.limits = CircuitBreakers {
            max_connections: pool.max_connections.unwrap_or(unlimited.max_connections),
            max_pending_requests: pool.max_pending_requests.unwrap_or(unlimited.max_pending_requests),
            max_requests: pool.max_requests.unwrap_or(unlimited.max_requests),
            max_retries: pool.max_retries.unwrap_or(unlimited.max_retries),
            ..unlimited
        };
        cluster.connect_timeout = pool.connect_timeout.unwrap_or(Cluster::CONNECT_TIMEOUT);
        cluster.idle_timeout =
            pool.idle_timeout.filter(|t| *t > Duration::ZERO).unwrap_or(Cluster::IDLE_TIMEOUT);
        cluster.max_requests_per_connection = pool.max_requests_per_connection.filter(|n| *n > 0);
    }
    cluster.balancing.panic_threshold =
        policy.outlier.map_or(0.0, |outlier| f64::from(outlier.min_health_percent.millionths()) / 10_000.0);
    cluster.outlier_detection = policy.outlier.map(|outlier| OutlierDetection {
        consecutive_5xx: outlier.consecutive_5xx_errors,
        consecutive_gateway_errors: outlier.consecutive_gateway_errors,
        interval: outlier.interval,
        base_ejection_time: outlier.base_ejection_time,
        max_ejection_percent: outlier.max_ejection_percent.millionths() / 10_000,
        ..OutlierDetection::default()
    });
}
