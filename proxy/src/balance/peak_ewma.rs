//! The one whose recent latency times requests under way is less, of two drawn at random.
//!
//! The latency is a moving average that goes up at once and comes down slowly (a peak is remembered), and fades while
//! nothing is heard, so that an endpoint that was slow is tried again
//! (<https://linkerd.io/2016/03/16/beyond-round-robin-load-balancing-for-latency/>).

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;
use weft_model::load_balancing::PeakEwma;

use super::rotation::Tier;

#[cfg(test)]
#[path = "peak_ewma_tests.rs"]
mod tests;

/// What is known of one endpoint's latency.
#[derive(Debug, Default)]
pub(super) struct Latency(Cell<Option<(f64, Instant)>>);

impl Latency {
    /// Learns of one answer.
    pub(super) fn observe(&self, latency: Duration, policy: &PeakEwma, now: Instant) {
        let new = latency.as_secs_f64();
        let kept = self.kept(policy, now);
        let mean = match self.0.get() {
            Some((old, _)) if new <= old => old * kept + new * (1.0 - kept),
            _ => new,
        };
        self.0.set(Some((mean, now)));
    }

    /// In seconds, as far as it still counts.
    fn seconds(&self, policy: &PeakEwma, now: Instant) -> f64 {
        match self.0.get() {
            Some((mean, _)) => mean * self.kept(policy, now),
            None => policy.default_rtt.as_secs_f64(),
        }
    }

    /// How much of what is known still counts, 0..=1.
    fn kept(&self, policy: &PeakEwma, now: Instant) -> f64 {
        let Some((_, at)) = self.0.get() else { return 0.0 };
        let age = now.saturating_duration_since(at).as_secs_f64();
        (-age / policy.decay_time.as_secs_f64().max(f64::MIN_POSITIVE)).exp()
    }
}

/// The better of two different ones.
pub(super) fn choose(tier: &Tier, policy: &PeakEwma, now: Instant) -> usize {
    let count = tier.members.len();
    if count < 2 {
        return 0;
    }
    let one = fastrand::usize(..count);
    let mut other = fastrand::usize(..count - 1);
    if other >= one {
        other += 1;
    }
    let cost = |at: usize| {
        tier.members.get(at).map_or(f64::INFINITY, |member| {
            let pending = f64::from(member.state.active()) + 1.0;
            member.state.latency.seconds(policy, now).max(f64::MIN_POSITIVE) * pending / member.weight as f64
        })
    };
    if cost(other) < cost(one) { other } else { one }
}
