//! Which endpoints may be chosen just now.
//!
//! Priority 0 takes all requests while enough of it is in: as in Envoy, its share is its healthy percentage times the
//! overprovisioning factor (1.4), and what is missing to 100 goes to the next priority
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority>). When all
//! together are not enough, a priority with fewer healthy endpoints than the panic threshold uses all it has, whatever
//! their health (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/panic_threshold>).
//! Istio sets that threshold to 0: there, a request that finds nobody gets 503 (UH).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use weft_model::endpoint::{Endpoint, EndpointSet, LocalityEndpoints};
use weft_model::load_balancing::{Balancing, LoadBalancing, LocalityBalancing};

use super::EndpointState;
use super::hash_table::{HashTable, Keyed, key_of};

/// Keeps weights that are parts of a whole apart.
const SCALE: f64 = 1_000_000.0;
/// While endpoints start slowly their weights are looked at this often in the time that it takes, and no more often
/// than every [`SLOW_START_PAUSE`].
const SLOW_START_STEPS: u32 = 50;
const SLOW_START_PAUSE: Duration = Duration::from_millis(100);

/// What a rotation is built by.
pub(super) struct Rules<'a> {
    pub(super) algorithm: LoadBalancing,
    pub(super) balancing: &'a Balancing,
    pub(super) states: &'a HashMap<SocketAddr, Rc<EndpointState>>,
    pub(super) now: Instant,
}

/// The endpoints that may be chosen, by priority.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    /// Best priority first; shares sum up to 100. Those without a share are for retries that leave others out.
    tiers: Vec<Tier>,
    /// When it has to be built anew: the earliest ejection or refusal runs out, or a slow start goes on.
    pub(super) until: Option<Instant>,
}

/// What may be chosen of one priority.
#[derive(Debug, Default)]
pub(super) struct Tier {
    share: u32,
    /// Empty only where a panic lets requests fail.
    pub(super) members: Vec<Member>,
    /// Of all members.
    pub(super) total_weight: u64,
    /// All weights are the same.
    pub(super) equal: bool,
    /// Where round robin stands.
    pub(super) cursor: usize,
    /// For algorithms that hash.
    pub(super) table: Option<HashTable>,
}

/// One that may be chosen.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) state: Rc<EndpointState>,
    /// At least 1.
    pub(super) weight: u64,
}

/// One priority while shares are worked out.
struct Priority<'a> {
    localities: Vec<&'a LocalityEndpoints>,
    total: usize,
    healthy: usize,
    /// Healthy percentage times the overprovisioning factor, at most 100.
    health: u32,
    panics: bool,
    share: u32,
}

impl Rotation {
    /// Of the endpoints of a set that are wanted.
    pub(super) fn build(
        set: Option<&EndpointSet>,
        rules: &Rules<'_>,
        wanted: &dyn Fn(&Endpoint) -> bool,
    ) -> Self {
        let Some(set) = set else { return Self::default() };
        let mut priorities = count(set, rules, wanted);
        share(&mut priorities, rules.balancing.panic_threshold);
        let mut rotation = Self::default();
        for priority in &priorities {
            let members = rotation.members_of(priority, set.policy.overprovisioning_factor, rules, wanted);
            if members.is_empty() && !priority.panics {
                continue;
            }
            rotation.tiers.push(Tier { share: priority.share, ..Tier::new(members, rules) });
        }
        rotation
    }

    fn members_of(
        &mut self,
        priority: &Priority<'_>,
        overprovisioning: u32,
        rules: &Rules<'_>,
        wanted: &dyn Fn(&Endpoint) -> bool,
    ) -> Vec<Member> {
        let now = rules.now;
        let in_priority = || priority.localities.iter().flat_map(|locality| &locality.endpoints);
        let states = || in_priority().filter(|e| wanted(e)).filter_map(|e| rules.states.get(&e.address));
        let ends = states().flat_map(|state| [state.outlier.ejected_until(now), state.refused_until(now)]);
        let grows = rules.balancing.slow_start.and_then(|slow| {
            let step = (slow.window / SLOW_START_STEPS).max(SLOW_START_PAUSE);
            states()
                .any(|state| now.saturating_duration_since(state.since()) < slow.window)
                .then(|| now + step)
        });
        self.until = ends.flatten().chain(grows).chain(self.until).min();
        if priority.panics {
            let fails =
                rules.balancing.locality == LocalityBalancing::ZoneAware { fail_traffic_on_panic: true };
            let all = states().map(|state| Member { state: state.clone(), weight: own_weight(state, rules) });
            return if fails { Vec::new() } else { all.collect() };
        }
        let members = weigh(&priority.localities, overprovisioning, rules, wanted);
        // One that refused connections is the last choice, not excluded: it may be back.
        let (working, refusing): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|member| member.state.refused_until(now).is_none());
        if working.is_empty() { refusing } else { working }
    }

    /// The priority that the next request goes to: by its hash if it has one, else by chance.
    pub(super) fn tier(&mut self, hash: Option<u64>) -> Option<&mut Tier> {
        if self.tiers.first().is_none_or(|first| first.share == 100) {
            return self.tiers.first_mut();
        }
        let mut rest = match hash {
            Some(hash) => (hash % 100) as u32,
            None => fastrand::u32(0..100),
        };
        let at = self.tiers.iter().position(|tier| match rest.checked_sub(tier.share) {
            Some(less) => {
                rest = less;
                false
            }
            None => true,
        });
        self.tiers.get_mut(at.unwrap_or(0))
    }

    /// The best priority none of whose endpoints is among `tried`; none when all have one.
    pub(super) fn untried_tier(&mut self, tried: &[SocketAddr]) -> Option<&mut Tier> {
        self.tiers.iter_mut().find(|tier| {
            !tier.members.is_empty()
                && !tier.members.iter().any(|member| tried.contains(&member.state.address()))
        })
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Rc<EndpointState>> {
        let used = self.tiers.iter().filter(|tier| tier.share > 0);
        used.flat_map(|tier| &tier.members).map(|member| &member.state)
    }
}

