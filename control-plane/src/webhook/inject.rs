//! `/inject`: a pod that is created gets its sidecar.

use super::review::{Response, Review};
use super::{Webhook, lines};
use crate::inject::{Outcome, Request, Scope};
use crate::source::Finding;

#[cfg(test)]
#[path = "inject_tests.rs"]
mod tests;

pub(super) fn answer(webhook: &Webhook, review: &Review) -> Response {
    let allowed = Response::allowed(&review.uid);
    if review.kind != "Pod" || review.operation != "CREATE" || !review.object.is_object() {
        return allowed;
    }
    let metrics = &webhook.metrics;
    metrics.injection_requests.inc();
    let labels = (webhook.namespaces)(&review.namespace);
    let scope = Scope::Namespace { name: &review.namespace, labels: labels.as_ref() };
    let request = Request { scope, pod: &review.object, workload: None, claims: &[] };
    match webhook.injector.inject(&request) {
        Outcome::Injected(injected) => {
            metrics.injected.inc();
            tracing::debug!(namespace = review.namespace, pod = named(review), "injected");
            let warnings = injected.warnings.iter().map(|warning| format!("weft: {}", warning.message));
            allowed.patched(&review.object, &injected.pod).warned(warnings)
        }
        Outcome::Skipped { reason, annotated } => {
            metrics.skipped(reason.word());
            let Some(annotated) = annotated else { return allowed };
            tracing::info!(namespace = review.namespace, pod = named(review), %reason, "not injected");
            webhook.events.tell(review, "Normal", "SidecarSkipped", &format!("no sidecar: {reason}"));
            allowed.patched(&review.object, &annotated)
        }
        Outcome::Refused(findings) => {
            metrics.refused.inc();
            let mistakes = lines(findings.iter().filter(|finding| finding.is_error()));
            tracing::warn!(namespace = review.namespace, pod = named(review), %mistakes, "a pod was denied");
            webhook.events.tell(review, "Warning", "SidecarInjectionFailed", &mistakes);
            let message = format!("weft cannot inject this pod:\n{mistakes}");
            let warnings = findings.iter().filter(|finding| !finding.is_error());
            Response::denied(&review.uid, 422, "Invalid", message)
                .warned(warnings.map(|warning: &Finding| format!("weft: {}", warning.message)))
        }
    }
}

/// The pod's name, or what it will begin with.
pub(super) fn named(review: &Review) -> &str {
    let metadata = &review.object["metadata"];
    metadata["name"].as_str().or(metadata["generateName"].as_str()).unwrap_or_default()
}
