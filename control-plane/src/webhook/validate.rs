//! `/validate`: an object with mistakes is not stored; one that will not work as it reads is, with warnings.

use std::sync::Arc;

use serde_json::{Value, json};

use super::review::{Response, Review};
use super::{Webhook, lines};
use crate::admission;
use crate::source::{Finding, parse_json};

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;

pub(super) fn answer(webhook: &Webhook, review: &Review) -> Response {
    let allowed = Response::allowed(&review.uid);
    // What is deleted, or changes nothing that is ours to judge (a finalizer, its status), must not be held up.
    let unchanged = review.operation == "UPDATE"
        && ["spec", "kind", "apiVersion"].iter().all(|part| review.object[part] == review.old_object[part]);
    if review.object.is_null() || unchanged || !matches!(review.operation.as_str(), "CREATE" | "UPDATE") {
        return allowed;
    }
    let parsed = parse_json(&with_name(&review.object), &review.namespace);
    if parsed.has_errors() {
        webhook.metrics.validation_failed.inc();
        let mistakes = lines(parsed.findings.iter().filter(|finding| finding.is_error()));
        webhook.events.tell(review, "Warning", "PolicyRefused", &mistakes);
        let message = format!("weft cannot use this object:\n{mistakes}");
        return Response::denied(&review.uid, 422, "Invalid", message).warned(warnings(&parsed.findings));
    }
    webhook.metrics.validation_passed.inc();
    let mut beside = (webhook.objects)();
    let own: Vec<_> = parsed.objects.iter().map(|object| object.reference.clone()).collect();
    beside.retain(|other| !own.contains(&other.reference));
    beside.extend(parsed.objects.iter().map(Arc::clone));
    let mut findings = parsed.findings;
    let concerned = |finding: &Finding| finding.object.as_ref().is_some_and(|object| own.contains(object));
    findings.extend(admission::review(&beside, &webhook.domain).into_iter().filter(concerned));
    allowed.warned(warnings(&findings))
}

fn warnings(findings: &[Finding]) -> Vec<String> {
    let of = findings.iter().filter(|finding| !finding.is_error());
    of.map(|finding| lines(std::iter::once(finding))).collect()
}

/// The API server gives names to objects with `generateName` only after the webhooks.
fn with_name(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(prefix) = metadata.shift_remove("generateName")
        && !metadata.contains_key("name")
    {
        metadata
            .insert("name".to_owned(), json!(format!("{}generated", prefix.as_str().unwrap_or_default())));
    }
    object
}
