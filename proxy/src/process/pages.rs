//! What the admin pages show and do.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use super::telemetry::Observed;
use crate::admin::{AdminAddresses, AdminState, DRAINING};
use crate::drain::Drain;
use crate::identity::IdentityStatus;
use crate::settings::{Mode, Settings, Source};
use crate::upstream::ClusterStats;
use crate::worker::{Inquiry, Shared, WorkerHandle};

/// What the admin pages show and do.
pub(super) fn admin_state(
    settings: &Settings,
    shared: &Arc<Shared>,
    drain: &Arc<Drain>,
    workers: &[WorkerHandle],
    observed: Observed,
    quit: Arc<Notify>,
) -> AdminState {
    let inquiries: Vec<Inquiry> = workers.iter().map(WorkerHandle::inquiry).collect();
    let bound: Vec<_> = workers.iter().map(WorkerHandle::bound).collect();
    let mut state = AdminState::new(shared.discovery.clone(), settings.node.to_string());
    state.not_ready = {
        let shared = shared.clone();
        Arc::new(move || {
            if shared.drain.is_draining() {
                return Some(DRAINING.to_owned());
            }
            if shared.identity.as_ref().is_some_and(|identity| identity.current().is_none()) {
                return Some("no certificate yet".to_owned());
            }
            unbound(&shared, &bound)
        })
    };
    state.metrics = Arc::new(move || {
        let observed = observed.clone();
        Box::pin(async move { observed.page().await })
    });
    state.clusters = Arc::new(move || clusters(&inquiries));
    if let Some(identity) = shared.identity.clone() {
        state.certificates = Arc::new(move || certificates(&identity.status()));
    }
    let for_drain = drain.clone();
    state.drain = Arc::new(move || for_drain.begin());
    state.quit = Arc::new(move || quit.notify_one());
    state
}

/// The first address that traffic is redirected to and that a worker does not listen at yet: what is sent there now
/// would be refused. A machine without IPv6 never listens there, so that IPv4 alone is looked at.
fn unbound(shared: &Shared, workers: &[watch::Receiver<Vec<SocketAddr>>]) -> Option<String> {
    let snapshot = shared.discovery.snapshot.load();
    let redirected =
        snapshot.listeners.values().filter(|listener| listener.bind && listener.use_original_dst);
    let mut addresses = redirected.flat_map(|listener| &listener.addresses).filter(|it| it.is_ipv4());
    let missing = addresses.find(|it| workers.iter().any(|bound| !bound.borrow().contains(it)))?;
    Some(format!("not listening at {missing} yet"))
}

/// What all workers say of their clusters, added up.
fn clusters(inquiries: &[Inquiry]) -> Vec<ClusterStats> {
    let mut sums: BTreeMap<String, ClusterStats> = BTreeMap::new();
    for stats in inquiries.iter().filter_map(Inquiry::upstream_stats).flatten() {
        match sums.get_mut(&*stats.cluster) {
            Some(sum) => add(sum, stats),
            None => drop(sums.insert(stats.cluster.to_string(), stats)),
        }
    }
    let mut sums: Vec<ClusterStats> = sums.into_values().collect();
    for sum in &mut sums {
        sum.hosts.sort_by_key(|host| host.address);
    }
    sums
}

/// Every worker knows all endpoints; each ejects for itself.
fn add(sum: &mut ClusterStats, stats: ClusterStats) {
    sum.endpoints = sum.endpoints.max(stats.endpoints);
    sum.ejected = sum.ejected.max(stats.ejected);
    sum.connections += stats.connections;
    sum.requests += stats.requests;
    sum.retries += stats.retries;
    sum.overflows += stats.overflows;
    let mut known: HashMap<SocketAddr, usize> =
        sum.hosts.iter().enumerate().map(|(at, host)| (host.address, at)).collect();
    for host in stats.hosts {
        match known.get(&host.address) {
            Some(at) => {
                let same = &mut sum.hosts[*at];
                same.requests += host.requests;
                same.connections += host.connections;
                same.ejected |= host.ejected;
            }
            None => {
                known.insert(host.address, sum.hosts.len());
                sum.hosts.push(host);
            }
        }
    }
}

fn certificates(status: &IdentityStatus) -> Value {
    let time =
        |time: Option<SystemTime>| time.map(|time| humantime::format_rfc3339_seconds(time).to_string());
    json!({
        "identity": status.identity, "serial": status.serial, "notBefore": time(status.not_before),
        "notAfter": time(status.not_after), "renewAt": time(status.renew_at), "renewals": status.renewals,
        "failures": status.failures, "lastError": status.last_error,
    })
}

/// In a workload's own network the well-known ports are this proxy's; elsewhere they may be another's.
pub(super) fn admin_addresses(settings: &Settings) -> AdminAddresses {
    let own_network =
        settings.mode == Mode::Intercept && matches!(settings.source, Source::ControlPlane { .. });
    // The kubelet asks from outside of the pod, at whichever of its addresses.
    let readiness: IpAddr = match settings.pod {
        Some(_) => Ipv6Addr::UNSPECIFIED.into(),
        None => Ipv4Addr::LOCALHOST.into(),
    };
    AdminAddresses {
        admin: settings.admin_address,
        socket: settings.admin_socket.clone(),
        readiness: own_network.then(|| SocketAddr::new(readiness, 15021)),
        metrics: own_network.then(|| SocketAddr::from((Ipv6Addr::UNSPECIFIED, 15090))),
    }
}
