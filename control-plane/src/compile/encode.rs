//! From the model to what travels: encoded once, shared by all proxies of a class, compared by content.

use std::sync::Arc;

use weft_model::endpoint::EndpointSet;
use weft_model::provenance::Provenance;
use weft_model::xds;

use super::Compiled;
use crate::push::{Resource, ResourceSet, ResourceType, Resources};

/// A compiled configuration with its endpoints. What is equal in `former` is taken from there, so that equal content
/// is one piece of memory.
pub(super) fn resources(
    revision: u64,
    compiled: Compiled,
    endpoints: Arc<ResourceSet>,
    former: Option<&Resources>,
) -> Resources {
    let clusters = compiled.clusters.into_iter().map(|cluster| {
        let provenance = cluster.provenance.clone();
        resource(xds::Resource::Cluster(cluster.into()), provenance)
    });
    let listeners = compiled.listeners.into_iter().map(|listener| {
        let provenance = listener.provenance.clone();
        resource(xds::Resource::Listener(listener.into()), provenance)
    });
    let routes = compiled.routes.into_iter().map(|table| {
        let all = table
            .virtual_hosts
            .iter()
            .flat_map(|host| &host.routes)
            .flat_map(|route| route.provenance.clone());
        let provenance = all.collect();
        resource(xds::Resource::Routes(table.into()), provenance)
    });
    let names = compiled.names.iter().map(|(name, addresses)| (name.clone(), addresses.clone())).collect();
    let names = resource(xds::Resource::Names(Arc::new(names)), Vec::new());
    let reuse =
        |kind: ResourceType, fresh: Vec<Resource>| merged(fresh, former.map(|former| former.set(kind)));
    let mut resources = Resources { revision, ..Resources::default() };
    resources.sets[ResourceType::Cluster as usize] = reuse(ResourceType::Cluster, clusters.collect());
    resources.sets[ResourceType::Endpoint as usize] = endpoints;
    resources.sets[ResourceType::Listener as usize] = reuse(ResourceType::Listener, listeners.collect());
    resources.sets[ResourceType::Route as usize] = reuse(ResourceType::Route, routes.collect());
    resources.sets[ResourceType::NameTable as usize] = reuse(ResourceType::NameTable, vec![names]);
    resources
}

/// Endpoint sets; equal ones are taken from `former`.
pub(super) fn endpoints(sets: Vec<EndpointSet>, former: Option<&Arc<ResourceSet>>) -> Arc<ResourceSet> {
    let fresh = sets.into_iter().map(|set| resource(xds::Resource::Endpoints(set.into()), Vec::new()));
    merged(fresh.collect(), former)
}

/// The sets of `former` with those in the place of theirs that were compiled anew.
pub(super) fn endpoints_in(former: &Arc<ResourceSet>, sets: Vec<EndpointSet>) -> Arc<ResourceSet> {
    let fresh = sets.into_iter().map(|set| resource(xds::Resource::Endpoints(set.into()), Vec::new()));
    let fresh: Vec<Resource> =
        fresh.filter(|fresh| former.get(&fresh.name).is_none_or(|old| **old != *fresh)).collect();
    if fresh.is_empty() {
        return former.clone();
    }
    Arc::new(former.iter().cloned().chain(fresh.into_iter().map(Arc::new)).collect())
}

fn resource(content: xds::Resource, provenance: Vec<Provenance>) -> Resource {
    Resource::new(content.name(), content.encode().value.into()).with_provenance(provenance)
}

/// A set of the fresh resources, with the former ones where they are equal; the former set itself when all are.
fn merged(fresh: Vec<Resource>, former: Option<&Arc<ResourceSet>>) -> Arc<ResourceSet> {
    let Some(former) = former else { return Arc::new(fresh.into_iter().map(Arc::new).collect()) };
    let kept = |resource: Resource| match former.get(&resource.name) {
        Some(old) if **old == resource => old.clone(),
        _ => Arc::new(resource),
    };
    let set: ResourceSet = fresh.into_iter().map(kept).collect();
    if set.len() == former.len() && set.changed_since(former).is_empty() {
        former.clone()
    } else {
        Arc::new(set)
    }
}
