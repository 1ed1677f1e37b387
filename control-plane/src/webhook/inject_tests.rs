use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::inject::{InjectionValues, Injector, STATUS_ANNOTATION};
use crate::source::words::Labels;
use crate::webhook::Webhook;

fn webhook() -> Webhook {
    let injector = Arc::new(Injector::new(InjectionValues::default()).unwrap());
    Webhook::new(injector).with_namespaces(|name| {
        (name == "shop").then(|| Labels::from([("istio-injection".into(), "enabled".into())]))
    })
}

fn ask(webhook: &Webhook, pod: &Value) -> Value {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": "shop", "operation": "CREATE", "object": pod,
        },
    });
    let answer = webhook.answer("/inject", review.to_string().as_bytes()).unwrap();
    serde_json::from_slice::<Value>(&answer).unwrap()["response"].take()
}

fn patched(pod: &Value, response: &Value) -> Value {
    let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &serde_json::from_slice::<json_patch::Patch>(&patch).unwrap()).unwrap();
    pod
}

#[test]
fn a_pod_gets_its_sidecar_by_a_patch() {
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    let response = ask(&webhook(), &pod);
    assert_eq!(response["allowed"], true);
    assert_eq!(response["patchType"], "JSONPatch");
    let pod = patched(&pod, &response);
    assert_eq!(pod["spec"]["initContainers"][1]["name"], "weft-proxy");
    assert_eq!(pod["spec"]["initContainers"][1]["restartPolicy"], "Always");
}

#[test]
fn mistakes_deny_it_and_warnings_come_along() {
    let annotations = json!({
        "sidecar.istio.io/proxyCPU": "much",
        "traffic.sidecar.istio.io/excludeInboundPorts": "http",
        "sidecar.istio.io/extraStatTags": "x",
    });
    let pod = json!({"metadata": {"name": "a", "annotations": annotations}, "spec": {"containers": []}});
    let response = ask(&webhook(), &pod);
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["code"], 422);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("proxyCPU") && message.contains("excludeInboundPorts"), "{message}");
    assert_eq!(response["warnings"].as_array().unwrap().len(), 1);
}

#[test]
fn a_pod_left_out_says_why() {
    let pod = json!({"metadata": {"name": "a"}, "spec": {"hostNetwork": true, "containers": []}});
    let response = ask(&webhook(), &pod);
    let pod = patched(&pod, &response);
    let status = pod["metadata"]["annotations"][STATUS_ANNOTATION].as_str().unwrap();
    assert!(status.contains("HostNetwork"), "{status}");
}

#[test]
fn what_it_counts_is_on_the_page() {
    let webhook = webhook();
    ask(&webhook, &json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "a"}]}}));
    ask(&webhook, &json!({"metadata": {"name": "a"}, "spec": {"hostNetwork": true}}));
    assert!(webhook.answer("/inject", b"{").is_err());
    let mut registry = prometheus_client::registry::Registry::default();
    webhook.metrics().register(&mut registry);
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
    for line in [
        "sidecar_injection_requests_total 2",
        "sidecar_injection_success_total 1",
        "sidecar_injection_skip_total{reason=\"HostNetwork\"} 1",
        "weft_webhook_malformed_requests_total 1",
        "weft_webhook_seconds_count{path=\"/inject\"} 2",
    ] {
        assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
    }
}

#[test]
fn other_kinds_and_operations_are_not_touched() {
    let ask = |kind: &str, operation: &str| {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u", "kind": {"kind": kind}, "namespace": "shop", "operation": operation,
                        "object": {"spec": {"containers": []}}},
        });
        let answer = webhook().answer("/inject", review.to_string().as_bytes()).unwrap();
        serde_json::from_slice::<Value>(&answer).unwrap()["response"].take()
    };
    for (kind, operation) in [("Deployment", "CREATE"), ("Pod", "UPDATE")] {
        assert_eq!(ask(kind, operation), json!({"uid": "u", "allowed": true}));
    }
}
