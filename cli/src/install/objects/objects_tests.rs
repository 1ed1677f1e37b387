use serde_json::Value;

use super::*;

fn rendered(settings: &[&str]) -> Vec<Value> {
    let settings: Vec<String> = settings.iter().map(|&it| it.to_owned()).collect();
    render(&InstallValues::load(&[], &settings).unwrap())
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    objects.iter().find(|it| it["kind"] == kind && it["metadata"]["name"] == name)
}

fn webhooks(objects: &[Value]) -> Vec<Value> {
    let configuration = objects.iter().find(|it| it["kind"] == "MutatingWebhookConfiguration").unwrap();
    configuration["webhooks"].as_array().unwrap().clone()
}

#[test]
fn kinds_come_before_what_is_of_them_and_webhooks_last() {
    let objects = rendered(&[]);
    let place = |kind: &str| objects.iter().position(|it| it["kind"] == kind).unwrap();
    let order = [
        "CustomResourceDefinition",
        "Namespace",
        "ServiceAccount",
        "ClusterRoleBinding",
        "ConfigMap",
        "Deployment",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    ];
    assert!(order.windows(2).all(|pair| place(pair[0]) < place(pair[1])));
}

#[test]
fn no_object_stands_twice_and_each_says_what_it_is() {
    let objects = rendered(&["controlPlane.autoscaling.enabled=true", "cni.enabled=true"]);
    let mut names: Vec<String> = objects
        .iter()
        .map(|it| format!("{}/{}/{}", it["kind"], it["metadata"]["namespace"], it["metadata"]["name"]))
        .collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
    for object in &objects {
        assert!(object["apiVersion"].is_string() && object["kind"].is_string(), "{object}");
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/part-of"], "weft", "{object}");
    }
}

#[test]
fn the_control_plane_has_no_power_on_its_node() {
    let objects = rendered(&[]);
    let pod = &find(&objects, "Deployment", "weft-control-plane").unwrap()["spec"]["template"]["spec"];
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["capabilities"]["drop"][0], "ALL");
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
}

#[test]
fn an_autoscaler_is_not_fought_over_the_number_of_replicas() {
    let fixed = rendered(&["controlPlane.replicas=3"]);
    assert_eq!(find(&fixed, "Deployment", "weft-control-plane").unwrap()["spec"]["replicas"], 3);
    let scaled = rendered(&["controlPlane.autoscaling.enabled=true"]);
    assert!(find(&scaled, "Deployment", "weft-control-plane").unwrap()["spec"].get("replicas").is_none());
    assert!(find(&scaled, "HorizontalPodAutoscaler", "weft-control-plane").is_some());
}

#[test]
fn a_revision_shares_no_object_but_the_kinds_and_the_namespace_with_another() {
    let (first, second) = (rendered(&[]), rendered(&["revision=canary"]));
    let name = |it: &Value| (it["kind"].clone(), it["metadata"]["name"].clone());
    let names: Vec<_> = first.iter().map(name).collect();
    let shared: Vec<_> = second.iter().filter(|it| names.contains(&name(it))).collect();
    assert!(
        shared.iter().all(|it| it["kind"] == "CustomResourceDefinition" || it["kind"] == "Namespace"),
        "{shared:?}"
    );
}

#[test]
fn no_webhook_ever_sees_the_namespaces_that_the_cluster_mends_itself_from() {
    for settings in [&[][..], &["revision=canary"], &["injection.istioLabels=false"]] {
        for webhook in webhooks(&rendered(settings)) {
            let first = &webhook["namespaceSelector"]["matchExpressions"][0];
            assert_eq!(
                (first["key"].as_str(), first["operator"].as_str()),
                (Some("kubernetes.io/metadata.name"), Some("NotIn"))
            );
            for namespace in ["kube-system", "kube-public", "kube-node-lease", "weft-system"] {
                assert!(first["values"].as_array().unwrap().contains(&Value::from(namespace)));
            }
            let asks = webhook["namespaceSelector"]["matchExpressions"].as_array().unwrap().iter();
            let asks = asks
                .chain(webhook["objectSelector"]["matchExpressions"].as_array().unwrap())
                .any(|it| it["operator"] == "In");
            assert!(asks, "only what asked for a sidecar waits for the control plane: {webhook}");
        }
    }
}

