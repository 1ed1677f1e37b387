//! Which endpoints may be chosen just now.
//!
//! Priority 0 takes all requests while enough of it is in: as in Envoy, its share is its healthy percentage times
//! 1.4, and what is missing to 100 goes to the next priority
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority>).
//! There is no panic routing: Istio sets the threshold to 0, and a request that finds nobody gets 503 (UH).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::time::Instant;
use weft_model::cluster::OutlierDetection;
use weft_model::endpoint::{EndpointSet, LocalityEndpoints};

use super::EndpointState;

/// Envoy's over-provisioning factor, in percent.
const OVER_PROVISIONING: u64 = 140;

/// The endpoints that may be chosen, by priority.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    /// Those with a share, best priority first; shares sum up to 100.
    tiers: Vec<Tier>,
    /// When the earliest ejection or refusal runs out.
    pub(super) until: Option<Instant>,
}

/// What may be chosen of one priority.
#[derive(Debug, Default)]
pub(super) struct Tier {
    share: u32,
    /// Not empty.
    pub(super) members: Vec<Member>,
    /// Of all members.
    pub(super) total_weight: u64,
    /// All weights are the same.
    pub(super) equal: bool,
    /// Where round robin stands.
    pub(super) cursor: usize,
}

/// One that may be chosen.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) state: Rc<EndpointState>,
    /// At least 1.
    pub(super) weight: u64,
}

impl Rotation {
    pub(super) fn build(
        set: Option<&EndpointSet>,
        states: &HashMap<SocketAddr, Rc<EndpointState>>,
        outlier_detection: Option<OutlierDetection>,
        now: Instant,
    ) -> Self {
        let Some(set) = set else { return Self::default() };
        let mut priorities: Vec<u32> = set.localities.iter().map(|locality| locality.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let mut rotation = Self::default();
        let mut left = 100;
        let mut healthy_sum = 0;
        for priority in priorities {
            let localities: Vec<_> = set.localities.iter().filter(|l| l.priority == priority).collect();
            let (tier, health) = rotation.tier_of(&localities, states, outlier_detection, now);
            if tier.members.is_empty() {
                continue;
            }
            healthy_sum += health;
            let share = left.min(health);
            left -= share;
            if share > 0 {
                rotation.tiers.push(Tier { share, ..tier });
            }
        }
        rotation.normalize(healthy_sum);
        rotation
    }

    /// When all priorities together have too little, they share all in proportion to what they have.
    fn normalize(&mut self, healthy_sum: u32) {
        let given: u32 = self.tiers.iter().map(|tier| tier.share).sum();
        if given == 100 || healthy_sum == 0 {
            return;
        }
        let mut rest = 100;
        for tier in &mut self.tiers {
            tier.share = tier.share * 100 / given.max(1);
            rest -= tier.share;
        }
        if let Some(first) = self.tiers.first_mut() {
            first.share += rest;
        }
    }

    /// One priority's members, and its healthy share times the over-provisioning factor, at most 100.
    fn tier_of(
        &mut self,
        localities: &[&LocalityEndpoints],
        states: &HashMap<SocketAddr, Rc<EndpointState>>,
        outlier_detection: Option<OutlierDetection>,
        now: Instant,
    ) -> (Tier, u32) {
        let total: usize = localities.iter().map(|locality| locality.endpoints.len()).sum();
        let weighted = weigh(localities, states);
        let healthy: Vec<_> = weighted.into_iter().filter(|member| member.state.takes_requests()).collect();
        let ejected = |member: &Member| member.state.outlier.ejected_until(now);
        let refused = |member: &Member| member.state.refused_until(now);
        let ends = healthy.iter().flat_map(|member| [ejected(member), refused(member)]).flatten();
        self.until = ends.chain(self.until).min();
        let count_in = healthy.iter().filter(|member| ejected(member).is_none()).count();
        let floor = outlier_detection.map_or(0, |policy| policy.min_health_percent as usize);
        let ignore_ejections = floor > 0 && count_in * 100 < floor * total;
        let members: Vec<_> =
            healthy.into_iter().filter(|member| ignore_ejections || ejected(member).is_none()).collect();
        let health = (members.len() as u64 * OVER_PROVISIONING / total.max(1) as u64).min(100) as u32;
        // One that refused connections is the last choice, not excluded: it may be back.
        let (working, refusing): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|member| refused(member).is_none());
        (Tier::new(if working.is_empty() { refusing } else { working }), health.max(1))
    }

    /// The priority that the next request goes to.
    pub(super) fn tier(&mut self) -> Option<&mut Tier> {
        if self.tiers.len() < 2 {
            return self.tiers.first_mut();
        }
        let mut rest = fastrand::u32(0..100);
        let at = self.tiers.iter().position(|tier| match rest.checked_sub(tier.share) {
            Some(less) => {
                rest = less;
                false
            }
            None => true,
        });
        self.tiers.get_mut(at.unwrap_or(0))
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Rc<EndpointState>> {
        self.tiers.iter().flat_map(|tier| &tier.members).map(|member| &member.state)
    }
}

impl Tier {
    fn new(members: Vec<Member>) -> Self {
        let total_weight = members.iter().map(|member| member.weight).sum();
        let equal = members.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        // So that workers and restarts do not all begin with the same endpoint.
        let cursor = if members.is_empty() { 0 } else { fastrand::usize(..members.len()) };
        Self { share: 0, members, total_weight, equal, cursor }
    }
}

/// Weighs each endpoint by its own weight and its locality's. When no locality has a weight the endpoints alone
/// count, as in Envoy without locality weights.
fn weigh(localities: &[&LocalityEndpoints], states: &HashMap<SocketAddr, Rc<EndpointState>>) -> Vec<Member> {
    const SCALE: u64 = 1_000;
    let by_locality = localities.len() > 1 && localities.iter().any(|locality| locality.weight > 0);
    let mut members = Vec::new();
    for locality in localities {
        let sum: u64 = locality.endpoints.iter().map(|endpoint| u64::from(endpoint.weight.max(1))).sum();
        for endpoint in &locality.endpoints {
            let own = u64::from(endpoint.weight.max(1));
            let weight = if by_locality {
                (own * u64::from(locality.weight.max(1)) * SCALE / sum.max(1)).max(1)
            } else {
                own
            };
            members
                .extend(states.get(&endpoint.address).map(|state| Member { state: state.clone(), weight }));
        }
    }
    members
}
