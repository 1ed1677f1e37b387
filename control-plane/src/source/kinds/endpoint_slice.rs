//! Kubernetes' `EndpointSlice`, for services without a selector
//! (<https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/>).

use std::net::IpAddr;
use std::sync::Arc;

use weft_model::endpoint::Health;

use crate::source::checks;
use crate::source::fields::{Field, Fields};
use crate::source::registry::Scope;

#[cfg(test)]
#[path = "endpoint_slice_tests.rs"]
mod tests;

/// Label with the name of the service whose endpoints these are.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Some endpoints of one service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointSlice {
    /// Empty for slices of names (`addressType: FQDN`), which Kubernetes itself gives no meaning.
    pub endpoints: Vec<SliceEndpoint>,
    /// By the name of the service's port, which may be empty. Ports without a number, which stand for all, are left out.
    pub ports: Vec<(Arc<str>, u16)>,
}

/// One endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SliceEndpoint {
    /// Of several, which are interchangeable, the first.
    pub address: IpAddr,
    /// By its conditions.
    pub health: Health,
    /// Where it is.
    pub node: Option<Arc<str>>,
    /// The pod that it is, if it is one.
    pub pod: Option<Arc<str>>,
    /// Its name below the service's.
    pub host_name: Option<Arc<str>>,
}

/// Reads the whole object: a slice has no `spec`.
pub(crate) fn parse(field: &Field<'_>, _: Scope<'_>) -> Option<EndpointSlice> {
    field.message(|f| {
        f.ignored_rest();
        let is_address = f.required("addressType")?.text()? != "FQDN";
        let ports = f.each("ports", |port| {
            port.message(|p| {
                p.ignored_rest();
                let is_tcp = p.optional("protocol").is_none_or(|field| field.text() == Some("TCP"));
                let name = p.optional("name").and_then(|field| field.text()).unwrap_or_default();
                let number = p.optional("port")?.port()?;
                is_tcp.then(|| (Arc::from(name), number.get()))
            })
        });
        let endpoints = if is_address { f.each("endpoints", endpoint) } else { Vec::new() };
        Some(EndpointSlice { endpoints, ports })
    })
}

fn endpoint(item: &Field<'_>) -> Option<SliceEndpoint> {
    item.message(|e| {
        e.ignored_rest();
        let addresses = e.required("addresses")?.items();
        let text = |name| e.optional(name).and_then(|field| field.nonempty()).map(Arc::from);
        let pod = e
            .optional("targetRef")
            .filter(|target| target.node().get("kind").and_then(|kind| kind.as_str()) == Some("Pod"));
        Some(SliceEndpoint {
            address: addresses.first()?.parse(checks::address)?,
            health: health(e),
            node: text("nodeName"),
            pod: pod.and_then(|target| Some(target.node().get("name")?.as_str()?.into())),
            host_name: text("hostname"),
        })
    })
}

/// An absent `ready` means ready; one that is terminating but still serves takes no new requests.
fn health(endpoint: &Fields<'_>) -> Health {
    let Some(conditions) = endpoint.optional("conditions") else { return Health::Healthy };
    let read = conditions.message(|c| {
        c.ignored_rest();
        let ready = c.optional("ready").is_none_or(|field| field.flag() == Some(true));
        let (serving, terminating) = (c.flag("serving"), c.flag("terminating"));
        Some(match (ready, serving, terminating) {
            (true, _, false) => Health::Healthy,
            (_, true, true) | (true, _, true) => Health::Draining,
            _ => Health::Unhealthy,
        })
    });
    read.unwrap_or(Health::Unhealthy)
}
