//! The objects that stand for a registered workload, as YAML: what the user could have written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use weft_proto::api::{RegisterWorkloadRequest, WorkloadPort};

use crate::source::kinds::service::{Addressing, Service};
use crate::world::WorldWorkload;

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;

/// A workload that asked to join, with what was chosen for it.
#[derive(Debug)]
pub struct Registration<'a> {
    /// What it asked for.
    pub request: &'a RegisterWorkloadRequest,
    /// Unique in its namespace.
    pub name: &'a str,
    /// Never empty.
    pub namespace: &'a str,
    /// Never empty.
    pub service_account: &'a str,
    /// Where others reach it.
    pub address: IpAddr,
}

/// `SERVICE-VERSION` (or what the caller asked for), with a number behind it when that is taken. Workloads of a headless
/// service are counted from 0, as pods of a `StatefulSet`.
#[must_use]
pub fn name_for(request: &RegisterWorkloadRequest, taken: &BTreeSet<String>) -> String {
    let base = match (request.name.as_str(), request.service.as_str(), request.version.as_str()) {
        ("", "", _) => "workload".to_owned(),
        ("", service, _) if request.headless => {
            let mut ordinals = (0..).map(|ordinal: u32| format!("{service}-{ordinal}"));
            return ordinals.find(|name| !taken.contains(name)).unwrap_or_else(|| service.to_owned());
        }
        ("", service, "") => service.to_owned(),
        ("", service, version) => format!("{service}-{version}"),
        (name, ..) => return name.to_owned(),
    };
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    std::iter::once(base.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or(base)
}

impl Registration<'_> {
    /// The labels of the workload: what the user gave, what tools expect, and that a sidecar is there.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels: BTreeMap<String, String> =
            self.request.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let mut standard = |key: &str, value: &str| {
            if !value.is_empty() {
                labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
            }
        };
        standard("app", if self.request.service.is_empty() { self.name } else { &self.request.service });
        standard("version", &self.request.version);
        if !self.request.no_sidecar {
            standard(WorldWorkload::TLS_MODE_LABEL, "istio");
        }
        labels
    }

    /// The `WorkloadEntry`.
    #[must_use]
    pub fn workload_entry(&self) -> serde_json::Value {
        // Explicit mode: others reach a port where the sidecar takes it. Elsewhere the number is the port's own.
        let ports = self.request.ports.iter().filter(|port| port.inbound_port != 0);
        let ports: serde_json::Map<_, _> =
            ports.map(|port| (port_name(port), serde_json::Value::from(port.inbound_port))).collect();
        let mut spec = serde_json::json!({
            "address": self.address.to_string(),
            "labels": self.labels(),
            "serviceAccount": self.service_account,
        });
        if !ports.is_empty() {
            spec["ports"] = ports.into();
        }
        serde_json::json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "WorkloadEntry",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": spec,
        })
    }

    /// The `Service` that selects the workload by its name; none for a workload that serves nothing. It keeps the ports
    /// that earlier workloads brought to `known`.
    #[must_use]
    pub fn service(&self, known: Option<&Service>) -> Option<serde_json::Value> {
        if self.request.service.is_empty() || self.request.ports.is_empty() {
            return None;
        }
        let json = |name: &str, number: u32, app_protocol: &str| {
            let mut value = serde_json::json!({"name": name, "port": number});
            if !app_protocol.is_empty() {
                value["appProtocol"] = app_protocol.into();
            }
            value
        };
        let own = self.request.ports.iter().map(|port| json(&port_name(port), port.port, &port.app_protocol));
        let is_own = |number: u32| self.request.ports.iter().any(|port| port.port == number);
        let others = known.into_iter().flat_map(|service| &service.ports).filter_map(|port| {
            let (number, name) = (u32::from(port.port.get()), port.name.as_deref().unwrap_or_default());
            (!is_own(number)).then(|| json(name, number, port.app_protocol.as_deref().unwrap_or_default()))
        });
        let ports = own.chain(others);
        let mut spec = serde_json::json!({
            "selector": {"app": self.request.service},
            "ports": ports.collect::<Vec<_>>(),
        });
        // What the first workload asked for holds for those that come later.
        let headless =
            known.map_or(self.request.headless, |service| service.addressing == Addressing::Headless);
        if headless {
            spec["clusterIP"] = "None".into();
        }
        Some(serde_json::json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self.request.service, "namespace": self.namespace},
            "spec": spec,
        }))
    }
}

/// A port that was given no name gets one that declares no protocol.
fn port_name(port: &WorkloadPort) -> String {
    if port.name.is_empty() { format!("port-{}", port.port) } else { port.name.clone() }
}
