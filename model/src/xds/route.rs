//! `RouteConfiguration`: a table of routes.

use prost::Message;
use weft_proto::xds::route as pb;
use weft_proto::xds::route::virtual_host::TlsRequirementType;

use super::headers;
use super::provenance;
use super::reader::{DecodeErrors, Reader, fields};
use super::{filter, route_action, route_match};
use crate::policy::RetryPolicy;
use crate::route::{LevelSettings, Mirror, Route, RouteAction, RouteTable, VirtualHost};

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
    let LevelSettings { request_headers, response_headers, filters } = &table.settings;
    let (request_headers_to_add, request_headers_to_remove) = headers::encode(request_headers);
    let (response_headers_to_add, response_headers_to_remove) = headers::encode(response_headers);
    let longest = table.virtual_hosts.iter().flat_map(|host| &host.routes).filter_map(body_length).max();
    pb::RouteConfiguration {
        name: table.name.to_string(),
        virtual_hosts: table.virtual_hosts.iter().map(encode_host).collect(),
        // A route may name a cluster that is not there (yet): requests to it then get 503, the others go on.
        validate_clusters: super::wire::flag(false),
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        most_specific_header_mutations_wins: table.most_specific_header_mutations_wins,
        typed_per_filter_config: filter::encode_overrides(filters),
        max_direct_response_body_size_bytes: longest
            .filter(|longest| *longest > route_action::MOST_BODY)
            .and_then(|longest| super::wire::number(u32::try_from(longest).unwrap_or(u32::MAX))),
        ..Default::default()
    }
}

fn body_length(route: &Route) -> Option<usize> {
    match &route.action {
        RouteAction::Respond(response) => Some(response.body.len()),
        _ => None,
    }
}

/// What a route takes from the levels above it.
struct Inherited {
    /// Length in bytes.
    most_body: usize,
    mirrors: Vec<Mirror>,
    retry: Option<RetryPolicy>,
}

pub(super) fn read(reader: &mut Reader, table: pb::RouteConfiguration) -> Option<RouteTable> {
    fields!(reader, table => pb::RouteConfiguration {
        name, virtual_hosts, ignore_port_in_host_matching, max_direct_response_body_size_bytes,
        most_specific_header_mutations_wins, response_headers_to_add, response_headers_to_remove,
        request_headers_to_add, request_headers_to_remove, request_mirror_policies, typed_per_filter_config;
        ignored: validate_clusters, internal_only_headers, metadata;
        refused: vhds, cluster_specifier_plugins, vhost_header, ignore_path_parameters_in_path_matching,
            route_specifiers
    });
    let settings = LevelSettings {
        request_headers: headers::decode(
            reader,
            "request",
            request_headers_to_add,
            request_headers_to_remove,
        ),
        response_headers: headers::decode(
            reader,
            "response",
            response_headers_to_add,
            response_headers_to_remove,
        ),
        filters: filter::decode_overrides(reader, typed_per_filter_config),
    };
    let most_body =
        max_direct_response_body_size_bytes.map(|most| usize::try_from(most.value).unwrap_or(usize::MAX));
    let inherited = Inherited {
        most_body: most_body.unwrap_or(route_action::MOST_BODY),
        mirrors: reader.each("request_mirror_policies", request_mirror_policies, route_action::decode_mirror),
        retry: None,
    };
    let any_port = ignore_port_in_host_matching;
    let hosts = reader
        .each("virtual_hosts", virtual_hosts, |reader, host| decode_host(reader, host, any_port, &inherited));
    let mut table = RouteTable::new(&name, hosts);
    table.settings = settings;
    table.most_specific_header_mutations_wins = most_specific_header_mutations_wins;
    Some(table)
}

fn encode_host(host: &VirtualHost) -> pb::VirtualHost {
    let LevelSettings { request_headers, response_headers, filters } = &host.settings;
    let (request_headers_to_add, request_headers_to_remove) = headers::encode(request_headers);
    let (response_headers_to_add, response_headers_to_remove) = headers::encode(response_headers);
    let require_tls = if host.require_tls { TlsRequirementType::All } else { TlsRequirementType::None };
    pb::VirtualHost {
        name: host.name.to_string(),
        domains: host.domains.iter().map(ToString::to_string).collect(),
        routes: host.routes.iter().map(encode_route).collect(),
        require_tls: require_tls as i32,
        include_attempt_count_in_response: host.attempt_count_in_response,
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        typed_per_filter_config: filter::encode_overrides(filters),
        ..Default::default()
    }
}

