//! Kubernetes' strategic merge of pods: lists are merged by the key of their items
//! (<https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md>).
//! Directives: `$patch: delete|replace|merge`, `$retainKeys`, `$setElementOrder/FIELD`, and null, which removes.

use serde_json::{Map, Value};

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
/// Followed by the list's field.
pub(super) const ELEMENT_ORDER: &str = "$setElementOrder/";

/// The fields that tell the items of a pod's list apart; none of a list that is replaced as a whole. No two lists
/// of a pod have the same name and different keys. Ports are told by protocol as well, as by server-side apply.
#[must_use]
pub fn key_of(field: &str) -> &'static [&'static str] {
    match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "resourceClaims"
        | "schedulingGates" => &["name"],
        "volumeMounts" => &["mountPath"],
        "volumeDevices" => &["devicePath"],
        "ports" => &["containerPort", "protocol"],
        "hostAliases" => &["ip"],
        "topologySpreadConstraints" => &["topologyKey", "whenUnsatisfiable"],
        _ => &[],
    }
}

/// What tells an item apart; none when it lacks the key.
pub(super) fn identity(keys: &[&str], item: &Value) -> Option<Vec<Value>> {
    let part = |key: &&str| match item.get(*key) {
        Some(value) if !value.is_null() => Some(value.clone()),
        _ if *key == "protocol" => Some(Value::from("TCP")),
        _ => None,
    };
    if item.is_object() { keys.iter().map(part).collect() } else { None }
}

/// Merges `patch` into what stands at `field`.
pub(super) fn merge(target: &mut Value, patch: &Value, field: &str) {
    match (&mut *target, patch) {
        (Value::Object(map), Value::Object(changes)) => merge_mapping(map, changes),
        (Value::Array(items), Value::Array(changes)) if !key_of(field).is_empty() => {
            merge_list(items, changes, key_of(field));
        }
        _ => *target = plain(patch),
    }
}

fn merge_mapping(map: &mut Map<String, Value>, changes: &Map<String, Value>) {
    if changes.get(PATCH).and_then(Value::as_str) == Some("replace") {
        map.clear();
    }
    if let Some(kept) = changes.get(RETAIN_KEYS).and_then(Value::as_array) {
        map.retain(|key, _| kept.iter().any(|kept| kept.as_str() == Some(key)));
    }
    for (key, change) in changes.iter().filter(|(key, _)| !key.starts_with('$')) {
        let deleted = change.get(PATCH).and_then(Value::as_str) == Some("delete");
        match map.get_mut(key) {
            _ if change.is_null() || deleted => drop(map.shift_remove(key)),
            Some(target) => merge(target, change, key),
            None => drop(map.insert(key.clone(), plain(change))),
        }
    }
    for (key, order) in changes {
        if let Some(field) = key.strip_prefix(ELEMENT_ORDER)
            && let (Some(Value::Array(items)), Some(order)) = (map.get_mut(field), order.as_array())
        {
            set_order(items, order, key_of(field));
        }
    }
}

fn merge_list(items: &mut Vec<Value>, changes: &[Value], keys: &[&str]) {
    let directive = |change: &Value| change.get(PATCH).and_then(Value::as_str).map(str::to_owned);
    let is_bare =
        |change: &Value| change.as_object().is_some_and(|map| map.len() == 1 && map.contains_key(PATCH));
    if changes.iter().any(|change| is_bare(change) && directive(change).as_deref() == Some("replace")) {
        items.clear();
        items.extend(changes.iter().filter(|change| !is_bare(change)).map(plain));
        return;
    }
    for change in changes.iter().filter(|change| !is_bare(change)) {
        let wanted = identity(keys, change);
        let found = items.iter().position(|item| wanted.is_some() && identity(keys, item) == wanted);
        match (found, directive(change).as_deref()) {
            (Some(index), Some("delete")) => drop(items.remove(index)),
            (None, Some("delete")) => {}
            (Some(index), _) => merge(&mut items[index], change, ""),
            (None, _) => items.push(plain(change)),
        }
    }
}

/// Items that the order names stand in its order, at the places that such items have; others stay where they are.
fn set_order(items: &mut [Value], order: &[Value], keys: &[&str]) {
    let rank = |item: &Value| {
        let own = identity(keys, item)?;
        order.iter().position(|wanted| identity(keys, wanted).as_ref() == Some(&own))
    };
    let places: Vec<usize> = (0..items.len()).filter(|&place| rank(&items[place]).is_some()).collect();
    let mut ordered: Vec<Value> = places.iter().map(|&place| items[place].clone()).collect();
    ordered.sort_by_key(|item| rank(item));
    for (place, item) in places.into_iter().zip(ordered) {
        items[place] = item;
    }
}

/// A patch as the value that it makes where there is nothing.
fn plain(patch: &Value) -> Value {
    match patch {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, value)| !key.starts_with('$') && !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), plain(value))).collect())
        }
        Value::Array(items) => {
            let kept = |item: &&Value| {
                !matches!(item.get(PATCH).and_then(Value::as_str), Some("delete" | "replace"))
            };
            Value::Array(items.iter().filter(kept).map(plain).collect())
        }
        other => other.clone(),
    }
}

/// Tells `wrong` of every directive that does not exist.
pub(super) fn check_directives(patch: &Value, path: &str, wrong: &mut dyn FnMut(&str, String)) {
    match patch {
        Value::Object(map) => {
            for (key, value) in map {
                let path = crate::source::document::join(path, key);
                let good = match key.as_str() {
                    PATCH => matches!(value.as_str(), Some("delete" | "replace" | "merge")),
                    RETAIN_KEYS => value.is_array(),
                    _ if key.starts_with(ELEMENT_ORDER) => value.is_array(),
                    _ => !key.starts_with('$'),
                };
                if !good {
                    wrong(&path, format!("`{key}` is no directive with this value"));
                }
                check_directives(value, &path, wrong);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check_directives(item, &format!("{path}[{index}]"), wrong);
            }
        }
        _ => {}
    }
}
