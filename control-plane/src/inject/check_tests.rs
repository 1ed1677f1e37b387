use serde_json::json;

use super::{added_mistakes, unknown_fields};

#[test]
fn only_what_was_added_is_told() {
    let original = json!({"spec": {"containers": [{"name": "a", "volumeMounts": [{"name": "gone", "mountPath": "/x"}]}]}});
    assert!(added_mistakes(&original, &original, &[]).is_empty());
    let mut pod = original.clone();
    pod["spec"]["initContainers"] = json!([
        {"name": "a", "image": "i", "restartPolicy": "Never", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
        {"name": "B", "image": "i", "livenessProbe": {"tcpSocket": {"port": 1}, "exec": {"command": []}},
         "ports": [{"containerPort": 0}, {"containerPort": 1, "name": "much-too-long-a-name"}],
         "volumeMounts": [{"name": "v", "mountPath": "/y"}, {"name": "v", "mountPath": "/y"}],
         "env": [{"name": "", "value": "1"}]},
    ]);
    pod["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}, "secret": {}}, {"name": "v"}]);
    let mut fields: Vec<_> =
        added_mistakes(&original, &pod, &[]).into_iter().map(|(field, _)| field).collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "spec.containers[0].name",
            "spec.initContainers[0].resources.requests.cpu",
            "spec.initContainers[0].restartPolicy",
            "spec.initContainers[1].env[0].name",
            "spec.initContainers[1].livenessProbe",
            "spec.initContainers[1].name",
            "spec.initContainers[1].ports[0].containerPort",
            "spec.initContainers[1].ports[1].name",
            "spec.initContainers[1].volumeMounts[1].mountPath",
            "spec.volumes[0]",
            "spec.volumes[1].name",
        ]
    );
}

#[test]
fn a_statefulsets_claims_are_volumes() {
    let original = json!({"spec": {}});
    let pod = json!({"spec": {"containers": [{"name": "a", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]}});
    assert!(added_mistakes(&original, &pod, &["data".to_owned()]).is_empty());
    assert_eq!(added_mistakes(&original, &pod, &[]).len(), 1);
}

#[test]
fn fields_that_kubernetes_does_not_have_are_found() {
    let pod = json!({"spec": {"containers": [{"name": "a", "imagePullPolice": "Always", "env": []}], "hostPid": true}});
    assert_eq!(unknown_fields(&pod), ["spec.containers[0].imagePullPolice", "spec.hostPid"]);
}
