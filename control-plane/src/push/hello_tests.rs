use std::collections::HashMap;

use weft_proto::xds::protobuf::ListValue;

use super::*;

const ID: &str = "sidecar~10.1.2.3~reviews-v1.bookshop~bookshop.svc.cluster.local";

fn text(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

fn fields(pairs: Vec<(&str, Value)>) -> Struct {
    Struct { fields: pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<HashMap<_, _>>() }
}

fn node(metadata: Vec<(&str, Value)>) -> Option<Node> {
    Some(Node { id: ID.to_owned(), metadata: Some(fields(metadata)), ..Node::default() })
}

fn identity(namespace: &str, account: &str) -> Option<WorkloadIdentity> {
    Some(format!("spiffe://cluster.local/ns/{namespace}/sa/{account}").parse().unwrap())
}

#[test]
fn metadata_tells_labels_ports_and_mode() {
    let labels = Value {
        kind: Some(Kind::StructValue(fields(vec![("app", text("reviews")), ("version", text("v1"))]))),
    };
    let number = |n: f64| Value { kind: Some(Kind::NumberValue(n)) };
    let ports = ListValue { values: vec![number(9081.0), number(9080.0), number(0.0), number(70_000.0)] };
    let hello = ProxyHello::read(
        node(vec![
            ("LABELS", labels),
            ("APP_PORTS", Value { kind: Some(Kind::ListValue(ports)) }),
            ("POD_PORTS", text(r#"[{"containerPort":7070,"protocol":"TCP"}]"#)),
            ("INTERCEPTION_MODE", text("NONE")),
            ("SERVICE_ACCOUNT", text("reviews")),
            ("ISTIO_VERSION", text("1.2.3")),
        ]),
        None,
        None,
    )
    .unwrap();
    assert_eq!(hello.labels["version"], "v1");
    assert_eq!(hello.app_ports, [7070, 9080, 9081]);
    assert_eq!(hello.interception, Interception::None);
    assert_eq!(hello.service_account.as_deref(), Some("reviews"));
    assert_eq!(hello.version, "1.2.3");
}

#[test]
fn ports_may_be_text() {
    let hello = ProxyHello::read(node(vec![("APP_PORTS", text("9080, 9081,x"))]), None, None).unwrap();
    assert_eq!(hello.app_ports, [9080, 9081]);
}

#[test]
fn a_node_must_be_there_and_of_the_right_form() {
    let code = |node| ProxyHello::read(node, None, None).unwrap_err().code();
    assert_eq!(code(None), tonic::Code::InvalidArgument);
    assert_eq!(
        code(Some(Node { id: "nonsense".to_owned(), ..Node::default() })),
        tonic::Code::InvalidArgument
    );
}

#[test]
fn a_certificate_of_another_workload_is_refused() {
    let read = |identity, metadata| ProxyHello::read(node(metadata), identity, None);
    assert!(read(identity("bookshop", "reviews"), vec![]).is_ok());
    assert!(read(identity("bookshop", "reviews"), vec![("SERVICE_ACCOUNT", text("reviews"))]).is_ok());
    for refused in [
        read(identity("bank", "reviews"), vec![]),
        read(identity("bookshop", "ratings"), vec![("SERVICE_ACCOUNT", text("reviews"))]),
        read(identity("bookshop", "reviews"), vec![("NAMESPACE", text("bank"))]),
    ] {
        assert_eq!(refused.unwrap_err().code(), tonic::Code::PermissionDenied);
    }
    let hello = read(identity("bookshop", "reviews"), vec![]).unwrap();
    assert_eq!(hello.service_account.as_deref(), Some("reviews"));
}
