//! What operators do to a mesh, under constant load: upgrade, roll back, a second control plane beside the first,
//! certificates that are renewed all the time. Not one request fails. These run alone.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use weft_tests::cluster::{
    App, CONTROL_PLANE, Forward, Namespace, SYSTEM, kubectl, proxy_status, try_kubectl, weft_ok,
};
use weft_tests::wait::eventually;

use crate::disruption::{Mesh, mesh, rolled_out};

/// The tag of the images that are upgraded to.
const NEXT: &str = "next";

/// `weft install --wait` with the settings of this run, and more.
fn install(more: &[&str]) {
    let settings = std::env::var("WEFT_TEST_INSTALL").unwrap_or_default();
    let settings: Vec<&str> = settings.split_whitespace().collect();
    weft_ok(&[&["install", "--wait"], settings.as_slice(), more].concat());
}

/// Puts things back when a scenario is over, also when it failed.
struct Afterwards(Vec<&'static str>);

impl Drop for Afterwards {
    fn drop(&mut self) {
        let (code, out, err) = weft_tests::cluster::weft(&self.0);
        if code != 0 && !std::thread::panicking() {
            panic!("weft {}: {out}{err}", self.0.join(" "));
        }
    }
}

/// Images of ours under the tag [`NEXT`] on all nodes; false where only the user could push them.
fn next_images() -> bool {
    let Some(cluster) = std::env::var_os("WEFT_TEST_CLUSTER") else {
        return std::env::var_os("WEFT_TEST_NEXT").is_some_and(|there| there == NEXT);
    };
    let status = Command::new(PathBuf::from(cluster).join("tag.sh"))
        .args([env!("CARGO_PKG_VERSION"), NEXT])
        .status()
        .expect("tag.sh");
    assert!(status.success());
    true
}

fn control_plane_image() -> String {
    kubectl(&["-n", SYSTEM, "get", CONTROL_PLANE, "-o", "jsonpath={.spec.template.spec.containers[0].image}"])
}

/// The images of the sidecars of the pods with a label.
fn sidecars(space: &Namespace, selector: &str) -> BTreeSet<String> {
    let image = |name: String| {
        let pod = space.get("pod", &name);
        let containers = pod["spec"]["initContainers"].as_array().cloned().unwrap_or_default();
        let sidecar = containers.into_iter().find(|container| container["name"] == "weft-proxy");
        sidecar.expect("a sidecar")["image"].as_str().unwrap_or_default().to_owned()
    };
    space.pods(selector).into_iter().map(image).collect()
}

fn restart(mesh: &Mesh) {
    for deployment in ["deployment/server-v1", "deployment/server-v2"] {
        mesh.space.kubectl(&["rollout", "restart", deployment]);
    }
    for deployment in ["deployment/server-v1", "deployment/server-v2"] {
        mesh.space.await_rollout(deployment);
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn control_plane_and_sidecars_are_upgraded_and_rolled_back() {
    if !next_images() {
        eprintln!(
            "not done: there are no images with the tag `{NEXT}`; push them, and set WEFT_TEST_NEXT={NEXT}"
        );
        return;
    }
    let mesh = mesh("upgrade").await;
    let before = control_plane_image();
    let back = Afterwards(vec!["install", "--rollback", "--wait"]);
    install(&["--set", "image.tag=next"]);
    assert!(control_plane_image().ends_with(":next"));
    rolled_out();
    mesh.obeys("v1");
    // Sidecars of the former version go on with the new control plane, and are replaced one by one.
    assert!(sidecars(&mesh.space, "app=server").iter().all(|image| !image.ends_with(":next")));
    restart(&mesh);
    assert!(sidecars(&mesh.space, "app=server").iter().all(|image| image.ends_with(":next")));
    mesh.obeys("v2");
    mesh.load.more(100).await.assert_no_failure();

    drop(back);
    assert_eq!(control_plane_image(), before);
    rolled_out();
    mesh.obeys("v1");
    restart(&mesh);
    assert!(sidecars(&mesh.space, "app=server").iter().all(|image| !image.ends_with(":next")));
    mesh.load.more(100).await.assert_no_failure();
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn a_namespace_moves_to_a_canary_of_the_control_plane_and_back() {
    let mesh = mesh("canary").await;
    let gone = Afterwards(vec!["uninstall", "--revision", "canary"]);
    install(&["--revision", "canary", "--set", "controlPlane.replicas=1"]);
    // Who asks for the revision gets its sidecars; both worlds are one mesh.
    let early = Namespace::labelled("early", &[("istio.io/rev", "canary")]);
    early.start(&App::new("server").http(8080));
    early.apply("{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default}, spec: {mtls: {mode: STRICT}}}");
    mesh.space.client().until(&format!("http://server.{}:8080/", early.name()), &[], 200).await;
    early.client().until(&format!("http://server.{}:8080/", mesh.space.name()), &[], 200).await;
    let of_revision = |namespace: &Namespace, pod: &str| {
        let pod = namespace.pod(pod).object();
        pod["metadata"]["annotations"]["weft.mesh/status"].to_string().contains("canary")
    };
    assert!(of_revision(&early, "app=server") && !of_revision(&mesh.space, "app=server"));

    let label = |labels: &[&str]| {
        kubectl(&[&["label", "namespace", mesh.space.name(), "--overwrite"], labels].concat());
    };
    label(&["istio-injection-", "istio.io/rev=canary"]);
    restart(&mesh);
    assert!(of_revision(&mesh.space, "app=server"));
    mesh.obeys("v2");
    let status = proxy_status();
    for pod in mesh.space.pods("app=server") {
        assert!(status.contains(&pod), "{status}");
    }
    label(&["istio.io/rev-", "istio-injection=enabled"]);
    restart(&mesh);
    mesh.obeys("v1");
    drop(early);
    drop(gone);
    mesh.load.more(100).await.assert_no_failure();
    assert!(try_kubectl(&["-n", SYSTEM, "get", "deployment/weft-control-plane-canary"]).is_err());
}

/// When the certificate that API servers see was issued.
fn webhook_certificate() -> String {
    let webhook = Forward::to(SYSTEM, CONTROL_PLANE, 15017);
    let url = format!("https://127.0.0.1:{}/", webhook.port());
    let output = Command::new("curl").args(["-skv", &url]).output().expect("curl");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let start = said.lines().find(|line| line.contains("start date:"));
    start.unwrap_or_else(|| panic!("no certificate: {said}")).to_owned()
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn certificates_of_sidecars_and_webhook_are_renewed_under_load() {
    let _back = Afterwards(vec!["install", "--rollback", "--wait"]);
    install(&["--set", "controlPlane.certificateLifetime=20s"]);
    let mesh = mesh("renewed").await;
    mesh.space.apply("{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default}, spec: {mtls: {mode: STRICT}}}");
    let first = webhook_certificate();
    let serials = |selector: &str| {
        let log = mesh.space.kubectl(&["logs", "-l", selector, "-c", "weft-proxy", "--tail=-1"]);
        log.lines().filter(|line| line.contains("certificate") && line.contains("serial=")).count()
    };
    for selector in ["app=load", "app=server"] {
        eventually("certificates are renewed", async || {
            let count = serials(selector);
            if count >= 4 { Ok(()) } else { Err(format!("{selector}: {count} certificates so far")) }
        })
        .await;
    }
    // Whoever is created meanwhile is injected: the API server trusts the webhook's newest certificate.
    mesh.space.start(&App::new("late").http(8080));
    assert_eq!(sidecars(&mesh.space, "app=late").len(), 1);
    eventually("the webhook has another certificate", async || {
        let now = webhook_certificate();
        if now == first { Err(now) } else { Ok(()) }
    })
    .await;
    mesh.obeys("v1");
    mesh.load.more(200).await.assert_no_failure();
}

/// The rules of interception are set from outside: a pod has no privileges for it, and never starts without them.
#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn pods_without_privileges_are_in_the_mesh_by_the_cni_plugin() {
    let _back = Afterwards(vec!["install", "--rollback", "--wait"]);
    let before = Namespace::injected("before-cni");
    before.start(&App::new("server").http(8080));
    install(&["--set", "cni.enabled=true"]);
    kubectl(&["-n", SYSTEM, "rollout", "status", "daemonset/weft-cni", "--timeout=90s"]);
    let space = Namespace::labelled(
        "restricted",
        &[("istio-injection", "enabled"), ("pod-security.kubernetes.io/enforce", "restricted")],
    );
    let restricted = json!({"securityContext": {
        "allowPrivilegeEscalation": false, "runAsNonRoot": true, "runAsUser": 1000,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
    }});
    let app = |name: &str| App::new(name).http(8080).container(restricted.clone());
    space.start(&app("server"));
    space.start(&app("caller"));
    space.apply("{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default}, spec: {mtls: {mode: STRICT}}}");
    let added: Vec<Value> = space.pod("app=server").object()["spec"]["initContainers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|container| container["securityContext"]["capabilities"].clone())
        .collect();
    assert!(added.iter().all(|capabilities| capabilities["add"].is_null()), "{added:?}");
    let server = format!("http://server.{}:8080/", space.name());
    space.pod("app=caller").until(&server, &[], 200).await;
    // Its own init container was in the mesh before the plugin came, and still is.
    before.client().until(&server, &[], 200).await;
    // STRICT holds: what arrives goes through the sidecar.
    let outside = Namespace::labelled("cni-outside", &[]);
    let outsider = outside.client();
    eventually("strict holds", async || {
        let answer = outsider.call(&server, &[]);
        if answer["status"] == 0 { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
    // Without its agent a node starts no pod, rather than one without rules.
    let nowhere = json!({"spec": {"template": {"spec": {"nodeSelector": {"weft.test/nowhere": "true"}}}}});
    kubectl(&["-n", SYSTEM, "patch", "daemonset/weft-cni", "--type=merge", "-p", &nowhere.to_string()]);
    let agents = ["-n", SYSTEM, "wait", "--for=delete", "pods", "-l", "app.kubernetes.io/component=cni"];
    kubectl(&[&agents[..], &["--timeout=60s"]].concat());
    space.apply(&app("late").objects().to_string());
    let refused = eventually("the pod waits, and says why", async || {
        let events = space.kubectl(&["get", "events", "--field-selector", "reason=FailedCreatePodSandBox"]);
        if events.contains("pod/late") && events.contains("weft") { Ok(()) } else { Err(events) }
    });
    refused.await;
    let back = json!({"spec": {"template": {"spec": {"nodeSelector": {"weft.test/nowhere": null}}}}});
    kubectl(&["-n", SYSTEM, "patch", "daemonset/weft-cni", "--type=merge", "-p", &back.to_string()]);
    space.await_rollout("deployment/late");
    space.pod("app=late").until(&server, &[], 200).await;
}

const TEMPLATE: &str = "
injection:
  values:
    templates:
      auditor:
        metadata: {annotations: {shop.example/audited: 'yes'}}
        spec:
          initContainers:
          - {name: weft-proxy, env: [{name: AUDIT, value: 'on'}]}
";

/// A template of the operator's own is merged into pods that ask for it: by the webhook, and by the command line that
/// asks the cluster for its settings.
#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn a_template_of_the_operator_is_merged_by_webhook_and_command_line() {
    let _back = Afterwards(vec!["install", "--rollback", "--wait"]);
    let values = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(values.path(), TEMPLATE).unwrap();
    install(&["-f", &values.path().display().to_string()]);
    let audited = App::new("audited")
        .http(8080)
        .metadata(json!({"annotations": {"inject.istio.io/templates": "sidecar,auditor"}}));
    let by_webhook = Namespace::injected("templated");
    let is_audited = |pod: &Value| {
        let containers = pod["spec"]["initContainers"].as_array().unwrap();
        let sidecar = containers.iter().find(|container| container["name"] == "weft-proxy").unwrap();
        let env = sidecar["env"].as_array().unwrap().iter().any(|variable| variable["name"] == "AUDIT");
        env && pod["metadata"]["annotations"]["shop.example/audited"] == "yes"
    };
    // The settings reach every replica's injector by a watch.
    let mut number = 0;
    eventually("the template is in use", async || {
        number += 1;
        let mut pod = audited.pod_template("Always");
        (pod["apiVersion"], pod["kind"]) = (json!("v1"), json!("Pod"));
        pod["metadata"]["name"] = json!(format!("audited-{number}"));
        by_webhook.try_apply(&pod.to_string())?;
        let pod = by_webhook.get("pod", &format!("audited-{number}"));
        if is_audited(&pod) { Ok(()) } else { Err(pod["metadata"].to_string()) }
    })
    .await;
    let by_hand = Namespace::labelled("templated-by-hand", &[]);
    let text = audited.objects().to_string();
    let (code, injected, err) =
        weft_tests::cluster::weft_with(&text, &["inject", "--from-cluster", "-f", "-"]);
    assert_eq!(code, 0, "{err}");
    by_hand.apply(&injected);
    by_hand.await_rollout("deployment/audited");
    assert!(is_audited(&by_hand.pod("app=audited").object()));
}

/// What `weft install -o yaml` prints goes through Kustomize, and the API server takes the result.
#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn what_is_printed_goes_through_kustomize() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("weft.yaml"), weft_ok(&["install", "-o", "yaml"])).unwrap();
    std::fs::write(
        path("kustomization.yaml"),
        "resources: [weft.yaml]\nimages: [{name: localhost/weft-control-plane, newTag: mine}]\n\
         labels: [{pairs: {team: mesh}}]\nreplicas: [{name: weft-control-plane, count: 1}]\n",
    )
    .unwrap();
    let built = kubectl(&["kustomize", &folder.path().display().to_string()]);
    assert!(built.contains("localhost/weft-control-plane:mine"), "{built}");
    std::fs::write(path("built.yaml"), &built).unwrap();
    let applied = kubectl(&[
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "-f",
        &path("built.yaml").display().to_string(),
    ]);
    assert!(applied.contains("deployment.apps/weft-control-plane serverside-applied"), "{applied}");
}
