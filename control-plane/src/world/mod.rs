//! Services, workloads and policies, indexed and immutable: what the compiler reads.
//!
//! A world is built from all accepted objects and the state of workloads, and shared as `Arc<World>`. Building never
//! fails: objects were checked when they were parsed, and a reference that dangles is the compiler's to answer for.

mod addresses;
mod members;
mod naming;
mod policies;
mod service;
mod workload;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weft_model::endpoint::Health;
use weft_model::identity::TrustDomain;

use crate::source::kinds::node;
use crate::source::{Object, Objects, SourceEvent, Spec};
use members::Members;

pub use addresses::{AddressBook, AddressRanges};
pub use policies::{Authentication, Policies};
pub use service::{DnsEndpoint, EndpointSource, ServicePort, VirtualAddresses, WorldService};
pub use workload::{PodFacts, Port, WorkloadKey, WorldWorkload};

#[cfg(test)]
#[path = "world_tests.rs"]
mod tests;

/// What holds for the whole mesh.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MeshSettings {
    /// Name of the mesh, in telemetry's `cluster` labels.
    pub name: Arc<str>,
    /// Root of all identities.
    pub trust_domain: TrustDomain,
    /// DNS suffix of service names.
    pub domain: Arc<str>,
    /// Policies without selector in this namespace hold for the whole mesh, as in Istio.
    pub root_namespace: Arc<str>,
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            name: "Kubernetes".into(),
            trust_domain: TrustDomain::default(),
            domain: "cluster.local".into(),
            root_namespace: "istio-system".into(),
        }
    }
}

/// All that the compiler knows, at one moment.
#[derive(Clone, Debug)]
pub struct World {
    /// Grows by one with every change.
    pub revision: u64,
    /// The last revision that changed anything but the states of workloads.
    pub configuration: u64,
    /// What holds for the whole mesh.
    pub mesh: Arc<MeshSettings>,
    /// By fully qualified host.
    pub services: Arc<BTreeMap<Arc<str>, Arc<WorldService>>>,
    /// By namespace and name.
    pub workloads: BTreeMap<WorkloadKey, Arc<WorldWorkload>>,
    /// Pods that have no address yet. Nobody can call them, but their sidecars may come before the address is known here.
    pub unplaced: BTreeMap<WorkloadKey, Arc<WorldWorkload>>,
    /// Routes, destination rules, authentication.
    pub policies: Arc<Policies>,
    /// Worlds before this one, whose word on mutual TLS and on who may answer for a service some sidecar may still obey:
    /// empty but for the first step of a change of `PeerAuthentication`, or one after which fewer identities are accepted.
    pub superseded: Vec<Arc<World>>,
    members: Members,
    // Of nodes by name.
    localities: Arc<BTreeMap<Arc<str>, Arc<str>>>,
}

/// What is known of a workload beside its object: whether it takes requests now.
pub type WorkloadStates = BTreeMap<WorkloadKey, Health>;

/// A workload that is new or another now; none: it is gone.
pub type WorkloadChange = (WorkloadKey, Option<Arc<WorldWorkload>>);

/// What a world is built from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Services, policies, workload entries, nodes.
    pub objects: &'a [Arc<Object>],
    /// Pods.
    pub pods: &'a Objects,
    /// States of workload entries.
    pub states: &'a WorkloadStates,
}

impl World {
    /// Builds a world without pods. `addresses` gives services that have none a virtual address, the same one every time.
    #[must_use]
    pub fn build(
        revision: u64,
        mesh: Arc<MeshSettings>,
        objects: &[Arc<Object>],
        states: &WorkloadStates,
        addresses: &mut AddressBook,
    ) -> Self {
        Self::of(revision, mesh, Input { objects, pods: &Objects::default(), states }, addresses)
    }

    /// Builds a world. `addresses` gives services that have none a virtual address, the same one every time.
    #[must_use]
    pub fn of(revision: u64, mesh: Arc<MeshSettings>, input: Input<'_>, addresses: &mut AddressBook) -> Self {
        let mut services = service::from_objects(input.objects, &mesh);
        addresses.assign(services.values_mut());
        let services: BTreeMap<_, _> =
            services.into_iter().map(|(host, service)| (host, Arc::new(service))).collect();
        let localities = localities(input.objects);
        let pods = input.pods.by_name.values().filter_map(|object| workload::of_pod(object, &localities));
        let (placed, unplaced): (BTreeMap<_, _>, BTreeMap<_, _>) =
            pods.map(|pod| (pod.key(), Arc::new(pod))).partition(|(_, pod)| pod.is_placed());
        let mut workloads = workload::from_objects(input.objects, input.states);
        // Of two of one name the pod is the one whose sidecar comes with it.
        workloads.extend(placed);
        Self {
            revision,
            configuration: revision,
            members: Members::of(services.values(), &workloads),
            services: Arc::new(services),
            workloads,
            unplaced,
            policies: Arc::new(Policies::from_objects(input.objects, &mesh)),
            superseded: Vec::new(),
            localities: Arc::new(localities),
            mesh,
        }
    }

