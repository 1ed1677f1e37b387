//! Istio's `ServiceEntry`
//! (<https://istio.io/latest/docs/reference/config/networking/service-entry/>).

use std::net::IpAddr;
use std::sync::Arc;

use super::istio;
use super::workload_entry::{WorkloadAddress, WorkloadEntry, workload};
use crate::source::checks;
use crate::source::diagnostic::code;
use crate::source::fields::{Field, Fields, did_you_mean};
use crate::source::registry::Scope;
use crate::source::words::{ExportTo, FieldPath, Host, Labels, Port, Protocol};

/// A service that no other registry knows.
#[derive(Clone, PartialEq, Debug)]
pub struct ServiceEntry {
    /// At least one; wildcards only with [`Resolution::None`].
    pub hosts: Vec<Host>,
    /// Virtual addresses (address and prefix length); may be empty.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Numbers and names are unique.
    pub ports: Vec<ServiceEntryPort>,
    /// Inside or outside the mesh; `MESH_EXTERNAL` when absent.
    pub location: Location,
    /// How endpoints are found; `NONE` when absent.
    pub resolution: Resolution,
    /// Endpoints given in place; excludes a selector.
    pub endpoints: Vec<InlineEndpoint>,
    /// Endpoints chosen by labels among workload entries and workloads.
    pub workload_selector: Option<Labels>,
    /// Who sees it.
    pub export_to: ExportTo,
    /// SPIFFE identities the server's certificate must have one of; empty: as the endpoints say.
    pub subject_alt_names: Vec<Arc<str>>,
}

/// One port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceEntryPort {
    /// Where it stands, such as `spec.ports[0]`.
    pub field: FieldPath,
    /// What clients call.
    pub number: Port,
    /// Unique.
    pub name: Arc<str>,
    /// By the `protocol` field, else by the name; absent: sniffed.
    pub protocol: Option<Protocol>,
    /// What endpoints listen on; `number` when absent.
    pub target_port: Port,
}

/// Whose service it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Location {
    /// No mTLS.
    #[default]
    MeshExternal,
    /// mTLS as for any other service.
    MeshInternal,
}

/// How endpoints are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Resolution {
    /// The address the client called.
    #[default]
    None,
    /// Those of the entry.
    Static,
    /// Resolved; every address is an endpoint.
    Dns,
    /// Resolved; the first address is used for new connections.
    DnsRoundRobin,
}

/// An endpoint given in place.
#[derive(Clone, PartialEq, Debug)]
pub struct InlineEndpoint {
    /// Where it stands, such as `spec.endpoints[0]`.
    pub field: FieldPath,
    /// As in a `WorkloadEntry`.
    pub workload: WorkloadEntry,
}

pub(crate) fn parse(field: &Field<'_>, scope: Scope<'_>) -> Option<ServiceEntry> {
    field.message(|f| {
        let hosts_field = f.required("hosts");
        let hosts: Option<Vec<Host>> = hosts_field.as_ref().map(|field| {
            let hosts = field.each(|item| {
                let host = item.parse(checks::host)?;
                if host.is_wildcard() {
                    item.warn(
                        code::NO_EFFECT,
                        format!("requests to names below `{host}` are not recognised: wildcard hosts are not supported yet"),
                        "name the hosts one by one",
                    );
                }
                Some(host)
            });
            if field.items().is_empty() {
                field.invalid("`hosts` must name at least one host", "");
            }
            hosts
        });
        let addresses = f.each("addresses", |item| {
            let text = item.node().as_str().unwrap_or_default();
            if text.contains('/') && !text.ends_with("/32") && !text.ends_with("/128") {
                item.warn(
                    code::NO_EFFECT,
                    "calls to addresses of a range are not recognised: ranges are not supported yet",
                    "name the addresses one by one",
                );
            }
            item.parse(checks::subnet)
        });
        let ports = f.optional("ports").map(|field| ports(&field)).unwrap_or_default();
        let location = f.optional("location").map_or(Some(Location::default()), |field| {
            field.choice(&[
                ("MESH_EXTERNAL", Location::MeshExternal),
                ("MESH_INTERNAL", Location::MeshInternal),
            ])
        });
        let resolution_field = f.optional("resolution");
        let resolution = resolution_field.as_ref().map_or(Some(Resolution::default()), |field| {
            if field.node().as_str() == Some("DYNAMIC_DNS") {
                field.unsupported("the resolution DYNAMIC_DNS", "use DNS");
                return None;
            }
            field.choice(&[
                ("NONE", Resolution::None),
                ("STATIC", Resolution::Static),
                ("DNS", Resolution::Dns),
                ("DNS_ROUND_ROBIN", Resolution::DnsRoundRobin),
            ])
        });
        f.exclusive(&["endpoints", "workloadSelector"]);
        let endpoints = f.each("endpoints", |item| {
            Some(InlineEndpoint { field: item.path(), workload: workload(item, true)? })
        });
        let workload_selector =
            f.optional("workloadSelector").and_then(|field| istio::selector(&field, "labels"));
        let export_to = istio::export_to(f, scope.namespace);
        let subject_alt_names = f.each("subjectAltNames", |item| item.nonempty().map(Arc::from));
        let entry = ServiceEntry {
            hosts: hosts?,
            addresses,
            ports,
            location: location?,
            resolution: resolution?,
            endpoints,
            workload_selector,
            export_to,
            subject_alt_names,
        };
        check_together(f, &entry);
        Some(entry)
    })
}

