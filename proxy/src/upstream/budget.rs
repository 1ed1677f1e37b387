//! A bound on retries that is always on, so that a failing service is not buried under them (PAIN 13).
//!
//! A retry costs one token. Every request brings a fifth of a token and every second three, up to a reserve (as
//! Linkerd's budgets do); a retry that succeeds gives its token back (as the AWS SDKs' retry quota does): a service
//! that fails now and then is hidden from its callers for as long as retrying helps, and one that is down gets at
//! most 20 % more than its callers ask for. Beside that, a fifth of the requests under way may be retries (as in
//! Envoy's budgets), so that long requests are covered as short ones are.
//!
//! Counted per worker and cluster.

use std::cell::Cell;

use tokio::time::Instant;

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;

/// Tokens that a request brings, and the share of requests under way that may be retries.
const SHARE: f64 = 0.2;
/// Tokens that a second brings.
const PER_SECOND: f64 = 3.0;
/// The most that is saved up: ten seconds without traffic, or 150 requests.
const RESERVE: f64 = 30.0;

/// The budget of one cluster and worker.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    tokens: Cell<f64>,
    filled: Cell<Instant>,
}

impl RetryBudget {
    pub(crate) fn new(now: Instant) -> Self {
        Self { tokens: Cell::new(RESERVE), filled: Cell::new(now) }
    }

    /// A request began.
    pub(crate) fn deposit(&self) {
        self.add(SHARE);
    }

    /// Whether one more retry may begin, while so many requests and retries are under way.
    pub(crate) fn withdraw(&self, now: Instant, requests: u32, retries: u32) -> bool {
        let seconds = now.saturating_duration_since(self.filled.replace(now)).as_secs_f64();
        self.add(seconds * PER_SECOND);
        if self.tokens.get() >= 1.0 {
            self.tokens.set(self.tokens.get() - 1.0);
            return true;
        }
        f64::from(retries) + 1.0 <= f64::from(requests) * SHARE
    }

    /// A retry helped.
    pub(crate) fn refund(&self) {
        self.add(1.0);
    }

    fn add(&self, tokens: f64) {
        self.tokens.set((self.tokens.get() + tokens).min(RESERVE));
    }
}
