//! Choose the endpoint.
//!
//! One [`LoadBalancer`] a cluster and worker. It keeps a *rotation*: the endpoints that may be chosen just now, by
//! priority. The rotation is built anew only when something changed (endpoints, an ejection, a refusal) or when one
//! of those runs out, so that choosing costs the same for three endpoints and for three thousand.
//!
//! - `endpoint`: what a worker knows of one endpoint
//! - `rotation`: which endpoints may be chosen, priorities and localities
//! - `round_robin`, `random`, `least_request`: which one is
//! - `outlier`: when an endpoint is left out for a while

mod endpoint;
mod least_request;
mod outlier;
mod random;
mod rotation;
mod round_robin;

pub use endpoint::{ActiveGuard, EndpointState};
pub use outlier::Outcome;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;
use weft_model::cluster::{LoadBalancing, OutlierDetection};
use weft_model::endpoint::{Endpoint, EndpointSet};

use rotation::Rotation;

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;

/// Endpoints that a request has tried: few, so a list is the fastest set.
pub type Tried = [SocketAddr];

/// How many draws may hit an endpoint that was tried, before the others are looked through; Envoy's
/// `host_selection_retry_max_attempts` of Istio.
const DRAWS: usize = 5;

/// Chooses among the endpoints of one cluster.
#[derive(Debug)]
pub struct LoadBalancer {
    algorithm: LoadBalancing,
    outlier_detection: Option<OutlierDetection>,
    endpoints: HashMap<SocketAddr, Rc<EndpointState>>,
    set: Option<Arc<EndpointSet>>,
    rotation: Rotation,
    dirty: bool,
}

impl LoadBalancer {
    /// A balancer without endpoints.
    #[must_use]
    pub fn new(algorithm: LoadBalancing, outlier_detection: Option<OutlierDetection>) -> Self {
        Self {
            algorithm,
            outlier_detection,
            endpoints: HashMap::new(),
            set: None,
            rotation: Rotation::default(),
            dirty: true,
        }
    }

    /// Changes how it chooses; what it knows of the endpoints stays.
    pub fn configure(&mut self, algorithm: LoadBalancing, outlier_detection: Option<OutlierDetection>) {
        self.algorithm = algorithm;
        self.outlier_detection = outlier_detection;
        self.dirty = true;
    }

    /// Takes another set of endpoints. Those that stay keep their counters, connections and ejections. Gives the ones
    /// that went.
    pub fn update(&mut self, set: &Arc<EndpointSet>) -> Vec<Rc<EndpointState>> {
        if self.set.as_ref().is_some_and(|old| Arc::ptr_eq(old, set) || old == set) {
            return Vec::new();
        }
        let mut gone = std::mem::take(&mut self.endpoints);
        for endpoint in set.endpoints() {
            if self.endpoints.contains_key(&endpoint.address) {
                continue;
            }
            let state = match gone.remove(&endpoint.address) {
                Some(state) => {
                    state.replace(endpoint);
                    state
                }
                None => EndpointState::new(endpoint.clone()),
            };
            self.endpoints.insert(endpoint.address, state);
        }
        self.set = Some(set.clone());
        self.dirty = true;
        gone.into_values().collect()
    }

    /// The state of an address that no set names: an original destination.
    pub fn adopt(&mut self, address: SocketAddr, make: impl FnOnce() -> Endpoint) -> Rc<EndpointState> {
        const REMEMBERED: usize = 256;
        if let Some(state) = self.endpoints.get(&address) {
            return state.clone();
        }
        if self.endpoints.len() >= REMEMBERED {
            self.endpoints.retain(|_, state| state.is_used());
        }
        let state = EndpointState::new(Arc::new(make()));
        self.endpoints.insert(address, state.clone());
        state
    }

    /// The endpoint at an address, whatever its state: the client has chosen it.
    #[must_use]
    pub fn endpoint(&self, address: SocketAddr) -> Option<Rc<EndpointState>> {
        self.endpoints.get(&address).cloned()
    }

    /// Chooses one that takes requests, not one of `tried` while there are others; none when there is none at all.
    pub fn choose(&mut self, tried: &Tried, now: Instant) -> Option<Rc<EndpointState>> {
        if self.dirty || self.rotation.until.is_some_and(|until| until <= now) {
            self.rotation =
                Rotation::build(self.set.as_deref(), &self.endpoints, self.outlier_detection, now);
            self.dirty = false;
        }
        let first = self.draw()?;
        if tried.is_empty() || !tried.contains(&first.address()) {
            return Some(first);
        }
        for _ in 1..DRAWS {
            let other = self.draw()?;
            if !tried.contains(&other.address()) {
                return Some(other);
            }
        }
        let untried = self.rotation.members().find(|state| !tried.contains(&state.address()));
        Some(untried.cloned().unwrap_or(first))
    }

    /// Whether a request that has `tried` some endpoints can go to another that takes requests.
    #[must_use]
    pub fn has_another(&self, tried: impl Fn(SocketAddr) -> bool) -> bool {
        self.rotation.members().any(|state| !tried(state.address()))
    }

    fn draw(&mut self) -> Option<Rc<EndpointState>> {
        let tier = self.rotation.tier()?;
        let at = match self.algorithm {
            LoadBalancing::RoundRobin => round_robin::choose(tier),
            LoadBalancing::Random => random::choose(tier),
            LoadBalancing::LeastRequest => least_request::choose(tier),
        };
        tier.members.get(at).map(|member| member.state.clone())
    }

    /// Learns how a request or a connection went.
    pub fn report(&mut self, endpoint: &EndpointState, outcome: Outcome, now: Instant) {
        if outcome == Outcome::ConnectFailed {
            self.avoid(endpoint, now);
        }
        let Some(policy) = self.outlier_detection else { return };
        if !endpoint.outlier.count(outcome, &policy) || endpoint.outlier.is_ejected(now) {
            return;
        }
        let ejected = self.endpoints.values().filter(|state| state.outlier.is_ejected(now)).count();
        if outlier::may_eject(&policy, ejected, self.endpoints.len()) {
            endpoint.outlier.eject(&policy, now);
            self.dirty = true;
            tracing::info!(endpoint = %endpoint.address(), "endpoint ejected: too many failures in a row");
        }
    }

    /// An endpoint refused work: it is the last choice for half a second, longer with each further refusal.
    pub fn avoid(&mut self, endpoint: &EndpointState, now: Instant) {
        endpoint.refused(now);
        self.dirty = true;
    }

    /// A connection to an endpoint works: earlier refusals are forgotten.
    pub fn forgive(&mut self, endpoint: &EndpointState) {
        self.dirty |= endpoint.forgive();
    }

    /// All endpoints, in no order.
    pub fn endpoints(&self) -> impl Iterator<Item = &Rc<EndpointState>> {
        self.endpoints.values()
    }

    /// Number of endpoints.
    #[must_use]
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }
}
