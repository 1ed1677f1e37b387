//! Services of every registry in one form.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weft_model::provenance::Provenance;

use super::MeshSettings;
use super::workload::{self, Port, WorldWorkload};
use crate::source::kinds::endpoint_slice::{EndpointSlice, SERVICE_NAME_LABEL};
use crate::source::kinds::service::{Addressing, Service, TargetPort};
use crate::source::kinds::service_entry::{Location, Resolution, ServiceEntry};
use crate::source::kinds::workload_entry::WorkloadAddress;
use crate::source::words::{ExportTo, Labels, Protocol};
use crate::source::{Object, Spec};

/// A service that workloads can call.
#[derive(Clone, PartialEq, Debug)]
pub struct WorldService {
    /// Fully qualified.
    pub host: Arc<str>,
    /// Short name; the host itself for service entries.
    pub name: Arc<str>,
    /// Namespace of its object.
    pub namespace: Arc<str>,
    /// Where clients find it.
    pub addresses: VirtualAddresses,
    /// What clients call; UDP is left out.
    pub ports: Vec<ServicePort>,
    /// Who answers.
    pub endpoints: EndpointSource,
    /// Endpoints that are not ready pass for ready (`publishNotReadyAddresses`): peers find each other before that.
    pub publish_not_ready: bool,
    /// Clients are answered by workloads of their own node only (`internalTrafficPolicy: Local`).
    pub node_local: bool,
    /// Inside the mesh: mutual TLS where the endpoint has a sidecar.
    pub internal: bool,
    /// SPIFFE identities that its servers must have; empty: those of the trust domain.
    pub subject_alt_names: Vec<Arc<str>>,
    /// Who sees it.
    pub export_to: ExportTo,
    /// When its object was made, if that is known: of two that want the same address the older has it.
    pub created: Option<jiff::Timestamp>,
    /// The object it was made of.
    pub provenance: Provenance,
}

impl WorldService {
    /// Whether clients call its endpoints by their own addresses.
    #[must_use]
    pub fn is_headless(&self) -> bool {
        self.addresses == VirtualAddresses::Endpoints
    }
}

/// Where clients find a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VirtualAddresses {
    /// Here. Empty until the address book has given some.
    Virtual(Vec<IpAddr>),
    /// At its endpoints' own addresses.
    Endpoints,
    /// Under another name, or not by address.
    None,
}

/// Who answers for a service.
#[derive(Clone, PartialEq, Debug)]
pub enum EndpointSource {
    /// Workloads of its namespace that have all these labels.
    Selected(Labels),
    /// These.
    Inline(Vec<Arc<WorldWorkload>>),
    /// What these names (with the ports of endpoints by service port name) resolve to.
    Dns(Vec<DnsEndpoint>),
    /// Whoever the client called.
    OriginalDestination,
    /// Nobody: no selector, and endpoints come from elsewhere.
    Nowhere,
}

/// A name to resolve, and the ports of what it stands for by service port name.
pub type DnsEndpoint = (Arc<str>, BTreeMap<Arc<str>, u16>);

/// One port of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePort {
    /// What clients call.
    pub number: u16,
    /// Its name; may be empty.
    pub name: Arc<str>,
    /// What endpoints listen on.
    pub target: Port,
    /// Declared; none: it is found by looking.
    pub protocol: Option<Protocol>,
    /// Field of the service's object.
    pub field: Arc<str>,
}

/// All services, by host. Of two objects with one host the one that is read first stays.
pub(super) fn from_objects(objects: &[Arc<Object>], mesh: &MeshSettings) -> BTreeMap<Arc<str>, WorldService> {
    let mut services = BTreeMap::new();
    for object in objects {
        match &object.spec {
            Spec::Service(spec) => {
                let service = kubernetes(object, spec, mesh);
                services.entry(service.host.clone()).or_insert(service);
            }
            Spec::ServiceEntry(spec) => {
                for service in entry(object, spec) {
                    services.entry(service.host.clone()).or_insert(service);
                }
            }
            _ => {}
        }
    }
    for object in objects {
        if let Spec::EndpointSlice(slice) = &object.spec {
            add_slice(&mut services, object, slice, mesh);
        }
    }
    services
}

/// The endpoints of a slice answer for its service, if that has no selector: where it has one, the pods themselves tell
/// sooner.
fn add_slice(
    services: &mut BTreeMap<Arc<str>, WorldService>,
    object: &Object,
    slice: &EndpointSlice,
    mesh: &MeshSettings,
) {
    let Some(name) = object.metadata.labels.get(SERVICE_NAME_LABEL) else { return };
    let host = format!("{name}.{}.svc.{}", object.namespace(), mesh.domain);
    let Some(service) = services.get_mut(&*host) else { return };
    let endpoints = workload::of_slice(object, slice);
    match &mut service.endpoints {
        EndpointSource::Nowhere => service.endpoints = EndpointSource::Inline(endpoints.collect()),
        EndpointSource::Inline(known) => known.extend(endpoints),
        _ => {}
    }
}

