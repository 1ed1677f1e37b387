//! Make before break: what is served refers only to what is served too.
//!
//! A control plane sends clusters before the routes that name them (the order of the xDS protocol), but their endpoints
//! come only once they were asked for. So a new version of a route table waits, its old version serving, until its
//! clusters have their endpoints; a new version of a listener, until its route tables are served. After a bounded time
//! they are served all the same. A cluster that was not sent at all is not waited for: the reference dangles because
//! the user wrote it so, and requests get an error that names what is missing, as soon as the policy is acknowledged.
//! A cluster or table that was taken away is kept while something served refers to it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weft_model::cluster::Cluster;
use weft_model::listener::{Listener, NetworkFilter, RouteSource};
use weft_model::route::{RouteAction, RouteTable};
use weft_model::snapshot::Snapshot;

/// What waits, and until when.
#[derive(Debug)]
pub(super) struct Warming {
    at_most: Duration,
    awaited: HashMap<Awaited, Wait>,
}

/// Something that is referred to and is not there.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Awaited {
    Cluster(Arc<str>),
    Endpoints(Arc<str>),
    Routes(Arc<str>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    Until(Instant),
    // It did not come: later changes of what refers to it do not wait for it again.
    GivenUp,
}

impl Warming {
    pub(super) fn new(at_most: Duration) -> Self {
        Self { at_most, awaited: HashMap::new() }
    }

    pub(super) fn set_at_most(&mut self, at_most: Duration) {
        self.at_most = at_most;
    }

    /// Whether nothing waits any more; what was given up does not.
    pub(super) fn is_idle(&self) -> bool {
        self.due().is_none()
    }