/// Kubernetes' own rules for a list of requirements.
fn matches(selector: &Value, labels: &[(&str, &str)]) -> bool {
    selector["matchExpressions"].as_array().unwrap().iter().all(|it| {
        let found = labels.iter().find(|(key, _)| it["key"] == *key).map(|(_, value)| *value);
        let listed = found.is_some_and(|value| {
            it["values"].as_array().is_some_and(|all| all.iter().any(|one| one == value))
        });
        match it["operator"].as_str().unwrap() {
            "In" => listed,
            "NotIn" => !listed,
            "DoesNotExist" => found.is_none(),
            other => panic!("{other}"),
        }
    })
}

fn asked(objects: &[Value], namespace: &[(&str, &str)], pod: &[(&str, &str)]) -> usize {
    let all = webhooks(objects);
    all.iter()
        .filter(|it| matches(&it["namespaceSelector"], namespace) && matches(&it["objectSelector"], pod))
        .count()
}

#[test]
fn a_pod_is_asked_about_once_however_many_labels_ask_and_never_twice() {
    let objects = rendered(&[]);
    let namespaces: [&[(&str, &str)]; 4] = [
        &[("weft.mesh/inject", "enabled")],
        &[("istio-injection", "enabled")],
        &[("weft.mesh/rev", "default")],
        &[("istio.io/rev", "default")],
    ];
    for labels in namespaces {
        assert_eq!(asked(&objects, labels, &[]), 1, "{labels:?}");
        assert_eq!(asked(&objects, labels, &[("sidecar.istio.io/inject", "true")]), 1, "{labels:?}");
        assert_eq!(asked(&objects, labels, &[("sidecar.istio.io/inject", "false")]), 0, "{labels:?}");
        assert_eq!(asked(&objects, labels, &[("weft.mesh/inject", "false")]), 0, "{labels:?}");
        for other in namespaces {
            assert_eq!(asked(&objects, &[labels, other].concat(), &[]), 1, "{labels:?} {other:?}");
        }
    }
    let both = [("weft.mesh/inject", "true"), ("sidecar.istio.io/inject", "true")];
    assert_eq!(asked(&objects, &[], &both), 1);
    assert_eq!(asked(&objects, &[], &both[..1]), 1);
    assert_eq!(asked(&objects, &[], &both[1..]), 1);
    assert_eq!(asked(&objects, &[], &[]), 0);
    assert_eq!(asked(&objects, &[("weft.mesh/inject", "disabled")], &both), 0, "a namespace that says no");
}

#[test]
fn each_revision_sees_its_own_only() {
    let (stable, canary) = (rendered(&[]), rendered(&["revision=canary"]));
    for key in ["weft.mesh/rev", "istio.io/rev"] {
        assert_eq!(
            (asked(&stable, &[(key, "canary")], &[]), asked(&canary, &[(key, "canary")], &[])),
            (0, 1)
        );
        assert_eq!(
            (asked(&stable, &[(key, "default")], &[]), asked(&canary, &[(key, "default")], &[])),
            (1, 0)
        );
    }
    let plain = [("weft.mesh/inject", "enabled")];
    assert_eq!((asked(&stable, &plain, &[]), asked(&canary, &plain, &[])), (1, 0));
    let pod = [("weft.mesh/inject", "true"), ("weft.mesh/rev", "canary")];
    assert_eq!((asked(&stable, &[], &pod), asked(&canary, &[], &pod)), (0, 1));
}

#[test]
fn without_istio_labels_istio_keeps_its_own() {
    let objects = rendered(&["injection.istioLabels=false"]);
    assert_eq!(asked(&objects, &[("istio-injection", "enabled")], &[]), 0);
    assert_eq!(asked(&objects, &[("weft.mesh/inject", "enabled")], &[]), 1);
}

#[test]
fn the_documents_read_back_as_the_objects() {
    let objects = rendered(&[]);
    let text = to_documents(&objects);
    let parts = weft_control_plane::source::document::split::parts(&text);
    let read: Vec<Value> = parts
        .iter()
        .map(|part| {
            let (node, errors) = weft_control_plane::source::document::yaml::parse(part.text);
            assert!(errors.is_empty(), "{errors:?}");
            weft_control_plane::source::document::json::to_json(&node.unwrap())
        })
        .collect();
    assert_eq!(read, objects);
}
