//! Which HTTP is spoken to an upstream, and for how long a connection is kept.

use std::collections::HashMap;
use std::time::Duration;

use weft_proto::xds::core;
use weft_proto::xds::protobuf::Any;
use weft_proto::xds::upstream_http::HttpProtocolOptions;
use weft_proto::xds::upstream_http::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
    explicit_http_config::ProtocolConfig,
};

use super::reader::{Reader, fields};
use super::wire::{bound, number, pack};
use crate::cluster::UpstreamHttp;

const KEY: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Envoy's bound on an unused connection when none is given.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy)]
pub(super) struct Options {
    pub(super) http: UpstreamHttp,
    pub(super) idle_timeout: Duration,
    pub(super) max_requests_per_connection: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        let (http, idle_timeout) = (UpstreamHttp::Http1, DEFAULT_IDLE_TIMEOUT);
        Self { http, idle_timeout, max_requests_per_connection: None }
    }
}

pub(super) fn encode(options: Options) -> HashMap<String, Any> {
    let explicit = |config| {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(config) })
    };
    let protocol = match options.http {
        UpstreamHttp::SameAsDownstream => {
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                http_protocol_options: Some(core::Http1ProtocolOptions::default()),
                http2_protocol_options: Some(core::Http2ProtocolOptions::default()),
                ..Default::default()
            })
        }
        UpstreamHttp::Http1 => {
            explicit(ProtocolConfig::HttpProtocolOptions(core::Http1ProtocolOptions::default()))
        }
        UpstreamHttp::Http2 => {
            explicit(ProtocolConfig::Http2ProtocolOptions(core::Http2ProtocolOptions::default()))
        }
    };
    let options = HttpProtocolOptions {
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            idle_timeout: bound(Some(options.idle_timeout)),
            max_requests_per_connection: options.max_requests_per_connection.and_then(number),
            ..Default::default()
        }),
        upstream_protocol_options: Some(protocol),
        ..Default::default()
    };
    HashMap::from([(KEY.to_owned(), pack(&options))])
}

/// Reads `typed_extension_protocol_options`; keys other than HTTP's are refused.
pub(super) fn decode(reader: &mut Reader, extensions: HashMap<String, Any>) -> Option<Options> {
    let mut options = Some(Options::default());
    for (key, any) in extensions {
        reader.within(&format!("typed_extension_protocol_options[{key}]"), |reader| {
            if key == KEY {
                options = reader.unpack(&any).and_then(|message| decode_options(reader, message));
            } else {
                reader.refuse::<()>("is not supported");
            }
        });
    }
    options
}

fn decode_options(reader: &mut Reader, options: HttpProtocolOptions) -> Option<Options> {
    fields!(reader, options => HttpProtocolOptions {
        common_http_protocol_options, upstream_protocol_options;
        ignored: header_validation_config;
        refused: upstream_http_protocol_options, http_filters, outlier_detection, request_mirror_policies,
            hash_policy, retry_policy
    });
    let (idle_timeout, max_requests_per_connection) = common_http_protocol_options
        .map(|common| {
            reader.within("common_http_protocol_options", |reader| {
                fields!(reader, common => core::HttpProtocolOptions {
                    idle_timeout, max_requests_per_connection;
                    ignored: max_headers_count, max_response_headers_kb, headers_with_underscores_action;
                    refused: max_connection_duration, max_connection_duration_jitter, max_stream_duration
                });
                (reader.duration("idle_timeout", idle_timeout), max_requests_per_connection)
            })
        })
        .unwrap_or_default();
    let http = match upstream_protocol_options {
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(_)) => Some(UpstreamHttp::SameAsDownstream),
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => match explicit.protocol_config {
            Some(ProtocolConfig::HttpProtocolOptions(_)) => Some(UpstreamHttp::Http1),
            Some(ProtocolConfig::Http2ProtocolOptions(_)) => Some(UpstreamHttp::Http2),
            Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
                reader.unsupported("explicit_http_config.http3_protocol_options")
            }
            None => reader.missing("explicit_http_config.protocol_config"),
        },
        Some(UpstreamProtocolOptions::AutoConfig(_)) => reader.unsupported("auto_config"),
        None => reader.missing("upstream_protocol_options"),
    };
    Some(Options {
        http: http?,
        idle_timeout: idle_timeout.unwrap_or(DEFAULT_IDLE_TIMEOUT),
        max_requests_per_connection: max_requests_per_connection
            .map(|most| most.value)
            .filter(|most| *most > 0),
    })
}
