//! What a workload's resolver answers for the mesh's names.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::world::{VirtualAddresses, World, WorldService};

/// Fully qualified host to its addresses: virtual ones, or for a headless service those of its workloads, each of which
/// has a name below the service's, too: `WORKLOAD.SERVICE.NAMESPACE.svc.DOMAIN`, as a pod of a `StatefulSet`. Whether a
/// workload is ready changes nothing here, but what the sidecar answers.
pub type NameTable = BTreeMap<Arc<str>, Vec<IpAddr>>;

/// The names of all services that clients in `namespace` see.
pub(super) fn compile(world: &World, namespace: &str) -> NameTable {
    let mut table = NameTable::new();
    for service in world.visible_services(namespace) {
        match &service.addresses {
            VirtualAddresses::Virtual(addresses) => {
                table.insert(service.host.clone(), addresses.clone());
            }
            VirtualAddresses::Endpoints => headless(world, service, &mut table),
            VirtualAddresses::None => {}
        }
    }
    table
}

fn headless(world: &World, service: &WorldService, table: &mut NameTable) {
    let mut all: Vec<IpAddr> = Vec::new();
    for workload in world.workloads_of(service) {
        all.push(workload.address);
        if let Some(name) = workload.host_name_in(&service.name) {
            table.insert(format!("{name}.{}", service.host).into(), vec![workload.address]);
        }
    }
    all.sort_unstable();
    all.dedup();
    table.insert(service.host.clone(), all);
}

/// All the names that clients in `namespace` may call a service by.
pub(super) fn forms(service: &WorldService, namespace: &str, domain: &str) -> Vec<Arc<str>> {
    let (name, own) = (&service.name, &service.namespace);
    if **name == *service.host {
        return vec![service.host.clone()];
    }
    let mut forms =
        vec![service.host.clone(), format!("{name}.{own}.svc").into(), format!("{name}.{own}").into()];
    debug_assert!(service.host.ends_with(domain));
    if **own == *namespace {
        forms.push(name.clone());
    }
    forms
}
