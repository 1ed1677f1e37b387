//! What an injection leaves on a pod to tell of itself, and to be undone by.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::decide::SkipReason;
use super::diff::diff;
use super::merge::{identity, key_of, merge};
use super::pod::{annotation, in_order, list, set, text};

/// JSON: `revision`, `template` (of what was injected with), `initContainers`, `containers`, `volumes` by name, and
/// `original`, a strategic merge patch that leads back; or `skipped` and `reason`.
pub const STATUS_ANNOTATION: &str = "weft.mesh/status";

/// The pod as it was before it was injected; a pod that never was, as it is.
///
/// # Errors
/// When the annotation that tells it cannot be read.
pub fn restore(pod: &Value) -> Result<Value, String> {
    let Some(text) = annotation(pod, STATUS_ANNOTATION) else { return Ok(pod.clone()) };
    let status: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut original = pod.clone();
    match status.get("original") {
        Some(patch @ Value::Object(_)) => {
            merge(&mut original, patch, "");
            prune(&mut original, patch, "");
        }
        None if status.get("skipped").is_some() => drop_status(&mut original),
        _ => return Err("it has no `original`".to_owned()),
    }
    Ok(original)
}

/// Takes the annotation away, and the mapping with it when it was alone there.
fn drop_status(pod: &mut Value) {
    let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(STATUS_ANNOTATION);
        if annotations.is_empty() {
            metadata.shift_remove("annotations");
        }
    }
}

/// Removes what the patch has emptied; `field` is where it stands.
fn prune(value: &mut Value, patch: &Value, field: &str) {
    match (value, patch) {
        (Value::Object(map), Value::Object(changes)) => {
            for (key, change) in changes {
                let Some(value) = map.get_mut(key) else { continue };
                prune(value, change, key);
                let empty = value.as_object().is_some_and(Map::is_empty)
                    || value.as_array().is_some_and(Vec::is_empty);
                if empty && (change.is_object() || change.is_array()) {
                    map.shift_remove(key);
                }
            }
        }
        (Value::Array(items), Value::Array(changes)) if !key_of(field).is_empty() => {
            let keys = key_of(field);
            for change in changes {
                let wanted = identity(keys, change);
                let item = items.iter_mut().find(|item| wanted.is_some() && identity(keys, item) == wanted);
                if let Some(item) = item {
                    prune(item, change, "");
                }
            }
        }
        _ => {}
    }
}

/// Writes down what was done to `original` to make `pod` of it.
pub(super) fn record(pod: &mut Value, original: &Value, revision: &str, template: &str) {
    let added = |field: &str| -> Vec<String> {
        let names = |pod: &Value| -> BTreeSet<String> {
            list(pod, field).iter().map(|item| text(item, "name").to_owned()).collect()
        };
        let before = names(original);
        list(pod, field)
            .iter()
            .map(|item| text(item, "name").to_owned())
            .filter(|name| !before.contains(name))
            .collect()
    };
    let mut status = Map::new();
    status.insert("revision".to_owned(), json!(revision));
    status.insert("template".to_owned(), json!(template));
    for field in ["initContainers", "containers", "volumes"] {
        status.insert(field.to_owned(), json!(added(field)));
    }
    // The annotation itself is part of what is to be undone.
    set(pod, &["metadata", "annotations"], STATUS_ANNOTATION, json!(""));
    let back = diff(pod, original).map_or_else(|| json!({}), |back| in_order(&back));
    status.insert("original".to_owned(), back);
    set(pod, &["metadata", "annotations"], STATUS_ANNOTATION, json!(Value::Object(status).to_string()));
}

/// Writes down why nothing was done.
pub(super) fn record_skip(pod: &mut Value, reason: &SkipReason, revision: &str) {
    let status = json!({"revision": revision, "skipped": reason.word(), "reason": reason.to_string()});
    set(pod, &["metadata", "annotations"], STATUS_ANNOTATION, json!(status.to_string()));
}
