//! Endpoint sets: who answers for each cluster of the endpoints' lane.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use weft_model::endpoint::{Endpoint, EndpointSet, Health, Locality, LocalityEndpoints};

use super::authentication::is_disabled;
use super::clusters;
use super::naming::{Accepted, Known};
use super::outbound::{cluster_name, has_endpoint_lane};
use super::scope::OutboundScope;
use crate::world::{ServicePort, World, WorldService, WorldWorkload};

/// The sets of those clusters that the class sees and whose services are `wanted`. If its clusters are `known` to be of an
/// earlier world, endpoints that they would refuse are left out.
pub(super) fn compile(
    world: &World,
    scope: &OutboundScope,
    known: Option<&Known<'_>>,
    wanted: impl Fn(&WorldService) -> bool,
) -> Vec<EndpointSet> {
    let mut sets = Vec::new();
    let services = world.visible_services(&scope.namespace);
    for service in services.filter(|service| has_endpoint_lane(service) && wanted(service)) {
        let (subsets, _) = clusters::subsets(world, scope, service);
        let is_near = |workload: &&Arc<WorldWorkload>| match &scope.node {
            Some(node) if service.node_local => workload.node() == Some(node),
            _ => true,
        };
        let workloads: Vec<&Arc<WorldWorkload>> = world.workloads_of(service).filter(is_near).collect();
        for subset in &subsets {
            let accepted = known.and_then(|known| known.accepted(&service.host, subset.name));
            let accepted = accepted.as_ref().unwrap_or(&Accepted::Anybody);
            for port in &service.ports {
                let members = workloads.iter().filter(|workload| workload.has(&subset.labels));
                let name = cluster_name(&service.host, port.number, subset.name);
                sets.push(set(world, service, port, &name, members.copied(), accepted));
            }
        }
    }
    sets.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    sets
}

fn set<'a>(
    world: &World,
    service: &WorldService,
    port: &ServicePort,
    name: &Arc<str>,
    workloads: impl Iterator<Item = &'a Arc<WorldWorkload>>,
    accepted: &Accepted,
) -> EndpointSet {
    let mut places: BTreeMap<(u32, Locality), Vec<Arc<Endpoint>>> = BTreeMap::new();
    for workload in workloads {
        let health = if service.publish_not_ready { Health::Healthy } else { workload.health };
        // A workload that is not ready is not told of at all: a client could do nothing with it. Unless it may choose
        // the workload itself, and then has to know how to speak to it.
        if health == Health::Unhealthy && !service.is_headless() {
            continue;
        }
        // A workload without the port that the service targets cannot answer.
        let Some(number) = workload.port(&port.name, &port.target) else { continue };
        let address = SocketAddr::new(workload.address, number);
        let endpoint = Endpoint {
            address,
            health,
            weight: workload.weight.max(1),
            mutual_tls: workload.mutual_tls
                && service.internal
                && !is_disabled(world, &workload.namespace, &workload.labels, number),
            workload: workload.info(&world.mesh),
            ..Endpoint::new(address)
        };
        if !endpoint.mutual_tls || accepted.accepts(workload.identity(&world.mesh).as_ref()) {
            // Those that are out of reach are asked when there is nobody else: after the API server was away that is so of
            // all pods, though all of them are well.
            let priority = u32::from(workload.pod.as_ref().is_some_and(|pod| pod.out_of_reach));
            places.entry((priority, locality(&workload.locality))).or_default().push(Arc::new(endpoint));
        }
    }
    let localities = places.into_iter().map(|((priority, locality), mut endpoints)| {
        endpoints.sort_by_key(|endpoint| endpoint.address);
        let weight = endpoints.iter().map(|endpoint| endpoint.weight).sum();
        LocalityEndpoints { locality, priority, weight, endpoints }
    });
    EndpointSet { cluster: name.clone(), localities: localities.collect(), policy: Default::default() }
}

/// `region/zone/subzone`.
fn locality(text: &str) -> Locality {
    let mut parts = text.splitn(3, '/').map(Arc::from);
    let mut next = || parts.next().unwrap_or_default();
    Locality { region: next(), zone: next(), sub_zone: next() }
}
