//! Asking a service whether a request is allowed.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use weft_proto::xds::core::{self, grpc_service, http_uri::HttpUpstreamType};
use weft_proto::xds::ext_authz as pb;
use weft_proto::xds::ext_authz::ext_authz::Services;
use weft_proto::xds::kind::HttpStatus;
use weft_proto::xds::matcher::ListStringMatcher;

use super::super::reader::{Reader, fields};
use super::super::wire::duration;
use super::super::{headers, text};
use super::local_rate_limit::error_status;
use crate::filter::ext_authz::{AuthzService, BodySettings, CheckSettings, ExtAuthz, GrpcCall, HttpAuthz};
use crate::matcher::StringMatch;
use crate::policy::Fraction;

/// Envoy's bound on a call when none is given.
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(200);

pub(super) fn encode(authz: &ExtAuthz) -> pb::ExtAuthz {
    pb::ExtAuthz {
        transport_api_version: core::ApiVersion::V3 as i32,
        failure_mode_allow: authz.failure_mode_allow,
        failure_mode_allow_header_add: authz.failure_mode_allow_header_add,
        with_request_body: authz.body.map(encode_body),
        status_on_error: Some(HttpStatus { code: authz.status_on_error.into() }),
        filter_enabled: text::encode_runtime_fraction(authz.enabled),
        allowed_headers: authz.allowed_headers.as_deref().map(list),
        disallowed_headers: some_list(&authz.disallowed_headers),
        services: Some(match &authz.service {
            AuthzService::Grpc(call) => Services::GrpcService(encode_grpc(call)),
            AuthzService::Http(http) => Services::HttpService(encode_http(http)),
        }),
        ..Default::default()
    }
}

pub(super) fn decode(reader: &mut Reader, authz: pb::ExtAuthz) -> Option<ExtAuthz> {
    fields!(reader, authz => pb::ExtAuthz {
        failure_mode_allow, failure_mode_allow_header_add, with_request_body, status_on_error, filter_enabled,
        allowed_headers, disallowed_headers, services;
        ignored: transport_api_version, stat_prefix, validate_mutations, charge_cluster_response_stats,
            emit_filter_state_stats, enable_dynamic_metadata_ingestion, emit_client_span;
        refused: clear_route_cache, metadata_context_namespaces, typed_metadata_context_namespaces,
            route_metadata_context_namespaces, route_typed_metadata_context_namespaces, filter_enabled_metadata,
            deny_at_disable, include_peer_certificate, bootstrap_metadata_labels_key, include_tls_session,
            encode_raw_headers, decoder_header_mutation_rules, filter_metadata, max_denied_response_body_bytes,
            enforce_response_header_limits, shadow_mode
    });
    let body = reader.optional("with_request_body", with_request_body, decode_body);
    let enabled = match filter_enabled {
        None => Some(Fraction::ALL),
        some => reader.required("filter_enabled", some, text::decode_runtime_fraction),
    };
    let allowed_headers = allowed_headers.map(|list| decode_list(reader, "allowed_headers", Some(list)));
    let disallowed_headers = decode_list(reader, "disallowed_headers", disallowed_headers);
    let service = match services {
        Some(Services::GrpcService(grpc)) => {
            reader.within("grpc_service", |reader| decode_grpc(reader, grpc)).map(AuthzService::Grpc)
        }
        Some(Services::HttpService(http)) => reader
            .within("http_service", |reader| decode_http(reader, http))
            .map(|http| AuthzService::Http(Box::new(http))),
        None => reader.missing("services"),
    };
    Some(ExtAuthz {
        service: service?,
        failure_mode_allow,
        failure_mode_allow_header_add,
        body,
        status_on_error: error_status(status_on_error, 403),
        allowed_headers,
        disallowed_headers,
        enabled: enabled?,
    })
}

pub(super) fn encode_check(settings: &CheckSettings) -> pb::CheckSettings {
    pb::CheckSettings {
        context_extensions: settings.context_extensions.clone().into_iter().collect(),
        disable_request_body_buffering: settings.disable_request_body_buffering,
        with_request_body: settings.body.map(encode_body),
        ..Default::default()
    }
}

