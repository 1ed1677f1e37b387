//! Filters of HTTP, of a listener and of routes.
//!
//! A filter that is not known is refused, unless it says that it is optional. What a route says of a filter may be
//! wrapped in a `FilterConfig`, to say the same, or to turn the filter off.

mod cors;
mod ext_authz;
mod fault;
mod header_mutation;
mod local_rate_limit;
pub(super) mod rbac;

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message;
use weft_proto::xds::buffer::{Buffer, BufferPerRoute, buffer_per_route};
use weft_proto::xds::cors::Cors;
use weft_proto::xds::ext_authz::{ExtAuthzPerRoute, ext_authz_per_route};
use weft_proto::xds::hcm as pb;
use weft_proto::xds::hcm::http_filter::ConfigType;
use weft_proto::xds::header_mutation::{HeaderMutation, HeaderMutationPerRoute};
use weft_proto::xds::health_check::HealthCheck;
use weft_proto::xds::protobuf::Any;
use weft_proto::xds::rbac::RbacPerRoute;
use weft_proto::xds::route::FilterConfig as Wrapped;

use super::reader::{Reader, fields};
use super::route_match;
use super::wire::{flag, number, pack};
use crate::filter::{FilterConfig, FilterOverrides, HeaderEdits, HttpFilter, RouteFilter};

pub(super) const ROUTER: &str = "envoy.filters.http.router";
/// HTTP filters that Istio puts everywhere, whose work our proxy does anyway or which only measure.
const IGNORED: [&str; 6] = [
    ROUTER,
    "istio.metadata_exchange",
    "istio.stats",
    "istio.alpn",
    "envoy.filters.http.grpc_stats",
    "envoy.filters.http.stateful_session",
];

pub(super) fn encode(filter: &HttpFilter) -> pb::HttpFilter {
    let config = match &filter.config {
        FilterConfig::Fault(fault) => pack(&fault::encode(fault)),
        FilterConfig::Cors => pack(&Cors::default()),
        FilterConfig::Buffer(most) => pack(&Buffer { max_request_bytes: number(*most) }),
        FilterConfig::HeaderMutation(edits) => pack(&HeaderMutation {
            mutations: Some(header_mutation::encode(edits)),
            most_specific_header_mutations_wins: edits.most_specific_wins,
        }),
        FilterConfig::LocalRateLimit(limit) => pack(&local_rate_limit::encode(limit)),
        FilterConfig::Rbac(rbac) => pack(&rbac::encode(rbac)),
        FilterConfig::HealthCheck(headers) => pack(&HealthCheck {
            pass_through_mode: flag(false),
            headers: headers.iter().map(route_match::encode_header).collect(),
            ..Default::default()
        }),
        FilterConfig::ExtAuthz(authz) => pack(&ext_authz::encode(authz)),
    };
    pb::HttpFilter {
        name: filter.name.to_string(),
        config_type: Some(ConfigType::TypedConfig(config)),
        disabled: filter.disabled,
        ..Default::default()
    }
}

/// `None` within for what is passed over.
pub(super) fn decode(reader: &mut Reader, filter: pb::HttpFilter) -> Option<Option<HttpFilter>> {
    let pb::HttpFilter { name, is_optional, disabled, config_type } = filter;
    if IGNORED.contains(&name.as_str()) {
        return Some(None);
    }
    let any = match config_type {
        Some(ConfigType::TypedConfig(any)) => any,
        _ if is_optional => return passed_over(reader, &name),
        Some(ConfigType::ConfigDiscovery(_)) => return reader.unsupported("config_discovery"),
        None => return reader.missing("typed_config"),
    };
    let config = reader.within("typed_config", |reader| {
        // Who turns on what is not supported is refused where that is done.
        decode_config(reader, &any).unwrap_or_else(|| match is_optional || disabled {
            true => passed_over(reader, &name),
            false => reader.refuse(format!("filter `{name}` is not supported")),
        })
    });
    let name = reader.text("name", name);
    match config? {
        Some(config) => Some(Some(HttpFilter { name: name?, disabled, config })),
        None => Some(None),
    }
}

