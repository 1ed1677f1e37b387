//! Clusters whose endpoints are names in the DNS: every address is an endpoint.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Weak;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use weft_model::endpoint::{AssignmentPolicy, Endpoint, EndpointSet, Locality, LocalityEndpoints};

use super::cluster::ClusterState;

/// Names are resolved again after this; Envoy's `dns_refresh_rate`.
const REFRESH: Duration = Duration::from_secs(5);
/// The first answer is waited for no longer than this.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// The resolution of one cluster's names.
#[derive(Debug, Default)]
pub(crate) struct Resolution {
    names: RefCell<Vec<(Arc<str>, u16)>>,
    task: RefCell<Option<AbortHandle>>,
    answered: Cell<bool>,
    changed: Notify,
    /// Why the last resolution failed.
    pub(crate) failure: RefCell<Option<String>>,
}

impl Resolution {
    /// Resolves these names from now on; nothing happens when they are the same as before.
    pub(crate) fn start(&self, names: &[(Arc<str>, u16)], cluster: Weak<ClusterState>) {
        if self.task.borrow().is_some() && *self.names.borrow() == names {
            return;
        }
        self.stop();
        self.names.replace(names.to_vec());
        let names = names.to_vec();
        let task = tokio::task::spawn_local(run(names, cluster));
        self.task.replace(Some(task.abort_handle()));
    }

    /// Resolves nothing any more.
    pub(crate) fn stop(&self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// Waits for the first answer, good or not.
    pub(crate) async fn first_answer(&self) {
        if self.task.borrow().is_none() || self.answered.get() {
            return;
        }
        // Whoever waits in vain finds no endpoint and says so.
        let _ = tokio::time::timeout(FIRST_ANSWER, self.changed.notified()).await;
    }
}

impl Drop for Resolution {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn run(names: Vec<(Arc<str>, u16)>, cluster: Weak<ClusterState>) {
    loop {
        let answer = resolve(&names).await;
        let Some(cluster) = cluster.upgrade() else { return };
        let resolution = &cluster.resolution;
        match answer {
            Ok(addresses) => {
                resolution.failure.replace(None);
                cluster.replace_endpoints(&Arc::new(endpoints(&cluster.name(), addresses)));
            }
            // The last good answer stays in use.
            Err(error) => {
                tracing::warn!(cluster = %cluster.name(), %error, "DNS resolution failed; the last answer stays in use");
                resolution.failure.replace(Some(error));
            }
        }
        resolution.answered.set(true);
        resolution.changed.notify_waiters();
        drop(cluster);
        tokio::time::sleep(REFRESH).await;
    }
}

/// All addresses of all names that can be resolved; an error when there is none.
async fn resolve(names: &[(Arc<str>, u16)]) -> Result<Vec<SocketAddr>, String> {
    let mut addresses = Vec::new();
    let mut failures = Vec::new();
    for (name, port) in names {
        match tokio::net::lookup_host((&**name, *port)).await {
            Ok(found) => addresses.extend(found),
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() && !failures.is_empty() { Err(failures.join("; ")) } else { Ok(addresses) }
}

fn endpoints(cluster: &str, addresses: Vec<SocketAddr>) -> EndpointSet {
    let endpoints = addresses.into_iter().map(|address| Arc::new(plain_endpoint(address))).collect();
    EndpointSet {
        cluster: cluster.into(),
        localities: vec![LocalityEndpoints {
            locality: Locality::default(),
            priority: 0,
            weight: 0,
            endpoints,
        }],
        policy: AssignmentPolicy::default(),
    }
}

/// An endpoint of which only the address is known.
pub(crate) fn plain_endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::new(address)
}
