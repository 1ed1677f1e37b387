//! How an endpoint of a cluster is chosen, as Envoy configures it
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/overview>).

use std::time::Duration;

use crate::hash::HashFunction;
use crate::subset::Subsets;

/// Which endpoint is chosen.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum LoadBalancing {
    /// One after the other, by weight.
    RoundRobin,
    /// Any, by weight.
    Random,
    /// The one with fewer requests under way, of some drawn at random.
    LeastRequest(LeastRequest),
    /// The one that follows the request's hash on a ring; a request without a hash goes anywhere.
    RingHash(RingHash),
    /// The one at the place of the request's hash in a table; a request without a hash goes anywhere.
    Maglev(Maglev),
    /// The one whose recent latency times requests under way is less, of two drawn at random.
    PeakEwma(PeakEwma),
}

impl LoadBalancing {
    /// Of two drawn at random: Envoy's least request by default, and Istio's default.
    pub const LEAST_REQUEST: Self = Self::LeastRequest(LeastRequest::DEFAULT);

    /// Whether it needs a request's hash.
    #[must_use]
    pub fn hashes(&self) -> bool {
        matches!(self, Self::RingHash(_) | Self::Maglev(_))
    }
}

/// Least request, see
/// <https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/load_balancing_policies/least_request/v3/least_request.proto>.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LeastRequest {
    /// How many are drawn when all weights are equal; at least 2.
    pub choice_count: u32,
    /// With unequal weights a weight is divided by (requests under way + 1) to the power of this; 0 or more.
    pub active_request_bias: f64,
    /// All are compared instead of some.
    pub full_scan: bool,
}

impl LeastRequest {
    /// Envoy's default.
    pub const DEFAULT: Self = Self { choice_count: 2, active_request_bias: 1.0, full_scan: false };
}

/// A hash ring (Ketama), see
/// <https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/load_balancing_policies/ring_hash/v3/ring_hash.proto>.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingHash {
    /// Places of endpoints on the ring are found by it.
    pub function: HashFunction,
    /// Fewest places, 1..=8,388,608.
    pub minimum_size: u64,
    /// Most places, no less than the fewest, up to 8,388,608.
    pub maximum_size: u64,
}

impl RingHash {
    /// Envoy's bound on both sizes.
    pub const MOST: u64 = 8_388_608;
}

impl Default for RingHash {
    /// Envoy's.
    fn default() -> Self {
        Self { function: HashFunction::XxHash, minimum_size: 1024, maximum_size: Self::MOST }
    }
}

/// A Maglev table, see
/// <https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/load_balancing_policies/maglev/v3/maglev.proto>.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Maglev {
    /// Places of the table: a prime, 2..=5,000,011.
    pub table_size: u64,
}

impl Maglev {
    /// Envoy's bound.
    pub const MOST: u64 = 5_000_011;
}

impl Default for Maglev {
    /// Envoy's.
    fn default() -> Self {
        Self { table_size: 65_537 }
    }
}

/// Peak exponentially weighted moving average of latency, as Finagle and Linkerd know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeakEwma {
    /// After so long an observation counts 1/e of what it did; more than 0.
    pub decay_time: Duration,
    /// What is assumed of an endpoint that nothing is known of.
    pub default_rtt: Duration,
}

impl Default for PeakEwma {
    /// Linkerd's.
    fn default() -> Self {
        Self { decay_time: Duration::from_secs(10), default_rtt: Duration::from_millis(30) }
    }
}

/// What holds for all ways of choosing.
#[derive(Clone, PartialEq, Debug)]
pub struct Balancing {
    /// New endpoints get less at first; for round robin and least request.
    pub slow_start: Option<SlowStart>,
    /// What the weights of localities mean.
    pub locality: LocalityBalancing,
    /// With fewer percent of a priority's endpoints healthy all of them are used, whatever their health; 0..=100, 0:
    /// never. Envoy's default is 50, Istio's 0.
    pub panic_threshold: f64,
    /// Of hash tables: an endpoint is known by its host name instead of its address.
    pub hash_by_hostname: bool,
    /// Of hash tables: no endpoint has more requests under way than this percentage of the mean; at least 100.
    pub hash_balance_factor: Option<u32>,
    /// Endpoints are also grouped by their metadata.
    pub subsets: Option<Subsets>,
}

impl Default for Balancing {
    /// As Istio has it: no panic.
    fn default() -> Self {
        Self {
            slow_start: None,
            locality: LocalityBalancing::Unweighted,
            panic_threshold: 0.0,
            hash_by_hostname: false,
            hash_balance_factor: None,
            subsets: None,
        }
    }
}

/// What the weights of localities mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LocalityBalancing {
    /// Nothing: the endpoints of a priority are one group.
    Unweighted,
    /// A locality gets its share by weight, less when too little of it is healthy.
    Weighted,
    /// Envoy prefers its own zone when it knows the cluster it belongs to, which a sidecar does not: as
    /// [`LocalityBalancing::Unweighted`].
    ZoneAware {
        /// In panic nothing is sent instead of sending it anywhere.
        fail_traffic_on_panic: bool,
    },
}

/// An endpoint's weight grows for a while after it came, see
/// <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/slow_start>.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SlowStart {
    /// For so long; more than 0.
    pub window: Duration,
    /// 1: evenly; more: faster at first. More than 0.
    pub aggression: f64,
    /// Never less than this percentage of the weight, 0..=100.
    pub min_weight_percent: f64,
}

impl SlowStart {
    /// Envoy's default of [`SlowStart::min_weight_percent`].
    pub const MIN_WEIGHT_PERCENT: f64 = 10.0;

    /// The part of its weight, 0..=1, that an endpoint gets `age` after it came.
    #[must_use]
    pub fn factor(&self, age: Duration) -> f64 {
        if age >= self.window {
            return 1.0;
        }
        let passed = age.as_secs_f64().max(1.0) / self.window.as_secs_f64().max(f64::MIN_POSITIVE);
        let grown = passed.min(1.0).powf(1.0 / self.aggression.max(f64::MIN_POSITIVE));
        grown.max(self.min_weight_percent / 100.0).clamp(0.0, 1.0)
    }
}