/// Of a filter that may be.
fn passed_over<T>(reader: &mut Reader, name: &str) -> Option<Option<T>> {
    reader.note(format!("filter `{name}` is not supported, and passed over"));
    Some(None)
}

/// None for a filter that is not supported.
fn decode_config(reader: &mut Reader, any: &Any) -> Option<Option<Option<FilterConfig>>> {
    let config = match kind(any) {
        "envoy.extensions.filters.http.fault.v3.HTTPFault" => {
            reader.unpack(any).and_then(|message| fault::decode(reader, message)).map(FilterConfig::Fault)
        }
        "envoy.extensions.filters.http.cors.v3.Cors" => Some(FilterConfig::Cors),
        "envoy.extensions.filters.http.buffer.v3.Buffer" => {
            reader.unpack(any).and_then(|message| decode_buffer(reader, message)).map(FilterConfig::Buffer)
        }
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation" => {
            reader.unpack::<HeaderMutation>(any).map(|message| {
                let edits = header_mutation::decode(reader, message.mutations);
                let most_specific_wins = message.most_specific_header_mutations_wins;
                FilterConfig::HeaderMutation(Arc::new(HeaderEdits { most_specific_wins, ..edits }))
            })
        }
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit" => reader
            .unpack(any)
            .and_then(|message| local_rate_limit::decode(reader, message))
            .map(|limit| FilterConfig::LocalRateLimit(Arc::new(limit))),
        "envoy.extensions.filters.http.rbac.v3.RBAC" => reader
            .unpack(any)
            .and_then(|message| rbac::decode(reader, message))
            .map(|rbac| FilterConfig::Rbac(Arc::new(rbac))),
        "envoy.extensions.filters.http.health_check.v3.HealthCheck" => {
            reader.unpack(any).and_then(|message| decode_health_check(reader, message))
        }
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz" => reader
            .unpack(any)
            .and_then(|message| ext_authz::decode(reader, message))
            .map(|authz| FilterConfig::ExtAuthz(Arc::new(authz))),
        _ => return None,
    };
    Some(config.map(Some))
}

fn decode_buffer(reader: &mut Reader, buffer: Buffer) -> Option<u32> {
    match buffer.max_request_bytes {
        Some(most) if most.value > 0 => Some(most.value),
        _ => reader.refuse_at("max_request_bytes", "must be more than 0"),
    }
}

fn decode_health_check(reader: &mut Reader, check: HealthCheck) -> Option<FilterConfig> {
    fields!(reader, check => HealthCheck {
        pass_through_mode, headers;
        refused: cache_time, cluster_min_healthy_percentages
    });
    match pass_through_mode {
        Some(pass) if pass.value => reader.unsupported("pass_through_mode"),
        Some(_) => {
            Some(FilterConfig::HealthCheck(reader.each("headers", headers, route_match::decode_header)))
        }
        None => reader.missing("pass_through_mode"),
    }
}

pub(super) fn encode_overrides(overrides: &FilterOverrides) -> HashMap<String, Any> {
    overrides.iter().map(|(name, filter)| (name.to_string(), encode_override(filter))).collect()
}

