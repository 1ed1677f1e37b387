//! `spec` of a `VirtualService`, and what its rules share.

use std::sync::Arc;

use super::{Destination, L4Match, TcpRouteDestination, TcpRule, VirtualHost, VirtualService, http};
use crate::source::checks;
use crate::source::diagnostic::code;
use crate::source::fields::Field;
use crate::source::kinds::istio;
use crate::source::registry::Scope;
use crate::source::words::Labels;

pub(crate) fn parse(field: &Field<'_>, scope: Scope<'_>) -> Option<VirtualService> {
    field.message(|f| {
        f.unsupported(&["tls"]);
        let hosts = f.required("hosts");
        let hosts = hosts.map(|field| {
            let hosts = field.each(host);
            if field.items().is_empty() {
                field.invalid(
                    "`hosts` must name at least one host",
                    "add the service whose traffic is routed",
                );
            }
            duplicates(&field, &hosts);
            hosts
        });
        let gateways = f.optional("gateways");
        let (gateways, applies_to_mesh) =
            gateways.map_or_else(|| (Vec::new(), true), |field| mesh_gateway(&field));
        let http = f.each("http", http::rule);
        let tcp = f.each("tcp", tcp_rule);
        let export_to = istio::export_to(f, scope.namespace);
        if !f.has("http") && !f.has("tcp") && !f.has("tls") {
            f.here().invalid("there are no routes", "add `http` or `tcp`");
        }
        Some(VirtualService { hosts: hosts?, applies_to_mesh, gateways, http, tcp, export_to })
    })
}

fn host(item: &Field<'_>) -> Option<VirtualHost> {
    Some(VirtualHost { field: item.path(), host: item.parse(checks::host)? })
}

fn duplicates(field: &Field<'_>, hosts: &[VirtualHost]) {
    for (index, one) in hosts.iter().enumerate() {
        if hosts[..index].iter().any(|other| other.host == one.host) {
            field.invalid(format!("the host `{}` stands twice", one.host), "keep one");
        }
    }
}

/// The gateways other than `mesh`, and whether sidecars apply the rules.
fn mesh_gateway(field: &Field<'_>) -> (Vec<Arc<str>>, bool) {
    let names: Vec<Arc<str>> = field.each(|item| item.nonempty().map(Arc::from));
    let mesh = names.is_empty() || names.iter().any(|name| &**name == "mesh");
    let gateways: Vec<_> = names.into_iter().filter(|name| &**name != "mesh").collect();
    if !gateways.is_empty() {
        let (message, hint) = if mesh {
            ("gateways other than `mesh` have no effect: Weft has no gateways yet", "")
        } else {
            (
                "the rules have no effect: they are for gateways only, which Weft does not have yet",
                "add `mesh` to apply them to sidecars",
            )
        };
        field.warn(code::NO_EFFECT, message, hint);
    }
    (gateways, mesh)
}

/// A destination of an HTTP or TCP route.
pub(super) fn destination(field: &Field<'_>) -> Option<Destination> {
    field.message(|f| {
        let host = f.required("host").and_then(|field| field.parse(checks::plain_host));
        let subset = f.optional("subset").and_then(|field| field.nonempty());
        let port = f.optional("port").map(|field| istio::port_selector(&field));
        Some(Destination {
            field: f.path(),
            host: host?,
            subset: subset.map(Arc::from),
            port: port.flatten(),
        })
    })
}

/// A single destination takes everything whatever its weight; of several, one without a weight takes nothing.
pub(super) fn weight_of(given: Option<u32>, destinations: usize) -> u32 {
    if destinations == 1 { given.unwrap_or(1).max(1) } else { given.unwrap_or(0) }
}

/// Several destinations need a weight among them, as Istio's validation asks.
pub(super) fn weights(items: &[Field<'_>], weights: &[Option<u32>]) {
    let sum: u64 = weights.iter().flatten().copied().map(u64::from).sum();
    if items.len() > 1
        && sum == 0
        && let Some(first) = items.first()
    {
        first.invalid("the weights of the destinations add up to 0", "give each destination a `weight`");
    }
}

/// The labels of clients.
pub(super) fn source_labels(field: Option<Field<'_>>) -> Labels {
    field.map(|field| checks::labels(&field)).unwrap_or_default()
}

fn tcp_rule(item: &Field<'_>) -> Option<TcpRule> {
    item.message(|f| {
        let matches = f.each("match", l4_match);
        let route = f.required("route")?;
        let items = route.items();
        if items.is_empty() {
            route.invalid("`route` must have at least one destination", "");
        }
        let read = |item: &Field<'_>| {
            item.message(|f| {
                let weight = f.optional("weight").and_then(|field| field.count());
                let destination = f.required("destination").and_then(|field| destination(&field));
                Some((
                    weight,
                    TcpRouteDestination {
                        field: f.path(),
                        destination: destination?,
                        weight: weight_of(weight, items.len()),
                    },
                ))
            })
        };
        let (given, route): (Vec<_>, Vec<_>) = items.iter().filter_map(read).unzip();
        weights(&items, &given);
        Some(TcpRule { field: f.path(), matches, route })
    })
}

fn l4_match(item: &Field<'_>) -> Option<L4Match> {
    item.message(|f| {
        f.unsupported(&["gateways", "sourceSubnet", "destinationSubnets"]);
        Some(L4Match {
            field: f.path(),
            port: f.optional("port").and_then(|field| field.port()),
            source_labels: source_labels(f.optional("sourceLabels")),
            source_namespace: f
                .optional("sourceNamespace")
                .and_then(|field| field.parse(checks::dns_label))
                .map(Arc::from),
        })
    })
}