pub(super) fn decode_check(reader: &mut Reader, settings: pb::CheckSettings) -> Option<CheckSettings> {
    fields!(reader, settings => pb::CheckSettings {
        context_extensions, disable_request_body_buffering, with_request_body;
        ignored: emit_client_span;
        refused: service_override
    });
    Some(CheckSettings {
        context_extensions: context_extensions.into_iter().collect(),
        disable_request_body_buffering,
        body: reader.optional("with_request_body", with_request_body, decode_body),
    })
}

fn encode_body(body: BodySettings) -> pb::BufferSettings {
    pb::BufferSettings {
        max_request_bytes: body.max_request_bytes,
        allow_partial_message: body.allow_partial_message,
        pack_as_bytes: body.pack_as_bytes,
    }
}

fn decode_body(reader: &mut Reader, body: pb::BufferSettings) -> Option<BodySettings> {
    fields!(reader, body => pb::BufferSettings { max_request_bytes, allow_partial_message, pack_as_bytes });
    if max_request_bytes == 0 {
        return reader.refuse_at("max_request_bytes", "must be more than 0");
    }
    Some(BodySettings { max_request_bytes, allow_partial_message, pack_as_bytes })
}

pub(super) fn encode_grpc(call: &GrpcCall) -> core::GrpcService {
    core::GrpcService {
        timeout: duration(call.timeout),
        initial_metadata: pairs(&call.metadata),
        target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(grpc_service::EnvoyGrpc {
            cluster_name: call.cluster.to_string(),
            authority: call.authority.to_string(),
            ..Default::default()
        })),
        ..Default::default()
    }
}

pub(super) fn decode_grpc(reader: &mut Reader, service: core::GrpcService) -> Option<GrpcCall> {
    fields!(reader, service => core::GrpcService {
        timeout, initial_metadata, target_specifier;
        refused: retry_policy
    });
    let timeout = reader.bound("timeout", timeout).unwrap_or(DEFAULT_TIMEOUT);
    let metadata = reader.each("initial_metadata", initial_metadata, decode_pair);
    let target = match target_specifier {
        Some(grpc_service::TargetSpecifier::EnvoyGrpc(target)) => target,
        Some(grpc_service::TargetSpecifier::GoogleGrpc(_)) => return reader.unsupported("google_grpc"),
        None => return reader.missing("envoy_grpc"),
    };
    reader.within("envoy_grpc", |reader| {
        fields!(reader, target => grpc_service::EnvoyGrpc {
            cluster_name, authority;
            ignored: max_receive_message_length, skip_envoy_headers;
            refused: retry_policy
        });
        let cluster = reader.text("cluster_name", cluster_name)?;
        let authority = if authority.is_empty() { cluster.clone() } else { Arc::from(authority) };
        if HeaderValue::from_str(&authority).is_err() {
            return reader.refuse_at("authority", "is no host name");
        }
        Some(GrpcCall { cluster, authority, timeout, metadata })
    })
}

