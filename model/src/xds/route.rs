//! `RouteConfiguration`: a table of routes.

use prost::Message;
use weft_proto::xds::route as pb;

use super::headers;
use super::provenance;
use super::reader::{DecodeErrors, Reader, fields};
use super::{fault, route_action, route_match};
use crate::route::{Route, RouteTable, VirtualHost};

/// The bytes of a `RouteConfiguration`.
#[must_use]
pub fn encode(table: &RouteTable) -> Vec<u8> {
    message(table).encode_to_vec()
}

/// Reads the bytes of a `RouteConfiguration`.
///
/// # Errors
/// Every mistake of it.
pub fn decode(bytes: &[u8]) -> Result<RouteTable, DecodeErrors> {
    Reader::resource(bytes, read)
}

pub(super) fn message(table: &RouteTable) -> pb::RouteConfiguration {
    pb::RouteConfiguration {
        name: table.name.to_string(),
        virtual_hosts: table.virtual_hosts.iter().map(encode_host).collect(),
        // A route may name a cluster that is not there (yet): requests to it then get 503, the others go on.
        validate_clusters: super::wire::flag(false),
        ..Default::default()
    }
}

pub(super) fn read(reader: &mut Reader, table: pb::RouteConfiguration) -> Option<RouteTable> {
    fields!(reader, table => pb::RouteConfiguration {
        name, virtual_hosts, ignore_port_in_host_matching;
        ignored: validate_clusters, max_direct_response_body_size_bytes, internal_only_headers, metadata,
            most_specific_header_mutations_wins;
        refused: vhds, response_headers_to_add, response_headers_to_remove, request_headers_to_add,
            request_headers_to_remove, cluster_specifier_plugins, request_mirror_policies, vhost_header,
            ignore_path_parameters_in_path_matching, typed_per_filter_config, route_specifiers
    });
    let any_port = ignore_port_in_host_matching;
    let hosts =
        reader.each("virtual_hosts", virtual_hosts, |reader, host| decode_host(reader, host, any_port));
    Some(RouteTable::new(&name, hosts))
}

fn encode_host(host: &VirtualHost) -> pb::VirtualHost {
    pb::VirtualHost {
        name: host.name.to_string(),
        domains: host.domains.iter().map(ToString::to_string).collect(),
        routes: host.routes.iter().map(encode_route).collect(),
        ..Default::default()
    }
}

fn decode_host(reader: &mut Reader, host: pb::VirtualHost, any_port: bool) -> Option<VirtualHost> {
    fields!(reader, host => pb::VirtualHost {
        name, domains, routes;
        ignored: virtual_clusters, include_request_attempt_count, include_attempt_count_in_response,
            include_is_timeout_retry_header, per_request_buffer_limit_bytes, request_body_buffer_limit, metadata;
        refused: matcher, require_tls, rate_limits, request_headers_to_add, request_headers_to_remove,
            response_headers_to_add, response_headers_to_remove, cors, typed_per_filter_config, retry_policy,
            retry_policy_typed_config, hedge_policy, request_mirror_policies, route_specifiers
    });
    if domains.is_empty() {
        reader.missing::<()>("domains");
    }
    let domains = reader.each("domains", domains, |reader, domain| {
        if domain.is_empty() { reader.refuse("is empty") } else { Some(domain) }
    });
    let with_ports = domains.into_iter().flat_map(|domain| {
        // "Whatever the port" is a wild card behind the colon.
        let other = (any_port && !domain.contains('*')).then(|| format!("{domain}:*").into());
        [Some(domain.into()), other].into_iter().flatten()
    });
    Some(VirtualHost {
        name: name.into(),
        domains: with_ports.collect(),
        routes: reader.each("routes", routes, decode_route),
    })
}

fn encode_route(route: &Route) -> pb::Route {
    let (request_headers_to_add, request_headers_to_remove) = headers::encode(&route.request_headers);
    let (response_headers_to_add, response_headers_to_remove) = headers::encode(&route.response_headers);
    pb::Route {
        name: route.name.to_string(),
        r#match: Some(route_match::encode(&route.matches)),
        metadata: provenance::metadata(&route.provenance),
        typed_per_filter_config: route.fault.as_ref().map(fault::encode).into_iter().collect(),
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        action: Some(route_action::encode(&route.action, &route.matches)),
        ..Default::default()
    }
}

fn decode_route(reader: &mut Reader, route: pb::Route) -> Option<Route> {
    fields!(reader, route => pb::Route {
        name, r#match, metadata, typed_per_filter_config, request_headers_to_add, request_headers_to_remove,
        response_headers_to_add, response_headers_to_remove, action;
        ignored: decorator, tracing, per_request_buffer_limit_bytes, request_body_buffer_limit, stat_prefix;
        refused: route_specifiers
    });
    let matches = reader.required("match", r#match, route_match::decode);
    let provenance = provenance::decode(reader, metadata.as_ref());
    let fault = fault::decode_per_route(reader, typed_per_filter_config);
    let request_headers =
        headers::decode(reader, "request", request_headers_to_add, request_headers_to_remove);
    let response_headers =
        headers::decode(reader, "response", response_headers_to_add, response_headers_to_remove);
    let action = match action {
        Some(action) => route_action::decode(reader, action, matches.as_ref()),
        None => reader.missing("action"),
    };
    Some(Route {
        name: name.into(),
        matches: matches?,
        action: action?,
        request_headers,
        response_headers,
        fault,
        provenance,
    })
}