fn decode_host(
    reader: &mut Reader,
    host: pb::VirtualHost,
    any_port: bool,
    inherited: &Inherited,
) -> Option<VirtualHost> {
    fields!(reader, host => pb::VirtualHost {
        name, domains, routes, require_tls, include_attempt_count_in_response, request_headers_to_add,
        request_headers_to_remove, response_headers_to_add, response_headers_to_remove, typed_per_filter_config,
        retry_policy, request_mirror_policies;
        // Requests always tell their attempt.
        ignored: virtual_clusters, include_request_attempt_count, include_is_timeout_retry_header,
            per_request_buffer_limit_bytes, request_body_buffer_limit, metadata;
        refused: matcher, rate_limits, cors, retry_policy_typed_config, hedge_policy, route_specifiers
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
    let require_tls = match TlsRequirementType::try_from(require_tls) {
        Ok(TlsRequirementType::None) => false,
        Ok(TlsRequirementType::All) => true,
        Ok(TlsRequirementType::ExternalOnly) => {
            reader.refuse_at::<()>("require_tls", "EXTERNAL_ONLY is not supported").is_some()
        }
        Err(_) => reader.refuse_at::<()>("require_tls", format!("{require_tls} is not known")).is_some(),
    };
    let settings = LevelSettings {
        request_headers: headers::decode(
            reader,
            "request",
            request_headers_to_add,
            request_headers_to_remove,
        ),
        response_headers: headers::decode(
            reader,
            "response",
            response_headers_to_add,
            response_headers_to_remove,
        ),
        filters: filter::decode_overrides(reader, typed_per_filter_config),
    };
    let mirrors =
        reader.each("request_mirror_policies", request_mirror_policies, route_action::decode_mirror);
    let inherited = Inherited {
        most_body: inherited.most_body,
        mirrors: if mirrors.is_empty() { inherited.mirrors.clone() } else { mirrors },
        retry: reader.optional("retry_policy", retry_policy, super::retry::decode),
    };
    Some(VirtualHost {
        name: name.into(),
        domains: with_ports.collect(),
        routes: reader.each("routes", routes, |reader, route| decode_route(reader, route, &inherited)),
        settings,
        require_tls,
        attempt_count_in_response: include_attempt_count_in_response,
    })
}

fn encode_route(route: &Route) -> pb::Route {
    let (request_headers_to_add, request_headers_to_remove) = headers::encode(&route.request_headers);
    let (response_headers_to_add, response_headers_to_remove) = headers::encode(&route.response_headers);
    pb::Route {
        name: route.name.to_string(),
        r#match: Some(route_match::encode(&route.matches)),
        metadata: provenance::metadata(&route.provenance),
        typed_per_filter_config: filter::encode_overrides(&route.filters),
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        action: Some(route_action::encode(&route.action, &route.matches)),
        ..Default::default()
    }
}

fn decode_route(reader: &mut Reader, route: pb::Route, inherited: &Inherited) -> Option<Route> {
    fields!(reader, route => pb::Route {
        name, r#match, metadata, typed_per_filter_config, request_headers_to_add, request_headers_to_remove,
        response_headers_to_add, response_headers_to_remove, action;
        ignored: decorator, tracing, per_request_buffer_limit_bytes, request_body_buffer_limit, stat_prefix;
        refused: route_specifiers
    });
    let matches = reader.required("match", r#match, route_match::decode);
    let provenance = provenance::decode(reader, metadata.as_ref());
    let filters = filter::decode_overrides(reader, typed_per_filter_config);
    let request_headers =
        headers::decode(reader, "request", request_headers_to_add, request_headers_to_remove);
    let response_headers =
        headers::decode(reader, "response", response_headers_to_add, response_headers_to_remove);
    let action = match action {
        Some(action) => route_action::decode(reader, action, matches.as_ref(), inherited.most_body),
        None => reader.missing("action"),
    };
    let action = action.map(|action| inherit(action, inherited));
    Some(Route {
        name: name.into(),
        matches: matches?,
        action: action?,
        request_headers,
        response_headers,
        filters,
        provenance,
    })
}

/// What the route does not say for itself.
fn inherit(mut action: RouteAction, inherited: &Inherited) -> RouteAction {
    if let RouteAction::Forward(forward) = &mut action {
        if forward.mirrors.is_empty() {
            forward.mirrors.clone_from(&inherited.mirrors);
        }
        if forward.retry.is_none() {
            forward.retry.clone_from(&inherited.retry);
        }
    }
    action
}
