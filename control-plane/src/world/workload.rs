//! Workloads of every registry in one form.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weft_model::endpoint::{Health, WorkloadInfo};
use weft_model::identity::WorkloadIdentity;

use super::{MeshSettings, WorkloadStates};
use crate::source::kinds::workload_entry::{WorkloadAddress, WorkloadEntry};
use crate::source::words::Labels;
use crate::source::{Object, Spec};

/// Namespace and name.
pub type WorkloadKey = (Arc<str>, Arc<str>);

/// Something that answers requests at an address.
#[derive(Clone, PartialEq, Debug)]
pub struct WorldWorkload {
    /// Unique in its namespace.
    pub name: Arc<str>,
    /// Where its objects live.
    pub namespace: Arc<str>,
    /// Where it listens.
    pub address: IpAddr,
    /// Port numbers by the name of a service's port.
    pub ports: BTreeMap<Arc<str>, u16>,
    /// For selectors and subsets.
    pub labels: Labels,
    /// Whose identity it has, as far as its object says.
    pub service_account: Option<Arc<str>>,
    /// `region/zone/subzone`; may be empty.
    pub locality: Arc<str>,
    /// Share among endpoints; 0 counts as 1.
    pub weight: u32,
    /// A sidecar terminates mutual TLS there.
    pub mutual_tls: bool,
    /// Whether it takes requests now.
    pub health: Health,
}

/// A port as a service names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Port {
    /// By number.
    Number(u16),
    /// By the workload's own name for it.
    Named(Arc<str>),
}

impl WorldWorkload {
    /// Istio's label for "a sidecar terminates mutual TLS here".
    pub const TLS_MODE_LABEL: &'static str = "security.istio.io/tlsMode";

    /// Whether it has all these labels.
    #[must_use]
    pub fn has(&self, labels: &Labels) -> bool {
        labels.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }

    /// Its SPIFFE identity, as far as its object says.
    #[must_use]
    pub fn identity(&self, mesh: &MeshSettings) -> Option<Arc<str>> {
        identity(mesh, &self.namespace, self.service_account.as_deref()?)
    }

    /// Where it listens for a port of a service: its own number for the port's name wins over the target port.
    #[must_use]
    pub fn port(&self, name: &str, target: &Port) -> Option<u16> {
        self.ports.get(name).copied().or_else(|| match target {
            Port::Number(number) => Some(*number),
            Port::Named(name) => self.ports.get(name).copied(),
        })
    }

    /// As telemetry names it, with Istio's canonical service and revision
    /// (<https://istio.io/latest/docs/ops/configuration/mesh/canonical-service/>).
    #[must_use]
    pub fn info(&self, mesh: &MeshSettings) -> WorkloadInfo {
        let first = |keys: &[&str]| keys.iter().find_map(|key| self.labels.get(*key)).cloned();
        WorkloadInfo {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            service: first(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"])
                .unwrap_or_else(|| self.name.clone()),
            version: first(&["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"])
                .unwrap_or_else(|| "latest".into()),
            cluster: mesh.name.clone(),
        }
    }
}

/// All workloads with an address of their own.
pub(super) fn from_objects(
    objects: &[Arc<Object>],
    states: &WorkloadStates,
) -> BTreeMap<WorkloadKey, Arc<WorldWorkload>> {
    let entries = objects.iter().filter_map(|object| match &object.spec {
        Spec::WorkloadEntry(entry) => Some((object, entry)),
        _ => None,
    });
    let workloads = entries.filter_map(|(object, entry)| {
        let key = (object.namespace().clone(), object.name().clone());
        let mut workload = convert(key.1.clone(), key.0.clone(), entry)?;
        // Labels of the object count beside those of the spec, which win, as in Istio.
        for (label, value) in &object.metadata.labels {
            workload.labels.entry(label.clone()).or_insert_with(|| value.clone());
        }
        workload.mutual_tls = is_mutual(&workload.labels);
        workload.health = states.get(&key).copied().unwrap_or_default();
        Some((key, Arc::new(workload)))
    });
    workloads.collect()
}

/// An endpoint that a service entry gives in place.
pub(super) fn inline(object: &Object, field: &str, entry: &WorkloadEntry) -> Option<Arc<WorldWorkload>> {
    let name = format!("{}/{field}", object.name());
    convert(name.into(), object.namespace().clone(), entry).map(Arc::new)
}

fn convert(name: Arc<str>, namespace: Arc<str>, entry: &WorkloadEntry) -> Option<WorldWorkload> {
    let Some(WorkloadAddress::Ip(address)) = entry.address else { return None };
    Some(WorldWorkload {
        name,
        namespace,
        address,
        ports: entry.ports.iter().map(|(name, port)| (name.clone(), port.get())).collect(),
        mutual_tls: is_mutual(&entry.labels),
        labels: entry.labels.clone(),
        service_account: entry.service_account.clone(),
        locality: entry.locality.clone().unwrap_or_default(),
        weight: entry.weight,
        health: Health::Healthy,
    })
}

/// None when the names cannot be part of an identity.
pub(super) fn identity(mesh: &MeshSettings, namespace: &str, service_account: &str) -> Option<Arc<str>> {
    let identity = WorkloadIdentity::new(mesh.trust_domain.clone(), namespace, service_account).ok()?;
    Some(identity.to_string().into())
}

fn is_mutual(labels: &Labels) -> bool {
    labels.get(WorldWorkload::TLS_MODE_LABEL).is_some_and(|mode| &**mode == "istio")
}
