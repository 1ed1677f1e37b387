//! `status.parents` of routes (<https://gateway-api.sigs.k8s.io/reference/spec/#routeparentstatus>).

use serde_json::{Value, json};

use super::{CONTROLLER_NAME, Condition, conditions, message, object};
use crate::source::Finding;
use crate::source::diagnostic::code::REFERENCE_NOT_FOUND;
use crate::source::kubernetes::Written;

/// One entry for each Service among the parents, and after them those of other controllers as they are. None when there is
/// nothing of ours, now or before.
pub(super) fn status(written: &Written, findings: &[&Finding], now: jiff::Timestamp) -> Option<Value> {
    let before = written.status["parents"].as_array().cloned().unwrap_or_default();
    let (ours, others): (Vec<Value>, Vec<Value>) =
        before.into_iter().partition(|entry| entry["controllerName"] == CONTROLLER_NAME);
    let object = object(written);
    let parents = object["spec"]["parentRefs"].as_array().cloned().unwrap_or_default();
    let services = parents.iter().enumerate().filter(|(_, parent)| is_service(parent));
    let mut entries: Vec<Value> = services
        .map(|(index, parent)| {
            let known = ours.iter().find(|entry| entry["parentRef"] == *parent);
            let known = known.map_or(&Value::Null, |entry| &entry["conditions"]);
            let wanted = vec![accepted(index, findings), resolved(findings)];
            json!({
                "parentRef": parent,
                "controllerName": CONTROLLER_NAME,
                "conditions": conditions(wanted, known, Some(written.generation), now),
            })
        })
        .collect();
    if entries.is_empty() && ours.is_empty() {
        return None;
    }
    entries.extend(others);
    Some(json!({"parents": entries}))
}

/// Parents of other kinds are other controllers' to judge.
fn is_service(parent: &Value) -> bool {
    let group = parent["group"].as_str().unwrap_or("gateway.networking.k8s.io");
    parent["kind"] == "Service" && (group.is_empty() || group == "core")
}

fn accepted(index: usize, findings: &[&Finding]) -> Condition {
    let errors: Vec<&Finding> = findings.iter().filter(|finding| finding.is_error()).copied().collect();
    let place = format!("spec.parentRefs[{index}]");
    let missing: Vec<&Finding> = findings
        .iter()
        .filter(|finding| finding.code == REFERENCE_NOT_FOUND && finding.field.starts_with(&place))
        .copied()
        .collect();
    let condition = |holds, reason, message| Condition { kind: "Accepted", holds, reason, message };
    if !errors.is_empty() {
        let kept = if errors.iter().any(|it| it.last_good_kept) {
            "; the former version stays in force"
        } else {
            ""
        };
        return condition(false, "UnsupportedValue", format!("{}{kept}", message(&errors)));
    }
    if !missing.is_empty() {
        return condition(false, "NoMatchingParent", message(&missing));
    }
    condition(true, "Accepted", "the route is in force".to_owned())
}

fn resolved(findings: &[&Finding]) -> Condition {
    let missing: Vec<&Finding> = findings
        .iter()
        .filter(|finding| finding.code == REFERENCE_NOT_FOUND && finding.field.starts_with("spec.rules"))
        .copied()
        .collect();
    let (holds, reason) =
        if missing.is_empty() { (true, "ResolvedRefs") } else { (false, "BackendNotFound") };
    let message = if holds { "all backends are there".to_owned() } else { message(&missing) };
    Condition { kind: "ResolvedRefs", holds, reason, message }
}
