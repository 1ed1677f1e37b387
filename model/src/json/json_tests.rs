use prost::Message;
use weft_proto::xds::core::{Address, Locality, Node};
use weft_proto::xds::listener::Filter;
use weft_proto::xds::listener::filter::ConfigType;
use weft_proto::xds::protobuf::Any;
use weft_proto::xds::tcp_proxy::TcpProxy;

use super::Messages;
use crate::document::yaml;

fn read(name: &str, text: &str) -> Result<Vec<u8>, Vec<String>> {
    let (root, errors) = yaml::parse(text);
    assert_eq!(errors, []);
    let told = |misfits: Vec<super::Misfit>| misfits.iter().map(ToString::to_string).collect();
    Messages::envoy().read(name, &root.unwrap()).map_err(told)
}

#[test]
fn names_of_the_proto_file_and_of_json_are_read() {
    let bytes = read("envoy.config.core.v3.Node", "id: a\nuserAgentName: b\nlocality: {sub_zone: c}\n");
    let expected = Node {
        id: "a".into(),
        user_agent_name: "b".into(),
        locality: Some(Locality { sub_zone: "c".into(), ..Default::default() }),
        ..Default::default()
    };
    assert_eq!(Node::decode(&bytes.unwrap()[..]), Ok(expected));
}

#[test]
fn everything_that_is_wrong_is_told_with_its_place() {
    let text = "id: 1\nclustre: x\nlocality:\n  zone: [a]\n  regoin: b\nlistening_addresses:\n- pipe: {path: 3}\n- \
                {socket_address: {port_value: many}}\n";
    let misfits = read("envoy.config.core.v3.Node", text).unwrap_err();
    let starts = [
        "1:5: id: ",
        "2:1: clustre: is no field of envoy.config.core.v3.Node; did you mean `cluster`?",
        "4:9: locality.zone: ",
        "5:3: locality.regoin: is no field of envoy.config.core.v3.Locality; did you mean `region`?",
        "7:16: listening_addresses[0].pipe.path: ",
        "8:33: listening_addresses[1].socket_address.port_value: ",
    ];
    assert_eq!(misfits.len(), starts.len(), "{misfits:#?}");
    for (misfit, start) in misfits.iter().zip(starts) {
        assert!(misfit.starts_with(start), "{misfit}");
    }
}

#[test]
fn of_alternatives_only_one_may_be_given() {
    let text = "pipe: {path: /a}\nsocket_address: {address: a, port_value: 1}\n";
    let misfits = read("envoy.config.core.v3.Address", text).unwrap_err();
    assert_eq!(misfits, ["2:1: socket_address: cannot stand beside `pipe`"]);
    assert!(Address::decode(&read("envoy.config.core.v3.Address", "pipe: {path: /a}").unwrap()[..]).is_ok());
}

fn filter(text: &str) -> Any {
    let bytes = read("envoy.config.listener.v3.Filter", text).unwrap();
    match Filter::decode(&bytes[..]).unwrap().config_type {
        Some(ConfigType::TypedConfig(any)) => any,
        other => panic!("{other:?}"),
    }
}

const TCP_PROXY: &str = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

#[test]
fn a_message_within_is_read_by_its_type_and_as_a_struct_with_its_type() {
    let plain = filter(&format!("typed_config: {{'@type': {TCP_PROXY}, stat_prefix: a, cluster: b}}"));
    let typed = "type.googleapis.com/xds.type.v3.TypedStruct";
    let as_struct = filter(&format!(
        "typed_config: {{'@type': {typed}, type_url: {TCP_PROXY}, value: {{stat_prefix: a, cluster: b}}}}"
    ));
    assert_eq!(plain, as_struct);
    assert_eq!(plain.type_url, TCP_PROXY);
    assert_eq!(TcpProxy::decode(&plain.value[..]).unwrap().stat_prefix, "a");
}

#[test]
fn a_message_of_a_type_that_is_not_known_keeps_its_type_alone() {
    let found = filter("typed_config: {'@type': type.googleapis.com/example.Unknown, anything: [goes]}");
    assert_eq!(found, Any { type_url: "type.googleapis.com/example.Unknown".into(), value: Vec::new() });
    let misfits = read("envoy.config.listener.v3.Filter", "typed_config: {a: b}").unwrap_err();
    assert_eq!(misfits, ["1:15: typed_config: has no `@type`, which says what message this is"]);
}

#[test]
fn well_known_messages_have_their_own_forms() {
    let text = "connect_timeout: 0.25s\nper_connection_buffer_limit_bytes: 7\nmetadata: {filter_metadata: {a: {b: [1, x, \
                null, {c: true}]}}}\n";
    let bytes = read("envoy.config.cluster.v3.Cluster", text).unwrap();
    let cluster = weft_proto::xds::cluster::Cluster::decode(&bytes[..]).unwrap();
    assert_eq!(cluster.connect_timeout.map(|it| it.nanos), Some(250_000_000));
    assert_eq!(cluster.per_connection_buffer_limit_bytes.map(|it| it.value), Some(7));
    assert!(cluster.metadata.is_some_and(|it| it.filter_metadata["a"].fields.contains_key("b")));
    let misfits = read("envoy.config.cluster.v3.Cluster", "connect_timeout: 5\ntype: NONE").unwrap_err();
    assert!(misfits[0].starts_with("1:18: connect_timeout: "), "{misfits:?}");
    assert!(misfits[1].starts_with("2:7: type: "), "{misfits:?}");
}

#[test]
fn what_is_shown_is_read_again() {
    let text = format!("{{'@type': {TCP_PROXY}, stat_prefix: a, cluster: b, idle_timeout: 1.500s}}");
    let any = filter(&format!("typed_config: {text}"));
    let shown = Messages::envoy().show(&any);
    let expected =
        serde_json::json!({"@type": TCP_PROXY, "stat_prefix": "a", "cluster": "b", "idle_timeout": "1.500s"});
    assert_eq!(shown, expected);
    assert_eq!(filter(&serde_json::json!({"typed_config": shown}).to_string()), any);
}

#[test]
fn keys_are_not_shown_wherever_they_stand() {
    let context = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    let text = format!(
        "transport_socket: {{name: tls, typed_config: {{'@type': {context}, common_tls_context: {{tls_certificates: [\
         {{certificate_chain: {{inline_string: PUBLIC}}, private_key: {{inline_string: HIDDEN}}}}, \
         {{certificate_chain: {{filename: /a.pem}}, private_key: {{filename: /a.key}}}}]}}}}}}"
    );
    let kind = "envoy.config.listener.v3.FilterChain";
    let any = Any { type_url: format!("type.googleapis.com/{kind}"), value: read(kind, &text).unwrap() };
    let shown = Messages::envoy().show(&any).to_string();
    assert!(shown.contains("PUBLIC") && shown.contains("/a.key"), "{shown}");
    assert!(!shown.contains("HIDDEN") && shown.contains("[redacted]"), "{shown}");
}
