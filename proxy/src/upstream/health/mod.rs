//! Active health checks: endpoints are asked whether they are well
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/health_checking>).
//!
//! One worker asks for all: the first that begins. What it finds is one immutable map, which every worker takes over
//! into its balancers. An endpoint that was not asked yet takes no requests, as in Envoy.
//!
//! - `state`: what answers in a row mean, and when the next question is due
//! - `question`: one question and its answer

mod question;
mod state;

#[cfg(test)]
mod health_tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use weft_model::endpoint::Endpoint;
use weft_model::health_check::HealthCheck;

use super::Upstreams;
use super::cluster::ClusterState;
use question::Asker;
use state::CheckState;

/// Which endpoints are well, by cluster and address; those that are missing were not asked yet.
pub(crate) type Results = HashMap<Arc<str>, HashMap<SocketAddr, bool>>;

/// Endpoints of names in the DNS come between two configurations: they are looked for this often.
const LOOK: Duration = Duration::from_secs(1);

/// What the workers of a process have in common.
#[derive(Clone, Debug, Default)]
pub struct HealthChecks(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// A worker has taken it upon itself to ask.
    claimed: AtomicBool,
    results: watch::Sender<Arc<Results>>,
    /// Clusters that a request was sent to.
    traffic: Mutex<HashMap<Arc<str>, Arc<AtomicBool>>>,
}

impl HealthChecks {
    /// Whether the caller is the one who asks.
    pub(super) fn claim(&self) -> bool {
        !self.0.claimed.swap(true, Ordering::Relaxed)
    }

    pub(super) fn results(&self) -> Arc<Results> {
        self.0.results.borrow().clone()
    }

    /// Whether a request was ever sent to a cluster; to be set by who sends one.
    pub(super) fn traffic(&self, cluster: &Arc<str>) -> Arc<AtomicBool> {
        let mut traffic = self.0.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        traffic.entry(cluster.clone()).or_default().clone()
    }

    fn publish(&self, cluster: &Arc<str>, address: SocketAddr, healthy: Option<bool>) {
        self.0.results.send_modify(|results| {
            let of_cluster = Arc::make_mut(results).entry(cluster.clone()).or_default();
            match healthy {
                Some(healthy) => of_cluster.insert(address, healthy),
                None => of_cluster.remove(&address),
            };
        });
    }
}

/// The questions that a worker asks, by cluster and address.
#[derive(Debug, Default)]
pub(super) struct Checker(HashMap<(Arc<str>, SocketAddr), Asked>);

#[derive(Debug)]
struct Asked {
    check: HealthCheck,
    endpoint: Arc<Endpoint>,
    task: AbortHandle,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Checker {
    /// Asks those that are to be asked now, and no others.
    fn reconcile(&mut self, upstreams: &Rc<Upstreams>, checks: &HealthChecks) {
        let mut before = std::mem::take(&mut self.0);
        for cluster in upstreams.all() {
            let config = cluster.config();
            let Some(check) = &config.health_check else { continue };
            for state in cluster.endpoints() {
                let endpoint = state.endpoint();
                if endpoint.health_check.disabled {
                    continue;
                }
                let key = (config.name.clone(), endpoint.address);
                let kept = before.remove(&key).filter(|old| {
                    old.check == *check
                        && old.endpoint.health_check == endpoint.health_check
                        && old.endpoint.mutual_tls == endpoint.mutual_tls
                });
                let asked = kept.unwrap_or_else(|| {
                    let run = run(
                        Rc::downgrade(upstreams),
                        Rc::downgrade(&cluster),
                        endpoint.clone(),
                        check.clone(),
                    );
                    let task = tokio::task::spawn_local(run).abort_handle();
                    Asked { check: check.clone(), endpoint, task }
                });
                self.0.insert(key, asked);
            }
        }
        for (cluster, address) in before.into_keys() {
            checks.publish(&cluster, address, None);
        }
    }
}

/// Takes over what was found, and asks if this worker is the one; for as long as it is there.
pub(super) async fn follow(upstreams: Weak<Upstreams>, checks: HealthChecks, configured: Rc<Notify>) {
    let mut changes = checks.0.results.subscribe();
    let mut checker = checks.claim().then(Checker::default);
    loop {
        let changed = tokio::select! {
            changed = changes.changed() => changed.is_ok(),
            () = configured.notified() => false,
            () = tokio::time::sleep(LOOK) => false,
        };
        let Some(upstreams) = upstreams.upgrade() else { return };
        if changed {
            let results = changes.borrow_and_update().clone();
            upstreams.all().iter().for_each(|cluster| cluster.learn_health(&results));
        }
        if let Some(checker) = &mut checker {
            checker.reconcile(&upstreams, &checks);
        }
    }
}

/// Asks one endpoint again and again.
async fn run(
    upstreams: Weak<Upstreams>,
    cluster: Weak<ClusterState>,
    endpoint: Arc<Endpoint>,
    check: HealthCheck,
) {
    tokio::time::sleep(check.initial_jitter.mul_f64(fastrand::f64())).await;
    let mut state = CheckState::default();
    let mut asker = Asker::default();
    loop {
        let Some((upstreams, cluster)) = upstreams.upgrade().zip(cluster.upgrade()) else { return };
        let asking = asker.ask(&upstreams.connector, &cluster, &endpoint, &check);
        let answer = tokio::time::timeout(check.timeout, asking).await.unwrap_or(question::Answer::Broken);
        if answer == question::Answer::Broken || !check.reuse_connection {
            asker = Asker::default();
        }
        let changed = state.learn(answer, &check);
        let name = cluster.name();
        if changed {
            let healthy = state.is_healthy();
            tracing::info!(cluster = %name, endpoint = %endpoint.address, healthy, "health check");
            upstreams.health.publish(&name, endpoint.address, Some(healthy));
        }
        let traffic = upstreams.health.traffic(&name).load(Ordering::Relaxed);
        let wait = state.wait(&check, changed, traffic);
        // Nothing is held on to meanwhile.
        drop((upstreams, cluster));
        tokio::time::sleep(state::with_jitter(wait, &check, fastrand::f64())).await;
    }
}
