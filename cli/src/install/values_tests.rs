use serde_json::json;

use super::*;

fn load(text: &str, settings: &[&str]) -> Result<InstallValues, Vec<Mistake>> {
    let settings: Vec<String> = settings.iter().map(|&it| it.to_owned()).collect();
    InstallValues::load(&[("values.yaml".to_owned(), text.to_owned())], &settings)
}

#[test]
fn the_defaults_are_values_that_hold_together() {
    let values = InstallValues::load(&[], &[]).unwrap();
    assert_eq!(values.control_plane.replicas, 2);
    assert_eq!(values.chosen(), json!({}));
}

#[test]
fn files_and_settings_are_laid_over_the_defaults() {
    let text = "controlPlane:\n  replicas: 3\n  resources:\n    limits: {memory: null, cpu: \"2\"}\n";
    let values =
        load(text, &["image.tag=1.10", "controlPlane.replicas=4", "mesh.discoverySelectors={team=a,mesh}"])
            .unwrap();
    assert_eq!((values.control_plane.replicas, values.image.tag.as_str()), (4, "1.10"));
    assert_eq!(values.mesh.discovery_selectors, ["team=a", "mesh"]);
    let limits = values.control_plane.resources.limits.unwrap();
    assert_eq!(limits.keys().collect::<Vec<_>>(), ["cpu"], "null takes a key away");
    assert!(values.control_plane.resources.requests.is_some(), "maps are merged");
}

#[test]
fn keys_with_points_are_set_with_a_backslash() {
    let values = load("", &[r"controlPlane.nodeSelector.topology\.kubernetes\.io/zone=a"]).unwrap();
    assert_eq!(values.control_plane.node_selector["topology.kubernetes.io/zone"], "a");
    assert_eq!(values.control_plane.node_selector.len(), 2);
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let text = "controlPlane:\n  replica: 3\n  replicas: many\nimage: {pullPolicy: always}\nrevision: A_B\n";
    let mistakes = load(text, &["image.tga=1", "nothing"]).unwrap_err();
    let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "values.yaml:2:3: there is no value `controlPlane.replica`; did you mean `replicas`?",
            "values.yaml:3:13: `controlPlane.replicas` has to be a whole number",
            "values.yaml:4:21: `image.pullPolicy` has to be one of Always, IfNotPresent, Never; did you mean `Always`?",
            "values.yaml:5:11: `revision` has to be a DNS label; lower-case letters, digits and `-`, at most 40",
            "--set image.tga=1: there is no value `image.tga`; did you mean `tag`?",
            "--set nothing: there is no `=`; write PATH=VALUE, such as controlPlane.replicas=3",
        ]
    );
}

#[test]
fn objects_of_kubernetes_are_checked_by_its_types() {
    let mistakes =
        load("controlPlane: {resources: {request: {cpu: 1}}, tolerations: [{kye: a}]}\n", &[]).unwrap_err();
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(mistakes[0].message.contains("`request`") && mistakes[1].message.contains("kye"), "{mistakes:?}");
}

#[test]
fn amounts_may_be_numbers_as_in_kubernetes() {
    let values =
        load("controlPlane: {resources: {limits: {cpu: 2}}}\n", &["cni.resources.limits.cpu=1"]).unwrap();
    assert_eq!(values.control_plane.resources.limits.unwrap()["cpu"].0, "2");
    assert_eq!(values.cni.resources.limits.unwrap()["cpu"].0, "1");
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    let mistakes = load(
        "controlPlane: {autoscaling: {minReplicas: 9, maxReplicas: 2}, certificateLifetime: soon}\n",
        &[],
    )
    .unwrap_err();
    let places: Vec<&str> = mistakes.iter().map(|mistake| mistake.place.as_str()).collect();
    assert_eq!(places, ["controlPlane.certificateLifetime", "controlPlane.autoscaling.minReplicas"]);
}

#[test]
fn a_file_that_is_no_yaml_says_where() {
    let mistakes = load("a: [1\nb: 2\n", &[]).unwrap_err();
    assert!(mistakes[0].place.starts_with("values.yaml:"), "{mistakes:?}");
    assert_eq!(load("# nothing\n", &[]).unwrap().chosen(), json!({}));
    let mistakes = load("- a\n", &[]).unwrap_err();
    assert!(mistakes[0].message.contains("mapping"), "{mistakes:?}");
}

#[test]
fn the_injections_values_are_checked_by_the_injector() {
    let mistakes = load("injection: {values: {proxy: {concurency: 3}}}\n", &[]).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    let told = mistakes[0].to_string();
    assert!(
        told.starts_with("injection.values") && told.contains("concurency") && told.contains("concurrency"),
        "{told}"
    );
    assert!(load("", &["injection.values.proxy.native=false"]).is_ok());
}

#[test]
fn what_was_chosen_leads_to_the_same_values() {
    let values =
        load("cni: {enabled: true}\ninjection: {values: {proxy: {concurrency: 3}}}\n", &["revision=canary"])
            .unwrap();
    let again = load(&crate::output::yaml::to_yaml(&values.chosen()), &[]).unwrap();
    assert_eq!(values, again);
}
