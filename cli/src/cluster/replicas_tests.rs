use serde_json::json;

use super::*;

fn pod(name: &str, ready: &str, containers: &str, leaving: bool) -> Pod {
    let mut pod = json!({
        "metadata": {"name": name},
        "status": {"conditions": [
            {"type": "Ready", "status": ready}, {"type": "ContainersReady", "status": containers}]},
    });
    if leaving {
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    }
    serde_json::from_value(pod).unwrap()
}

fn names(pods: &[Pod]) -> Vec<&str> {
    askable(pods).into_iter().map(name).collect()
}

#[test]
fn those_that_are_ready_are_asked() {
    let pods =
        [pod("a", "True", "True", false), pod("b", "False", "True", false), pod("c", "True", "True", true)];
    assert_eq!(names(&pods), ["a"]);
}

#[test]
fn when_kubernetes_has_not_heard_of_the_nodes_those_are_asked_that_answered_before() {
    let pods = [
        pod("a", "False", "True", false),
        pod("b", "False", "False", false),
        pod("c", "False", "True", true),
    ];
    assert_eq!(names(&pods), ["a"]);
}