/// The priorities in order, with what is healthy of each.
fn count<'a>(
    set: &'a EndpointSet,
    rules: &Rules<'_>,
    wanted: &dyn Fn(&Endpoint) -> bool,
) -> Vec<Priority<'a>> {
    let mut numbers: Vec<u32> = set.localities.iter().map(|locality| locality.priority).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let factor = u64::from(set.policy.overprovisioning_factor);
    let of = |number: u32| {
        let localities: Vec<_> = set.localities.iter().filter(|l| l.priority == number).collect();
        let endpoints = localities.iter().flat_map(|locality| &locality.endpoints).filter(|e| wanted(e));
        let (mut total, mut healthy) = (0, 0);
        for state in endpoints.filter_map(|endpoint| rules.states.get(&endpoint.address)) {
            total += 1;
            healthy += usize::from(is_in(state, rules.now));
        }
        let health = (healthy as u64 * factor / (total as u64).max(1)).min(100) as u32;
        // One of very many is little, but not nothing.
        let health = if healthy > 0 { health.max(1) } else { 0 };
        Priority { localities, total, healthy, health, panics: false, share: 0 }
    };
    numbers.into_iter().map(of).collect()
}

fn is_in(state: &EndpointState, now: Instant) -> bool {
    state.takes_requests() && !state.outlier.is_ejected(now)
}

/// Divides 100 percent among the priorities, and finds those that panic.
fn share(priorities: &mut [Priority<'_>], panic_threshold: f64) {
    let available = priorities.iter().map(|priority| priority.health).sum::<u32>().min(100);
    if available < 100 && panic_threshold > 0.0 {
        for priority in &mut *priorities {
            let healthy = 100.0 * priority.healthy as f64 / (priority.total as f64).max(1.0);
            priority.panics = healthy < panic_threshold;
        }
    }
    let mut left = 100;
    if !priorities.is_empty() && priorities.iter().all(|priority| priority.panics) {
        let all: usize = priorities.iter().map(|priority| priority.total).sum();
        for priority in &mut *priorities {
            priority.share = (100 * priority.total / all.max(1)) as u32;
            left -= priority.share;
        }
    } else {
        for priority in &mut *priorities {
            let Some(part) = (priority.health * 100).checked_div(available) else { return };
            priority.share = left.min(part);
            left -= priority.share;
        }
    }
    // What rounding has left over.
    if let Some(first) = priorities.iter_mut().find(|priority| priority.share > 0) {
        first.share += left;
    }
}

impl Tier {
    fn new(members: Vec<Member>, rules: &Rules<'_>) -> Self {
        let total_weight = members.iter().map(|member| member.weight).sum();
        let equal = members.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        // So that workers and restarts do not all begin with the same endpoint.
        let cursor = if members.is_empty() { 0 } else { fastrand::usize(..members.len()) };
        let table = rules.algorithm.hashes().then(|| {
            let key = |member: &Member| Keyed {
                key: key_of(&member.state.endpoint(), rules.balancing.hash_by_hostname),
                weight: member.weight,
            };
            HashTable::new(rules.algorithm, &members.iter().map(key).collect::<Vec<_>>())
        });
        Self { share: 0, members, total_weight, equal, cursor, table: table.flatten() }
    }
}

/// An endpoint's own weight; in parts while it starts slowly.
fn own_weight(state: &EndpointState, rules: &Rules<'_>) -> u64 {
    let weight = u64::from(state.endpoint().weight.max(1));
    match rules.balancing.slow_start {
        None => weight,
        Some(slow) => {
            let age = rules.now.saturating_duration_since(state.since());
            ((weight as f64 * slow.factor(age) * 1_000.0) as u64).max(1)
        }
    }
}

/// Weighs each healthy endpoint by its own weight, and by its locality's where those count. A locality gets less than
/// its share when too little of it is healthy, and nothing when it has no weight but others have
/// (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/locality_weight>).
fn weigh(
    localities: &[&LocalityEndpoints],
    overprovisioning: u32,
    rules: &Rules<'_>,
    wanted: &dyn Fn(&Endpoint) -> bool,
) -> Vec<Member> {
    let by_locality = rules.balancing.locality == LocalityBalancing::Weighted
        && localities.iter().any(|locality| locality.weight > 0);
    let mut members = Vec::new();
    for locality in localities {
        let of = |endpoint: &_| rules.states.get(endpoint).cloned();
        let states: Vec<_> =
            locality.endpoints.iter().filter(|e| wanted(e)).filter_map(|e| of(&e.address)).collect();
        let total = states.len();
        let healthy: Vec<_> = states.into_iter().filter(|state| is_in(state, rules.now)).collect();
        let own: Vec<u64> = healthy.iter().map(|state| own_weight(state, rules)).collect();
        let sum = own.iter().sum::<u64>().max(1) as f64;
        let whole = f64::from(overprovisioning) / 100.0 * healthy.len() as f64 / (total as f64).max(1.0);
        let effective = f64::from(locality.weight) * whole.min(1.0);
        if by_locality && locality.weight == 0 {
            continue;
        }
        members.extend(healthy.into_iter().zip(own).map(|(state, own)| {
            let weight =
                if by_locality { ((effective * own as f64 / sum * SCALE) as u64).max(1) } else { own };
            Member { state, weight }
        }));
    }
    members
}
