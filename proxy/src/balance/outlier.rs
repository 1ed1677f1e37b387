//! Leaves an endpoint out for a while after failures in a row.
//!
//! Semantics of Istio's `OutlierDetection`
//! (<https://istio.io/latest/docs/reference/config/networking/destination-rule/#OutlierDetection>) and Envoy's
//! algorithm below it. Nothing runs by a timer: an ejection ends when its time is over, and earlier ejections are
//! forgotten, one for each interval spent in, when the next one happens.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;
use weft_model::cluster::OutlierDetection;

#[cfg(test)]
#[path = "outlier_tests.rs"]
mod tests;

/// The longest ejection, whatever the count: Envoy's `max_ejection_time`.
const MAX_EJECTION: Duration = Duration::from_secs(300);

/// How a request or a connection went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// An answer below 500, or a connection that was made.
    Success,
    /// A 5xx other than 502, 503 and 504.
    ServerError,
    /// 502, 503, 504; a reset, a broken connection, a time-out.
    GatewayError,
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
}

/// What is counted of one endpoint.
#[derive(Debug, Default)]
pub(super) struct OutlierState {
    server_errors: Cell<u32>,
    gateway_errors: Cell<u32>,
    ejections: Cell<u32>,
    ejected_until: Cell<Option<Instant>>,
}

impl OutlierState {
    /// Counts an outcome. Whether the endpoint has earned an ejection.
    pub(super) fn count(&self, outcome: Outcome, policy: &OutlierDetection) -> bool {
        let (server, gateway) = match outcome {
            Outcome::Success => (0, 0),
            // A 500 ends a row of gateway errors, as in Envoy.
            Outcome::ServerError => (self.server_errors.get() + 1, 0),
            Outcome::GatewayError | Outcome::ConnectFailed => {
                (self.server_errors.get() + 1, self.gateway_errors.get() + 1)
            }
        };
        self.server_errors.set(server);
        self.gateway_errors.set(gateway);
        let reached = |bound: u32, count: u32| bound > 0 && count >= bound;
        reached(policy.consecutive_5xx, server) || reached(policy.consecutive_gateway_errors, gateway)
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
        let longest = MAX_EJECTION.max(policy.base_ejection_time);
        let time = policy.base_ejection_time.checked_mul(ejections).map_or(longest, |time| time.min(longest));
        self.ejected_until.set(Some(now + time));
    }
}

/// Whether one more of `total` may be ejected when `ejected` are. One always may, but the last one that is left only
/// when the policy says 100 percent: a cluster must not go dark because of a low bound (istio#20135).
pub(super) fn may_eject(policy: &OutlierDetection, ejected: usize, total: usize) -> bool {
    let percent = policy.max_ejection_percent.min(100) as usize;
    if ejected + 1 >= total && percent < 100 {
        return false;
    }
    ejected == 0 || (ejected + 1) * 100 <= percent * total
}
