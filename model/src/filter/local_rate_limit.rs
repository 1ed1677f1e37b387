//! A bound on requests by this proxy alone: a token bucket
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/local_rate_limit_filter>).

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::policy::{Fraction, HeaderMutations};

#[cfg(test)]
#[path = "local_rate_limit_tests.rs"]
mod tests;

/// A bound on requests.
#[derive(Clone, PartialEq, Debug)]
pub struct LocalRateLimit {
    /// First part of statistics' names.
    pub stat_prefix: Arc<str>,
    /// Tokens, of which a request takes one; none: no bound.
    pub bucket: Option<TokenBucket>,
    /// Share of requests that take a token.
    pub enabled: Fraction,
    /// Share of requests without a token that are refused.
    pub enforced: Fraction,
    /// Of what is refused: 400..=599.
    pub status: u16,
    /// Of what is refused.
    pub response_headers: HeaderMutations,
    /// Of requests that would be refused, but are not.
    pub request_headers: HeaderMutations,
    /// Each connection has a bucket of its own.
    pub per_connection: bool,
    /// Responses tell what is left: `x-ratelimit-limit`, `-remaining` and `-reset`.
    pub x_ratelimit_headers: bool,
    /// gRPC's clients get `RESOURCE_EXHAUSTED` instead of `UNAVAILABLE`.
    pub as_resource_exhausted: bool,
    /// Its own state, which all that share these settings share.
    pub state: BucketState,
}

/// How fast tokens come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenBucket {
    /// So many at most, and so many to begin with. More than 0.
    pub max_tokens: u32,
    /// So many at once. More than 0.
    pub tokens_per_fill: u32,
    /// So often. At least 50 ms.
    pub fill_interval: Duration,
}

/// What is left in a bucket. Two states are always equal: what a configuration says is the same.
#[derive(Clone, Default, Debug)]
pub struct BucketState(Arc<Mutex<Option<Level>>>);

impl PartialEq for BucketState {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[derive(Clone, Copy, Debug)]
struct Level {
    tokens: u32,
    filled: Instant,
}

/// What became of asking for a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// Whether there was one.
    pub granted: bool,
    /// What is left.
    pub remaining: u32,
    /// Until the next ones come.
    pub reset: Duration,
}

impl BucketState {
    /// Asks for a token at a time.
    #[must_use]
    pub fn take(&self, bucket: &TokenBucket, now: Instant) -> Taken {
        // Nobody panics while holding it; if so, the count is right all the same.
        let mut level = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Level { mut tokens, mut filled } =
            level.unwrap_or(Level { tokens: bucket.max_tokens, filled: now });
        let interval = bucket.fill_interval.max(Duration::from_nanos(1));
        let fills = now.saturating_duration_since(filled).as_nanos() / interval.as_nanos();
        if fills > 0 {
            let fills = u32::try_from(fills).unwrap_or(u32::MAX);
            tokens =
                tokens.saturating_add(bucket.tokens_per_fill.saturating_mul(fills)).min(bucket.max_tokens);
            filled = interval.checked_mul(fills).and_then(|passed| filled.checked_add(passed)).unwrap_or(now);
        }
        let granted = tokens > 0;
        tokens = tokens.saturating_sub(1);
        *level = Some(Level { tokens, filled });
        let reset = interval.saturating_sub(now.saturating_duration_since(filled));
        Taken { granted, remaining: tokens, reset }
    }
}
