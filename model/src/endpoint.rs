//! Where a cluster's requests can go. In xDS: `ClusterLoadAssignment`.

use std::net::SocketAddr;
use std::sync::Arc;

/// All endpoints of one cluster.
#[derive(Clone, PartialEq, Debug)]
pub struct EndpointSet {
    /// Name that the cluster asks for its endpoints by.
    pub cluster: Arc<str>,
    /// Groups by place and priority.
    pub localities: Vec<LocalityEndpoints>,
}

/// Endpoints at one place.
#[derive(Clone, PartialEq, Debug)]
pub struct LocalityEndpoints {
    /// Where.
    pub locality: Locality,
    /// 0 is used first.
    pub priority: u32,
    /// Share among the localities of a priority; 0 counts as 1.
    pub weight: u32,
    /// At that place.
    pub endpoints: Vec<Arc<Endpoint>>,
}

/// A place: parts are empty when they are not known.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct Locality {
    /// Such as `eu-west-1`.
    pub region: Arc<str>,
    /// Such as `eu-west-1b`.
    pub zone: Arc<str>,
    /// Within a zone.
    pub sub_zone: Arc<str>,
}

/// One address that requests can be sent to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// What is known of its state.
    pub health: Health,
    /// Share among the endpoints of a locality; 0 counts as 1.
    pub weight: u32,
    /// A sidecar terminates mutual TLS there.
    pub mutual_tls: bool,
    /// Who it is, for telemetry.
    pub workload: WorkloadInfo,
}

/// State of an endpoint as the control plane sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Health {
    /// Takes requests.
    #[default]
    Healthy,
    /// Takes no new requests; those under way may finish.
    Draining,
    /// Takes none.
    Unhealthy,
}

/// A workload as telemetry names it; parts are empty when they are not known. In xDS: Istio's endpoint metadata
/// `istio.workload`, five parts joined by `;`.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct WorkloadInfo {
    /// Name of the workload.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Istio's canonical service name: label `app`, or the like.
    pub service: Arc<str>,
    /// Istio's canonical revision: label `version`, or `latest`.
    pub version: Arc<str>,
    /// Name of the Kubernetes cluster or mesh.
    pub cluster: Arc<str>,
}

impl EndpointSet {
    /// A set with no endpoint.
    #[must_use]
    pub fn empty(cluster: &str) -> Self {
        Self { cluster: cluster.into(), localities: Vec::new() }
    }

    /// All endpoints, of every locality.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.localities.iter().flat_map(|locality| &locality.endpoints)
    }
}
