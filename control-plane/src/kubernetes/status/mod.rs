//! What became of policies, written back into their `status`: by the leader, and only where it says something else than
//! what is there.

mod gateway;
mod istio;
mod writer;

use std::sync::Arc;

use serde_json::{Value, json};
use weft_model::provenance::ObjectRef;

use crate::source::Finding;
use crate::source::kubernetes::Written;

pub use writer::write_statuses;

/// Who writes statuses, for the Gateway API.
pub const CONTROLLER_NAME: &str = "weft.mesh/control-plane";

/// One condition, before it is known when it began.
struct Condition {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

/// What a status should say: the fields of it that are ours; none for kinds and objects that get no status.
fn wanted(name: &ObjectRef, written: &Written, findings: &[&Finding], now: jiff::Timestamp) -> Option<Value> {
    match &*name.kind {
        "HTTPRoute" => gateway::status(written, findings, now),
        "VirtualService" | "DestinationRule" | "PeerAuthentication" | "ServiceEntry" => {
            Some(istio::status(written, findings, now))
        }
        _ => None,
    }
}

/// Conditions as Kubernetes has them (<https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#typical-status-properties>).
/// One that stays as it was keeps the time at which it became so.
fn conditions(
    wanted: Vec<Condition>,
    before: &Value,
    generation: Option<u64>,
    now: jiff::Timestamp,
) -> Vec<Value> {
    let now = now.round(jiff::Unit::Second).unwrap_or(now).to_string();
    let one = |condition: Condition| {
        let status = if condition.holds { "True" } else { "False" };
        let known = before.as_array().into_iter().flatten().find(|known| known["type"] == condition.kind);
        let since = known.filter(|known| known["status"] == status).map(|known| &known["lastTransitionTime"]);
        let since = since.and_then(Value::as_str).unwrap_or(&now);
        let mut value = json!({
            "type": condition.kind,
            "status": status,
            "reason": condition.reason,
            "message": condition.message,
            "lastTransitionTime": since,
        });
        if let Some(generation) = generation {
            value["observedGeneration"] = generation.into();
        }
        value
    };
    wanted.into_iter().map(one).collect()
}

/// Several findings in one message, of bounded length: the API has room for 32 KiB.
fn message(findings: &[&Finding]) -> String {
    const LONGEST: usize = 2000;
    let mut text = String::new();
    for finding in findings {
        let next = match (finding.field.as_str(), finding.hint.as_str()) {
            ("", "") => finding.message.clone(),
            ("", hint) => format!("{} ({hint})", finding.message),
            (field, "") => format!("{field}: {}", finding.message),
            (field, hint) => format!("{field}: {} ({hint})", finding.message),
        };
        if text.len() + next.len() > LONGEST {
            text.push_str("; and more");
            break;
        }
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&next);
    }
    text
}

/// The object of a status, as JSON.
fn object(written: &Written) -> Value {
    serde_json::from_str(&written.text).unwrap_or_default()
}

/// The findings about an object.
fn about<'a>(name: &ObjectRef, findings: &'a Arc<Vec<Finding>>) -> Vec<&'a Finding> {
    findings.iter().filter(|finding| finding.object.as_ref() == Some(name)).collect()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
