//! Workloads of every registry in one form.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use weft_model::endpoint::{Health, WorkloadInfo};
use weft_model::identity::WorkloadIdentity;

use super::{MeshSettings, WorkloadStates};
use crate::source::kinds::endpoint_slice::{EndpointSlice, SERVICE_NAME_LABEL};
use crate::source::kinds::pod::PodState;
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
    /// What is known of a pod beside that; none for other workloads.
    pub pod: Option<Arc<PodFacts>>,
}

/// What a pod has beside what every workload has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PodFacts {
    /// What runs it, as telemetry names workloads.
    pub workload: Arc<str>,
    /// Where it runs.
    pub node: Option<Arc<str>>,
    /// Numbers of its ports by its own names for them.
    pub ports: BTreeMap<Arc<str>, u16>,
    /// Its name below a headless service's, and that service.
    pub host_name: Option<(Arc<str>, Arc<str>)>,
    /// It has no network of its own, and so no identity that others could check.
    pub host_network: bool,
    /// It has a sidecar of ours, which is connected while all is well.
    pub has_sidecar: bool,
    /// It was well when Kubernetes last heard of its node, which is a while ago.
    pub out_of_reach: bool,
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

    /// Under which a world knows it.
    #[must_use]
    pub fn key(&self) -> WorkloadKey {
        (self.namespace.clone(), self.name.clone())
    }

    /// Whether it has an address.
    #[must_use]
    pub fn is_placed(&self) -> bool {
        !self.address.is_unspecified()
    }

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
            Port::Named(name) => self.named_port(name),
        })
    }

    /// The number of a port that the workload has a name for.
    #[must_use]
    pub fn named_port(&self, name: &str) -> Option<u16> {
        self.pod.as_ref().map_or(&self.ports, |pod| &pod.ports).get(name).copied()
    }

    /// Its name below the name of a headless service that it is behind, if it has one there: that of a pod is for the
    /// service that its `subdomain` names.
    #[must_use]
    pub fn host_name_in(&self, service: &str) -> Option<&Arc<str>> {
        match &self.pod {
            None => Some(&self.name),
            Some(pod) => pod.host_name.as_ref().filter(|(_, own)| **own == *service).map(|(name, _)| name),
        }
    }

    /// The node that it runs on, if that is known.
    #[must_use]
    pub fn node(&self) -> Option<&Arc<str>> {
        self.pod.as_ref()?.node.as_ref()
    }

    /// As telemetry names it, with Istio's canonical service and revision
    /// (<https://istio.io/latest/docs/ops/configuration/mesh/canonical-service/>).
    #[must_use]
    pub fn info(&self, mesh: &MeshSettings) -> WorkloadInfo {
        let first = |keys: &[&str]| keys.iter().find_map(|key| self.labels.get(*key)).cloned();
        WorkloadInfo {
            name: self.pod.as_ref().map_or(&self.name, |pod| &pod.workload).clone(),
            namespace: self.namespace.clone(),
            service: first(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"])
                .unwrap_or_else(|| self.pod.as_ref().map_or(&self.name, |pod| &pod.workload).clone()),
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

/// A pod, wherever it is; none when it has ended. One whose `address` is not known yet has the unspecified one.
pub(super) fn of_pod(object: &Object, localities: &BTreeMap<Arc<str>, Arc<str>>) -> Option<WorldWorkload> {
    let Spec::Pod(pod) = &object.spec else { return None };
    let (health, out_of_reach) = match pod.state {
        PodState::Lives(health) => (health, false),
        PodState::OutOfReach => (Health::Healthy, true),
        PodState::Ended => return None,
    };
    let has_sidecar = is_mutual(&object.metadata.labels) && !pod.host_network;
    let locality = pod.node.as_ref().and_then(|node| localities.get(node)).cloned();
    Some(WorldWorkload {
        name: object.name().clone(),
        namespace: object.namespace().clone(),
        address: pod.addresses.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        ports: BTreeMap::new(),
        labels: object.metadata.labels.clone(),
        service_account: Some(pod.service_account.clone()),
        locality: locality.unwrap_or_default(),
        weight: 1,
        mutual_tls: has_sidecar,
        health: if pod.addresses.is_empty() { Health::Unhealthy } else { health },
        pod: Some(Arc::new(PodFacts {
            workload: pod.workload.clone(),
            node: pod.node.clone(),
            ports: pod.ports.clone(),
            host_name: pod.host_name.clone(),
            host_network: pod.host_network,
            has_sidecar: pod.has_sidecar,
            out_of_reach,
        })),
    })
}

/// The endpoints that an endpoint slice gives, by the ports of the slice.
pub(super) fn of_slice<'a>(
    object: &'a Object,
    slice: &'a EndpointSlice,
) -> impl Iterator<Item = Arc<WorldWorkload>> + 'a {
    let ports: BTreeMap<Arc<str>, u16> = slice.ports.iter().cloned().collect();
    slice.endpoints.iter().enumerate().map(move |(index, endpoint)| {
        let name = endpoint.pod.clone().unwrap_or_else(|| format!("{}/{index}", object.name()).into());
        Arc::new(WorldWorkload {
            name: name.clone(),
            namespace: object.namespace().clone(),
            address: endpoint.address,
            ports: ports.clone(),
            labels: Labels::new(),
            service_account: None,
            locality: Arc::default(),
            weight: 1,
            mutual_tls: false,
            health: endpoint.health,
            pod: Some(Arc::new(PodFacts {
                workload: name,
                node: endpoint.node.clone(),
                ports: BTreeMap::new(),
                host_name: endpoint
                    .host_name
                    .clone()
                    .zip(object.metadata.labels.get(SERVICE_NAME_LABEL).cloned()),
                host_network: false,
                has_sidecar: false,
                out_of_reach: false,
            })),
        })
    })
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
        pod: None,
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
