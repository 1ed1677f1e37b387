//! What a workload's resolver answers for the mesh's names.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::world::{VirtualAddresses, World, WorldService};

/// Fully qualified host to its addresses: virtual ones, or those of the endpoints for a headless service.
pub type NameTable = BTreeMap<Arc<str>, Vec<IpAddr>>;

/// The names of all services that clients in `namespace` see.
pub(super) fn compile(world: &World, namespace: &str) -> NameTable {
    let entry = |service: &Arc<WorldService>| {
        let addresses = match &service.addresses {
            VirtualAddresses::Virtual(addresses) => addresses.clone(),
            VirtualAddresses::Endpoints => {
                world.workloads_of(service).map(|workload| workload.address).collect()
            }
            VirtualAddresses::None => return None,
        };
        Some((service.host.clone(), addresses))
    };
    world.visible_services(namespace).filter_map(entry).collect()
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
