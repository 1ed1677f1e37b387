use serde_json::json;

use super::*;

fn pod(value: Value) -> Pod {
    serde_json::from_value(value).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_pod_that_nobody_asked_about_is_told_and_one_that_wants_none_is_not() {
    let plain = pod(json!({"metadata": {"name": "a"}}));
    for label in [("weft.mesh/inject", "enabled"), ("istio-injection", "enabled"), ("istio.io/rev", "canary")]
    {
        assert_eq!(missing(&plain, &labels(&[label])), Some(Why::Before), "{label:?}");
    }
    assert_eq!(missing(&plain, &labels(&[("istio-injection", "disabled")])), None);
    let asked = labels(&[("weft.mesh/inject", "enabled")]);
    for own in [
        json!({"labels": {"sidecar.istio.io/inject": "false"}}),
        json!({"annotations": {"weft.mesh/inject": "false"}}),
    ] {
        assert_eq!(missing(&pod(json!({"metadata": own})), &asked), None);
    }
}

#[test]
fn pods_that_have_ended_or_live_on_the_node_miss_nothing() {
    let asked = labels(&[("weft.mesh/inject", "enabled")]);
    assert_eq!(missing(&pod(json!({"metadata": {}, "status": {"phase": "Succeeded"}})), &asked), None);
    assert_eq!(
        missing(&pod(json!({"metadata": {}, "spec": {"hostNetwork": true, "containers": []}})), &asked),
        None
    );
}

#[test]
fn the_injectors_reason_is_told_apart() {
    let status = json!({"annotations": {"weft.mesh/status": "{\"skipped\": \"Windows\"}"}});
    let asked = labels(&[("weft.mesh/inject", "enabled")]);
    assert_eq!(missing(&pod(json!({"metadata": status})), &asked), Some(Why::Refused));
}