/// Rules of the documentation that concern several fields.
fn check_together(f: &Fields<'_>, entry: &ServiceEntry) {
    let here = f.here();
    let wildcard = entry.hosts.iter().any(Host::is_wildcard);
    match entry.resolution {
        Resolution::None if !entry.endpoints.is_empty() => {
            here.refuse(
                code::CONFLICTING_FIELDS,
                "with resolution NONE there are no endpoints",
                "write `resolution: STATIC` or DNS, or remove `endpoints`",
            );
        }
        Resolution::Static if entry.endpoints.is_empty() && entry.workload_selector.is_none() => {
            here.warn(
                code::NO_EFFECT,
                "with resolution STATIC and no endpoints the service cannot be reached",
                "add `endpoints` or `workloadSelector`",
            );
        }
        Resolution::Dns | Resolution::DnsRoundRobin if wildcard && entry.endpoints.is_empty() => {
            here.invalid(
                "a wildcard host cannot be resolved",
                "write `resolution: NONE`, or add `endpoints`",
            );
        }
        _ => {}
    }
    if entry.resolution == Resolution::DnsRoundRobin && entry.endpoints.len() > 1 {
        here.invalid("with resolution DNS_ROUND_ROBIN there is at most one endpoint", "use DNS");
    }
    for endpoint in &entry.endpoints {
        let dns = matches!(entry.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        if matches!(endpoint.workload.address, Some(WorkloadAddress::Dns(_))) && !dns {
            here.invalid(
                format!("{} is a name, which needs resolution DNS", endpoint.field),
                "write an IP address, or `resolution: DNS`",
            );
        }
        for name in endpoint.workload.ports.keys() {
            if entry.ports.iter().all(|port| port.name != *name) {
                here.invalid(
                    format!("{} names the port `{name}`, which the service does not have", endpoint.field),
                    "use a name of `ports`",
                );
            }
        }
    }
    if entry.ports.is_empty() {
        here.warn(code::NO_EFFECT, "without `ports` the service cannot be reached", "add `ports`");
    }
}

fn ports(field: &Field<'_>) -> Vec<ServiceEntryPort> {
    let ports: Vec<ServiceEntryPort> = field.each(|item| {
        item.message(|f| {
            let number = f.required("number").and_then(|field| field.port());
            let name = f.required("name").and_then(|field| field.parse(checks::dns_label));
            let declared = f.optional("protocol").map(|field| protocol(&field));
            let target = f.optional("targetPort").map(|field| field.port());
            let protocol = declared.unwrap_or_else(|| name.and_then(Protocol::of_port_name));
            Some(ServiceEntryPort {
                field: f.path(),
                number: number?,
                name: name?.into(),
                protocol,
                target_port: target.flatten().or(number)?,
            })
        })
    });
    for (index, one) in ports.iter().enumerate() {
        if ports[..index].iter().any(|other| other.number == one.number || other.name == one.name) {
            field.invalid(
                format!("the port {} (`{}`) stands twice", one.number, one.name),
                "numbers and names are unique",
            );
        }
    }
    ports
}

/// The documented words, in any case.
fn protocol(field: &Field<'_>) -> Option<Protocol> {
    let text = field.nonempty()?;
    Protocol::named(text).or_else(|| {
        let words = ["HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "TCP", "TLS"];
        let hint =
            did_you_mean(text, words.into_iter()).unwrap_or_else(|| format!("one of {}", words.join(", ")));
        field.invalid(format!("`{text}` is no protocol"), hint);
        None
    })
}