fn encode_override(filter: &RouteFilter) -> Any {
    match filter {
        RouteFilter::Disabled => pack(&Wrapped { disabled: true, ..Default::default() }),
        RouteFilter::Enabled => pack(&Wrapped::default()),
        RouteFilter::Fault(fault) => pack(&fault::encode(fault)),
        RouteFilter::Cors(policy) => pack(&cors::encode(policy)),
        RouteFilter::Buffer(most) => {
            let buffer = Buffer { max_request_bytes: number(*most) };
            pack(&BufferPerRoute { r#override: Some(buffer_per_route::Override::Buffer(buffer)) })
        }
        RouteFilter::HeaderMutation(edits) => {
            pack(&HeaderMutationPerRoute { mutations: Some(header_mutation::encode(edits)) })
        }
        RouteFilter::LocalRateLimit(limit) => pack(&local_rate_limit::encode(limit)),
        RouteFilter::Rbac(rbac) => pack(&RbacPerRoute { rbac: Some(rbac::encode(rbac)) }),
        RouteFilter::ExtAuthz(settings) => pack(&ExtAuthzPerRoute {
            r#override: Some(ext_authz_per_route::Override::CheckSettings(ext_authz::encode_check(settings))),
        }),
    }
}

/// Reads a `typed_per_filter_config`.
pub(super) fn decode_overrides(reader: &mut Reader, configs: HashMap<String, Any>) -> FilterOverrides {
    // In order, so that mistakes are.
    let mut configs: Vec<_> = configs.into_iter().collect();
    configs.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut overrides = Vec::new();
    for (name, any) in configs {
        let filter =
            reader.within(&format!("typed_per_filter_config[{name}]"), |reader| decode_override(reader, any));
        if let Some(Some(filter)) = filter {
            overrides.push((Arc::from(name), filter));
        }
    }
    FilterOverrides::new(overrides)
}

fn decode_override(reader: &mut Reader, any: Any) -> Option<Option<RouteFilter>> {
    if kind(&any) != "envoy.config.route.v3.FilterConfig" {
        return decode_route(reader, &any, false);
    }
    match Wrapped::decode(any.value.as_slice()) {
        Ok(Wrapped { disabled: true, .. }) => Some(Some(RouteFilter::Disabled)),
        Ok(Wrapped { config: Some(config), is_optional, .. }) => {
            reader.within("config", |reader| decode_route(reader, &config, is_optional))
        }
        Ok(_) => Some(Some(RouteFilter::Enabled)),
        Err(error) => reader.refuse(format!("is no FilterConfig: {error}")),
    }
}

fn decode_route(reader: &mut Reader, any: &Any, is_optional: bool) -> Option<Option<RouteFilter>> {
    let filter = match kind(any) {
        "envoy.extensions.filters.http.fault.v3.HTTPFault" => {
            let message = reader.unpack(any)?;
            fault::decode(reader, message).map(RouteFilter::Fault)
        }
        "envoy.extensions.filters.http.cors.v3.CorsPolicy" => {
            let message = reader.unpack(any)?;
            cors::decode(reader, message).map(|policy| RouteFilter::Cors(Arc::new(policy)))
        }
        "envoy.extensions.filters.http.buffer.v3.BufferPerRoute" => {
            use buffer_per_route::Override;
            match reader.unpack::<BufferPerRoute>(any)?.r#override {
                Some(Override::Disabled(true)) => Some(RouteFilter::Disabled),
                Some(Override::Buffer(buffer)) => {
                    reader.within("buffer", |reader| decode_buffer(reader, buffer)).map(RouteFilter::Buffer)
                }
                Some(Override::Disabled(false)) | None => reader.missing("override"),
            }
        }
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute" => {
            let message = reader.unpack::<HeaderMutationPerRoute>(any)?;
            Some(RouteFilter::HeaderMutation(Arc::new(header_mutation::decode(reader, message.mutations))))
        }
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit" => {
            let message = reader.unpack(any)?;
            local_rate_limit::decode(reader, message)
                .map(|limit| RouteFilter::LocalRateLimit(Arc::new(limit)))
        }
        "envoy.extensions.filters.http.rbac.v3.RBACPerRoute" => {
            match reader.unpack::<RbacPerRoute>(any)?.rbac {
                // Without rules there is nothing to deny.
                None => Some(RouteFilter::Disabled),
                Some(rules) => reader
                    .within("rbac", |reader| rbac::decode(reader, rules))
                    .map(|rbac| RouteFilter::Rbac(Arc::new(rbac))),
            }
        }
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute" => {
            use ext_authz_per_route::Override;
            match reader.unpack::<ExtAuthzPerRoute>(any)?.r#override {
                Some(Override::Disabled(true)) => Some(RouteFilter::Disabled),
                Some(Override::CheckSettings(settings)) => reader
                    .within("check_settings", |reader| ext_authz::decode_check(reader, settings))
                    .map(|settings| RouteFilter::ExtAuthz(Arc::new(settings))),
                Some(Override::Disabled(false)) | None => reader.missing("override"),
            }
        }
        other if is_optional => return passed_over(reader, other),
        other => reader.refuse(format!("`{other}` is not supported")),
    };
    filter.map(Some)
}

/// The name of a packed message's type.
fn kind(any: &Any) -> &str {
    any.type_url.rsplit('/').next().unwrap_or_default()
}
