//! What the webhooks count. Names are istiod's where it has one.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Why pods got no sidecar.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Skip {
    reason: &'static str,
}

/// Which webhook.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Path {
    path: String,
}

/// Counts of the webhooks' answers; clones share them.
#[derive(Clone, Debug)]
pub struct WebhookMetrics {
    pub(super) injection_requests: Counter,
    pub(super) injected: Counter,
    pub(super) refused: Counter,
    pub(super) malformed: Counter,
    pub(super) validation_passed: Counter,
    pub(super) validation_failed: Counter,
    skips: Family<Skip, Counter>,
    seconds: Family<Path, Histogram>,
}

impl Default for WebhookMetrics {
    fn default() -> Self {
        let seconds = || Histogram::new([0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0]);
        Self {
            injection_requests: Counter::default(),
            injected: Counter::default(),
            refused: Counter::default(),
            malformed: Counter::default(),
            validation_passed: Counter::default(),
            validation_failed: Counter::default(),
            skips: Family::default(),
            seconds: Family::new_with_constructor(seconds),
        }
    }
}

impl WebhookMetrics {
    /// Adds them to a page. The page's writer appends `_total` to counters.
    pub fn register(&self, registry: &mut Registry) {
        let mut counter =
            |name: &str, help: &str, counter: &Counter| registry.register(name, help, counter.clone());
        counter("sidecar_injection_requests", "Pods that were looked at", &self.injection_requests);
        counter("sidecar_injection_success", "Pods that got a sidecar", &self.injected);
        counter("sidecar_injection_failure", "Pods that were denied", &self.refused);
        counter("weft_webhook_malformed_requests", "Requests that are no review", &self.malformed);
        counter("galley_validation_passed", "Objects without a mistake", &self.validation_passed);
        counter("galley_validation_failed", "Objects that were refused", &self.validation_failed);
        registry.register("sidecar_injection_skip", "Pods without a sidecar, by reason", self.skips.clone());
        registry.register("weft_webhook_seconds", "Time of an answer", self.seconds.clone());
    }

    pub(super) fn skipped(&self, reason: &'static str) {
        self.skips.get_or_create(&Skip { reason }).inc();
    }

    pub(super) fn observe(&self, path: &str, time: Duration) {
        self.seconds.get_or_create(&Path { path: path.to_owned() }).observe(time.as_secs_f64());
    }
}
