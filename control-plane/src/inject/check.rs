//! Whether an injected pod is one that the API server takes. Only what injection has brought is told: what was
//! wrong before is the API server's to say.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::pod::{CONTAINER_LISTS, containers, list, text};
use super::quantity;
use crate::source::checks;
use crate::source::document::join;

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;

/// One thing wrong with a pod: field and message.
pub(super) type Mistake = (String, String);

/// What is wrong with `pod` and was not with `original`. `claims` are volumes that a StatefulSet adds to it.
pub(super) fn added_mistakes(original: &Value, pod: &Value, claims: &[String]) -> Vec<Mistake> {
    let mut mistakes = mistakes(pod, claims);
    if !mistakes.is_empty() {
        // Places move, messages do not.
        let before: BTreeSet<String> =
            self::mistakes(original, claims).into_iter().map(|(_, message)| message).collect();
        mistakes.retain(|(_, message)| !before.contains(message));
    }
    mistakes
}

/// Everything wrong with a pod that would keep the API server from taking it.
fn mistakes(pod: &Value, claims: &[String]) -> Vec<Mistake> {
    let mut wrong = Vec::new();
    if let Err(error) = serde_json::from_value::<Pod>(pod.clone()) {
        wrong.push(("spec".to_owned(), format!("not a pod: {error}")));
    }
    names(pod, &mut wrong);
    let mut volumes: BTreeSet<&str> = claims.iter().map(String::as_str).collect();
    for (index, volume) in list(pod, "volumes").iter().enumerate() {
        let name = text(volume, "name");
        let path = format!("spec.volumes[{index}]");
        if checks::dns_label(name).is_err() {
            wrong.push((format!("{path}.name"), format!("`{name}` is no name of a volume")));
        }
        if !volumes.insert(name) && !claims.iter().any(|claim| claim == name) {
            wrong.push((format!("{path}.name"), format!("there are two volumes `{name}`")));
        }
        let sources = volume.as_object().map_or(0, |map| map.len() - usize::from(map.contains_key("name")));
        if sources > 1 {
            wrong.push((path, format!("the volume `{name}` has {sources} sources; one is allowed")));
        }
    }
    for (list, index, container) in containers(pod) {
        check_container(&format!("spec.{list}[{index}]"), list, container, &volumes, &mut wrong);
    }
    wrong
}

/// Containers of all lists share one set of names.
fn names(pod: &Value, wrong: &mut Vec<Mistake>) {
    let mut seen = BTreeSet::new();
    for field in CONTAINER_LISTS.into_iter().chain(["ephemeralContainers"]) {
        for (index, container) in list(pod, field).iter().enumerate() {
            let (name, path) = (text(container, "name"), format!("spec.{field}[{index}].name"));
            if checks::dns_label(name).is_err() {
                wrong.push((path, format!("`{name}` is no name of a container")));
            } else if !seen.insert(name) {
                wrong.push((path, format!("there are two containers `{name}`")));
            }
        }
    }
}

