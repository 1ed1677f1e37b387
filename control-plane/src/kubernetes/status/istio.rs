//! The `status` of Istio's resources: conditions, and what analysis has to say
//! (<https://istio.io/latest/docs/reference/config/meta/v1beta1/istio-status/>).

use serde_json::{Value, json};

use super::{Condition, conditions, message};
use crate::source::kubernetes::Written;
use crate::source::{Finding, Severity};

/// Conditions and messages of an object.
pub(super) fn status(written: &Written, findings: &[&Finding], now: jiff::Timestamp) -> Value {
    let errors: Vec<&Finding> = findings.iter().filter(|finding| finding.is_error()).copied().collect();
    let kept = errors.iter().any(|finding| finding.last_good_kept);
    let reconciled = match (errors.is_empty(), kept) {
        (true, _) => "this generation is in force",
        (false, true) => "the version before it stays in force",
        (false, false) => "nothing of the object is in force",
    };
    let is_good = errors.is_empty();
    let wanted = vec![
        Condition {
            kind: "PassedValidation",
            holds: is_good,
            reason: if is_good { "Valid" } else { "Invalid" },
            message: message(&errors),
        },
        Condition {
            kind: "Reconciled",
            holds: is_good,
            reason: if is_good { "InForce" } else { "HeldBack" },
            message: reconciled.to_owned(),
        },
    ];
    let messages: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "type": {"name": finding.code, "code": finding.code},
                "level": level(finding.severity),
                "description": message(&[finding]),
            })
        })
        .collect();
    json!({
        "conditions": conditions(wanted, &written.status["conditions"], None, now),
        "validationMessages": messages,
        // An int64 of protobuf, which is text in JSON.
        "observedGeneration": written.generation.to_string(),
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "ERROR",
        Severity::Warning => "WARNING",
        Severity::Info => "INFO",
    }
}
