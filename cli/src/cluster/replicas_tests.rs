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

#[test]
fn those_are_asked_that_are_ready_and_those_whose_nodes_kubernetes_has_not_heard_of() {
    let pods = [
        pod("ready", "True", "True", false),
        pod("unheard", "False", "True", false),
        pod("failing", "False", "False", false),
        pod("leaving", "True", "True", true),
    ];
    let (ready, unheard) = askable(&pods);
    assert_eq!(ready.into_iter().map(name).collect::<Vec<_>>(), ["ready"]);
    assert_eq!(unheard.into_iter().map(name).collect::<Vec<_>>(), ["unheard"]);
}
