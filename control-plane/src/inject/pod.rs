//! Looking into a pod that is JSON.

use serde_json::{Map, Value};

/// The lists of a pod's containers.
pub(super) const CONTAINER_LISTS: [&str; 2] = ["initContainers", "containers"];

/// The items of a list of the pod's specification.
pub(super) fn list<'a>(pod: &'a Value, name: &str) -> &'a [Value] {
    pod["spec"][name].as_array().map_or(&[], Vec::as_slice)
}

/// A list of the pod's specification, to change it; none when it is not there.
pub(super) fn list_mut<'a>(pod: &'a mut Value, name: &str) -> Option<&'a mut Vec<Value>> {
    pod.get_mut("spec")?.get_mut(name)?.as_array_mut()
}

/// All containers with the list they stand in and their place in it.
pub(super) fn containers(pod: &Value) -> impl Iterator<Item = (&'static str, usize, &Value)> {
    CONTAINER_LISTS.into_iter().flat_map(|name| {
        list(pod, name).iter().enumerate().map(move |(index, container)| (name, index, container))
    })
}

/// Text within an object; empty when it is not there.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A pod's label.
pub(super) fn label<'a>(pod: &'a Value, key: &str) -> Option<&'a str> {
    pod.get("metadata")?.get("labels")?.get(key)?.as_str()
}

/// A pod's annotation.
pub(super) fn annotation<'a>(pod: &'a Value, key: &str) -> Option<&'a str> {
    pod.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// Sets a field, making the mappings on the way to it. What stands there and is no mapping is replaced: the API
/// server would have refused it.
pub(super) fn set(mut value: &mut Value, path: &[&str], key: &str, new: Value) {
    for step in path {
        let Some(map) = as_mapping(value) else { return };
        value = map.entry((*step).to_owned()).or_insert(Value::Null);
    }
    if let Some(map) = as_mapping(value) {
        map.insert(key.to_owned(), new);
    }
}

fn as_mapping(value: &mut Value) -> Option<&mut Map<String, Value>> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

/// Whether it is an init container that goes on beside the others.
pub(super) fn is_native_sidecar(list: &str, container: &Value) -> bool {
    list == "initContainers" && text(container, "restartPolicy") == "Always"
}

/// The same with the keys of every mapping in order, so that what says the same is the same text.
pub(super) fn in_order(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(key, value)| (key.clone(), in_order(value))).collect();
            entries.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(in_order).collect(),
        other => other.clone(),
    }
}
