use prost::Message;
use weft_proto::xds::listener as pb;
use weft_proto::xds::route as route_pb;
use weft_proto::xds::{cluster as cluster_pb, core};

use super::{cluster, listener, route};

fn fields(errors: &super::DecodeErrors) -> Vec<&str> {
    errors.mistakes().iter().map(|mistake| mistake.field.as_str()).collect()
}

#[test]
fn every_mistake_of_a_route_table_is_named_with_its_path() {
    let bad = route_pb::Route {
        r#match: Some(route_pb::RouteMatch {
            path_specifier: Some(route_pb::route_match::PathSpecifier::SafeRegex(
                super::text::encode_expression("(unclosed"),
            )),
            ..Default::default()
        }),
        action: Some(route_pb::route::Action::Route(route_pb::RouteAction {
            timeout: Some(weft_proto::xds::protobuf::Duration { seconds: -1, nanos: 0 }),
            hash_policy: vec![Default::default()],
            ..Default::default()
        })),
        ..Default::default()
    };
    let host = route_pb::VirtualHost {
        name: "h".into(),
        domains: vec!["*".into()],
        routes: vec![bad],
        ..Default::default()
    };
    let table =
        route_pb::RouteConfiguration { name: "t".into(), virtual_hosts: vec![host], ..Default::default() };
    let errors = route::decode(&table.encode_to_vec()).unwrap_err();
    assert_eq!(
        fields(&errors),
        [
            "virtual_hosts[0].routes[0].match.safe_regex.regex",
            "virtual_hosts[0].routes[0].route.hash_policy",
            "virtual_hosts[0].routes[0].route.timeout",
            "virtual_hosts[0].routes[0].route.cluster_specifier",
        ]
    );
}

#[test]
fn a_filter_that_decides_about_requests_is_not_passed_over() {
    let filter = pb::Filter {
        name: "envoy.filters.network.rbac".into(),
        config_type: Some(pb::filter::ConfigType::TypedConfig(weft_proto::xds::protobuf::Any {
            type_url: "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC".into(),
            value: vec![],
        })),
    };
    let listener = pb::Listener {
        name: "l".into(),
        address: super::address::encode("0.0.0.0", 15006),
        traffic_direction: core::TrafficDirection::Inbound as i32,
        filter_chains: vec![pb::FilterChain { filters: vec![filter], ..Default::default() }],
        ..Default::default()
    };
    let errors = listener::decode(&listener.encode_to_vec()).unwrap_err();
    assert!(errors.to_string().contains("`envoy.filters.network.rbac` is not supported"), "{errors}");
    assert_eq!(errors.mistakes()[0].field, "filter_chains[0].filters[0].typed_config");
}

#[test]
fn a_cluster_that_hashes_is_refused_by_name() {
    let message = cluster_pb::Cluster {
        name: "c".into(),
        lb_policy: cluster_pb::cluster::LbPolicy::RingHash as i32,
        cluster_discovery_type: Some(cluster_pb::cluster::ClusterDiscoveryType::Type(
            cluster_pb::cluster::DiscoveryType::Eds as i32,
        )),
        ..Default::default()
    };
    let errors = cluster::decode(&message.encode_to_vec()).unwrap_err();
    assert_eq!(errors.to_string(), "lb_policy: RING_HASH is not supported");
}

fn with_filter(name: &str, type_url: &str, is_optional: bool) -> Vec<u8> {
    use weft_proto::xds::hcm;
    let any = |type_url: &str, value| weft_proto::xds::protobuf::Any { type_url: type_url.into(), value };
    let filter = hcm::HttpFilter {
        name: name.into(),
        is_optional,
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(any(type_url, vec![]))),
        ..Default::default()
    };
    let http = hcm::HttpConnectionManager {
        stat_prefix: "p".into(),
        http_filters: vec![filter],
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(Default::default())),
        ..Default::default()
    };
    let url = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let filter = pb::Filter {
        name: "http".into(),
        config_type: Some(pb::filter::ConfigType::TypedConfig(any(url, http.encode_to_vec()))),
    };
    let listener = pb::Listener {
        name: "l".into(),
        address: super::address::encode("0.0.0.0", 15006),
        traffic_direction: core::TrafficDirection::Inbound as i32,
        filter_chains: vec![pb::FilterChain { filters: vec![filter], ..Default::default() }],
        ..Default::default()
    };
    listener.encode_to_vec()
}

#[test]
fn an_http_filter_that_is_not_known_is_refused_unless_it_is_optional() {
    let url = "type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor";
    let errors = listener::decode(&with_filter("compress", url, false)).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config: filter `compress` is not supported"
    );
    assert!(listener::decode(&with_filter("compress", url, true)).is_ok());
}

#[test]
fn what_a_known_filter_cannot_do_is_named() {
    let url = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";
    let errors = listener::decode(&with_filter("authz", url, true)).unwrap_err();
    assert_eq!(
        fields(&errors),
        ["filter_chains[0].filters[0].typed_config.http_filters[0].typed_config.services"]
    );
}
