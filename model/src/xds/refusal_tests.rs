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
            rate_limits: vec![Default::default()],
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
            "virtual_hosts[0].routes[0].route.rate_limits",
            "virtual_hosts[0].routes[0].route.timeout",
            "virtual_hosts[0].routes[0].route.hash_policy[0].policy_specifier",
            "virtual_hosts[0].routes[0].route.cluster_specifier",
        ]
    );
}

#[test]
fn a_filter_that_decides_about_requests_is_not_passed_over() {
    let filter = pb::Filter {
        name: "envoy.filters.network.ext_authz".into(),
        config_type: Some(pb::filter::ConfigType::TypedConfig(weft_proto::xds::protobuf::Any {
            type_url: "type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz".into(),
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
    assert!(errors.to_string().contains("`envoy.filters.network.ext_authz` is not supported"), "{errors}");
    assert_eq!(errors.mistakes()[0].field, "filter_chains[0].filters[0].typed_config");
}

fn mistakes(cluster: cluster_pb::Cluster) -> String {
    let message = cluster_pb::Cluster {
        name: "c".into(),
        cluster_discovery_type: Some(cluster_pb::cluster::ClusterDiscoveryType::Type(
            cluster_pb::cluster::DiscoveryType::Eds as i32,
        )),
        ..cluster
    };
    cluster::decode(&message.encode_to_vec()).unwrap_err().to_string()
}

#[test]
fn a_policy_that_only_a_cluster_could_provide_is_refused_by_name() {
    let lb_policy = cluster_pb::cluster::LbPolicy::ClusterProvided as i32;
    let errors = mistakes(cluster_pb::Cluster { lb_policy, ..Default::default() });
    assert_eq!(errors, "lb_policy: CLUSTER_PROVIDED is not supported");
}

#[test]
fn tables_and_rings_of_impossible_sizes_are_refused() {
    use cluster_pb::cluster::{LbConfig, LbPolicy, MaglevLbConfig, RingHashLbConfig};
    use weft_proto::xds::protobuf::UInt64Value;
    let maglev = |value| cluster_pb::Cluster {
        lb_policy: LbPolicy::Maglev as i32,
        lb_config: Some(LbConfig::MaglevLbConfig(MaglevLbConfig { table_size: Some(UInt64Value { value }) })),
        ..Default::default()
    };
    for size in [0, 1, 4, 65_536, 5_000_113] {
        assert!(mistakes(maglev(size)).starts_with("maglev_lb_config.table_size"), "{size}");
    }
    let ring =
        RingHashLbConfig { minimum_ring_size: Some(UInt64Value { value: 9_000_000 }), ..Default::default() };
    let errors = mistakes(cluster_pb::Cluster {
        lb_policy: LbPolicy::RingHash as i32,
        lb_config: Some(LbConfig::RingHashLbConfig(ring)),
        ..Default::default()
    });
    assert!(errors.starts_with("ring_hash_lb_config.minimum_ring_size"), "{errors}");
}

#[test]
fn of_a_list_of_policies_the_first_known_one_counts() {
    use cluster_pb::load_balancing_policy::Policy;
    use weft_proto::xds::protobuf::Any;
    let policy = |name: &str| Policy {
        typed_extension_config: Some(core::TypedExtensionConfig {
            name: name.into(),
            typed_config: Some(Any {
                type_url: format!("type.googleapis.com/envoy.extensions.load_balancing_policies.{name}"),
                value: vec![],
            }),
        }),
    };
    let cluster = |names: &[&str]| cluster_pb::Cluster {
        name: "c".into(),
        cluster_discovery_type: Some(cluster_pb::cluster::ClusterDiscoveryType::Type(
            cluster_pb::cluster::DiscoveryType::Eds as i32,
        )),
        load_balancing_policy: Some(cluster_pb::LoadBalancingPolicy {
            policies: names.iter().map(|name| policy(name)).collect(),
        }),
        ..Default::default()
    };
    let read = cluster::decode(
        &cluster(&["pick_first.v3.PickFirst", "random.v3.Random", "maglev.v3.Maglev"]).encode_to_vec(),
    )
    .unwrap();
    assert_eq!(read.load_balancing, crate::cluster::LoadBalancing::Random);
    assert!((read.balancing.panic_threshold - 50.0).abs() < f64::EPSILON, "Envoy's, when nothing is said");
    assert_eq!(
        mistakes(cluster(&["pick_first.v3.PickFirst"])),
        "load_balancing_policy.policies: has none that is supported: `pick_first.v3.PickFirst`"
    );
}

#[test]
fn what_subsets_cannot_do_is_refused_by_name() {
    use cluster_pb::cluster::LbSubsetConfig;
    use cluster_pb::cluster::lb_subset_config::LbSubsetSelector;
    let single =
        LbSubsetSelector { keys: vec!["a".into()], single_host_per_subset: true, ..Default::default() };
    let config =
        LbSubsetConfig { subset_selectors: vec![single], panic_mode_any: true, ..Default::default() };
    let errors = mistakes(cluster_pb::Cluster { lb_subset_config: Some(config), ..Default::default() });
    assert_eq!(
        errors,
        "lb_subset_config.panic_mode_any: is not supported; \
         lb_subset_config.subset_selectors[0].single_host_per_subset: is not supported"
    );
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
