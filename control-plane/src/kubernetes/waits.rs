//! How long to wait before something is asked of the API server again.

use std::time::Duration;

use kube::runtime::utils::Backoff;

#[cfg(test)]
#[path = "waits_tests.rs"]
mod tests;

/// First wait after a failure; it doubles, up to [`LONGEST_WAIT`], until something is heard again.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// An API server that comes back should not wait for us for long; one that is overloaded should not be asked too often.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The waits between tries, of which each is shortened by chance so that many watches do not come at once.
#[derive(Debug)]
pub struct Waits(Duration);

impl Default for Waits {
    fn default() -> Self {
        Self(FIRST_WAIT)
    }
}

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.0;
        self.0 = (wait * 2).min(LONGEST_WAIT);
        Some(wait.mul_f64(0.5 + fastrand::f64() / 2.0))
    }
}

impl Backoff for Waits {
    fn reset(&mut self) {
        self.0 = FIRST_WAIT;
    }
}
