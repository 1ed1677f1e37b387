use serde_json::{Value, json};

use super::merge;
use crate::inject::diff::diff;

fn merged(mut pod: Value, patch: &Value) -> Value {
    merge(&mut pod, patch, "");
    pod
}

#[test]
fn lists_are_merged_by_key_and_others_replaced() {
    let pod = json!({"spec": {
        "containers": [{"name": "app", "args": ["a", "b"], "env": [{"name": "A", "value": "1"}]}, {"name": "log"}],
        "tolerations": [{"key": "x"}],
    }});
    let patch = json!({"spec": {
        "containers": [{"name": "app", "args": ["c"], "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "3"}]}],
        "tolerations": [{"key": "y"}],
    }});
    assert_eq!(
        merged(pod, &patch),
        json!({"spec": {
            "containers": [
                {"name": "app", "args": ["c"], "env": [{"name": "A", "value": "3"}, {"name": "B", "value": "2"}]},
                {"name": "log"},
            ],
            "tolerations": [{"key": "y"}],
        }})
    );
}

#[test]
fn directives_delete_replace_order_and_retain() {
    let pod = json!({
        "containers": [{"name": "a"}, {"name": "b", "x": 1}, {"name": "c"}],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "affinity": {"nodeAffinity": {}},
        "securityContext": {"runAsUser": 1, "fsGroup": 2},
    });
    let patch = json!({
        "containers": [{"name": "a", "$patch": "delete"}],
        "$setElementOrder/containers": [{"name": "c"}, {"name": "b"}],
        "volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "m"}}],
        "affinity": {"$patch": "delete"},
        "securityContext": {"$patch": "replace", "runAsUser": 3},
    });
    assert_eq!(
        merged(pod, &patch),
        json!({
            "containers": [{"name": "c"}, {"name": "b", "x": 1}],
            "volumes": [{"name": "v", "configMap": {"name": "m"}}],
            "securityContext": {"runAsUser": 3},
        })
    );
}

#[test]
fn one_port_number_of_two_protocols_is_two_ports() {
    let pod = json!({"ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53}]});
    let patch = json!({"ports": [{"containerPort": 53, "protocol": "TCP", "name": "dns-tcp"}]});
    let expected = json!({"ports": [
        {"containerPort": 53, "protocol": "UDP"},
        {"containerPort": 53, "protocol": "TCP", "name": "dns-tcp"},
    ]});
    assert_eq!(merged(pod, &patch), expected);
}

#[test]
fn a_difference_leads_back() {
    let one = json!({
        "labels": {"a": "1"},
        "containers": [{"name": "x", "image": "1"}, {"name": "y", "args": ["1"]}],
        "volumes": [{"name": "v"}, {"name": "v"}],
    });
    let other = json!({
        "labels": {"b": "2"},
        "containers": [{"name": "z"}, {"name": "y", "args": ["1", "2"]}, {"name": "x"}],
        "volumes": [],
    });
    let there = diff(&one, &other).unwrap();
    let back = diff(&other, &one).unwrap();
    assert_eq!(merged(one.clone(), &there), other);
    assert_eq!(merged(other.clone(), &back), one);
    assert_eq!(diff(&one, &one), None);
}
