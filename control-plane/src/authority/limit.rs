//! Bound what one peer can make the authority do.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[cfg(test)]
#[path = "limit_tests.rs"]
mod tests;

/// Addresses remembered at once; beyond it those with a full allowance are forgotten.
const REMEMBERED: usize = 10_000;

/// Requests that one address may make.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RateLimit {
    /// At once, after a quiet time.
    pub burst: u32,
    /// Per second, in the long run.
    pub per_second: f64,
}

impl Default for RateLimit {
    /// Enough for all sidecars of a machine to start together; too little to guess tokens or to burn a core.
    fn default() -> Self {
        Self { burst: 200, per_second: 20.0 }
    }
}

/// What addresses have left.
#[derive(Debug)]
pub(super) struct Allowances {
    limit: RateLimit,
    left: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

impl Allowances {
    pub(super) fn new(limit: RateLimit) -> Self {
        Self { limit, left: Mutex::default() }
    }

    /// Takes `cost` from an address' allowance; how long to wait when there is not enough.
    pub(super) fn take(&self, address: IpAddr, cost: f64, now: Instant) -> Result<(), Duration> {
        let full = f64::from(self.limit.burst);
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.len() >= REMEMBERED && !left.contains_key(&address) {
            left.retain(|_, (amount, since)| self.refilled(*amount, *since, now) < full);
            if left.len() >= REMEMBERED {
                // So many addresses at once are an attack or a huge mesh: serve on, count only those we know.
                return Ok(());
            }
        }
        let (amount, since) = left.entry(address).or_insert((full, now));
        *amount = self.refilled(*amount, *since, now);
        *since = now;
        if *amount < cost {
            return Err(Duration::from_secs_f64((cost - *amount) / self.limit.per_second.max(f64::EPSILON)));
        }
        *amount -= cost;
        Ok(())
    }

    fn refilled(&self, amount: f64, since: Instant, now: Instant) -> f64 {
        let gained = now.duration_since(since).as_secs_f64() * self.limit.per_second;
        (amount + gained).min(f64::from(self.limit.burst))
    }
}
