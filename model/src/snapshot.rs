//! One consistent state of a proxy's configuration. A request loads it once, at its start, and never mixes versions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::cluster::{Cluster, Discovery};
use crate::endpoint::{EndpointSet, Health};
use crate::listener::{Listener, NetworkFilter, RouteSource};
use crate::route::{RouteAction, RouteTable};

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;

/// All that a proxy knows. Cloning is cheap in proportion to the number of resources, not to their size.
#[derive(Clone, Default, Debug)]
pub struct Snapshot {
    /// Grows with every change.
    pub version: u64,
    /// By name.
    pub listeners: BTreeMap<Arc<str>, Arc<Listener>>,
    /// By name.
    pub routes: HashMap<Arc<str>, Arc<RouteTable>>,
    /// By name.
    pub clusters: HashMap<Arc<str>, Arc<Cluster>>,
    /// By the name that clusters ask for.
    pub endpoints: HashMap<Arc<str>, Arc<EndpointSet>>,
    /// Host name in lower case, without the trailing dot, to its addresses.
    pub names: Arc<HashMap<Arc<str>, Vec<IpAddr>>>,
    by_destination: HashMap<SocketAddr, Arc<Listener>>,
    unready: HashSet<IpAddr>,
}

impl Snapshot {
    /// Builds what look-ups need. To be called after anything was changed.
    pub fn index(&mut self) {
        let headless =
            self.clusters.values().filter(|cluster| matches!(cluster.discovery, Discovery::Dialled(_)));
        let endpoints = headless.filter_map(|cluster| self.endpoints.get(cluster.discovery.endpoint_set()?));
        let unready = endpoints.flat_map(|set| set.endpoints()).filter(|it| it.health != Health::Healthy);
        self.unready = unready.map(|endpoint| endpoint.address.ip()).collect();
        self.by_destination = self
            .listeners
            .values()
            .filter(|listener| !listener.bind)
            .flat_map(|listener| listener.addresses.iter().map(|address| (*address, listener.clone())))
            .collect();
    }

    /// The listener that serves an original destination.
    #[must_use]
    pub fn listener_for(&self, destination: SocketAddr) -> Option<&Arc<Listener>> {
        self.by_destination.get(&destination)
    }

    /// Whether a workload of a headless service is at the address and takes no requests now: its names are not to
    /// lead there, although it is still known by them.
    #[must_use]
    pub fn is_unready(&self, address: IpAddr) -> bool {
        self.unready.contains(&address)
    }

    /// The endpoints of a cluster; none when they are not known (yet), or are not found this way.
    #[must_use]
    pub fn endpoints_of(&self, cluster: &Cluster) -> Option<Arc<EndpointSet>> {
        match &cluster.discovery {
            Discovery::Endpoints(name) | Discovery::Dialled(name) => self.endpoints.get(name).cloned(),
            Discovery::Static(endpoints) => Some(Arc::new(endpoints.clone())),
            Discovery::Dns(_) | Discovery::OriginalDst => None,
        }
    }

    /// The routes of an HTTP filter.
    #[must_use]
    pub fn routes_of<'a>(&'a self, source: &'a RouteSource) -> Option<&'a Arc<RouteTable>> {
        match source {
            RouteSource::Named(name) => self.routes.get(name),
            RouteSource::Inline(table) => Some(table),
        }
    }

    /// References to what is not here, each as one sentence. A proxy works with them (requests that need the missing
    /// part get 503), but a control plane must not serve them unless the user's own reference dangles.
    #[must_use]
    pub fn dangling(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut missing_cluster = |from: &str, cluster: &Arc<str>| {
            if !self.clusters.contains_key(cluster) {
                found.push(format!("{from} refers to cluster {cluster}, which is not known"));
            }
        };
        let inline = self.listeners.values().flat_map(|listener| inline_tables(listener));
        for (from, table) in self.routes.values().map(|table| (&table.name, table)).chain(inline) {
            for route in table.virtual_hosts.iter().flat_map(|host| &host.routes) {
                if let RouteAction::Forward(forward) = &route.action {
                    let from = format!("route table {from}");
                    forward.clusters.iter().for_each(|c| missing_cluster(&from, &c.cluster));
                }
            }
        }
        let mut missing_routes = Vec::new();
        for listener in self.listeners.values() {
            for chain in listener.filter_chains.iter().chain(&listener.default_filter_chain) {
                match &chain.filter {
                    NetworkFilter::Tcp(tcp) => {
                        tcp.clusters.iter().for_each(|c| {
                            missing_cluster(&format!("listener {}", listener.name), &c.cluster)
                        });
                    }
                    NetworkFilter::Http(http) => {
                        if let RouteSource::Named(name) = &http.routes
                            && !self.routes.contains_key(name)
                        {
                            missing_routes.push(format!(
                                "listener {} refers to route table {name}, which is not known",
                                listener.name
                            ));
                        }
                    }
                }
            }
        }
        found.extend(missing_routes);
        found.sort();
        found.dedup();
        found
    }
}

/// The route tables that stand in a listener itself, each by the listener's name, for it mostly has none.
fn inline_tables(listener: &Listener) -> impl Iterator<Item = (&Arc<str>, &Arc<RouteTable>)> {
    let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
    chains.filter_map(|chain| match &chain.filter {
        NetworkFilter::Http(http) => match &http.routes {
            RouteSource::Inline(table) => Some((&listener.name, table)),
            RouteSource::Named(_) => None,
        },
        NetworkFilter::Tcp(_) => None,
    })
}
