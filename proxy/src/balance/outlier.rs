//! Leaves an endpoint out for a while when it fails: many times in a row, or more often than others.
//!
//! Semantics of Envoy (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier>) and of
//! Istio's `OutlierDetection` above it
//! (<https://istio.io/latest/docs/reference/config/networking/destination-rule/#OutlierDetection>). Nothing runs by a
//! timer: an ejection ends when its time is over, earlier ejections are forgotten, one for each interval spent in,
//! when the next one happens, and rates are looked at by the first outcome after an interval.
//!
//! Each worker counts for itself: with two workers an endpoint may fail twice as often before both have ejected it,
//! and a request volume is that of one worker.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use weft_model::cluster::{FailurePercentage, OutlierDetection, SuccessRate};

use super::EndpointState;

#[cfg(test)]
#[path = "outlier_tests.rs"]
mod tests;

/// How a request or a connection went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// An answer below 500, or a connection that was made.
    Success,
    /// A 5xx other than 502, 503 and 504.
    ServerError,
    /// 502, 503, 504.
    GatewayError,
    /// A reset, a broken connection, a time-out: noticed here, not answered.
    LocalError,
    /// No connection could be made.
    ConnectFailed,
}

impl Outcome {
    /// What an answer with this status is.
    #[must_use]
    pub fn of_status(status: http::StatusCode) -> Self {
        match status.as_u16() {
            502..=504 => Self::GatewayError,
            500.. => Self::ServerError,
            _ => Self::Success,
        }
    }

    fn is_local(self) -> bool {
        matches!(self, Self::LocalError | Self::ConnectFailed)
    }
}

/// Why an endpoint is to be ejected, and the chance in percent that it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reason {
    pub(super) chance: u32,
    pub(super) words: &'static str,
}

/// What is counted of one endpoint.
#[derive(Debug, Default)]
pub(super) struct OutlierState {
    server_errors: Cell<u32>,
    gateway_errors: Cell<u32>,
    local_errors: Cell<u32>,
    /// Of this interval: answers, or all outcomes when local origin errors are not split off.
    external: Rate,
    /// Of this interval: whether there was an answer at all.
    local: Rate,
    ejections: Cell<u32>,
    ejected_until: Cell<Option<Instant>>,
}

/// Outcomes of one interval.
#[derive(Debug, Default)]
struct Rate {
    total: Cell<u32>,
    successes: Cell<u32>,
}

impl Rate {
    fn count(&self, success: bool) {
        self.total.set(self.total.get().saturating_add(1));
        self.successes.set(self.successes.get().saturating_add(u32::from(success)));
    }

    /// Percent of successes, when there was enough; counting begins anew.
    fn take(&self, least: u32) -> Option<f64> {
        let (total, successes) = (self.total.take(), self.successes.take());
        (total >= least.max(1)).then(|| 100.0 * f64::from(successes) / f64::from(total))
    }
}

impl OutlierState {
    /// Counts an outcome. Why the endpoint has earned an ejection, if it has.
    pub(super) fn count(&self, outcome: Outcome, policy: &OutlierDetection) -> Option<Reason> {
        let reached = |bound: u32, count: &Cell<u32>| {
            let reached = bound > 0 && count.get() >= bound;
            if reached {
                count.set(0);
            }
            reached
        };
        let more = |count: &Cell<u32>| count.set(count.get().saturating_add(1));
        if policy.split_local_origin_errors {
            self.local.count(!outcome.is_local());
            if outcome.is_local() {
                more(&self.local_errors);
                let row = reached(policy.consecutive_local_origin_failures, &self.local_errors);
                let chance = policy.enforcing_consecutive_local_origin_failures;
                return row.then_some(Reason { chance, words: "too many local origin failures in a row" });
            }
            self.local_errors.set(0);
        }
        self.external.count(outcome == Outcome::Success);
        match outcome {
            Outcome::Success => {
                self.server_errors.set(0);
                self.gateway_errors.set(0);
                return None;
            }
            Outcome::ServerError => {
                more(&self.server_errors);
                // A 500 ends a row of gateway errors, as in Envoy.
                self.gateway_errors.set(0);
            }
            Outcome::GatewayError | Outcome::LocalError | Outcome::ConnectFailed => {
                more(&self.server_errors);
                more(&self.gateway_errors);
            }
        }
        if reached(policy.consecutive_gateway_errors, &self.gateway_errors) {
            let chance = policy.enforcing_consecutive_gateway_errors;
            if is_enforced(chance) {
                return Some(Reason { chance: 100, words: "too many gateway failures in a row" });
            }
        }
        let chance = policy.enforcing_consecutive_5xx;
        let row = reached(policy.consecutive_5xx, &self.server_errors);
        row.then_some(Reason { chance, words: "too many failures in a row" })
    }

