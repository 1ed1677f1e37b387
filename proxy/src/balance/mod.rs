//! Choose the endpoint.
//!
//! One [`LoadBalancer`] a cluster and worker. It keeps a *rotation*: the endpoints that may be chosen just now, by
//! priority, and so for each subset of them. A rotation is built anew only when something changed (endpoints, an ejection, a refusal) or when one
//! of those runs out, so that choosing costs the same for three endpoints and for three thousand.
//!
//! - `endpoint`: what a worker knows of one endpoint
//! - `rotation`, `groups`: which endpoints may be chosen: priorities, localities, panic; subsets
//! - `round_robin`, `random`, `least_request`, `peak_ewma`: which one is
//! - `hash_table`, `ring_hash`, `maglev`: which one is, by a request's hash
//! - `outlier`: when an endpoint is left out for a while

mod endpoint;
mod groups;
mod hash_table;
mod least_request;
mod maglev;
mod outlier;
mod peak_ewma;
mod random;
mod ring_hash;
mod rotation;
mod round_robin;

pub use endpoint::{ActiveGuard, EndpointState};
pub use outlier::Outcome;

use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weft_model::cluster::{LoadBalancing, OutlierDetection};
use weft_model::endpoint::{Endpoint, EndpointSet};
use weft_model::load_balancing::Balancing;
use weft_model::policy::RetryPolicy;
use weft_model::subset::{LbMetadata, MetadataValue};

use groups::Groups;
use rotation::{Rotation, Rules};

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "policy_tests.rs"]
mod policy_tests;

/// Endpoints that a request has tried: few, so a list is the fastest set.
pub type Tried = [SocketAddr];

/// How many draws may hit an endpoint that was tried, before the others are looked through; Envoy's
/// `host_selection_retry_max_attempts` of Istio.
const DRAWS: u32 = 5;

/// What an endpoint is wanted for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pick<'a> {
    /// Endpoints that the request has tried: others are preferred.
    pub tried: &'a Tried,
    /// The request's hash, for algorithms that choose by it.
    pub hash: Option<u64>,
    /// What the endpoint must have, in clusters with subsets.
    pub metadata_match: Option<&'a LbMetadata>,
    /// Of a retry: which endpoints and priorities it avoids.
    pub retry: Option<&'a RetryPolicy>,
    /// Attempts before this one.
    pub attempts: u32,
}

impl<'a> Pick<'a> {
    /// Any endpoint but those that were tried.
    #[must_use]
    pub fn avoiding(tried: &'a Tried) -> Self {
        Self { tried, ..Self::default() }
    }

    /// Whether another endpoint would be better.
    fn avoids(&self, state: &EndpointState) -> bool {
        if self.tried.contains(&state.address()) {
            return true;
        }
        let Some(retry) = self.retry else { return false };
        if !retry.omit_canary_hosts && retry.omit_host_metadata.is_empty() {
            return false;
        }
        let endpoint = state.endpoint();
        (retry.omit_canary_hosts && endpoint.metadata.value("canary") == Some(&MetadataValue::Flag(true)))
            || (!retry.omit_host_metadata.is_empty() && endpoint.metadata.has(&retry.omit_host_metadata))
    }

    /// Addresses whose priorities are left out: of the attempts up to the last multiple of the update frequency.
    fn left_priorities(&self) -> &'a Tried {
        let Some(frequency) = self.retry.and_then(|retry| retry.previous_priorities) else { return &[] };
        let counted = self.tried.len() as u32 / frequency.max(1) * frequency;
        self.tried.get(..counted as usize).unwrap_or_default()
    }

    /// The hash of the `draw`th draw: a retry goes elsewhere, as in Envoy.
    fn hash_of(&self, draw: u32) -> Option<u64> {
        let attempt = u64::from(self.attempts) + u64::from(draw);
        let change = if attempt == 0 { 0 } else { (u64::MAX - attempt).wrapping_add(1) };
        self.hash.map(|hash| hash ^ change)
    }
}

