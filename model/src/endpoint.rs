//! Where a cluster's requests can go. In xDS: `ClusterLoadAssignment`.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::policy::Fraction;
use crate::subset::LbMetadata;

/// All endpoints of one cluster.
#[derive(Clone, PartialEq, Debug)]
pub struct EndpointSet {
    /// Name that the cluster asks for its endpoints by.
    pub cluster: Arc<str>,
    /// Groups by place and priority.
    pub localities: Vec<LocalityEndpoints>,
    /// How health and load are judged.
    pub policy: AssignmentPolicy,
}

/// How the health and the load of a set are judged, see
/// <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/endpoint/v3/endpoint.proto>.
#[derive(Clone, PartialEq, Debug)]
pub struct AssignmentPolicy {
    /// A priority (or locality) counts as whole while its healthy percentage times this, in percent, is 100; more than
    /// 0.
    pub overprovisioning_factor: u32,
    /// Requests that are refused on purpose, by category: one after the other is asked.
    pub drop_overloads: Vec<(Arc<str>, Fraction)>,
}

impl AssignmentPolicy {
    /// Envoy's factor.
    pub const OVERPROVISIONING: u32 = 140;
}

impl Default for AssignmentPolicy {
    fn default() -> Self {
        Self { overprovisioning_factor: Self::OVERPROVISIONING, drop_overloads: Vec::new() }
    }
}

/// Endpoints at one place.
#[derive(Clone, PartialEq, Debug)]
pub struct LocalityEndpoints {
    /// Where.
    pub locality: Locality,
    /// 0 is used first.
    pub priority: u32,
    /// Share among the localities of a priority, where shares of localities are looked at; 0: none, unless no
    /// locality of the priority has one.
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
    /// Its host name; may be empty.
    pub hostname: Arc<str>,
    /// What it is chosen by: its metadata `envoy.lb`.
    pub metadata: LbMetadata,
    /// How its health is asked for.
    pub health_check: EndpointHealthCheck,
}

/// How the health of one endpoint is asked for, where that differs from the cluster's way.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct EndpointHealthCheck {
    /// Instead of the port that requests go to.
    pub port: Option<u16>,
    /// Host name of the question; empty: as the cluster says.
    pub hostname: Arc<str>,
    /// It is not asked for.
    pub disabled: bool,
}

impl Endpoint {
    /// A healthy endpoint of which only the address is known.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            health: Health::Healthy,
            weight: 1,
            mutual_tls: false,
            workload: WorkloadInfo::default(),
            hostname: "".into(),
            metadata: LbMetadata::default(),
            health_check: EndpointHealthCheck::default(),
        }
    }
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
        Self { cluster: cluster.into(), localities: Vec::new(), policy: AssignmentPolicy::default() }
    }

    /// All endpoints, of every locality.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.localities.iter().flat_map(|locality| &locality.endpoints)
    }
}
