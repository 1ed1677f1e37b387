//! Remembers what was compiled for each class, keyed by all inputs of the compile functions: the revision of the
//! world and the scope.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use weft_model::endpoint::EndpointSet;
use weft_model::identity::WorkloadIdentity;

use super::naming::Known;
use super::scope::{ExplicitAddresses, Mode, OutboundScope, ProxyScope};
use super::{configuration, encode};
use crate::push::{Compiler, Interception, ProxyHello, Refused, ResourceSet, Resources};
use crate::world::{World, WorldService, WorldWorkload};

#[cfg(test)]
#[path = "cached_tests.rs"]
mod tests;

/// Compiles the current world for classes of proxies.
#[derive(Debug)]
pub struct WorldCompiler {
    world: Arc<ArcSwap<World>>,
    // With the world that it was compiled of.
    compiled: Mutex<HashMap<ProxyScope, (Arc<World>, Resources)>>,
    endpoints: Mutex<HashMap<OutboundScope, Endpoints>>,
    counts: [AtomicU64; 3],
}

/// The endpoints of a class, with the world that they were compiled of.
type Endpoints = (Arc<World>, Arc<ResourceSet>);

/// How often something was compiled, not taken from what is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Compiles {
    /// Clusters, listeners, routes and names, for a class.
    pub configuration: u64,
    /// Endpoints, for those classes that see the same ones.
    pub endpoints: u64,
    /// Endpoint sets, one a cluster: of a service whose workloads did not change none is compiled again.
    pub endpoint_sets: u64,
}

/// Classes that are kept; beyond them the cache starts anew, which costs a compile and nothing else.
const MAX_CLASSES: usize = 4096;

impl WorldCompiler {
    /// A compiler of whatever world is current.
    #[must_use]
    pub fn new(world: Arc<ArcSwap<World>>) -> Self {
        Self { world, compiled: Mutex::default(), endpoints: Mutex::default(), counts: Default::default() }
    }

    /// How much there was to do since the start.
    #[must_use]
    pub fn compiles(&self) -> Compiles {
        let [configuration, endpoints, endpoint_sets] =
            self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        Compiles { configuration, endpoints, endpoint_sets }
    }

    fn endpoints_of(&self, world: &Arc<World>, scope: &OutboundScope) -> Arc<ResourceSet> {
        let known = lock(&self.endpoints).get(scope).cloned();
        if let Some((compiled, set)) = &known
            && compiled.revision == world.revision
        {
            return set.clone();
        }
        self.counts[1].fetch_add(1, Ordering::Relaxed);
        let count = |sets: &[EndpointSet]| self.counts[2].fetch_add(sets.len() as u64, Ordering::Relaxed);
        let set = match &known {
            // Nothing but workloads has changed since: the clusters are the same, and most of their endpoints.
            Some((compiled, former)) if compiled.configuration == world.configuration => {
                let changed = |service: &WorldService| !world.has_members_of(compiled, service);
                let sets = super::endpoints::compile(world, scope, None, changed);
                count(&sets);
                encode::endpoints_in(former, sets)
            }
            _ => {
                let sets = super::endpoints(world, scope);
                count(&sets);
                encode::endpoints(sets, known.as_ref().map(|(_, set)| set))
            }
        };
        keep(&self.endpoints, scope, (world.clone(), set.clone()));
        set
    }
}

impl Compiler for WorldCompiler {
    type Scope = ProxyScope;

    fn scope(&self, hello: &ProxyHello) -> Result<ProxyScope, Refused> {
        let world = self.world.load();
        let key = (Arc::from(hello.id.namespace.as_str()), Arc::from(hello.id.workload.as_str()));
        // What the mesh knows of a workload counts; what a stranger says of itself is taken only where it knows nothing.
        let known = world.workload(&key);
        if let (Some(workload), Some(identity)) = (known, &hello.identity) {
            is_its_own(workload, identity)?;
        }
        let labels = match known {
            Some(workload) => workload.labels.clone(),
            None => {
                hello.labels.iter().map(|(k, v)| (Arc::from(k.as_str()), Arc::from(v.as_str()))).collect()
            }
        };
        let mode = match hello.interception {
            Interception::None => Mode::Explicit(explicit_addresses(&hello.metadata)),
            Interception::Redirect | Interception::Tproxy => Mode::Intercept,
        };
        let pod = known.and_then(|workload| workload.pod.as_ref());
        let node_local = world.services.values().any(|service| service.node_local);
        Ok(ProxyScope {
            namespace: key.0,
            labels,
            app_ports: hello.app_ports.clone(),
            named_ports: pod.map(|pod| pod.ports.clone()).unwrap_or_default(),
            node: pod.and_then(|pod| pod.node.clone()).filter(|_| node_local),
            mode,
        })
    }

