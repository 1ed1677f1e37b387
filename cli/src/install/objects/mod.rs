//! Everything that is installed, as objects of Kubernetes' own types, in the order in which they are applied.

mod access;
mod cni;
mod control_plane;
mod injection;
mod scaling;
mod validation;

pub(crate) use injection::injection_values;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::Value;

use super::crds;
use super::names::{NAMESPACE, strings};
use super::values::InstallValues;
use crate::output::yaml::to_yaml;

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;

/// All objects for some values: kinds before what is of them, who may before who does, webhooks last.
#[must_use]
pub fn render(values: &InstallValues) -> Vec<Value> {
    let mut objects = Objects::default();
    if values.crds.install {
        objects.0.extend(crds::all());
    }
    if values.namespace.create {
        objects.add(&namespace(values));
    }
    access::add(values, &mut objects);
    injection::add_configuration(values, &mut objects);
    control_plane::add(values, &mut objects);
    scaling::add(values, &mut objects);
    // Before anything is injected that counts on it.
    cni::add(values, &mut objects);
    injection::add_webhooks(values, &mut objects);
    validation::add(values, &mut objects);
    objects.0
}

/// The objects as YAML documents, which `kubectl apply -f -` and Kustomize take.
#[must_use]
pub fn to_documents(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("---\n{}", to_yaml(object))).collect()
}

/// Objects so far.
#[derive(Default)]
struct Objects(Vec<Value>);

impl Objects {
    fn add<T: Serialize>(&mut self, object: &T) {
        // Kubernetes' types are JSON by definition.
        if let Ok(value) = serde_json::to_value(object) {
            self.0.push(value);
        }
    }
}

/// The namespace, with the strictest of Kubernetes' pod security standards that its pods can live by: the CNI agent
/// works on the node itself.
fn namespace(values: &InstallValues) -> Namespace {
    let standard = if values.cni.enabled { "privileged" } else { "restricted" };
    let labels = strings([
        ("app.kubernetes.io/name", "weft"),
        ("app.kubernetes.io/part-of", "weft"),
        ("pod-security.kubernetes.io/enforce", standard),
    ]);
    Namespace {
        metadata: ObjectMeta {
            name: Some(NAMESPACE.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}
