use super::*;

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

fn injector(name: &str, key: &str, resource: &str) -> DynamicObject {
    object(
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": name},
        "webhooks": [{"rules": [{"resources": [resource]}],
            "namespaceSelector": {"matchExpressions": [{"key": key, "operator": "In", "values": ["enabled"]}]}}]}),
    )
}

#[test]
fn another_injector_by_the_same_labels_is_told_and_ours_is_not() {
    let named = |all: &[DynamicObject]| injectors(all).len();
    assert_eq!(named(&[injector("istio-sidecar-injector", "istio-injection", "pods")]), 1);
    assert_eq!(named(&[injector("weft-injector-canary", "istio-injection", "pods")]), 0);
    assert_eq!(
        named(&[injector("linkerd-proxy-injector", "config.linkerd.io/admission-webhooks", "pods")]),
        0
    );
    assert_eq!(named(&[injector("policies", "istio-injection", "deployments")]), 0);
}

#[test]
fn a_kind_in_versions_that_are_not_read_is_told() {
    let wanted = json!({"spec": {"versions": [{"name": "v1"}, {"name": "v1beta1"}]}});
    let found = |versions: Value| {
        object(json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "httproutes.gateway.networking.k8s.io"}, "spec": {"versions": versions}}))
    };
    assert!(versions(&wanted, &found(json!([{"name": "v1alpha2", "served": true}]))).unwrap().fatal);
    assert!(versions(&wanted, &found(json!([{"name": "v1", "served": false}]))).is_some());
    assert_eq!(versions(&wanted, &found(json!([{"name": "v1beta1", "served": true}]))), None);
}

#[test]
fn an_older_program_does_not_overwrite_a_newer_installation() {
    assert!(newer("0.10.0", "0.9.3").is_some(), "numbers, not texts");
    assert_eq!(newer("0.9.3", "0.9.3"), None);
    assert_eq!(newer("0.9.3", "0.10.0"), None);
}
