//! Istio's `WorkloadEntry`
//! (<https://istio.io/latest/docs/reference/config/networking/workload-entry/>).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::source::checks;
use crate::source::diagnostic::code;
use crate::source::fields::{Field, Problem};
use crate::source::registry::Scope;
use crate::source::words::{Host, Labels, Port};

/// A workload that no other registry knows.
#[derive(Clone, PartialEq, Debug)]
pub struct WorkloadEntry {
    /// Where it listens; absent only with `network`.
    pub address: Option<WorkloadAddress>,
    /// Port numbers by the name of a service's port.
    pub ports: BTreeMap<Arc<str>, Port>,
    /// For selectors and subsets.
    pub labels: Labels,
    /// `region/zone/subzone`.
    pub locality: Option<Arc<str>>,
    /// Of its network, when networks cannot reach each other directly.
    pub network: Option<Arc<str>>,
    /// Share among endpoints; 1 when absent.
    pub weight: u32,
    /// The service account of its identity.
    pub service_account: Option<Arc<str>>,
}

/// Where a workload listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WorkloadAddress {
    /// An IP address.
    Ip(IpAddr),
    /// A fully qualified name, only with DNS resolution.
    Dns(Host),
    /// `unix:///path`; only as an endpoint of a service entry, absolute, or abstract (`@`).
    Unix(PathBuf),
}

pub(crate) fn parse(field: &Field<'_>, _: Scope<'_>) -> Option<WorkloadEntry> {
    let entry = workload(field, false)?;
    if let Some(WorkloadAddress::Unix(_)) = entry.address {
        field.invalid(
            "a WorkloadEntry cannot have a Unix socket as address",
            "use it as an endpoint of a ServiceEntry",
        );
    }
    Some(entry)
}

/// A workload entry, or with `inline` an endpoint of a service entry.
pub(super) fn workload(field: &Field<'_>, inline: bool) -> Option<WorkloadEntry> {
    field.message(|f| {
        let address = f.optional("address");
        let network = f.optional("network").and_then(|field| field.nonempty()).map(Arc::from);
        if address.is_none() && network.is_none() {
            f.here().refuse(
                code::MISSING_FIELD,
                "`address` is missing",
                "only with `network` it may be absent",
            );
        }
        let address = address.map(|field| field.parse(parse_address));
        let ports =
            f.optional("ports").map(|field| field.entries().into_iter().filter_map(named_port).collect());
        let labels = f.optional("labels").map(|field| checks::labels(&field)).unwrap_or_default();
        let locality = f.optional("locality").and_then(|field| field.nonempty()).map(Arc::from);
        let weight = f.optional("weight").and_then(|field| field.count());
        let service_account =
            f.optional("serviceAccount").and_then(|field| field.parse(checks::dns_subdomain));
        let unix = matches!(address, Some(Some(WorkloadAddress::Unix(_))));
        if unix && f.has("ports") {
            f.here().refuse(
                code::CONFLICTING_FIELDS,
                "an endpoint on a Unix socket has no ports",
                "remove `ports`",
            );
        }
        if inline && weight == Some(0) {
            f.here().warn(
                code::NO_EFFECT,
                "an endpoint of weight 0 counts as one of weight 1",
                "remove the endpoint, or give it a weight",
            );
        }
        Some(WorkloadEntry {
            address: address.map_or(Some(None), |read| read.map(Some))?,
            ports: ports.unwrap_or_default(),
            labels,
            locality,
            network,
            weight: weight.unwrap_or(1).max(1),
            service_account: service_account.map(Arc::from),
        })
    })
}

fn parse_address(text: &str) -> Result<WorkloadAddress, Problem> {
    if let Some(path) = text.strip_prefix("unix://") {
        if path.starts_with(['/', '@']) && path.len() > 1 {
            return Ok(WorkloadAddress::Unix(path.into()));
        }
        return Err(Problem::new(
            format!("`{text}` is no absolute path of a socket"),
            "such as unix:///run/app.sock",
        ));
    }
    if let Ok(address) = text.parse() {
        return Ok(WorkloadAddress::Ip(address));
    }
    checks::plain_host(text).map(WorkloadAddress::Dns)
}

fn named_port((key, field): (&str, Field<'_>)) -> Option<(Arc<str>, Port)> {
    if let Err(problem) = checks::dns_label(key) {
        field.invalid(format!("`{key}` is no port name: {}", problem.message), problem.hint);
        return None;
    }
    Some((key.into(), field.port()?))
}
