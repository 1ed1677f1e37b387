//! Services, workloads and policies, indexed and immutable: what the compiler reads.
//!
//! A world is built from all accepted objects and the state of workloads, and shared as `Arc<World>`. Building never
//! fails: objects were checked when they were parsed, and a reference that dangles is the compiler's to answer for.

mod addresses;
mod naming;
mod policies;
mod service;
mod workload;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weft_model::endpoint::Health;
use weft_model::identity::TrustDomain;

use crate::source::Object;

pub use addresses::{AddressBook, AddressRanges};
pub use policies::{Authentication, Policies};
pub use service::{DnsEndpoint, EndpointSource, ServicePort, VirtualAddresses, WorldService};
pub use workload::{Port, WorkloadKey, WorldWorkload};

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
    pub services: BTreeMap<Arc<str>, Arc<WorldService>>,
    /// By namespace and name.
    pub workloads: BTreeMap<WorkloadKey, Arc<WorldWorkload>>,
    /// Routes, destination rules, authentication.
    pub policies: Policies,
    /// Worlds before this one, whose word on mutual TLS and on who may answer for a service some sidecar may still obey:
    /// empty but for the first step of a change of `PeerAuthentication`, or one after which fewer identities are accepted.
    pub superseded: Vec<Arc<World>>,
}

/// What is known of a workload beside its object: whether it takes requests now.
pub type WorkloadStates = BTreeMap<WorkloadKey, Health>;

impl World {
    /// Builds a world. `addresses` gives services that have none a virtual address, the same one every time.
    #[must_use]
    pub fn build(
        revision: u64,
        mesh: Arc<MeshSettings>,
        objects: &[Arc<Object>],
        states: &WorkloadStates,
        addresses: &mut AddressBook,
    ) -> Self {
        let mut services = service::from_objects(objects, &mesh);
        addresses.assign(services.values_mut());
        Self {
            revision,
            configuration: revision,
            services: services.into_iter().map(|(host, service)| (host, Arc::new(service))).collect(),
            workloads: workload::from_objects(objects, states),
            policies: Policies::from_objects(objects, &mesh),
            superseded: Vec::new(),
            mesh,
        }
    }

    /// The same configuration with other states of its workloads: the endpoints' lane.
    #[must_use]
    pub fn with_states(&self, revision: u64, states: &WorkloadStates) -> Self {
        let mut world = self.clone();
        world.revision = revision;
        for (key, workload) in &mut world.workloads {
            let health = states.get(key).copied().unwrap_or_default();
            if workload.health != health {
                *workload = Arc::new(WorldWorkload { health, ..WorldWorkload::clone(workload) });
            }
        }
        world
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
            EndpointSource::Selected(labels) => Box::new(
                self.workloads.values().filter(move |w| w.namespace == service.namespace && w.has(labels)),
            ),
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
