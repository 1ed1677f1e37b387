//! What Istio sends beside what we use does not make a resource fail.

use std::sync::Arc;

use prost::Message;
use weft_proto::xds::hcm as hcm_pb;
use weft_proto::xds::hcm::http_connection_manager::{CodecType, RouteSpecifier};
use weft_proto::xds::listener as pb;
use weft_proto::xds::protobuf::Any;
use weft_proto::xds::route as route_pb;
use weft_proto::xds::{accesslog, core};

use super::wire::{duration, flag, pack};
use super::{listener, route};
use crate::listener::{NetworkFilter, RouteSource};
use crate::matcher::RequestFacts;
use crate::route::RouteAction;

#[test]
fn an_outbound_listener_of_istios_is_read() {
    let filter = |name: &str| hcm_pb::HttpFilter {
        name: name.into(),
        config_type: Some(hcm_pb::http_filter::ConfigType::TypedConfig(Any {
            type_url: match name {
                "envoy.filters.http.cors" => {
                    "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors".into()
                }
                _ => "type.googleapis.com/udpa.type.v1.TypedStruct".into(),
            },
            value: vec![],
        })),
        ..Default::default()
    };
    let http = hcm_pb::HttpConnectionManager {
        stat_prefix: "outbound_0.0.0.0_9080".into(),
        codec_type: CodecType::Auto as i32,
        http_filters: [
            "istio.metadata_exchange",
            "envoy.filters.http.grpc_stats",
            "istio.alpn",
            "istio.stats",
        ]
        .into_iter()
        .chain(["envoy.filters.http.cors", "envoy.filters.http.router"])
        .map(filter)
        .collect(),
        tracing: Some(Default::default()),
        access_log: vec![accesslog::AccessLog {
            name: "envoy.access_loggers.file".into(),
            ..Default::default()
        }],
        use_remote_address: flag(false),
        normalize_path: flag(true),
        forward_client_cert_details: 2,
        stream_idle_timeout: duration(std::time::Duration::ZERO),
        route_specifier: Some(RouteSpecifier::Rds(hcm_pb::Rds {
            config_source: super::wire::over_ads(),
            route_config_name: "9080".into(),
        })),
        ..Default::default()
    };
    let filters = vec![pb::Filter {
        name: "envoy.filters.network.http_connection_manager".into(),
        config_type: Some(pb::filter::ConfigType::TypedConfig(pack(&http))),
    }];
    let message = pb::Listener {
        name: "0.0.0.0_9080".into(),
        address: super::address::encode("0.0.0.0", 9080),
        filter_chains: vec![pb::FilterChain { filters, ..Default::default() }],
        deprecated_v1: Some(pb::listener::DeprecatedV1 { bind_to_port: flag(false) }),
        traffic_direction: core::TrafficDirection::Outbound as i32,
        access_log: vec![accesslog::AccessLog::default()],
        ..Default::default()
    };
    let read = listener::decode(&message.encode_to_vec()).unwrap();
    assert!(!read.bind);
    let NetworkFilter::Http(http) = &read.filter_chains[0].filter else { panic!("{read:?}") };
    assert_eq!(http.routes, RouteSource::Named("9080".into()));
    assert_eq!(http.stream_idle_timeout, None);
}

#[test]
fn a_host_of_istios_that_ignores_ports_is_found_with_any_port() {
    let action = route_pb::RouteAction {
        cluster_specifier: Some(route_pb::route_action::ClusterSpecifier::Cluster(
            "outbound|9080||reviews".into(),
        )),
        timeout: duration(std::time::Duration::ZERO),
        max_stream_duration: Some(route_pb::route_action::MaxStreamDuration {
            max_stream_duration: duration(std::time::Duration::ZERO),
            grpc_timeout_header_max: duration(std::time::Duration::ZERO),
            ..Default::default()
        }),
        ..Default::default()
    };
    let one = route_pb::Route {
        r#match: Some(route_pb::RouteMatch {
            path_specifier: Some(route_pb::route_match::PathSpecifier::Prefix("/".into())),
            ..Default::default()
        }),
        decorator: Some(Default::default()),
        action: Some(route_pb::route::Action::Route(action)),
        ..Default::default()
    };
    let message = route_pb::RouteConfiguration {
        name: "9080".into(),
        virtual_hosts: vec![route_pb::VirtualHost {
            name: "reviews".into(),
            domains: vec!["reviews".into()],
            routes: vec![one],
            include_request_attempt_count: true,
            ..Default::default()
        }],
        ignore_port_in_host_matching: true,
        max_direct_response_body_size_bytes: super::wire::number(1 << 20),
        ..Default::default()
    };
    let table = route::decode(&message.encode_to_vec()).unwrap();
    for authority in ["reviews", "reviews:9080"] {
        let headers = http::HeaderMap::new();
        let request = RequestFacts {
            method: "GET",
            scheme: "http",
            authority,
            path_and_query: "/",
            headers: &headers,
            random: 0,
        };
        let found = table.route(&request).unwrap();
        let RouteAction::Forward(forward) = &found.action else { panic!("{found:?}") };
        assert_eq!(forward.clusters[0].cluster, Arc::from("outbound|9080||reviews"));
        assert_eq!(forward.timeout, None);
    }
}
