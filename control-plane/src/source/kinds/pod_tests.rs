use super::*;
use crate::source::{Spec, parse_watched};

fn pod(changes: serde_json::Value) -> Pod {
    let mut pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-0", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}], "nodeName": "n1"},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    json_patch::merge(&mut pod, &changes);
    let parsed = parse_watched(&pod);
    assert!(parsed.findings.is_empty(), "{:?}", parsed.findings);
    match &parsed.objects[0].spec {
        Spec::Pod(pod) => pod.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pod_is_where_its_status_says_and_who_its_spec_says() {
    let web = pod(serde_json::json!({
        "spec": {"serviceAccountName": "web", "hostname": "web-0", "subdomain": "webs"},
        "status": {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]},
    }));
    assert_eq!(web.addresses.len(), 2);
    assert_eq!((&*web.service_account, web.node.as_deref()), ("web", Some("n1")));
    assert_eq!(web.host_name, Some(("web-0".into(), "webs".into())));
    assert_eq!(web.ports["http"], 8080);
    assert_eq!(&*pod(serde_json::json!({})).service_account, "default");
}

#[test]
fn readiness_deletion_and_the_end_decide_whether_it_takes_requests() {
    let state = |changes| pod(changes).state;
    assert_eq!(state(serde_json::json!({})), PodState::Lives(Health::Healthy));
    let deleted = serde_json::json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    assert_eq!(state(deleted), PodState::Lives(Health::Draining));
    let starts = serde_json::json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    assert_eq!(state(starts), PodState::Lives(Health::Unhealthy));
    assert_eq!(state(serde_json::json!({"status": null})), PodState::Lives(Health::Unhealthy));
    assert_eq!(state(serde_json::json!({"status": {"phase": "Succeeded"}})), PodState::Ended);
}

#[test]
fn a_pod_whose_kubelet_is_not_heard_of_is_told_from_one_that_is_not_ready() {
    let state = |ready: serde_json::Value, containers: &str| {
        let containers = serde_json::json!({"type": "ContainersReady", "status": containers});
        pod(serde_json::json!({"status": {"conditions": [containers, ready]}})).state
    };
    let marked = serde_json::json!({"type": "Ready", "status": "False"});
    assert_eq!(state(marked.clone(), "True"), PodState::OutOfReach);
    assert_eq!(state(marked, "False"), PodState::Lives(Health::Unhealthy));
    let gated = serde_json::json!({"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady"});
    assert_eq!(state(gated, "True"), PodState::Lives(Health::Unhealthy));
    let ready = serde_json::json!({"type": "Ready", "status": "True"});
    assert_eq!(state(ready, "True"), PodState::Lives(Health::Healthy));
}

#[test]
fn ports_are_those_of_containers_that_stay() {
    let ports = serde_json::json!({"spec": {
        "containers": [{"name": "c", "ports": [
            {"name": "http", "containerPort": 8080}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}, {"containerPort": 9}]}],
        "initContainers": [
            {"name": "once", "ports": [{"name": "gone", "containerPort": 1}]},
            {"name": "beside", "restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 2}, {"name": "http", "containerPort": 3}]}],
    }});
    let ports = pod(ports).ports;
    assert_eq!(ports, BTreeMap::from([("http".into(), 8080), ("side".into(), 2)]));
}

#[test]
fn telemetry_names_what_a_person_made() {
    let owned = |kind: &str, name: &str, labels: serde_json::Value| {
        let owners = serde_json::json!([{"kind": "Node", "name": "n"}, {"kind": kind, "name": name, "controller": true}]);
        let changes = serde_json::json!({"metadata": {"ownerReferences": owners, "labels": labels}});
        pod(changes).workload.to_string()
    };
    let hash = serde_json::json!({"pod-template-hash": "5d4f8"});
    assert_eq!(owned("ReplicaSet", "web-5d4f8", hash.clone()), "web");
    assert_eq!(owned("ReplicaSet", "5d4f8", hash), "5d4f8");
    assert_eq!(owned("ReplicaSet", "mine", serde_json::json!({})), "mine");
    assert_eq!(owned("StatefulSet", "db", serde_json::json!({})), "db");
    assert_eq!(owned("Job", "nightly-29071234", serde_json::json!({})), "nightly");
    assert_eq!(owned("Job", "once-12", serde_json::json!({})), "once-12");
    assert_eq!(&*pod(serde_json::json!({})).workload, "web-0");
}