fn kubernetes(object: &Object, spec: &Service, mesh: &MeshSettings) -> WorldService {
    let (name, namespace) = (object.name(), object.namespace());
    let ports =
        spec.ports.iter().filter(|port| port.protocol != Some(Protocol::Udp)).map(|port| ServicePort {
            number: port.port.get(),
            name: port.name.clone().unwrap_or_default(),
            target: match &port.target_port {
                TargetPort::Number(number) => Port::Number(number.get()),
                TargetPort::Name(name) => Port::Named(name.clone()),
            },
            protocol: port.protocol,
            field: port.field.clone(),
        });
    let ports: Vec<ServicePort> = ports.collect();
    let (addresses, endpoints) = match (&spec.addressing, &spec.selector) {
        (Addressing::ExternalName(host), _) => {
            (VirtualAddresses::None, EndpointSource::Dns(vec![(host.as_str().into(), BTreeMap::new())]))
        }
        (Addressing::Virtual(given), selector) => {
            (VirtualAddresses::Virtual(given.clone()), selected(selector.as_ref()))
        }
        (Addressing::Headless, selector) => (VirtualAddresses::Endpoints, selected(selector.as_ref())),
    };
    WorldService {
        host: format!("{name}.{namespace}.svc.{}", mesh.domain).into(),
        name: name.clone(),
        namespace: namespace.clone(),
        addresses,
        ports,
        endpoints,
        publish_not_ready: spec.publish_not_ready,
        node_local: spec.node_local,
        internal: true,
        subject_alt_names: Vec::new(),
        export_to: ExportTo::All,
        created: object.metadata.created,
        provenance: object.provenance(""),
    }
}

fn selected(selector: Option<&Labels>) -> EndpointSource {
    // An empty selector selects nothing, as in Kubernetes.
    selector
        .filter(|labels| !labels.is_empty())
        .map_or(EndpointSource::Nowhere, |l| EndpointSource::Selected(l.clone()))
}

fn entry<'a>(object: &'a Object, spec: &'a ServiceEntry) -> impl Iterator<Item = WorldService> + 'a {
    let ports =
        spec.ports.iter().filter(|port| port.protocol != Some(Protocol::Udp)).map(|port| ServicePort {
            number: port.number.get(),
            name: port.name.clone(),
            target: Port::Number(port.target_port.get()),
            protocol: port.protocol,
            field: port.field.clone(),
        });
    let ports: Vec<ServicePort> = ports.collect();
    // A network is not an address that a listener can have; only single addresses are taken.
    let single = |(address, length): &(IpAddr, u8)| {
        (*length == if address.is_ipv4() { 32 } else { 128 }).then_some(*address)
    };
    let given: Vec<IpAddr> = spec.addresses.iter().filter_map(single).collect();
    let wanted = spec.hosts.iter().filter(|host| !host.is_wildcard());
    wanted.map(move |host| {
        let endpoints = entry_endpoints(object, spec, host.as_str());
        let reachable = endpoints != EndpointSource::OriginalDestination || !given.is_empty();
        WorldService {
            host: host.as_str().into(),
            name: host.as_str().into(),
            namespace: object.namespace().clone(),
            addresses: if reachable {
                VirtualAddresses::Virtual(given.clone())
            } else {
                VirtualAddresses::None
            },
            ports: ports.clone(),
            endpoints,
            publish_not_ready: false,
            node_local: false,
            internal: spec.location == Location::MeshInternal,
            subject_alt_names: spec.subject_alt_names.clone(),
            export_to: spec.export_to.clone(),
            created: object.metadata.created,
            provenance: object.provenance(""),
        }
    })
}

fn entry_endpoints(object: &Object, spec: &ServiceEntry, host: &str) -> EndpointSource {
    if let Some(selector) = &spec.workload_selector {
        return selected(Some(selector));
    }
    match spec.resolution {
        Resolution::None => EndpointSource::OriginalDestination,
        Resolution::Static => EndpointSource::Inline(
            spec.endpoints
                .iter()
                .filter_map(|endpoint| workload::inline(object, &endpoint.field, &endpoint.workload))
                .collect(),
        ),
        Resolution::Dns | Resolution::DnsRoundRobin if spec.endpoints.is_empty() => {
            EndpointSource::Dns(vec![(host.into(), BTreeMap::new())])
        }
        Resolution::Dns | Resolution::DnsRoundRobin => {
            let names = spec.endpoints.iter().filter_map(|endpoint| {
                let ports =
                    endpoint.workload.ports.iter().map(|(name, port)| (name.clone(), port.get())).collect();
                match endpoint.workload.address.as_ref()? {
                    WorkloadAddress::Dns(name) => Some((Arc::from(name.as_str()), ports)),
                    WorkloadAddress::Ip(address) => Some((Arc::from(address.to_string()), ports)),
                    WorkloadAddress::Unix(_) => None,
                }
            });
            EndpointSource::Dns(names.collect())
        }
    }
}