fn encode_http(http: &HttpAuthz) -> pb::HttpService {
    pb::HttpService {
        server_uri: Some(core::HttpUri {
            uri: http.uri.to_string(),
            timeout: duration(http.timeout),
            http_upstream_type: Some(HttpUpstreamType::Cluster(http.cluster.to_string())),
        }),
        path_prefix: http.path_prefix.to_string(),
        authorization_request: (!http.headers_to_add.is_empty()).then(|| pb::AuthorizationRequest {
            headers_to_add: pairs(&http.headers_to_add),
            ..Default::default()
        }),
        authorization_response: Some(pb::AuthorizationResponse {
            allowed_upstream_headers: some_list(&http.upstream_headers),
            allowed_upstream_headers_to_append: some_list(&http.upstream_headers_to_append),
            allowed_client_headers: some_list(&http.client_headers),
            allowed_client_headers_on_success: some_list(&http.client_headers_on_success),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn decode_http(reader: &mut Reader, http: pb::HttpService) -> Option<HttpAuthz> {
    fields!(reader, http => pb::HttpService {
        server_uri, path_prefix, authorization_request, authorization_response;
        refused: path_override, retry_policy
    });
    let server = reader.required("server_uri", server_uri, decode_uri);
    let request = authorization_request.unwrap_or_default();
    let headers_to_add = reader.within("authorization_request", |reader| {
        fields!(reader, request => pb::AuthorizationRequest { headers_to_add; refused: allowed_headers });
        reader.each("headers_to_add", headers_to_add, decode_pair)
    });
    let response = authorization_response.unwrap_or_default();
    let lists = reader.within("authorization_response", |reader| {
        fields!(reader, response => pb::AuthorizationResponse {
            allowed_upstream_headers, allowed_upstream_headers_to_append, allowed_client_headers,
            allowed_client_headers_on_success;
            refused: dynamic_metadata_from_headers
        });
        [
            decode_list(reader, "allowed_upstream_headers", allowed_upstream_headers),
            decode_list(reader, "allowed_upstream_headers_to_append", allowed_upstream_headers_to_append),
            decode_list(reader, "allowed_client_headers", allowed_client_headers),
            decode_list(reader, "allowed_client_headers_on_success", allowed_client_headers_on_success),
        ]
    });
    let [upstream_headers, upstream_headers_to_append, client_headers, client_headers_on_success] = lists;
    let (cluster, uri, authority, timeout) = server?;
    Some(HttpAuthz {
        cluster,
        authority,
        uri,
        timeout,
        path_prefix: path_prefix.into(),
        headers_to_add,
        upstream_headers,
        upstream_headers_to_append,
        client_headers,
        client_headers_on_success,
    })
}

/// Cluster, URI, its authority, bound.
pub(super) fn decode_uri(
    reader: &mut Reader,
    uri: core::HttpUri,
) -> Option<(Arc<str>, Arc<str>, HeaderValue, Duration)> {
    fields!(reader, uri => core::HttpUri { uri, timeout, http_upstream_type });
    let cluster = match http_upstream_type {
        Some(HttpUpstreamType::Cluster(name)) => reader.text("cluster", name),
        None => reader.missing("cluster"),
    };
    let timeout = reader.bound("timeout", timeout).unwrap_or(DEFAULT_TIMEOUT);
    let parsed =
        uri.parse::<Uri>().ok().and_then(|uri| HeaderValue::from_str(uri.authority()?.as_str()).ok());
    let Some(authority) = parsed else {
        return reader.refuse_at("uri", format!("`{uri}` is no URI with a host"));
    };
    Some((cluster?, uri.into(), authority, timeout))
}

fn pairs(pairs: &[(HeaderName, HeaderValue)]) -> Vec<core::HeaderValue> {
    let pair = |(name, value): &(HeaderName, HeaderValue)| core::HeaderValue {
        key: name.to_string(),
        value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        ..Default::default()
    };
    pairs.iter().map(pair).collect()
}

fn decode_pair(reader: &mut Reader, header: core::HeaderValue) -> Option<(HeaderName, HeaderValue)> {
    let name = reader.within("key", |reader| headers::name(reader, header.key));
    match HeaderValue::try_from(header.value) {
        Ok(value) => Some((name?, value)),
        Err(_) => reader.refuse_at("value", "has characters that no header value may have"),
    }
}

fn list(patterns: &[StringMatch]) -> ListStringMatcher {
    ListStringMatcher { patterns: patterns.iter().map(text::encode).collect() }
}

fn some_list(patterns: &[StringMatch]) -> Option<ListStringMatcher> {
    (!patterns.is_empty()).then(|| list(patterns))
}

fn decode_list(reader: &mut Reader, field: &str, list: Option<ListStringMatcher>) -> Vec<StringMatch> {
    let patterns = list.map(|list| list.patterns).unwrap_or_default();
    reader.within(field, |reader| reader.each("patterns", patterns, text::decode))
}
