//! Kubernetes' `Service`
//! (<https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/>).

use std::net::IpAddr;
use std::sync::Arc;

use crate::source::checks;
use crate::source::diagnostic::code;
use crate::source::fields::{Field, Fields};
use crate::source::registry::Scope;
use crate::source::words::{FieldPath, Host, Labels, Port, Protocol};

/// A service of the mesh.
#[derive(Clone, PartialEq, Debug)]
pub struct Service {
    /// How it is reached.
    pub addressing: Addressing,
    /// Numbers with protocol, and names, are unique. Empty only for headless and external-name services.
    pub ports: Vec<ServicePort>,
    /// Absent: endpoints come from elsewhere.
    pub selector: Option<Labels>,
    /// Endpoints that are not ready are published too (`publishNotReadyAddresses`).
    pub publish_not_ready: bool,
    /// Clients are answered by workloads of their own node only (`internalTrafficPolicy: Local`).
    pub node_local: bool,
}

/// How a service is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Addressing {
    /// By virtual addresses; empty: the control plane chooses one. ClusterIP, NodePort and LoadBalancer.
    Virtual(Vec<IpAddr>),
    /// `clusterIP: None`: by the endpoints' own addresses.
    Headless,
    /// `type: ExternalName`: another name.
    ExternalName(Host),
}

/// One port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePort {
    /// Where it stands, such as `spec.ports[0]`.
    pub field: FieldPath,
    /// Required when there are several.
    pub name: Option<Arc<str>>,
    /// What clients call.
    pub port: Port,
    /// What endpoints listen on; `port` when absent.
    pub target_port: TargetPort,
    /// By `appProtocol`, else by the name's prefix, `Udp` for UDP; absent: sniffed.
    pub protocol: Option<Protocol>,
    /// As written.
    pub app_protocol: Option<Arc<str>>,
}

/// What endpoints listen on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetPort {
    /// A number.
    Number(Port),
    /// Name of a port of the workload.
    Name(Arc<str>),
}

/// Fields of a Service that say nothing about a mesh, or that a cluster manages.
const IGNORED: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "externalIPs",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "ipFamilies",
    "ipFamilyPolicy",
    "loadBalancerClass",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "sessionAffinity",
    "sessionAffinityConfig",
    "trafficDistribution",
];

pub(crate) fn parse(field: &Field<'_>, _: Scope<'_>) -> Option<Service> {
    field.message(|f| {
        f.ignored(IGNORED);
        let external = f.optional("type").map_or(Some(false), |field| {
            field.choice(&[
                ("ClusterIP", false),
                ("NodePort", false),
                ("LoadBalancer", false),
                ("ExternalName", true),
            ])
        });
        let addressing = addressing(f, external.unwrap_or(false));
        let ports_field = f.optional("ports");
        let ports = ports_field.as_ref().map(ports).unwrap_or_default();
        if ports_field.is_none() && matches!(addressing, Some(Addressing::Virtual(_))) {
            f.here().refuse(code::MISSING_FIELD, "`ports` is missing", "add the ports that clients call");
        }
        let selector = f.optional("selector").map(|field| checks::labels(&field));
        let publish_not_ready = f.flag("publishNotReadyAddresses");
        let node_local = f
            .optional("internalTrafficPolicy")
            .map_or(Some(false), |field| field.choice(&[("Cluster", false), ("Local", true)]));
        external?;
        Some(Service {
            addressing: addressing?,
            ports,
            selector: selector.filter(|labels| !labels.is_empty()),
            publish_not_ready,
            node_local: node_local?,
        })
    })
}

