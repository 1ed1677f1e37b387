//! The chart against `weft install`: Helm itself renders it, and gives the same objects for the same values.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect, and says where"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use weft_cli::install::objects;
use weft_cli::install::values::InstallValues;
use weft_control_plane::source::document::{json::to_json, split, yaml};

fn helm() -> Command {
    Command::new(
        std::env::var_os("WEFT_TEST_HELM")
            .expect("WEFT_TEST_HELM names Helm: scripts/fetch-helm.sh prints it"),
    )
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Values that reach every branch of the templates.
const SETS: &[&str] = &[
    "namespace: {create: false}",
    "namespace: {create: true}\nrevision: canary",
    "namespace: {create: false}\ncni: {enabled: true}",
    "namespace: {create: false}\ncni: {enabled: true, repair: none}",
    "namespace: {create: true}\ncni: {enabled: true, repair: label, binDir: /home/kubernetes/bin}",
    "namespace: {create: false}\ninjection: {enabled: false}\nvalidation: {enabled: false}\ncontrolPlane: {podDisruptionBudget: {enabled: false}}",
    "namespace: {create: false}\ninjection: {istioLabels: false, failurePolicy: Ignore, values: {proxy: {concurrency: 4}, image: {tag: other}}}",
    "namespace: {create: false}\nrevision: r2\ninjection: {istioLabels: false}\nvalidation: {failurePolicy: Fail}",
    "
namespace: {create: false}
image: {registry: registry.example.com/mesh, tag: \"1.10\", pullPolicy: Always, pullSecrets: [one, two]}
mesh: {name: west, trustDomain: example.org, clusterDomain: cluster.internal, discoverySelectors: [team=shop, \"mesh in (a, b)\"]}
controlPlane:
  replicas: 5
  log: info,weft=debug
  certificateLifetime: 1h
  priorityClassName: \"\"
  nodeSelector: {disk: fast}
  tolerations: [{key: dedicated, operator: Exists, effect: NoSchedule}]
  podLabels: {team: platform}
  podAnnotations: {note: \"true\"}
  extraArgs: [\"--log-limit=1\"]
  resources: {requests: {cpu: 250m}, limits: {cpu: \"2\"}}
  autoscaling: {enabled: true, minReplicas: 3, maxReplicas: 9, targetCPUUtilization: 60}",
];

#[test]
#[ignore = "needs helm: make test-kubernetes"]
fn the_chart_gives_the_objects_of_weft_install() {
    for text in SETS {
        let values = InstallValues::load(&[("values".to_owned(), (*text).to_owned())], &[]).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let ours = by_name(objects::render(&values));
        let theirs = by_name(rendered(file.path()));
        let names = |all: &[(String, Value)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&theirs), names(&ours), "for {text}");
        for ((name, ours), (_, theirs)) in ours.iter().zip(&theirs) {
            assert_eq!(theirs, ours, "{name} for {text}");
        }
    }
}

#[test]
#[ignore = "needs helm: make test-kubernetes"]
fn the_chart_has_nothing_that_helm_finds_fault_with() {
    let output =
        helm().args(["lint", "--strict", "--namespace", "weft-system"]).arg(chart()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "needs helm: make test-kubernetes"]
fn values_that_weft_install_refuses_helm_refuses_too() {
    for setting in
        ["controlPlane.replica=3", "controlPlane.replicas=0", "image.pullPolicy=Sometimes", "revision=A_B"]
    {
        assert!(InstallValues::load(&[], &[setting.to_owned()]).is_err(), "{setting}");
        let output = helm()
            .args([
                "template",
                "weft",
                "--namespace",
                "weft-system",
                "--kube-version",
                "1.34.0",
                "--set",
                setting,
            ])
            .arg(chart())
            .output()
            .unwrap();
        assert!(!output.status.success(), "{setting}");
    }
}

#[test]
#[ignore = "needs helm: make test-kubernetes"]
fn another_namespace_is_refused_with_what_to_do() {
    let output = helm()
        .args(["template", "weft", "--namespace", "default", "--kube-version", "1.34.0"])
        .arg(chart())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("--namespace weft-system --create-namespace"),
        "{said}"
    );
}

#[test]
#[ignore = "needs kubectl: make test-kubernetes"]
fn a_kustomization_builds_over_the_documents() {
    let kubectl = std::env::var_os("WEFT_TEST_KUBECTL").unwrap_or_else(|| "kubectl".into());
    let folder = tempfile::tempdir().unwrap();
    let values = InstallValues::load(&[], &[]).unwrap();
    let all = objects::render(&values);
    std::fs::write(folder.path().join("weft.yaml"), objects::to_documents(&all)).unwrap();
    let kustomization = "resources: [weft.yaml]\nlabels: [{pairs: {team: platform}}]\nreplicas: [{name: weft-control-plane, count: 4}]\n";
    std::fs::write(folder.path().join("kustomization.yaml"), kustomization).unwrap();
    let output = Command::new(kubectl).arg("kustomize").arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let built = documents(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(built.len(), all.len());
    let deployment = built.iter().find(|it| it["kind"] == "Deployment").unwrap();
    assert_eq!(
        (&deployment["spec"]["replicas"], &deployment["metadata"]["labels"]["team"]),
        (&json!(4), &json!("platform"))
    );
}

fn chart() -> PathBuf {
    repository("deploy/helm/weft")
}

fn rendered(values: &Path) -> Vec<Value> {
    let mut helm = helm();
    helm.args([
        "template",
        "weft",
        "--namespace",
        "weft-system",
        "--kube-version",
        "1.34.0",
        "--include-crds",
        "--values",
    ])
    .arg(values)
    .arg(chart());
    let output = helm.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    documents(&String::from_utf8_lossy(&output.stdout))
}

fn documents(text: &str) -> Vec<Value> {
    let read = |part: split::Part<'_>| {
        let (node, errors) = yaml::parse(part.text);
        assert!(errors.is_empty(), "{errors:?}\n{}", part.text);
        to_json(&node.unwrap())
    };
    split::parts(text).into_iter().map(read).filter(|value| !value.is_null()).collect()
}

/// Each with its name; YAML within, which two programs write in two ways, as what it says.
fn by_name(objects: Vec<Value>) -> Vec<(String, Value)> {
    let mut all: Vec<(String, Value)> = objects
        .into_iter()
        .map(|mut object| {
            if let Some(text) = object.pointer("/data/values").and_then(Value::as_str) {
                object["data"]["values"] = documents(text).remove(0);
            }
            (format!("{}/{}", object["kind"], object["metadata"]["name"]), object)
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}