    /// The same configuration with other states of its workload entries: the endpoints' lane.
    #[must_use]
    pub fn with_states(&self, revision: u64, states: &WorkloadStates) -> Self {
        let changes = self.workloads.iter().filter(|(_, workload)| workload.pod.is_none());
        let changes = changes.filter_map(|(key, workload)| {
            let health = states.get(key).copied().unwrap_or_default();
            let changed = || Arc::new(WorldWorkload { health, ..WorldWorkload::clone(workload) });
            (workload.health != health).then(|| (key.clone(), Some(changed())))
        });
        self.with_workloads(revision, changes.collect())
    }

    /// The same configuration with other workloads: the endpoints' lane. What it costs follows the number of changes.
    #[must_use]
    pub fn with_workloads(&self, revision: u64, changes: Vec<WorkloadChange>) -> Self {
        let mut world = self.clone();
        world.revision = revision;
        let replaced = changes.into_iter().map(|(key, after)| {
            world.unplaced.remove(&key);
            let (placed, unplaced) = match after {
                Some(after) if after.is_placed() => (Some(after), None),
                after => (None, after),
            };
            if let Some(unplaced) = unplaced {
                world.unplaced.insert(key.clone(), unplaced);
            }
            let before = match &placed {
                Some(after) => world.workloads.insert(key, after.clone()),
                None => world.workloads.remove(&key),
            };
            (before, placed)
        });
        let replaced: Vec<_> = replaced.collect();
        world.members.replace(world.services.values(), &replaced);
        world
    }

    /// What pods that changed are in this world; those that say the same are left out.
    #[must_use]
    pub fn pods_changed(&self, events: &[SourceEvent]) -> Vec<WorkloadChange> {
        let changes = events.iter().map(|event| match event {
            SourceEvent::Applied(object) => {
                let key = (object.namespace().clone(), object.name().clone());
                (key, workload::of_pod(object, &self.localities).map(Arc::new))
            }
            SourceEvent::Deleted(name) => ((name.namespace.clone(), name.name.clone()), None),
        });
        changes.filter(|(key, after)| self.workload(key) != after.as_ref()).collect()
    }

    /// Whether the same workloads, in the same state, are behind a service in both worlds. Says no in doubt.
    #[must_use]
    pub fn has_members_of(&self, other: &Self, service: &WorldService) -> bool {
        match &service.endpoints {
            EndpointSource::Selected(_) => {
                match (self.members.behind(&service.host), other.members.behind(&service.host)) {
                    (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                    _ => false,
                }
            }
            // Those of others change with the configuration only.
            _ => self.configuration == other.configuration,
        }
    }

    /// The same without those before it.
    #[must_use]
    pub fn by_itself(&self) -> Self {
        Self { superseded: Vec::new(), ..self.clone() }
    }

    /// A workload, whether it has an address yet or not.
    #[must_use]
    pub fn workload(&self, key: &WorkloadKey) -> Option<&Arc<WorldWorkload>> {
        self.workloads.get(key).or_else(|| self.unplaced.get(key))
    }

    /// Services that clients in `namespace` see, with their virtual addresses or without.
    pub fn visible_services<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<WorldService>> {
        self.services.values().filter(move |service| service.export_to.includes(namespace))
    }

    /// Workloads behind a service that is backed by a selector or by names of its own.
    pub fn workloads_of<'a>(
        &'a self,
        service: &'a WorldService,
    ) -> Box<dyn Iterator<Item = &'a Arc<WorldWorkload>> + 'a> {
        match &service.endpoints {
            EndpointSource::Selected(_) => {
                Box::new(self.members.behind(&service.host).into_iter().flat_map(|list| list.iter()))
            }
            EndpointSource::Inline(workloads) => Box::new(workloads.iter()),
            EndpointSource::Dns(_) | EndpointSource::OriginalDestination | EndpointSource::Nowhere => {
                Box::new(std::iter::empty())
            }
        }
    }

    /// The workload with an address; none where several share it, as they do on loopback.
    #[must_use]
    pub fn workload_at(&self, address: IpAddr) -> Option<&Arc<WorldWorkload>> {
        let mut all = self.workloads.values().filter(|workload| workload.address == address);
        all.next().filter(|_| all.next().is_none())
    }

    /// Services that a workload with these labels stands behind.
    pub fn services_of<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a crate::source::words::Labels,
    ) -> impl Iterator<Item = &'a Arc<WorldService>> {
        self.services.values().filter(move |service| match &service.endpoints {
            EndpointSource::Selected(selector) => {
                *service.namespace == *namespace && selector.iter().all(|(k, v)| labels.get(k) == Some(v))
            }
            _ => false,
        })
    }
}

/// Of nodes that say where they are.
fn localities(objects: &[Arc<Object>]) -> BTreeMap<Arc<str>, Arc<str>> {
    let nodes = objects.iter().filter(|object| object.spec == Spec::Node);
    nodes.map(|node| (node.name().clone(), node::locality(&node.metadata.labels))).collect()
}