fn addressing(f: &Fields<'_>, external: bool) -> Option<Addressing> {
    let name = f.optional("externalName");
    let cluster_ip = f.optional("clusterIP");
    let cluster_ips = f.optional("clusterIPs");
    if external {
        let Some(name) = name else {
            f.here().refuse(
                code::MISSING_FIELD,
                "`externalName` is missing",
                "a service of type ExternalName needs it",
            );
            return None;
        };
        return name.parse(checks::plain_host).map(Addressing::ExternalName);
    }
    if let Some(name) = name {
        name.warn(code::NO_EFFECT, "`externalName` goes with `type: ExternalName` only", "");
    }
    let none = |field: &Field<'_>| field.node().as_str() == Some("None");
    if cluster_ip.as_ref().is_some_and(none) {
        return Some(Addressing::Headless);
    }
    if let Some(list) = cluster_ips {
        let items = list.items_up_to(2);
        if items.iter().any(none) {
            return Some(Addressing::Headless);
        }
        let addresses: Vec<_> = items.iter().filter_map(|item| item.parse(checks::address)).collect();
        if !addresses.is_empty() {
            return Some(Addressing::Virtual(addresses));
        }
    }
    let address = cluster_ip
        .filter(|field| field.node().as_str() != Some(""))
        .and_then(|field| field.parse(checks::address));
    Some(Addressing::Virtual(address.into_iter().collect()))
}

fn ports(field: &Field<'_>) -> Vec<ServicePort> {
    let items = field.items();
    let ports: Vec<_> = items.iter().filter_map(|item| port(item, items.len())).collect();
    for (index, (transport, one)) in ports.iter().enumerate() {
        let clash = |(other_transport, other): &(Transport, ServicePort)| {
            (other.port == one.port && other_transport == transport)
                || (one.name.is_some() && other.name == one.name)
        };
        if ports[..index].iter().any(clash) {
            field.invalid(
                format!("the port {} stands twice", one.port),
                "numbers (with protocol) and names are unique",
            );
        }
    }
    ports.into_iter().map(|(_, port)| port).collect()
}

/// `protocol` of a port.
#[derive(Clone, Copy, PartialEq)]
enum Transport {
    Tcp,
    Udp,
    Sctp,
}

fn port(item: &Field<'_>, of: usize) -> Option<(Transport, ServicePort)> {
    item.message(|f| {
        f.ignored(&["nodePort"]);
        let name = f.optional("name").map(|field| field.parse(checks::dns_label));
        if name.is_none() && of > 1 {
            f.here().refuse(code::MISSING_FIELD, "`name` is missing", "with several ports each needs a name");
        }
        let name = name.flatten();
        let transport = f.optional("protocol").map_or(Some(Transport::Tcp), |field| {
            field.choice(&[("TCP", Transport::Tcp), ("UDP", Transport::Udp), ("SCTP", Transport::Sctp)])
        });
        let app_protocol = f.optional("appProtocol").and_then(|field| field.nonempty());
        let number = f.required("port").and_then(|field| field.port());
        let target_port = f.optional("targetPort").map(|field| target_port(&field));
        let transport = transport?;
        let declared =
            app_protocol.and_then(Protocol::named).or_else(|| name.and_then(Protocol::of_port_name));
        Some((
            transport,
            ServicePort {
                field: f.path(),
                name: name.map(Arc::from),
                port: number?,
                target_port: target_port.map_or(Some(TargetPort::Number(number?)), |read| read)?,
                // What is not TCP is not intercepted, whatever its name.
                protocol: if transport == Transport::Tcp { declared } else { Some(Protocol::Udp) },
                app_protocol: app_protocol.map(Arc::from),
            },
        ))
    })
}

/// A number, or the name of a port (RFC 6335, section 5.1).
fn target_port(field: &Field<'_>) -> Option<TargetPort> {
    let Some(text) = field.node().as_str() else { return field.port().map(TargetPort::Number) };
    let shaped = text.len() <= 15
        && checks::dns_label(text).is_ok()
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
        && !text.contains("--");
    if shaped {
        return Some(TargetPort::Name(text.into()));
    }
    let hint = if text.parse::<u16>().is_ok() {
        "remove the quotes"
    } else {
        "a number, or a name of at most 15 lower-case letters, digits and `-`"
    };
    field.invalid(format!("`{text}` is no port"), hint);
    None
}