    /// When the next wait is over.
    pub(super) fn due(&self) -> Option<Instant> {
        let waiting = self.awaited.values().filter_map(|wait| match wait {
            Wait::Until(until) => Some(*until),
            Wait::GivenUp => None,
        });
        waiting.min()
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    /// What to serve of what was accepted.
    pub(super) fn merge(&mut self, served: &Snapshot, accepted: Snapshot, now: Instant) -> Snapshot {
        let mut missing = HashMap::new();
        let mut next = Snapshot::default();
        next.names = accepted.names.clone();

        let is_cold = |cluster: &Arc<str>| !is_warm(&accepted, cluster);
        for (name, table) in &accepted.routes {
            let awaited = clusters_of_table(table).into_iter().filter(is_cold).map(Awaited::Cluster);
            let old = served.routes.get(name);
            let is_new = old.is_none_or(|old| !Arc::ptr_eq(old, table));
            let waits = self.waits(is_new, awaited, &mut missing, now);
            if let Some(table) = if waits { old } else { Some(table) } {
                next.routes.insert(name.clone(), table.clone());
            }
        }
        for (name, listener) in &accepted.listeners {
            let routes = routes_of_listener(listener).into_iter();
            let routes = routes.filter(|name| !next.routes.contains_key(name)).map(Awaited::Routes);
            let clusters = clusters_of_listener(listener).into_iter().filter(is_cold).map(Awaited::Cluster);
            let old = served.listeners.get(name);
            let is_new = old.is_none_or(|old| !Arc::ptr_eq(old, listener));
            let waits = self.waits(is_new, routes.chain(clusters), &mut missing, now);
            if let Some(listener) = if waits { old } else { Some(listener) } {
                next.listeners.insert(name.clone(), listener.clone());
            }
        }
        next.endpoints = accepted.endpoints.clone();
        for (name, cluster) in &accepted.clusters {
            let old = served.clusters.get(name).filter(|old| !Arc::ptr_eq(old, cluster));
            let endpoints = missing_endpoints(&accepted, cluster).map(Awaited::Endpoints);
            // A cluster that was not served is waited for by what refers to it.
            let waits = old.is_some() && self.waits(true, endpoints.into_iter(), &mut missing, now);
            match old {
                Some(old) if waits => keep(served, old, &mut next),
                _ => drop(next.clusters.insert(name.clone(), cluster.clone())),
            }
        }
        self.awaited = missing;
        keep_referenced(served, &mut next);
        next
    }

    /// Whether any of it is still waited for; notes each in `missing`. What is served already does not wait.
    fn waits(
        &self,
        is_new: bool,
        awaited: impl Iterator<Item = Awaited>,
        missing: &mut HashMap<Awaited, Wait>,
        now: Instant,
    ) -> bool {
        let mut waits = false;
        for one in awaited {
            let wait = match self.awaited.get(&one) {
                Some(Wait::GivenUp) => Wait::GivenUp,
                Some(Wait::Until(until)) if *until <= now => Wait::GivenUp,
                Some(wait) => *wait,
                None if self.at_most.is_zero() => Wait::GivenUp,
                None if is_new => Wait::Until(now + self.at_most),
                None => continue,
            };
            waits |= is_new && wait != Wait::GivenUp;
            missing.insert(one, wait);
        }
        waits
    }
}

/// Adds what was taken away but is referred to.
fn keep_referenced(served: &Snapshot, next: &mut Snapshot) {
    for name in next.listeners.values().flat_map(|listener| routes_of_listener(listener)).collect::<Vec<_>>()
    {
        if !next.routes.contains_key(&name)
            && let Some(table) = served.routes.get(&name)
        {
            next.routes.insert(name, table.clone());
        }
    }
    let tables = next.routes.values().flat_map(|table| clusters_of_table(table));
    let listeners = next.listeners.values().flat_map(|listener| clusters_of_listener(listener));
    for name in tables.chain(listeners).collect::<HashSet<_>>() {
        if let Some(cluster) = served.clusters.get(&name)
            && !next.clusters.contains_key(&name)
        {
            keep(served, cluster, next);
        }
    }
}

/// Serves a cluster on, with the endpoints it had.
fn keep(served: &Snapshot, cluster: &Arc<Cluster>, next: &mut Snapshot) {
    next.clusters.insert(cluster.name.clone(), cluster.clone());
    if let Some(name) = cluster.discovery.endpoint_set()
        && !next.endpoints.contains_key(name)
        && let Some(endpoints) = served.endpoints.get(name)
    {
        next.endpoints.insert(name.clone(), endpoints.clone());
    }
}

/// Whether there is nothing to wait for: the cluster's endpoints are there, should they have to be asked for.
fn is_warm(accepted: &Snapshot, cluster: &Arc<str>) -> bool {
    accepted.clusters.get(cluster).is_none_or(|cluster| missing_endpoints(accepted, cluster).is_none())
}

/// The endpoints of a cluster that have to be asked for and did not come.
fn missing_endpoints(accepted: &Snapshot, cluster: &Cluster) -> Option<Arc<str>> {
    cluster.discovery.endpoint_set().filter(|name| !accepted.endpoints.contains_key(*name)).cloned()
}

fn clusters_of_table(table: &RouteTable) -> HashSet<Arc<str>> {
    let mut clusters = HashSet::new();
    for route in table.virtual_hosts.iter().flat_map(|host| &host.routes) {
        if let RouteAction::Forward(forward) = &route.action {
            clusters.extend(forward.clusters.iter().map(|cluster| cluster.cluster.clone()));
            clusters.extend(forward.mirrors.iter().map(|mirror| mirror.cluster.clone()));
        }
    }
    clusters
}

fn filters(listener: &Listener) -> impl Iterator<Item = &NetworkFilter> {
    listener.filter_chains.iter().chain(&listener.default_filter_chain).map(|chain| &chain.filter)
}

/// Clusters that a listener names itself.
fn clusters_of_listener(listener: &Listener) -> HashSet<Arc<str>> {
    let clusters = filters(listener).flat_map(|filter| match filter {
        NetworkFilter::Tcp(tcp) => tcp.clusters.iter().map(|cluster| cluster.cluster.clone()).collect(),
        NetworkFilter::Http(http) => match &http.routes {
            RouteSource::Inline(table) => clusters_of_table(table),
            RouteSource::Named(_) => HashSet::new(),
        },
    });
    clusters.collect()
}

/// Route tables that a listener asks for.
pub(super) fn routes_of_listener(listener: &Listener) -> HashSet<Arc<str>> {
    let names = filters(listener).filter_map(|filter| match filter {
        NetworkFilter::Http(http) => match &http.routes {
            RouteSource::Named(name) => Some(name.clone()),
            RouteSource::Inline(_) => None,
        },
        NetworkFilter::Tcp(_) => None,
    });
    names.collect()
}
