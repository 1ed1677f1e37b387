use super::*;
use crate::listener::{Direction, NetworkFilter, RouteSource};

const GOOD: &str = r#"
node: {id: a, cluster: b, locality: {zone: c}}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  listeners:
  - address: {socket_address: {address: 0.0.0.0, port_value: 10000}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          server_name: mine
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {match: {prefix: /}, route: {cluster: service}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: service
    connect_timeout: 0.25s
    type: STATIC
    load_assignment:
      cluster_name: service
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 8080}}}
"#;

fn mistakes(text: &str) -> Vec<String> {
    read(text).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn a_bootstrap_of_envoys_documentation_is_read() {
    let Read { bootstrap, notes } = read(GOOD).unwrap();
    assert_eq!(bootstrap.node.id, "a");
    assert_eq!(bootstrap.admin, Some("127.0.0.1:9901".parse().unwrap()));
    let [listener] = &bootstrap.listeners[..] else { panic!("{:?}", bootstrap.listeners) };
    assert_eq!(listener.direction, Direction::Outbound);
    let NetworkFilter::Http(http) = &listener.filter_chains[0].filter else { panic!("not HTTP") };
    assert!(matches!(&http.routes, RouteSource::Inline(table) if table.virtual_hosts.len() == 1));
    assert_eq!(&*bootstrap.clusters[0].name, "service");
    assert_eq!(bootstrap.snapshot().dangling(), Vec::<String>::new());
    let notes: Vec<_> = notes.iter().map(ToString::to_string).collect();
    let path = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.server_name";
    assert_eq!(notes, [format!("13:11: {path}: has no effect here")]);
}

#[test]
fn json_is_read_as_yaml_is() {
    let (root, _) = yaml::parse(GOOD);
    let json = crate::document::json::to_json(&root.unwrap()).to_string();
    assert_eq!(read(&json).unwrap().bootstrap, read(GOOD).unwrap().bootstrap);
}

#[test]
fn everything_that_is_not_supported_is_told_at_once() {
    let text = GOOD
        .replace("    type: STATIC\n", "    type: STATIC\n    dns_resolvers: [{pipe: {path: /a}}]\n")
        .replace(
            "- address: {socket_address: {address: 0.0.0.0",
            "- api_listener: {}\n    address: {socket_address: {address: 0.0.0.0",
        )
        .replace("http.router", "http.lua");
    let found = mistakes(&text);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[2].starts_with("28:5: static_resources.clusters[0].dns_resolvers: "), "{found:#?}");
    assert!(
        found[1].contains(
            "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0]"
        ),
        "{found:#?}"
    );
    assert!(found[0].starts_with("6:5: static_resources.listeners[0].api_listener: "), "{found:#?}");
}

#[test]
fn references_to_nothing_and_names_that_stand_twice_are_told() {
    let text = GOOD.replace("- name: service\n", "- name: other\n");
    assert!(mistakes(&text)[0].contains("refers to cluster service, which is not known"));
    let clusters = GOOD.split("  clusters:\n").nth(1).unwrap();
    assert!(mistakes(&format!("{GOOD}{clusters}"))[0].contains("there are two clusters `service`"));
    let ads = "dynamic_resources:\n  cds_config: {ads: {}}\n  lds_config: {ads: {}}\n  ads_config: {api_type: GRPC, \
               grpc_services: [{envoy_grpc: {cluster_name: nowhere}}]}\n";
    let found = mistakes(&format!("{GOOD}{ads}"));
    assert!(found[0].contains("there is no static cluster `nowhere`"), "{found:?}");
}

#[test]
fn what_a_control_plane_would_send_is_refused_where_none_is_asked() {
    let table = GOOD
        .split("          route_config:")
        .nth(1)
        .unwrap()
        .split("          http_filters:")
        .next()
        .unwrap();
    let rds = "          rds: {route_config_name: all, config_source: {ads: {}}}\n";
    let text = GOOD.replace(&format!("          route_config:{table}"), rds);
    let eds = "  - {name: far, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}}\n";
    let found = mistakes(&format!("{text}{eds}"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("rds.config_source: comes from nowhere"), "{found:?}");
    assert!(found[1].contains("clusters[1].eds_cluster_config.eds_config: comes from nowhere"), "{found:?}");
}

#[test]
fn what_is_passed_over_or_dangerous_is_noted() {
    let filter = "          http_filters:\n          - {name: lua, is_optional: true, typed_config: {'@type': \
                  type.googleapis.com/google.protobuf.Struct}}\n";
    let text = GOOD.replace("          http_filters:\n", filter);
    let text = text.replace("address: 127.0.0.1, port_value: 9901", "address: 0.0.0.0, port_value: 9901");
    let notes: Vec<_> = read(&text).unwrap().notes.iter().map(ToString::to_string).collect();
    assert!(
        notes.iter().any(|note| note.contains("filter `lua` is not supported, and passed over")),
        "{notes:?}"
    );
    assert!(notes.iter().any(|note| note.contains("admin.address: is not loopback")), "{notes:?}");
}

#[test]
fn where_dynamic_resources_come_from_is_read() {
    let dynamic = "dynamic_resources:\n  cds_config: {path_config_source: {path: /etc/cds.yaml, watched_directory: {path: \
                   /etc}}}\n  lds_config: {ads: {}}\n  ads_config: {api_type: DELTA_GRPC, grpc_services: [{envoy_grpc: \
                   {cluster_name: service}}]}\n";
    let found = read(&format!("{GOOD}{dynamic}")).unwrap().bootstrap.dynamic;
    let clusters = ConfigSource::File { path: "/etc/cds.yaml".into() };
    let ads = Ads { cluster: "service".into(), delta: true };
    assert_eq!(
        found,
        Dynamic { ads: Some(ads), listeners: Some(ConfigSource::Ads), clusters: Some(clusters) }
    );
}

const LOG: &str = "          access_log:
          - name: file
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: /tmp/log
              log_format: {json_format: {b: '%RESPONSE_CODE%', a: [1, true]}}
          http_filters:
";

#[test]
fn an_access_log_is_read_and_two_that_differ_are_refused() {
    let text = GOOD.replace("          http_filters:\n", LOG);
    let format = LogFormat::Json(serde_json::json!({"a": [1.0, true], "b": "%RESPONSE_CODE%"}));
    let expected = AccessLog { path: Some("/tmp/log".into()), format };
    assert_eq!(read(&text).unwrap().bootstrap.access_log, Some(expected));
    let second = text.split("  - address:").nth(1).unwrap().split("  clusters:").next().unwrap().to_owned();
    let second = second.replace("/tmp/log", "/dev/stdout").replace("port_value: 10000", "port_value: 10001");
    let both = text.replace("  clusters:\n", &format!("  - address:{second}  clusters:\n"));
    assert!(mistakes(&both)[0].contains("static_resources.listeners: write different access logs"));
}

#[test]
fn what_is_no_yaml_is_told_with_its_place() {
    assert!(mistakes("node: {id: a\nadmin: [").iter().all(|it| it.contains("not valid YAML")));
    assert_eq!(mistakes("- 1"), ["1:1: is a list, not a mapping of fields"]);
    assert_eq!(mistakes(""), ["is nothing, not a mapping of fields"]);
}