/// Chooses among the endpoints of one cluster.
#[derive(Debug)]
pub struct LoadBalancer {
    algorithm: LoadBalancing,
    balancing: Balancing,
    outlier_detection: Option<OutlierDetection>,
    endpoints: HashMap<SocketAddr, Rc<EndpointState>>,
    set: Option<Arc<EndpointSet>>,
    groups: Groups,
    /// Requests under way at all endpoints.
    active: Rc<Cell<u32>>,
    /// When rates are looked at next.
    rates_due: Option<Instant>,
}

impl LoadBalancer {
    /// A balancer without endpoints.
    #[must_use]
    pub fn new(
        algorithm: LoadBalancing,
        balancing: Balancing,
        outlier_detection: Option<OutlierDetection>,
    ) -> Self {
        let mut groups = Groups::default();
        groups.change();
        Self {
            algorithm,
            balancing,
            outlier_detection,
            endpoints: HashMap::new(),
            set: None,
            groups,
            active: Rc::default(),
            rates_due: None,
        }
    }

    /// Changes how it chooses; what it knows of the endpoints stays.
    pub fn configure(
        &mut self,
        algorithm: LoadBalancing,
        balancing: &Balancing,
        outlier_detection: Option<OutlierDetection>,
    ) {
        self.algorithm = algorithm;
        self.balancing = balancing.clone();
        self.outlier_detection = outlier_detection;
        self.groups.regroup(self.set.as_deref(), self.balancing.subsets.as_ref());
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
                None => EndpointState::new(endpoint.clone(), self.active.clone()),
            };
            self.endpoints.insert(endpoint.address, state);
        }
        self.set = Some(set.clone());
        self.groups.regroup(self.set.as_deref(), self.balancing.subsets.as_ref());
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
        let state = EndpointState::new(Arc::new(make()), self.active.clone());
        self.endpoints.insert(address, state.clone());
        state
    }

    /// The endpoint at an address, whatever its state: the client has chosen it.
    #[must_use]
    pub fn endpoint(&self, address: SocketAddr) -> Option<Rc<EndpointState>> {
        self.endpoints.get(&address).cloned()
    }

    /// Chooses one that takes requests, not one that is to be avoided while there are others; none when there is none
    /// at all.
    pub fn choose(&mut self, pick: &Pick<'_>, now: Instant) -> Option<Rc<EndpointState>> {
        let rules =
            Rules { algorithm: self.algorithm, balancing: &self.balancing, states: &self.endpoints, now };
        let rotation = self.groups.rotation(self.set.as_deref(), &rules, pick.metadata_match)?;
        let factor = self.balancing.hash_balance_factor;
        let draw = Draw { algorithm: self.algorithm, factor, active: self.active.get(), now };
        let first = draw.from(rotation, pick, 0)?;
        if !pick.avoids(&first) {
            return Some(first);
        }
        for number in 1..DRAWS {
            let other = draw.from(rotation, pick, number)?;
            if !pick.avoids(&other) {
                return Some(other);
            }
        }
        let better = rotation.members().find(|state| !pick.avoids(state));
        let untried = || rotation.members().find(|state| !pick.tried.contains(&state.address()));
        Some(better.or_else(untried).cloned().unwrap_or(first))
    }

    /// Whether a request that has `tried` some endpoints can go to another that takes requests.
    #[must_use]
    pub fn has_another(&self, tried: impl Fn(SocketAddr) -> bool) -> bool {
        self.groups.all().members().any(|state| !tried(state.address()))
    }

    /// The category of a request that is refused on purpose, by the load assignment; none: it may go on.
    #[must_use]
    pub fn drops(&self) -> Option<Arc<str>> {
        let overloads = &self.set.as_ref()?.policy.drop_overloads;
        let dropped = overloads.iter().find(|(_, share)| share.includes(fastrand::u32(..)));
        dropped.map(|(category, _)| category.clone())
    }

    /// Learns how long an answer took.
    pub fn observe(&self, endpoint: &EndpointState, latency: Duration, now: Instant) {
        if let LoadBalancing::PeakEwma(policy) = &self.algorithm {
            endpoint.latency.observe(latency, policy, now);
        }
    }

    /// Learns what active checks say of each endpoint; none: it is not asked.
    pub fn checked(&mut self, healthy: impl Fn(&Endpoint) -> Option<bool>, now: Instant) {
        let changes = self.endpoints.values().filter(|state| state.check(healthy(&state.endpoint()), now));
        if changes.count() > 0 {
            self.groups.change();
        }
    }

    /// Learns how a request or a connection went.
    pub fn report(&mut self, endpoint: &EndpointState, outcome: Outcome, now: Instant) {
        if outcome == Outcome::ConnectFailed {
            self.avoid(endpoint, now);
        }
        let Some(policy) = self.outlier_detection else { return };
        if let Some(reason) = endpoint.outlier.count(outcome, &policy)
            && !endpoint.outlier.is_ejected(now)
            && outlier::is_enforced(reason.chance)
        {
            self.eject(endpoint, &policy, reason.words, now);
        }
        if policy.success_rate.is_some() || policy.failure_percentage.is_some() {
            self.look_at_rates(&policy, now);
        }
    }

    /// Looks at the rates of an interval when it is over. No timer does it, so that it is the next outcome that does.
    fn look_at_rates(&mut self, policy: &OutlierDetection, now: Instant) {
        let due = *self.rates_due.get_or_insert(now + policy.interval);
        if due > now {
            return;
        }
        self.rates_due = Some(now + policy.interval);
        let outliers = outlier::outliers(self.endpoints.values(), policy, now);
        for (state, reason) in outliers {
            if !state.outlier.is_ejected(now) && outlier::is_enforced(reason.chance) {
                self.eject(&state, policy, reason.words, now);
            }
        }
    }

    fn eject(&mut self, endpoint: &EndpointState, policy: &OutlierDetection, why: &str, now: Instant) {
        let ejected = self.endpoints.values().filter(|state| state.outlier.is_ejected(now)).count();
        if outlier::may_eject(policy, ejected, self.endpoints.len()) {
            endpoint.outlier.eject(policy, now);
            self.groups.change();
            tracing::info!(endpoint = %endpoint.address(), "endpoint ejected: {why}");
        }
    }

    /// An endpoint refused work: it is the last choice for half a second, longer with each further refusal.
    pub fn avoid(&mut self, endpoint: &EndpointState, now: Instant) {
        endpoint.refused(now);
        self.groups.change();
    }

    /// A connection to an endpoint works: earlier refusals are forgotten.
    pub fn forgive(&mut self, endpoint: &EndpointState) {
        if endpoint.forgive() {
            self.groups.change();
        }
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

/// How one endpoint is drawn.
struct Draw {
    algorithm: LoadBalancing,
    factor: Option<u32>,
    /// Requests under way at the whole cluster.
    active: u32,
    now: Instant,
}

impl Draw {
    fn from(&self, rotation: &mut Rotation, pick: &Pick<'_>, number: u32) -> Option<Rc<EndpointState>> {
        let hash = if self.algorithm.hashes() {
            Some(pick.hash_of(number).unwrap_or_else(|| fastrand::u64(..)))
        } else {
            None
        };
        let left = pick.left_priorities();
        let elsewhere = !left.is_empty() && rotation.untried_tier(left).is_some();
        let tier = if elsewhere { rotation.untried_tier(left)? } else { rotation.tier(hash)? };
        if tier.members.is_empty() {
            return None;
        }
        let at = match &self.algorithm {
            LoadBalancing::RoundRobin => round_robin::choose(tier),
            LoadBalancing::Random => random::choose(tier),
            LoadBalancing::LeastRequest(least) => least_request::choose(tier, least),
            LoadBalancing::PeakEwma(policy) => peak_ewma::choose(tier, policy, self.now),
            LoadBalancing::RingHash(_) | LoadBalancing::Maglev(_) => {
                hash_table::choose(tier, hash.unwrap_or(0), self.factor, self.active)
            }
        };
        tier.members.get(at).map(|member| member.state.clone())
    }
}
