//! Kubelet's checks, sent through the sidecar: under STRICT mutual TLS the application's own ports take no plain
//! text, and kubelet has no certificate. The shape of what the sidecar is told is Istio's `ISTIO_KUBE_APP_PROBERS`.

use serde_json::{Map, Value, json};

use super::PROXY_CONTAINER;
use super::pod::{CONTAINER_LISTS, is_native_sidecar, list_mut, text};

#[cfg(test)]
#[path = "probes_tests.rs"]
mod tests;

/// Where the sidecar answers for the application.
pub(super) const PROBE_PORT: u16 = 15020;

/// The probes of a container and the last part of their paths.
const PROBES: [(&str, &str); 3] =
    [("livenessProbe", "livez"), ("readinessProbe", "readyz"), ("startupProbe", "startupz")];
/// The handlers of a container's life and the last part of their paths.
const HANDLERS: [(&str, &str); 2] = [("preStop", "prestopz"), ("postStart", "poststartz")];

/// Sends the checks of all containers but the sidecar's own to the sidecar; what they were, by path.
pub(super) fn rewrite(pod: &mut Value) -> Map<String, Value> {
    let mut rewritten = Map::new();
    for list in CONTAINER_LISTS {
        for container in list_mut(pod, list).into_iter().flatten() {
            let name = text(container, "name").to_owned();
            // Init containers that end have neither probes nor handlers.
            let runs = list == "containers" || is_native_sidecar(list, container);
            if runs && !name.is_empty() && name != PROXY_CONTAINER {
                rewrite_container(container, &name, &mut rewritten);
            }
        }
    }
    rewritten
}

fn rewrite_container(container: &mut Value, name: &str, rewritten: &mut Map<String, Value>) {
    let ports = container["ports"].clone();
    for (field, word) in PROBES {
        let path = format!("/app-health/{name}/{word}");
        if let Some(probe) = container.get_mut(field).and_then(Value::as_object_mut) {
            rewrite_handler(probe, &ports, path, rewritten);
        }
    }
    for (field, word) in HANDLERS {
        let path = format!("/app-lifecycle/{name}/{word}");
        let handler = container.get_mut("lifecycle").and_then(|lifecycle| lifecycle.get_mut(field));
        if let Some(handler) = handler.and_then(Value::as_object_mut)
            && handler.contains_key("httpGet")
        {
            rewrite_handler(handler, &ports, path, rewritten);
        }
    }
}

/// One check. A command is run in the container and needs nobody's help; one that asks another host than the pod
/// is not the sidecar's to make.
fn rewrite_handler(
    handler: &mut Map<String, Value>,
    ports: &Value,
    path: String,
    rewritten: &mut Map<String, Value>,
) {
    let kinds = ["httpGet", "tcpSocket", "grpc"];
    let Some((kind, mut original)) =
        kinds.into_iter().find_map(|kind| Some((kind, handler.get(kind)?.as_object()?.clone())))
    else {
        return;
    };
    let elsewhere = original.get("host").and_then(Value::as_str).is_some_and(|host| !host.is_empty());
    let Some(port) = original.get("port").and_then(|port| resolve(port, ports)).filter(|_| !elsewhere) else {
        return;
    };
    original.insert("port".to_owned(), json!(port));
    let mut told = Map::new();
    told.insert(kind.to_owned(), Value::Object(original));
    if let Some(seconds) = handler.get("timeoutSeconds").filter(|seconds| seconds.is_number()) {
        told.insert("timeoutSeconds".to_owned(), seconds.clone());
    }
    // In the place of the old one, so that what follows keeps its place in the text.
    let asked = json!({"path": path, "port": PROBE_PORT});
    let renamed = std::mem::take(handler)
        .into_iter()
        .map(|(key, value)| if key == kind { ("httpGet".to_owned(), asked.clone()) } else { (key, value) });
    *handler = renamed.collect();
    rewritten.insert(path, Value::Object(told));
}

/// A port by number, or by the name of one of the container's ports, or by a number in text: kubelet's order.
fn resolve(port: &Value, ports: &Value) -> Option<u16> {
    let number =
        |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    let Some(name) = port.as_str() else { return number(port) };
    let named = ports.as_array().into_iter().flatten().find(|port| text(port, "name") == name);
    match named {
        Some(port) => number(&port["containerPort"]),
        None => name.parse().ok().filter(|port| *port > 0),
    }
}
