//! How HTTP is served: Envoy's HTTP connection manager.

use std::sync::Arc;
use std::time::Duration;

use weft_proto::xds::hcm as pb;
use weft_proto::xds::hcm::http_connection_manager::{
    CodecType, ForwardClientCertDetails, RouteSpecifier, SetCurrentClientCertDetails, UpgradeConfig,
};
use weft_proto::xds::hcm::http_filter::ConfigType;
use weft_proto::xds::router::Router;

use super::reader::{Reader, fields};
use super::wire::{bound, flag, over_ads, pack};
use super::{access_log, bootstrap, filter, route};
use crate::listener::{Codec, HttpConnection, RouteSource};

/// Envoy's bound on silence when none is given.
const DEFAULT_STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// What is encoded here is all but [`HttpConnection::forward_proxy`], which stands in the filter chain's metadata.
pub(super) fn encode(http: &HttpConnection) -> pb::HttpConnectionManager {
    let codec = match http.codec {
        Codec::Auto => CodecType::Auto,
        Codec::Http1 => CodecType::Http1,
        Codec::Http2 => CodecType::Http2,
    };
    let (forward, details) = if http.forward_client_certificate {
        let details = SetCurrentClientCertDetails { uri: true, ..Default::default() };
        (ForwardClientCertDetails::SanitizeSet, Some(details))
    } else {
        (ForwardClientCertDetails::Sanitize, None)
    };
    let upgrade = |token: &Arc<str>| UpgradeConfig { upgrade_type: token.to_string(), ..Default::default() };
    pb::HttpConnectionManager {
        stat_prefix: http.stat_prefix.to_string(),
        codec_type: codec as i32,
        http_filters: http.filters.iter().map(filter::encode).chain([router()]).collect(),
        use_remote_address: flag(false),
        stream_idle_timeout: bound(http.stream_idle_timeout),
        forward_client_cert_details: forward as i32,
        set_current_client_cert_details: details,
        upgrade_configs: http.upgrades.iter().map(upgrade).collect(),
        route_specifier: Some(match &http.routes {
            RouteSource::Named(name) => RouteSpecifier::Rds(pb::Rds {
                config_source: over_ads(),
                route_config_name: name.to_string(),
            }),
            RouteSource::Inline(table) => RouteSpecifier::RouteConfig(route::message(table)),
        }),
        ..Default::default()
    }
}

fn router() -> pb::HttpFilter {
    pb::HttpFilter {
        name: filter::ROUTER.to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&Router::default()))),
        ..Default::default()
    }
}

pub(super) fn decode(reader: &mut Reader, http: pb::HttpConnectionManager) -> Option<HttpConnection> {
    fields!(reader, http => pb::HttpConnectionManager {
        codec_type, stat_prefix, http_filters, stream_idle_timeout, forward_client_cert_details, upgrade_configs,
        access_log, route_specifier;
        // Limits, normalization and identification of requests are the proxy's own rules.
        ignored: tracing, common_http_protocol_options, http1_safe_max_connection_duration, http_protocol_options,
            http2_protocol_options, http3_protocol_options, server_name, server_header_transformation,
            max_request_headers_kb, stream_flush_timeout, request_headers_timeout, drain_timeout,
            drain_timeout_jitter, delayed_close_timeout, access_log_flush_interval,
            flush_access_log_on_new_request, access_log_options, use_remote_address, xff_num_trusted_hops,
            internal_address_config, skip_xff_append, via, generate_request_id, preserve_external_request_id,
            always_set_request_id_in_response, set_current_client_cert_details, proxy_100_continue,
            represent_ipv4_remote_address_as_ipv4_mapped_ipv6, normalize_path, merge_slashes,
            path_with_escaped_slashes_action, request_id_extension, stream_error_on_invalid_http_message,
            proxy_status_config, append_local_overload, add_proxy_protocol_connection_state;
        refused: add_user_agent, scheme_header_transformation, request_timeout, original_ip_detection_extensions,
            early_header_mutation_extensions, forward_client_cert_matcher, local_reply_config,
            strip_matching_host_port, path_normalization_options, strip_trailing_host_dot,
            typed_header_validation_config, append_x_forwarded_port, forward_proto_config, strip_port_mode
    });
    access_log::read(reader, access_log);
    let codec = match CodecType::try_from(codec_type) {
        Ok(CodecType::Auto) => Some(Codec::Auto),
        Ok(CodecType::Http1) => Some(Codec::Http1),
        Ok(CodecType::Http2) => Some(Codec::Http2),
        Ok(CodecType::Http3) => reader.refuse_at("codec_type", "HTTP3 is not supported"),
        Err(_) => reader.refuse_at("codec_type", format!("{codec_type} is not known")),
    };
    let stat_prefix = reader.text("stat_prefix", stat_prefix);
    let filters = reader.each("http_filters", http_filters, filter::decode);
    let stream_idle_timeout = match stream_idle_timeout {
        None => Some(DEFAULT_STREAM_IDLE_TIMEOUT),
        some => reader.bound("stream_idle_timeout", some),
    };
    use ForwardClientCertDetails as Forward;
    let forward = match Forward::try_from(forward_client_cert_details) {
        // What a client sends is never believed: to append to it (Istio's choice) is to set it.
        Ok(Forward::SanitizeSet | Forward::AppendForward) => Some(true),
        Ok(Forward::Sanitize) => Some(false),
        Ok(other) => reader
            .refuse_at("forward_client_cert_details", format!("{} is not supported", other.as_str_name())),
        Err(_) => reader.refuse_at("forward_client_cert_details", "is not known"),
    };
    let upgrades = reader.each("upgrade_configs", upgrade_configs, |reader, upgrade| {
        fields!(reader, upgrade => UpgradeConfig { upgrade_type, enabled; refused: filters });
        Some(enabled.is_none_or(|enabled| enabled.value).then(|| upgrade_type.into()))
    });
    let routes = match route_specifier {
        Some(RouteSpecifier::Rds(rds)) => reader
            .within("rds", |reader| {
                bootstrap::only_over_ads(reader, "config_source", rds.config_source);
                reader.text("route_config_name", rds.route_config_name)
            })
            .map(RouteSource::Named),
        Some(RouteSpecifier::RouteConfig(table)) => reader
            .within("route_config", |reader| route::read(reader, table))
            .map(|table| RouteSource::Inline(table.into())),
        Some(RouteSpecifier::ScopedRoutes(_)) => reader.unsupported("scoped_routes"),
        None => reader.missing("route_specifier"),
    };
    Some(HttpConnection {
        stat_prefix: stat_prefix?,
        codec: codec?,
        routes: routes?,
        forward_client_certificate: forward?,
        stream_idle_timeout,
        upgrades: upgrades.into_iter().flatten().collect(),
        forward_proxy: false,
        filters: filters.into_iter().flatten().collect(),
    })
}
