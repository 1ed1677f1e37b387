use serde_json::json;

use super::*;
use crate::interception::setting::Own;

fn pod(args: &[&str]) -> Value {
    json!({ "metadata": { "uid": "u-1" }, "spec": { "initContainers": [
        { "name": "weft-proxy" },
        { "name": VALIDATION, "args": args },
    ] } })
}

#[test]
fn the_rules_are_those_that_the_init_container_will_check() {
    let args = [
        "intercept",
        "check",
        "--timeout",
        "9s",
        "--proxy-uid",
        "1337",
        "--timeout=9s",
        "--exclude-inbound-ports=22",
    ];
    let Ok(Wanted::Rules(setting)) = wanted(&pod(&args)) else { panic!() };
    let setting = setting.check().unwrap();
    assert_eq!(setting.own, Own::Process { uid: 1337, gid: 1337 });
    assert!(setting.excluded_inbound_ports.contains(&22));
}

#[test]
fn pods_without_that_container_are_left_alone() {
    let plain = json!({ "spec": { "containers": [] } });
    assert!(matches!(wanted(&plain), Ok(Wanted::Nothing(_))));
    let mut host = pod(&["intercept", "check"]);
    host["spec"]["hostNetwork"] = true.into();
    assert!(matches!(wanted(&host), Ok(Wanted::Nothing(_))));
}

#[test]
fn arguments_that_cannot_be_understood_keep_a_pod_from_starting() {
    for (args, why) in [
        (&["intercept", "check", "--include-inbound-ports", "http"][..], "--include-inbound-ports"),
        (&["run"][..], "does not run"),
    ] {
        let refused = wanted(&pod(args)).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn a_pod_is_known_by_its_uid_and_a_static_one_by_that_of_its_file() {
    let mut pod = pod(&[]);
    assert!(is(&pod, "u-1") && is(&pod, "") && !is(&pod, "u-2"));
    pod["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "u-2" });
    assert!(is(&pod, "u-2"));
}

#[test]
fn a_pod_is_unprotected_when_its_check_has_failed_for_that_reason() {
    let with = |status: Value| {
        let mut pod = pod(&[]);
        pod["status"]["initContainerStatuses"] =
            json!([{ "name": VALIDATION, "state": status["state"], "lastState": status["lastState"] }]);
        pod
    };
    let failed = |code: u16| json!({ "terminated": { "exitCode": code } });
    assert!(is_unprotected(&with(json!({ "state": failed(126) }))));
    assert!(is_unprotected(&with(json!({ "state": { "waiting": {} }, "lastState": failed(126) }))));
    assert!(!is_unprotected(&with(json!({ "state": failed(1) }))));
    assert!(
        !is_unprotected(&with(json!({ "state": { "running": {} }, "lastState": failed(126) }))),
        "it may pass now"
    );
    let mut going = with(json!({ "state": failed(126) }));
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    assert!(!is_unprotected(&going));
}