    pub(super) fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_until.get().is_some_and(|until| until > now)
    }

    pub(super) fn ejected_until(&self, now: Instant) -> Option<Instant> {
        self.ejected_until.get().filter(|until| *until > now)
    }

    pub(super) fn eject(&self, policy: &OutlierDetection, now: Instant) {
        let interval = policy.interval.max(Duration::from_millis(1));
        let behaved = self.ejected_until.get().map_or(0, |until| {
            u32::try_from(now.saturating_duration_since(until).as_nanos() / interval.as_nanos())
                .unwrap_or(u32::MAX)
        });
        let ejections = self.ejections.get().saturating_sub(behaved).saturating_add(1);
        self.ejections.set(ejections);
        self.server_errors.set(0);
        self.gateway_errors.set(0);
        self.local_errors.set(0);
        let longest = policy.max_ejection_time.max(policy.base_ejection_time);
        let time = policy.base_ejection_time.checked_mul(ejections).map_or(longest, |time| time.min(longest));
        let jitter = policy.max_ejection_time_jitter.mul_f64(fastrand::f64());
        self.ejected_until.set(Some(now + time + jitter));
    }
}

/// Those whose rates of the interval that has ended are too bad. Counting begins anew.
pub(super) fn outliers<'a>(
    endpoints: impl Iterator<Item = &'a Rc<EndpointState>>,
    policy: &OutlierDetection,
    now: Instant,
) -> Vec<(Rc<EndpointState>, Reason)> {
    let by_success = policy.success_rate.map_or(u32::MAX, |rate| rate.request_volume);
    let by_failure = policy.failure_percentage.map_or(u32::MAX, |failures| failures.request_volume);
    let least = by_success.min(by_failure);
    let (mut external, mut local) = (Vec::new(), Vec::new());
    for state in endpoints {
        let volumes = (state.outlier.external.total.get(), state.outlier.local.total.get());
        let rates = (state.outlier.external.take(least), state.outlier.local.take(least));
        if state.outlier.is_ejected(now) {
            continue;
        }
        external.extend(rates.0.map(|rate| (state, volumes.0, rate)));
        local.extend(rates.1.map(|rate| (state, volumes.1, rate)));
    }
    let mut found = Vec::new();
    let mut look = |rates: &[(&Rc<EndpointState>, u32, f64)], is_local: bool| {
        if let Some(rule) = policy.success_rate {
            let chance = if is_local { rule.enforcing_local_origin } else { rule.enforcing };
            let reason = Reason { chance, words: "its success rate is far below that of others" };
            let rates: Vec<_> =
                rates.iter().filter(|(_, volume, _)| *volume >= rule.request_volume).collect();
            let bound = success_bound(&rule, rates.iter().map(|(_, _, rate)| *rate));
            let bad = rates.iter().filter(|(_, _, rate)| bound.is_some_and(|bound| *rate < bound));
            found.extend(bad.map(|(state, _, _)| ((*state).clone(), reason)));
        }
        if let Some(rule) = policy.failure_percentage {
            let chance = if is_local { rule.enforcing_local_origin } else { rule.enforcing };
            let reason = Reason { chance, words: "too large a share of its requests failed" };
            let rates: Vec<_> =
                rates.iter().filter(|(_, volume, _)| *volume >= rule.request_volume).collect();
            if rates.len() >= rule.minimum_hosts as usize {
                let bad = rates.iter().filter(|(_, _, rate)| is_failing(&rule, *rate));
                found.extend(bad.map(|(state, _, _)| ((*state).clone(), reason)));
            }
        }
    };
    look(&external, false);
    if policy.split_local_origin_errors {
        look(&local, true);
    }
    found
}

/// The success rate, in percent, below which an endpoint is an outlier; none when there are too few to compare.
fn success_bound(rule: &SuccessRate, rates: impl ExactSizeIterator<Item = f64> + Clone) -> Option<f64> {
    let count = rates.len();
    if count == 0 || count < rule.minimum_hosts as usize {
        return None;
    }
    let mean = rates.clone().sum::<f64>() / count as f64;
    let variance = rates.map(|rate| (rate - mean).powi(2)).sum::<f64>() / count as f64;
    Some(mean - variance.sqrt() * f64::from(rule.stdev_factor) / 1_000.0)
}

fn is_failing(rule: &FailurePercentage, success_rate: f64) -> bool {
    100.0 - success_rate >= f64::from(rule.threshold)
}

/// Whether a chance in percent comes true.
pub(super) fn is_enforced(chance: u32) -> bool {
    chance >= 100 || fastrand::u32(..100) < chance
}

/// Whether one more of `total` may be ejected when `ejected` are. One may where the policy says so, but the last one
/// that is left only when it says 100 percent: a cluster must not go dark because of a low bound (istio#20135).
pub(super) fn may_eject(policy: &OutlierDetection, ejected: usize, total: usize) -> bool {
    let percent = policy.max_ejection_percent.min(100) as usize;
    if ejected + 1 >= total && percent < 100 {
        return false;
    }
    (ejected == 0 && policy.always_eject_one) || (ejected + 1) * 100 <= percent * total
}
