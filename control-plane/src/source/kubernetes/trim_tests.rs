use super::*;
use crate::source::registry::CLUSTER_KINDS;
use crate::source::{Spec, parse_watched};

fn of(kind: &str, value: Value) -> Trimmed {
    let kind = CLUSTER_KINDS.iter().chain(crate::source::KINDS).find(|known| known.name == kind).unwrap();
    trim(kind, "v1", serde_json::from_value(value).unwrap())
}

#[test]
fn a_pod_keeps_what_a_mesh_reads_and_is_parsed() {
    let pod = json!({
        "metadata": {
            "name": "web-1", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generateName": "web-",
            "labels": {"app": "web", "pod-template-hash": "1"},
            "annotations": {"tool/state": "long"},
            "managedFields": [{"manager": "kubelet"}],
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u", "controller": true}],
        },
        "spec": {
            "serviceAccountName": "web", "nodeName": "n", "schedulerName": "default-scheduler",
            "containers": [{"name": "c", "image": "i", "env": [{"name": "SECRET", "value": "x"}], "ports": [{"name": "http", "containerPort": 80}]}, {"name": "d", "image": "i"}],
        },
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "containerStatuses": [{}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}, {"type": "Initialized", "status": "True"}]},
    });
    let trimmed = of("Pod", pod);
    let text = trimmed.object.to_string();
    for gone in
        ["SECRET", "image", "managedFields", "tool/state", "scheduler", "Initialized", "resourceVersion"]
    {
        assert!(!text.contains(gone), "{gone} in {text}");
    }
    let parsed = parse_watched(&trimmed.object);
    assert!(parsed.findings.is_empty(), "{:?}", parsed.findings);
    let Spec::Pod(pod) = &parsed.objects[0].spec else { panic!() };
    assert_eq!((&*pod.workload, &*pod.service_account, pod.ports["http"]), ("web", "web", 80));
}

#[test]
fn a_policy_keeps_its_spec_and_what_people_wrote_and_its_status_goes_apart() {
    let trimmed = of(
        "HTTPRoute",
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "HTTPRoute",
            "metadata": {"name": "r", "namespace": "shop", "generation": 3, "generateName": "r", "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "mine"}},
            "spec": {"parentRefs": [{"kind": "Service", "group": "", "name": "web"}], "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]},
            "status": {"parents": []},
        }),
    );
    assert_eq!((trimmed.generation, &trimmed.status), (3, &json!({"parents": []})));
    assert_eq!(trimmed.object["metadata"]["annotations"], json!({"note": "mine"}));
    let parsed = parse_watched(&trimmed.object);
    assert!(parsed.findings.is_empty(), "{:?}", parsed.findings);
    assert!(parsed.objects[0].metadata.created.is_some());
}

#[test]
fn fields_of_a_service_that_are_not_known_yet_do_no_harm() {
    let trimmed = of(
        "Service",
        json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "type": "ClusterIP", "fieldOfTomorrow": 1, "sessionAffinity": "None",
                "ports": [{"name": "http", "port": 80, "targetPort": "web", "nodePort": 30000, "fieldOfTomorrow": 1}], "selector": {"app": "web"}},
            "status": {"loadBalancer": {}},
        }),
    );
    let parsed = parse_watched(&trimmed.object);
    assert!(parsed.findings.is_empty() && parsed.objects.len() == 1, "{:?}", parsed.findings);
}

#[test]
fn of_a_route_only_parents_that_are_services_are_read() {
    let route = |parents: Value| {
        let object = json!({"metadata": {"name": "r", "namespace": "shop"}, "spec": {"parentRefs": parents, "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}});
        of("HTTPRoute", object).object
    };
    let (gateway, service) =
        (json!({"name": "edge"}), json!({"group": "", "kind": "Service", "name": "web"}));
    let both = route(json!([gateway, service]));
    assert!(!is_foreign(&both));
    assert!(parse_watched(&both).findings.is_empty(), "{:?}", parse_watched(&both).findings);
    assert!(is_foreign(&route(json!([gateway]))) && is_foreign(&route(Value::Null)));
}
