use serde_json::{Value, json};

use super::*;

fn kind(name: &str) -> &'static Kind {
    KINDS.iter().chain(CLUSTER_KINDS).find(|kind| kind.name == name).unwrap()
}

fn collection(selectors: &[&str]) -> Collection {
    let selectors = selectors.iter().map(|text| text.parse().unwrap()).collect();
    Collection::new(KubernetesSettings { selectors, root_namespace: "weft-system".into() })
}

fn trimmed(generation: u64, object: Value) -> Trimmed {
    Trimmed { object, status: Value::Null, version: "v1", generation }
}

fn service(namespace: &str, name: &str, port: i64) -> Trimmed {
    trimmed(
        0,
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": port}], "selector": {"app": name}}}),
    )
}

fn rule(generation: u64, spec: Value) -> Trimmed {
    trimmed(
        generation,
        json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": {"name": "r", "namespace": "shop"}, "spec": spec}),
    )
}

fn applied(kind_name: &str, object: Trimmed) -> Seen {
    Seen::Applied(kind(kind_name), Box::new(object))
}

fn namespace(name: &str, labels: Value) -> Seen {
    let object =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    applied("Namespace", trimmed(0, object))
}

#[test]
fn a_bad_version_is_held_back_and_the_last_good_one_stays() {
    let mut all = collection(&[]);
    all.take(applied("Service", service("shop", "web", 80)));
    all.take(applied("DestinationRule", rule(1, json!({"host": "web"}))));
    all.take(applied("DestinationRule", rule(2, json!({"hots": "web"}))));
    let objects = all.objects();
    let kept = objects.by_name.values().find(|object| &*object.reference.kind == "DestinationRule").unwrap();
    assert_eq!((kept.generation, kept.origin), (1, Origin::Kubernetes));
    assert!(objects.findings.iter().any(|finding| finding.is_error() && finding.last_good_kept));
    assert!(objects.findings.iter().any(|finding| finding.code == code::LAST_GOOD_KEPT));
    assert_eq!(objects.by_name.len(), 2, "the service is not harmed");
    // A list after a lost watch says the same again: it is still held back.
    all.take(Seen::Listed(kind("DestinationRule"), vec![rule(2, json!({"hots": "web"}))]));
    assert_eq!(all.objects().findings, objects.findings);
    all.take(applied("DestinationRule", rule(3, json!({"host": "web"}))));
    assert!(all.objects().findings.is_empty());
}

#[test]
fn what_says_the_same_is_no_change() {
    let mut all = collection(&[]);
    assert!(all.take(applied("Service", service("shop", "web", 80))).contains(Lane::CONFIGURATION));
    let before = all.objects();
    assert_eq!(all.take(applied("Service", service("shop", "web", 80))), Lane::NONE);
    assert_eq!(all.take(Seen::Listed(kind("Service"), vec![service("shop", "web", 80)])), Lane::NONE);
    assert!(all.objects().changes_since(&before).is_empty());
    // A new generation that says the same is a change: its provenance is another.
    all.take(applied("DestinationRule", rule(1, json!({"host": "web"}))));
    assert!(
        all.take(applied("DestinationRule", rule(2, json!({"host": "web"})))).contains(Lane::CONFIGURATION)
    );
}

#[test]
fn a_status_alone_changes_no_object() {
    let mut all = collection(&[]);
    all.take(applied("DestinationRule", rule(1, json!({"host": "web"}))));
    let with_status = Trimmed { status: json!({"conditions": []}), ..rule(1, json!({"host": "web"})) };
    assert_eq!(all.take(applied("DestinationRule", with_status)), Lane::STATUS);
    let written = all.statuses().into_values().next().unwrap();
    assert_eq!((&*written.status, written.generation), (&json!({"conditions": []}), 1));
}

#[test]
fn a_list_takes_away_what_is_not_on_it_and_a_kind_that_is_gone_takes_all() {
    let mut all = collection(&[]);
    all.take(Seen::Listed(kind("Service"), vec![service("shop", "a", 80), service("shop", "b", 80)]));
    all.take(Seen::Listed(kind("Service"), vec![service("shop", "b", 80)]));
    assert_eq!(all.objects().by_name.len(), 1);
    all.take(Seen::Deleted(kind("Service"), "shop".into(), "b".into()));
    assert!(all.objects().by_name.is_empty());
    all.take(applied("DestinationRule", rule(1, json!({"host": "web"}))));
    assert!(all.take(Seen::Dropped(kind("DestinationRule"))).contains(Lane::CONFIGURATION));
    assert!(all.objects().by_name.is_empty());
}

#[test]
fn only_namespaces_that_are_selected_are_read() {
    let mut all = collection(&["mesh=yes", "team in (a)"]);
    for place in ["shop", "other", "weft-system"] {
        all.take(applied("Service", service(place, "web", 80)));
    }
    let places = |all: &Collection| -> Vec<String> {
        all.objects().by_name.keys().map(|name| name.namespace.to_string()).collect()
    };
    assert_eq!(places(&all), ["weft-system"]);
    let changed = all.take(namespace("shop", json!({"team": "a"})));
    assert!(changed.contains(Lane::CONFIGURATION) && changed.contains(Lane::PODS));
    assert_eq!(places(&all), ["shop", "weft-system"]);
    assert_eq!(all.namespaces().namespace_labels("shop").unwrap()["team"], "a".into());
    all.take(namespace("shop", json!({"team": "b"})));
    assert_eq!(places(&all), ["weft-system"]);
    assert_eq!(all.namespaces().namespace_labels("gone"), None);
    assert!(!all.namespaces().is_read("shop"));
}

#[test]
fn nothing_is_complete_before_everything_was_listed() {
    let mut all = collection(&[]);
    assert!(!all.missing().is_empty());
    all.take(Seen::Listed(kind("Service"), Vec::new()));
    assert!(!all.missing().is_empty());
    all.take(Seen::Kinds(vec![kind("Service"), kind("Pod")]));
    assert_eq!(all.missing(), ["Pod"]);
    all.take(Seen::Listed(kind("Pod"), Vec::new()));
    assert!(all.missing().is_empty());
}
