//! What of an object is kept. What a mesh does not read is dropped before it is stored: of thousands of pods it would be most
//! of the memory, and every change of it would look like a change.

use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use crate::inject::PROXY_CONTAINER;
use crate::source::Kind;

#[cfg(test)]
#[path = "trim_tests.rs"]
mod tests;

/// Annotations that are long and for tools only.
const DROPPED_ANNOTATIONS: &[&str] = &["kubectl.kubernetes.io/last-applied-configuration"];

/// Fields of a Service that say something about a mesh.
const SERVICE: &[&str] = &[
    "type",
    "clusterIP",
    "clusterIPs",
    "externalName",
    "selector",
    "publishNotReadyAddresses",
    "internalTrafficPolicy",
];
/// And of its ports.
const SERVICE_PORT: &[&str] = &["name", "protocol", "appProtocol", "port", "targetPort"];

/// An object as the parser takes it, and its `status`, which is not part of that.
pub(super) struct Trimmed {
    pub(super) object: Value,
    pub(super) status: Value,
    /// The version of the API that it was read in.
    pub(super) version: &'static str,
    /// `metadata.generation`; 0 where the kind has none.
    pub(super) generation: u64,
}

/// Takes what is read of an object of a kind.
pub(super) fn trim(kind: &Kind, version: &'static str, object: DynamicObject) -> Trimmed {
    let generation = object.metadata.generation.and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
    let mut data = match object.data {
        Value::Object(data) => data,
        _ => Map::new(),
    };
    // Serializing what was just deserialized cannot fail; if it did, the parser would miss the name and say so.
    let metadata = serde_json::to_value(&object.metadata).unwrap_or_default();
    let status = data.remove("status").unwrap_or_default();
    let mut kept = json!({"apiVersion": kind.api_version(), "kind": kind.name});
    let metadata = match kind.name {
        "Pod" => {
            let spec = data.remove("spec").unwrap_or_default();
            kept["spec"] =
                picked(&spec, &["nodeName", "serviceAccountName", "hostNetwork", "hostname", "subdomain"]);
            kept["spec"]["containers"] = containers(&spec["containers"]);
            kept["spec"]["initContainers"] = containers(&spec["initContainers"]);
            kept["status"] = picked(&status, &["phase", "podIP", "podIPs"]);
            kept["status"]["conditions"] = readiness(&status["conditions"]);
            let mut metadata = picked(&metadata, &["name", "namespace", "labels", "deletionTimestamp"]);
            let owners = metadata_owners(&object.metadata.owner_references);
            metadata["ownerReferences"] = owners;
            metadata
        }
        "Service" => {
            let spec = data.remove("spec").unwrap_or_default();
            // Named one by one: a cluster that is newer than we are may have fields that we do not know.
            kept["spec"] = picked(&spec, SERVICE);
            let ports = spec["ports"].as_array().into_iter().flatten();
            kept["spec"]["ports"] = ports.map(|port| picked(port, SERVICE_PORT)).collect();
            picked(&metadata, &["name", "namespace", "labels", "creationTimestamp"])
        }
        "Namespace" | "Node" => picked(&metadata, &["name", "labels"]),
        _ => {
            let mut metadata =
                picked(&metadata, &["name", "namespace", "labels", "annotations", "creationTimestamp"]);
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.retain(|key, _| !DROPPED_ANNOTATIONS.contains(&key.as_str()));
            }
            if kind.name == "HTTPRoute"
                && let Some(parents) =
                    data.get_mut("spec").and_then(|spec| spec.get_mut("parentRefs")?.as_array_mut())
            {
                parents.retain(is_service);
            }
            if let Some(all) = kept.as_object_mut() {
                all.extend(data.into_iter().filter(|(key, _)| key != "apiVersion" && key != "kind"));
            }
            metadata
        }
    };
    kept["metadata"] = metadata;
    Trimmed { object: kept, status, version, generation }
}

/// Whether a route's parent is a service of the mesh. Gateways have controllers of their own.
fn is_service(parent: &Value) -> bool {
    let group = parent["group"].as_str().unwrap_or("gateway.networking.k8s.io");
    parent["kind"] == "Service" && (group.is_empty() || group == "core")
}

/// Whether an object is none of the mesh's: a route that is for gateways only.
pub(super) fn is_foreign(object: &Value) -> bool {
    object["kind"] == "HTTPRoute"
        && object["spec"]["parentRefs"].as_array().is_none_or(|parents| parents.is_empty())
}

/// Those of the fields that are there.
fn picked(value: &Value, fields: &[&str]) -> Value {
    let fields = fields.iter().filter_map(|field| Some(((*field).to_owned(), value.get(field)?.clone())));
    Value::Object(fields.collect())
}

/// Ports of containers that have named ones.
fn containers(list: &Value) -> Value {
    let all = list.as_array().into_iter().flatten();
    let with_ports = all.filter(|container| container.get("ports").is_some());
    let kept = with_ports.map(|container| {
        let mut kept = picked(container, &["restartPolicy"]);
        let ports = container["ports"].as_array().into_iter().flatten();
        kept["ports"] = ports.map(|port| picked(port, &["name", "containerPort", "protocol"])).collect();
        if container["name"] == PROXY_CONTAINER {
            kept["name"] = json!(PROXY_CONTAINER);
        }
        kept
    });
    kept.collect()
}

fn readiness(conditions: &Value) -> Value {
    let all = conditions.as_array().into_iter().flatten();
    let of_readiness =
        all.filter(|condition| condition["type"] == "Ready" || condition["type"] == "ContainersReady");
    of_readiness.map(|condition| picked(condition, &["type", "status", "reason"])).collect()
}

fn metadata_owners(
    owners: &Option<Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference>>,
) -> Value {
    let controllers = owners.iter().flatten().filter(|owner| owner.controller == Some(true));
    controllers.map(|owner| json!({"kind": owner.kind, "name": owner.name, "controller": true})).collect()
}