    fn resources(&self, scope: &ProxyScope) -> Resources {
        let world = self.world.load_full();
        let endpoints = self.endpoints_of(&world, &scope.outbound(&world));
        let known = lock(&self.compiled).get(scope).cloned();
        if let Some((compiled, resources)) = &known
            && compiled.configuration == world.configuration
        {
            let mut resources = resources.clone();
            resources.revision = world.revision;
            resources.sets[crate::push::ResourceType::Endpoint as usize] = endpoints;
            return resources;
        }
        self.counts[0].fetch_add(1, Ordering::Relaxed);
        let former = known.as_ref().map(|(_, resources)| resources);
        let resources = encode::resources(world.revision, configuration(&world, scope), endpoints, former);
        keep(&self.compiled, scope, (world, resources.clone()));
        resources
    }

    fn endpoints(&self, scope: &ProxyScope) -> (u64, Arc<ResourceSet>) {
        let world = self.world.load_full();
        let outbound = scope.outbound(&world);
        let all = self.endpoints_of(&world, &outbound);
        let known = lock(&self.compiled).get(scope).map(|(world, _)| world.clone());
        let Some(known) = known.filter(|known| known.configuration < world.configuration) else {
            return (world.revision, all);
        };
        // This lane is ahead of the other: who is not accepted yet becomes an endpoint when the other has caught up.
        let known = Known { scope: scope.outbound(&known), world: &known };
        if !known.are_news(&world, &outbound) {
            return (world.revision, all);
        }
        let sets = super::endpoints::compile(&world, &outbound, Some(&known), |_| true);
        (world.revision, encode::endpoints(sets, Some(&all)))
    }

    fn forget(&self, scope: &ProxyScope) {
        lock(&self.compiled).remove(scope);
    }
}

/// Whoever has the certificate of a service account is one of its workloads, but not therefore this one.
fn is_its_own(workload: &WorldWorkload, identity: &WorkloadIdentity) -> Result<(), Refused> {
    let Some(account) = workload.pod.as_ref().and(workload.service_account.as_ref()) else { return Ok(()) };
    if *identity.namespace == *workload.namespace && identity.service_account == *account {
        return Ok(());
    }
    let (name, namespace) = (&workload.name, &workload.namespace);
    Err(Refused(format!(
        "pod `{name}` in namespace `{namespace}` has the service account `{account}`, but the certificate is of \
         {identity}: a sidecar gets only its own pod's configuration"
    )))
}

/// Where a proxy in explicit mode says that it takes connections.
fn explicit_addresses(metadata: &serde_json::Value) -> ExplicitAddresses {
    let address = |value: &serde_json::Value| value.as_str()?.parse::<SocketAddr>().ok();
    let inbound = metadata.get("WEFT_EXPLICIT_INBOUND").and_then(|value| value.as_object());
    ExplicitAddresses {
        outbound: metadata.get("WEFT_EXPLICIT_OUTBOUND").and_then(address),
        inbound: inbound
            .into_iter()
            .flatten()
            .filter_map(|(port, value)| Some((port.parse().ok()?, address(value)?)))
            .collect(),
    }
}

fn keep<K: Clone + Eq + std::hash::Hash, V>(cache: &Mutex<HashMap<K, V>>, key: &K, value: V) {
    let mut cache = lock(cache);
    if cache.len() >= MAX_CLASSES && !cache.contains_key(key) {
        cache.clear();
    }
    cache.insert(key.clone(), value);
}

/// A cache that a panic left behind is still a cache: each entry is written in one step.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
