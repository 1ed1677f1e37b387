//! Pure: a world and a scope become resources. Nothing here does I/O, waits or remembers; `cached` keeps what was
//! compiled for each class of proxies.

mod authentication;
mod cached;
mod encode;
mod clusters;
mod convert;
mod endpoints;
mod http_route;
mod inbound;
mod names;
mod naming;
mod outbound;
mod retry;
mod scope;
mod virtual_service;

use std::sync::Arc;

use weft_model::cluster::Cluster;
use weft_model::endpoint::EndpointSet;
use weft_model::listener::Listener;
use weft_model::route::RouteTable;

use crate::world::World;

pub use cached::{Compiles, WorldCompiler};
pub use names::NameTable;
pub use scope::{ExplicitAddresses, Mode, OutboundScope, ProxyScope};

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;

/// What a class of proxies is sent, before it is encoded. Each list is ordered by name.
#[derive(Clone, Default, Debug)]
pub struct Compiled {
    /// Where connections are taken.
    pub listeners: Vec<Listener>,
    /// Where requests go.
    pub routes: Vec<RouteTable>,
    /// What they can go to.
    pub clusters: Vec<Cluster>,
    /// What names mean.
    pub names: Arc<NameTable>,
}

/// Everything but endpoints, for one scope.
#[must_use]
pub fn configuration(world: &World, scope: &ProxyScope) -> Compiled {
    let mut compiled = outbound::compile(world, &scope.outbound(world));
    let inbound = inbound::compile(world, scope);
    compiled.listeners.extend(inbound.listeners);
    compiled.listeners.extend(outbound::entry_listeners(scope));
    compiled.clusters.extend(inbound.clusters);
    compiled.listeners.sort_by(|a, b| a.name.cmp(&b.name));
    compiled.routes.sort_by(|a, b| a.name.cmp(&b.name));
    compiled.clusters.sort_by(|a, b| a.name.cmp(&b.name));
    compiled
}

/// The endpoints' lane: all endpoint sets that clusters of the class ask for.
#[must_use]
pub fn endpoints(world: &World, scope: &OutboundScope) -> Vec<EndpointSet> {
    endpoints::compile(world, scope, None, |_| true)
}
