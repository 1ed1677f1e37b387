use std::sync::Arc;

use serde_json::{Value, json};

use crate::inject::{InjectionValues, Injector};
use crate::webhook::Webhook;

fn ask(operation: &str, object: &Value, old: &Value) -> Value {
    let webhook = Webhook::new(Arc::new(Injector::new(InjectionValues::default()).unwrap()));
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u", "kind": {"kind": "VirtualService"}, "namespace": "shop",
            "operation": operation, "object": object, "oldObject": old,
        },
    });
    let answer = webhook.answer("/validate", review.to_string().as_bytes()).unwrap();
    serde_json::from_slice::<Value>(&answer).unwrap()["response"].take()
}

fn virtual_service(spec: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "reviews", "namespace": "shop"}, "spec": spec,
    })
}

fn route(weight: Value) -> Value {
    virtual_service(json!({
        "hosts": ["reviews"],
        "http": [{"route": [{"destination": {"host": "reviews"}, "weight": weight}]}],
    }))
}

#[test]
fn mistakes_deny_an_object_with_their_paths() {
    let response = ask("CREATE", &route(json!("much")), &Value::Null);
    assert_eq!(response["allowed"], false);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("spec.http[0].route[0].weight"), "{message}");
}

#[test]
fn what_will_not_work_as_it_reads_is_warned_of() {
    let response = ask("CREATE", &route(json!(100)), &Value::Null);
    assert_eq!(response["allowed"], true);
    let warnings = response["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|warning| warning.as_str().unwrap().contains("reviews")), "{warnings:?}");
}

#[test]
fn what_changes_nothing_of_ours_is_not_held_up() {
    let bad = route(json!("much"));
    let mut other = bad.clone();
    other["metadata"]["finalizers"] = json!(["a"]);
    assert_eq!(ask("UPDATE", &bad, &other)["allowed"], true);
    assert_eq!(ask("DELETE", &Value::Null, &bad)["allowed"], true);
    assert_eq!(ask("UPDATE", &bad, &route(json!(1)))["allowed"], false);
}

#[test]
fn a_name_that_is_still_to_be_made_is_no_mistake() {
    let mut object = route(json!(100));
    object["metadata"] = json!({"generateName": "reviews-", "namespace": "shop"});
    assert_eq!(ask("CREATE", &object, &Value::Null)["allowed"], true);
}
