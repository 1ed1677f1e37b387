use super::*;
use crate::source::Severity;
use crate::source::diagnostic::code;

fn at(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(second).unwrap()
}

fn route(status: Value) -> Written {
    let object = json!({"spec": {"parentRefs": [
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"},
        {"group": "", "kind": "Service", "name": "web", "port": 80},
    ]}});
    Written { text: object.to_string().into(), status: Arc::new(status), version: "v1", generation: 4 }
}

fn name(kind: &str) -> ObjectRef {
    ObjectRef::new("v1", kind, "shop", "r")
}

fn finding(severity: Severity, code: &'static str, field: &str) -> Finding {
    Finding::new(severity, code, "it is wrong").of(&name("HTTPRoute"), field)
}

fn reasons(findings: &[&Finding]) -> Vec<(String, String)> {
    let status = wanted(&name("HTTPRoute"), &route(Value::Null), findings, at(1)).unwrap();
    let conditions = status["parents"][0]["conditions"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    conditions.iter().map(|it| (text(&it["status"]), text(&it["reason"]))).collect()
}

#[test]
fn a_route_says_of_each_service_whether_it_applies_and_its_backends_are_there() {
    let pair = |one: (&str, &str), two: (&str, &str)| {
        vec![(one.0.to_owned(), one.1.to_owned()), (two.0.to_owned(), two.1.to_owned())]
    };
    assert_eq!(reasons(&[]), pair(("True", "Accepted"), ("True", "ResolvedRefs")));
    let parent = finding(Severity::Warning, code::REFERENCE_NOT_FOUND, "spec.parentRefs[1].name");
    assert_eq!(reasons(&[&parent]), pair(("False", "NoMatchingParent"), ("True", "ResolvedRefs")));
    let backend = finding(Severity::Warning, code::REFERENCE_NOT_FOUND, "spec.rules[0].backendRefs[0].name");
    assert_eq!(reasons(&[&backend]), pair(("True", "Accepted"), ("False", "BackendNotFound")));
    let bad = finding(Severity::Error, code::UNKNOWN_FIELD, "spec.rules[0].x");
    assert_eq!(reasons(&[&bad]), pair(("False", "UnsupportedValue"), ("True", "ResolvedRefs")));
}

#[test]
fn what_was_written_is_not_written_again_and_other_controllers_entries_stay() {
    let other =
        json!({"parentRef": {"name": "edge"}, "controllerName": "example.com/gateway", "conditions": []});
    let first = wanted(&name("HTTPRoute"), &route(json!({"parents": [other]})), &[], at(1)).unwrap();
    assert_eq!(first["parents"][0]["conditions"][0]["observedGeneration"], 4);
    assert_eq!(first["parents"][1], other);
    let again = wanted(&name("HTTPRoute"), &route(first.clone()), &[], at(100)).unwrap();
    assert_eq!(again, first, "the time is that of the change");
    let bad = finding(Severity::Error, code::UNKNOWN_FIELD, "spec.x");
    let changed = wanted(&name("HTTPRoute"), &route(first), &[&bad], at(100)).unwrap();
    let times: Vec<&Value> = changed["parents"][0]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["lastTransitionTime"])
        .collect();
    assert_eq!(times, ["1970-01-01T00:01:40Z", "1970-01-01T00:00:01Z"]);
}

#[test]
fn a_route_of_gateways_only_is_none_of_ours() {
    let object = json!({"spec": {"parentRefs": [{"name": "edge"}]}});
    let route =
        Written { text: object.to_string().into(), status: Arc::default(), version: "v1", generation: 1 };
    assert_eq!(wanted(&name("HTTPRoute"), &route, &[], at(1)), None);
}

#[test]
fn istios_kinds_say_whether_they_are_in_force_and_what_is_worth_knowing() {
    let rule = Written { text: "{}".into(), status: Arc::default(), version: "v1", generation: 2 };
    let status = |findings: &[&Finding]| wanted(&name("DestinationRule"), &rule, findings, at(1)).unwrap();
    assert_eq!(status(&[])["conditions"][1]["status"], "True");
    assert_eq!(status(&[])["observedGeneration"], "2");
    let bad = Finding { last_good_kept: true, ..finding(Severity::Error, code::UNKNOWN_FIELD, "spec.hots") };
    let held_back = status(&[&bad]);
    assert_eq!(held_back["conditions"][1]["status"], "False");
    assert!(held_back["conditions"][1]["message"].as_str().unwrap().contains("stays in force"));
    assert_eq!(held_back["validationMessages"][0]["level"], "ERROR");
    assert_eq!(wanted(&name("Service"), &rule, &[], at(1)), None);
}
