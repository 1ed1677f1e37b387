use clap::Parser;

use super::*;
use crate::settings::CommandLine;

fn arguments(text: &[&str]) -> EnvoyArgs {
    CommandLine::try_parse_from(["weft-proxy"].iter().chain(text)).unwrap().envoy
}

#[test]
fn envoys_flags_stand_for_what_the_bootstrap_does_not_say() {
    let given = [
        "--config-yaml",
        "node: {cluster: mine}",
        "--service-node",
        "a",
        "--service-cluster",
        "b",
        "--concurrency",
        "3",
    ];
    let arguments = arguments(&given);
    let bootstrap = arguments.bootstrap().unwrap();
    assert_eq!((bootstrap.node.id.as_str(), bootstrap.node.cluster.as_str()), ("a", "mine"));
    let settings = arguments.settings(bootstrap);
    assert_eq!((settings.concurrency, settings.admin_address), (3, None));
    assert_eq!(settings.drain_time, Duration::from_secs(600));
}

#[test]
fn every_mistake_names_the_file_and_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("envoy.yaml");
    std::fs::write(&path, "nod: {}\nadmin: {addres: {}}\n").unwrap();
    let path = path.to_str().unwrap();
    let mistakes = arguments(&["-c", path]).bootstrap().unwrap_err().0;
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(mistakes[0].starts_with(&format!("{path}:1:1: nod: is no field")), "{mistakes:?}");
    assert!(mistakes[1].starts_with(&format!("{path}:2:9: admin.addres: is no field")), "{mistakes:?}");
    let missing = arguments(&["-c", "/nowhere/envoy.yaml"]).bootstrap().unwrap_err().0;
    assert!(missing[0].starts_with("/nowhere/envoy.yaml: "), "{missing:?}");
}

#[test]
fn flags_that_scripts_give_envoy_are_taken() {
    let given = ["--base-id", "3", "--disable-hot-restart", "--restart-epoch", "0", "-l", "warning"];
    let arguments = arguments(&given);
    assert_eq!(arguments.log_level.as_deref(), Some("warn"));
    assert_eq!(arguments.without_effect.given(), ["--base-id"]);
}

#[test]
fn a_field_without_effect_is_told_once() {
    let note = |field: &str| Misfit {
        field: field.to_owned(),
        message: "has no effect here".to_owned(),
        span: Default::default(),
    };
    let told = alike(&[note("a[0].b"), note("a[1].b"), note("a[1].c"), note("a[20].b")]);
    let told: Vec<_> = told.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["a[0].b: has no effect here (and 2 more like it)", "a[1].c: has no effect here"]);
}