fn check_container(
    path: &str,
    list: &str,
    container: &Value,
    volumes: &BTreeSet<&str>,
    wrong: &mut Vec<Mistake>,
) {
    let name = text(container, "name");
    let mut tell = |field: &str, message: String| wrong.push((join_path(path, field), message));
    if text(container, "image").is_empty() {
        tell("image", format!("the container `{name}` has no image"));
    }
    let policy = text(container, "restartPolicy");
    if list == "initContainers" && !matches!(policy, "" | "Always") {
        tell("restartPolicy", format!("`{policy}` is no restart policy of an init container"));
    }
    let mut paths = BTreeSet::new();
    for (index, mount) in items(container, "volumeMounts").enumerate() {
        let (volume, at) = (text(mount, "name"), text(mount, "mountPath"));
        if !volumes.contains(volume) {
            tell(
                &format!("volumeMounts[{index}].name"),
                format!("`{name}` mounts `{volume}`, which is no volume of the pod"),
            );
        }
        if at.is_empty() || !paths.insert(at) {
            let message = format!("`{name}` mounts something at `{at}`, which is empty or taken");
            tell(&format!("volumeMounts[{index}].mountPath"), message);
        }
    }
    let mut port_names = BTreeSet::new();
    for (index, port) in items(container, "ports").enumerate() {
        if !port["containerPort"].as_u64().is_some_and(|port| (1..=65535).contains(&port)) {
            tell(&format!("ports[{index}].containerPort"), format!("`{name}` has a port that is none"));
        }
        let port_name = text(port, "name");
        if !port_name.is_empty() && (port_name.len() > 15 || !port_names.insert(port_name)) {
            let message = format!("the port name `{port_name}` of `{name}` is too long or taken");
            tell(&format!("ports[{index}].name"), message);
        }
    }
    for (index, variable) in items(container, "env").enumerate() {
        let variable_name = text(variable, "name");
        if variable_name.is_empty() || variable_name.contains('=') {
            tell(
                &format!("env[{index}].name"),
                format!("`{variable_name}` is no name of an environment variable"),
            );
        }
        let sources =
            ["value", "valueFrom"].into_iter().filter(|source| !variable[*source].is_null()).count();
        if sources > 1 {
            tell(
                &format!("env[{index}]"),
                format!("`{variable_name}` of `{name}` has both a value and a source"),
            );
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(handler) = container.get(probe).and_then(Value::as_object) else { continue };
        let kinds =
            ["httpGet", "tcpSocket", "grpc", "exec"].into_iter().filter(|kind| handler.contains_key(*kind));
        if kinds.count() != 1 {
            tell(probe, format!("the {probe} of `{name}` must ask in exactly one way"));
        }
    }
    check_resources(name, &container["resources"], &mut tell);
}

fn check_resources(name: &str, resources: &Value, tell: &mut dyn FnMut(&str, String)) {
    let amounts = |part: &str| resources.get(part).and_then(Value::as_object).into_iter().flatten();
    let amount = |value: &Value| match value {
        Value::String(text) => quantity::parse(text).ok(),
        number => number.as_f64(),
    };
    for part in ["requests", "limits"] {
        for (resource, value) in amounts(part) {
            if amount(value).is_none() {
                tell(
                    &format!("resources.{part}.{resource}"),
                    format!("{value} is no amount of {resource} for `{name}`"),
                );
            }
        }
    }
    for (resource, requested) in amounts("requests") {
        let limit =
            amounts("limits").find(|(other, _)| *other == resource).and_then(|(_, limit)| amount(limit));
        if let (Some(requested), Some(limit)) = (amount(requested), limit)
            && requested > limit
        {
            tell(
                &format!("resources.requests.{resource}"),
                format!("`{name}` reserves more {resource} than it is allowed"),
            );
        }
    }
}

fn items<'a>(container: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    container.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn join_path(path: &str, field: &str) -> String {
    format!("{path}.{field}")
}

/// Fields of a pod that Kubernetes does not know: those that its types lose.
pub(super) fn unknown_fields(pod: &Value) -> Vec<String> {
    let typed =
        serde_json::from_value::<Pod>(pod.clone()).ok().and_then(|pod| serde_json::to_value(pod).ok());
    let mut lost = Vec::new();
    if let Some(typed) = typed {
        compare(pod, &typed, "", &mut lost);
    }
    lost
}

fn compare(written: &Value, typed: &Value, path: &str, lost: &mut Vec<String>) {
    match (written, typed) {
        (Value::Object(written), Value::Object(typed)) => {
            for (key, value) in written.iter().filter(|(_, value)| !value.is_null()) {
                let path = join(path, key);
                match typed.get(key) {
                    Some(typed) => compare(value, typed, &path, lost),
                    // An empty list or mapping is not written by the types either.
                    None if value.as_array().is_some_and(Vec::is_empty) => {}
                    None if value.as_object().is_some_and(serde_json::Map::is_empty) => {}
                    None => lost.push(path),
                }
            }
        }
        (Value::Array(written), Value::Array(typed)) => {
            for (index, (written, typed)) in written.iter().zip(typed).enumerate() {
                compare(written, typed, &format!("{path}[{index}]"), lost);
            }
        }
        _ => {}
    }
}
