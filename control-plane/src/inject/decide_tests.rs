use serde_json::{Value, json};

use super::{Scope, SkipReason, decide};
use crate::inject::InjectionValues;
use crate::source::words::Labels;

fn in_namespace(labels: &[(&str, &str)], pod: &Value) -> Option<SkipReason> {
    in_namespace_of(labels, pod, &InjectionValues::default())
}

fn in_namespace_of(labels: &[(&str, &str)], pod: &Value, values: &InjectionValues) -> Option<SkipReason> {
    let labels: Labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    decide(Scope::Namespace { name: "shop", labels: Some(&labels) }, pod, values).unwrap()
}

fn plain() -> Value {
    json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a"}]}})
}

fn with_label(key: &str, value: &str) -> Value {
    json!({"metadata": {"name": "a", "labels": {key: value}}, "spec": {}})
}

#[test]
fn the_namespace_asks() {
    assert_eq!(in_namespace(&[], &plain()), Some(SkipReason::NotAskedFor));
    for label in [
        ("istio-injection", "enabled"),
        ("weft.mesh/inject", "enabled"),
        ("istio.io/rev", "default"),
        ("weft.mesh/rev", "default"),
    ] {
        assert_eq!(in_namespace(&[label], &plain()), None, "{label:?}");
    }
    let declines = in_namespace(&[("istio-injection", "disabled")], &plain());
    assert_eq!(declines, Some(SkipReason::NamespaceDeclines("istio-injection: disabled".to_owned())));
}

#[test]
fn our_own_word_wins_over_istios() {
    let both = [("istio-injection", "enabled"), ("weft.mesh/inject", "disabled")];
    assert!(matches!(in_namespace(&both, &plain()), Some(SkipReason::NamespaceDeclines(_))));
    let pod = json!({"metadata": {
        "labels": {"sidecar.istio.io/inject": "false"},
        "annotations": {"weft.mesh/inject": "true"},
    }});
    assert_eq!(in_namespace(&[], &pod), None);
}

#[test]
fn the_pod_has_the_last_word_but_for_a_namespace_that_declines() {
    let enabled = [("istio-injection", "enabled")];
    let no = with_label("sidecar.istio.io/inject", "false");
    assert!(matches!(in_namespace(&enabled, &no), Some(SkipReason::PodDeclines(_))));
    let yes = with_label("sidecar.istio.io/inject", "true");
    assert_eq!(in_namespace(&[], &yes), None);
    assert!(matches!(
        in_namespace(&[("istio-injection", "disabled")], &yes),
        Some(SkipReason::NamespaceDeclines(_))
    ));
}

#[test]
fn a_revision_injects_its_own_pods_only() {
    let canary = InjectionValues::default().with_revision("canary");
    let labels = [("istio.io/rev", "canary")];
    assert_eq!(in_namespace_of(&labels, &plain(), &canary), None);
    assert_eq!(in_namespace(&labels, &plain()), Some(SkipReason::OtherRevision("canary".to_owned())));
    let enabled = [("istio-injection", "enabled")];
    let other = Some(SkipReason::OtherRevision("default".to_owned()));
    assert_eq!(in_namespace_of(&enabled, &plain(), &canary), other);
    assert_eq!(in_namespace_of(&[], &with_label("istio.io/rev", "canary"), &canary), None);
}

#[test]
fn a_cluster_starts_without_its_mesh() {
    let yes = with_label("sidecar.istio.io/inject", "true");
    for namespace in ["kube-system", "kube-public", "kube-node-lease", "weft-system"] {
        for scope in [Scope::Namespace { name: namespace, labels: None }, Scope::File { namespace }] {
            let skip = decide(scope, &yes, &InjectionValues::default()).unwrap();
            assert_eq!(skip, Some(SkipReason::SystemNamespace(namespace.to_owned())));
        }
    }
}

#[test]
fn pods_that_can_have_no_sidecar_get_none() {
    let of = |spec: Value| {
        decide(Scope::File { namespace: "" }, &json!({"spec": spec}), &InjectionValues::default())
    };
    assert_eq!(of(json!({"hostNetwork": true})).unwrap(), Some(SkipReason::HostNetwork));
    assert_eq!(of(json!({"os": {"name": "windows"}})).unwrap(), Some(SkipReason::Windows));
    let selector = json!({"nodeSelector": {"kubernetes.io/os": "windows"}});
    assert_eq!(of(selector).unwrap(), Some(SkipReason::Windows));
    assert_eq!(of(json!({"os": {"name": "linux"}})).unwrap(), None);
    let istio = json!({
        "metadata": {"annotations": {"sidecar.istio.io/status": "{}"}},
        "spec": {"containers": [{"name": "istio-proxy"}]},
    });
    let skip = decide(Scope::File { namespace: "" }, &istio, &InjectionValues::default()).unwrap();
    assert_eq!(skip, Some(SkipReason::OtherMesh));
}

#[test]
fn a_word_that_says_nothing_is_refused() {
    let pod = with_label("sidecar.istio.io/inject", "perhaps");
    let findings = decide(Scope::File { namespace: "" }, &pod, &InjectionValues::default()).unwrap_err();
    assert_eq!(findings[0].field, "metadata.labels[\"sidecar.istio.io/inject\"]");
}
