//! Filters of HTTP, of a listener and of routes.
//!
//! A filter that is not known is refused, unless it says that it is optional. What a route says of a filter may be
//! wrapped in a `FilterConfig`, to say the same, or to turn the filter off.

mod fault;

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message;
use weft_proto::xds::hcm as pb;
use weft_proto::xds::hcm::http_filter::ConfigType;
use weft_proto::xds::protobuf::Any;
use weft_proto::xds::route::FilterConfig as Wrapped;

use super::reader::Reader;
use super::wire::pack;
use crate::filter::{FilterConfig, FilterOverrides, HttpFilter, RouteFilter};

pub(super) const ROUTER: &str = "envoy.filters.http.router";
/// HTTP filters that Istio puts everywhere, whose work our proxy does anyway or which only measure.
const IGNORED: [&str; 7] = [
    "envoy.filters.http.cors",
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
        _ if is_optional => return Some(None),
        Some(ConfigType::ConfigDiscovery(_)) => return reader.unsupported("config_discovery"),
        None => return reader.missing("typed_config"),
    };
    let config = reader.within("typed_config", |reader| match kind(&any) {
        "envoy.extensions.filters.http.fault.v3.HTTPFault" => {
            let message = reader.unpack(&any)?;
            fault::decode(reader, message).map(|fault| Some(FilterConfig::Fault(fault)))
        }
        // Who turns it on somewhere is refused there.
        _ if is_optional || disabled => Some(None),
        _ => reader.refuse(format!("filter `{name}` is not supported")),
    });
    let name = reader.text("name", name);
    match config? {
        Some(config) => Some(Some(HttpFilter { name: name?, disabled, config })),
        None => Some(None),
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
        return decode_config(reader, &any, false);
    }
    match Wrapped::decode(any.value.as_slice()) {
        Ok(Wrapped { disabled: true, .. }) => Some(Some(RouteFilter::Disabled)),
        Ok(Wrapped { config: Some(config), is_optional, .. }) => {
            reader.within("config", |reader| decode_config(reader, &config, is_optional))
        }
        Ok(_) => Some(Some(RouteFilter::Enabled)),
        Err(error) => reader.refuse(format!("is no FilterConfig: {error}")),
    }
}

fn decode_config(reader: &mut Reader, any: &Any, is_optional: bool) -> Option<Option<RouteFilter>> {
    match kind(any) {
        "envoy.extensions.filters.http.fault.v3.HTTPFault" => {
            let message = reader.unpack(any)?;
            fault::decode(reader, message).map(RouteFilter::Fault).map(Some)
        }
        _ if is_optional => Some(None),
        other => reader.refuse(format!("`{other}` is not supported")),
    }
}

/// The name of a packed message's type.
fn kind(any: &Any) -> &str {
    any.type_url.rsplit('/').next().unwrap_or_default()
}
