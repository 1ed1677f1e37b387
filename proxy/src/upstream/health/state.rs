//! What answers in a row mean, and when the next question is due.

use std::time::Duration;

use weft_model::health_check::HealthCheck;

use super::question::Answer;

/// What is known of one endpoint.
#[derive(Debug, Default)]
pub(super) struct CheckState {
    /// None: it was not asked yet.
    healthy: Option<bool>,
    /// Answers in a row that say something else.
    row: u32,
}

impl CheckState {
    pub(super) fn is_healthy(&self) -> bool {
        self.healthy == Some(true)
    }

    /// Whether an answer changes what is known.
    pub(super) fn learn(&mut self, answer: Answer, check: &HealthCheck) -> bool {
        let good = answer == Answer::Good;
        if self.healthy == Some(good) {
            self.row = 0;
            return false;
        }
        self.row += 1;
        let enough = match (self.healthy, answer) {
            // The first answer decides.
            (None, _) | (_, Answer::Bad) => true,
            (_, Answer::Good) => self.row >= check.healthy_threshold,
            (_, Answer::Broken) => self.row >= check.unhealthy_threshold,
        };
        if enough {
            self.healthy = Some(good);
            self.row = 0;
        }
        enough
    }

    /// The time until the next question, after an answer that has `changed` what is known or not.
    pub(super) fn wait(&self, check: &HealthCheck, changed: bool, traffic: bool) -> Duration {
        let healthy = self.is_healthy();
        if !traffic {
            let when_healthy = check.no_traffic_healthy_interval.filter(|_| healthy);
            return when_healthy.unwrap_or(check.no_traffic_interval);
        }
        let steady = if healthy { None } else { check.unhealthy_interval };
        let edge = match (changed, healthy) {
            (false, _) => None,
            (true, true) => check.healthy_edge_interval,
            (true, false) => check.unhealthy_edge_interval,
        };
        edge.or(steady).unwrap_or(check.interval)
    }
}

/// An interval, and what chance adds to it: `random` is 0..=1.
pub(super) fn with_jitter(interval: Duration, check: &HealthCheck, random: f64) -> Duration {
    let share = interval.mul_f64(f64::from(check.interval_jitter_percent) / 100.0);
    interval + (check.interval_jitter + share).mul_f64(random)
}
