use std::collections::BTreeMap;

use super::*;
use crate::source::{Object, Objects, parse_documents, parse_watched};
use crate::world::{AddressBook, AddressRanges, Input, MeshSettings};

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: peers}
spec: {selector: {app: db}, clusterIP: None, ports: [{port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, subsets: [{name: v2, labels: {version: v2}}]}
";

fn pod(name: &str, changes: serde_json::Value) -> Arc<Object> {
    let mut pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default",
            "labels": {"app": "web", "pod": name, "security.istio.io/tlsMode": "istio"}},
        "spec": {"containers": [], "serviceAccountName": "web"},
        "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    json_patch::merge(&mut pod, &changes);
    parse_watched(&pod).objects[0].clone()
}

/// Whether going from one set of pods to the other is more than a change of endpoints.
fn reconfigures(before: &[&Arc<Object>], after: &[&Arc<Object>]) -> bool {
    let set = |pods: &[&Arc<Object>]| Objects {
        by_name: pods.iter().map(|pod| (pod.reference.clone(), Arc::clone(pod))).collect(),
        findings: Vec::new(),
    };
    let (before, after) = (set(before), set(after));
    let objects = parse_documents("t.yaml", SERVICES, "default").objects;
    let input = Input { objects: &objects, pods: &before, states: &BTreeMap::new() };
    let mut book = AddressBook::in_memory(AddressRanges::default());
    let world = World::of(1, Arc::new(MeshSettings::default()), input, &mut book);
    let changes = world.pods_changed(&after.changes_since(&before));
    assert!(!changes.is_empty());
    let keys: Vec<_> = changes.iter().map(|(key, _)| key.clone()).collect();
    world.is_reconfigured_by(&world.with_workloads(2, changes), &keys)
}

#[test]
fn one_more_of_the_same_is_an_endpoint_and_another_identity_is_not() {
    let (one, two) = (pod("one", serde_json::json!({})), pod("two", serde_json::json!({})));
    assert!(!reconfigures(&[&one], &[&one, &two]));
    assert!(!reconfigures(&[&one, &two], &[&two]));
    assert!(!reconfigures(&[&one], &[&two]), "a rolling update");
    let stranger = pod("two", serde_json::json!({"spec": {"serviceAccountName": "other"}}));
    assert!(reconfigures(&[&one], &[&one, &stranger]));
    assert!(reconfigures(&[&one, &stranger], &[&one]));
    let of_a_subset = pod("two", serde_json::json!({"metadata": {"labels": {"version": "v2"}}}));
    assert!(reconfigures(&[&one], &[&one, &of_a_subset]), "the subset's cluster accepts it now");
    assert!(reconfigures(&[], &[&pod("one", serde_json::json!({}))]));
}

#[test]
fn a_workload_that_nobody_can_call_by_a_service_concerns_nobody() {
    let job = || pod("job", serde_json::json!({"metadata": {"labels": {"app": "job"}}}));
    assert!(!reconfigures(&[], &[&job()]));
    assert!(!reconfigures(&[&job()], &[]));
}

#[test]
fn members_of_a_headless_service_are_configuration_and_their_readiness_is_not() {
    let db = |changes: serde_json::Value| {
        let mut all = serde_json::json!({"metadata": {"labels": {"app": "db"}}});
        json_patch::merge(&mut all, &changes);
        pod("db-0", all)
    };
    assert!(reconfigures(&[], &[&db(serde_json::json!({}))]));
    assert!(reconfigures(
        &[&db(serde_json::json!({}))],
        &[&db(serde_json::json!({"status": {"podIP": "10.0.0.9"}}))]
    ));
    let starts = serde_json::json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    assert!(!reconfigures(&[&db(serde_json::json!({}))], &[&db(starts)]));
}

#[test]
fn a_pod_that_gets_its_address_joins_then() {
    let nowhere = || pod("one", serde_json::json!({"status": {"podIP": null}}));
    assert!(!reconfigures(&[], &[&nowhere()]));
    assert!(reconfigures(&[&nowhere()], &[&pod("one", serde_json::json!({}))]));
}

#[test]
fn labels_of_a_pod_are_its_own_sidecars_configuration() {
    let one = pod("one", serde_json::json!({}));
    let other = pod("one", serde_json::json!({"metadata": {"labels": {"tier": "gold"}}}));
    assert!(reconfigures(&[&one], &[&other]));
}
