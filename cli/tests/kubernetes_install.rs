//! `weft install` and the commands on objects against a real API server, with a revision of their own so that an
//! installation that is there is not touched. `WEFT_TEST_KUBECONFIG` names the cluster.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect, and says where"
)]

use std::process::Command;

use serde_json::Value;

const NEEDS: &str = "needs a Kubernetes API server: make test-kubernetes";

/// Exit code, standard output, standard error.
type Said = (i32, String, String);

fn weft(arguments: &[&str]) -> Said {
    let kubeconfig = std::env::var("WEFT_TEST_KUBECONFIG").expect(NEEDS);
    run(Command::new(env!("CARGO_BIN_EXE_weft")).args(["--kubeconfig", &kubeconfig]).args(arguments))
}

fn run(command: &mut Command) -> Said {
    let output = command.env_remove("WEFT_MESH").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn fine(arguments: &[&str]) -> String {
    let (code, out, err) = weft(arguments);
    assert_eq!(code, 0, "weft {}\n{out}\n{err}", arguments.join(" "));
    out
}

/// A revision that is taken out again whatever happens.
struct Revision(String);

impl Revision {
    fn new(what: &str) -> Self {
        Self(format!("{what}-{}", std::process::id()))
    }

    fn install(&self, more: &[&str]) -> Said {
        let own = [
            "install",
            "--revision",
            &self.0,
            "--set",
            "validation.enabled=false",
            "--set",
            "controlPlane.replicas=1",
        ];
        weft(&[&own[..], more].concat())
    }
}

impl Drop for Revision {
    fn drop(&mut self) {
        let _ = weft(&["uninstall", "--revision", &self.0]);
    }
}

#[test]
#[ignore = "needs a Kubernetes API server: make test-kubernetes"]
fn an_installation_comes_changes_goes_back_and_goes() {
    let revision = Revision::new("life");
    let (code, out, err) = revision.install(&[]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("installation 1:"), "{out}");

    let (_, again, _) = revision.install(&[]);
    assert!(
        again.contains("installation 1: 0 of"),
        "the same again changes nothing and is no other:\n{again}"
    );

    let (_, changed, _) = revision.install(&["--set", "controlPlane.podDisruptionBudget.enabled=false"]);
    let gone = format!("PodDisruptionBudget/weft-control-plane-{} in weft-system deleted", revision.0);
    assert!(changed.contains(&gone) && changed.contains("installation 2:"), "{changed}");

    let (code, back, err) = weft(&["install", "--revision", &revision.0, "--rollback"]);
    assert_eq!(code, 0, "{back}{err}");
    let made = format!("PodDisruptionBudget/weft-control-plane-{} in weft-system created", revision.0);
    assert!(back.contains(&made) && back.contains("installation 3:"), "{back}");
    let (code, _, err) = weft(&["install", "--revision", &revision.0, "--rollback", "77"]);
    assert_eq!(code, 4);
    assert!(err.contains("known are 1, 2, 3"), "{err}");

    let removed = fine(&["uninstall", "--revision", &revision.0]);
    assert!(
        removed.contains(&format!("Deployment/weft-control-plane-{} in weft-system deleted", revision.0)),
        "{removed}"
    );
    assert!(!removed.contains("CustomResourceDefinition") && !removed.contains("Namespace/"), "{removed}");
    assert_eq!(weft(&["uninstall", "--revision", &revision.0]).0, 4, "nothing is left to take out");
}

#[test]
#[ignore = "needs a Kubernetes API server: make test-kubernetes"]
fn a_dry_run_changes_nothing() {
    let revision = Revision::new("dry");
    let (code, out, err) = revision.install(&["--dry-run"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("nothing was changed"), "{out}");
    assert_eq!(weft(&["uninstall", "--revision", &revision.0]).0, 4);
}

#[test]
#[ignore = "needs a Kubernetes API server: make test-kubernetes"]
fn what_does_not_come_in_time_is_said_with_its_reason() {
    let revision = Revision::new("late");
    let (code, _, err) =
        revision.install(&["--set", "image.registry=registry.invalid/none", "--wait", "--timeout", "2s"]);
    assert_eq!(code, 6, "{err}");
    assert!(
        err.contains("0 of 1 control-plane pods ready") && err.contains("weft-control-plane-late"),
        "{err}"
    );
}

const ROUTE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAME}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews}
";

/// A file of one object, and its name.
fn route(what: &str) -> (tempfile::NamedTempFile, String) {
    let name = format!("{what}-{}", std::process::id());
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), ROUTE.replace("NAME", &name)).unwrap();
    (file, name)
}

#[test]
#[ignore = "needs a Kubernetes API server: make test-kubernetes"]
fn objects_are_applied_shown_and_deleted_at_the_api_server() {
    let revision = Revision::new("objects");
    assert_eq!(revision.install(&[]).0, 0, "the kinds of policies are needed");
    let (file, name) = route("life");
    let path = file.path().to_str().unwrap();
    assert!(fine(&["apply", "-f", path, "--dry-run"]).contains("created in default (dry run)"));
    assert_eq!(weft(&["get", "vs", &name]).0, 4, "a dry run stores nothing");
    assert!(fine(&["apply", "-f", path]).contains(&format!("VirtualService/{name} created in default")));
    assert!(fine(&["apply", "-f", path]).contains("unchanged"));

    let stored: Value = serde_json::from_str(&fine(&["get", "vs", &name, "-o", "json"])).unwrap();
    assert_eq!(stored["spec"]["hosts"][0], "reviews");
    assert!(stored["metadata"].get("managedFields").is_none(), "{stored}");
    assert!(fine(&["get", "-A"]).contains(&name));

    assert!(fine(&["delete", &format!("vs/{name}")]).contains("deleted"));
    let (code, _, err) = weft(&["delete", "vs", &name]);
    assert!(code == 4 && err.contains("nothing was deleted"), "{code} {err}");
    fine(&["delete", "vs", &name, "--ignore-not-found"]);
}

#[test]
#[ignore = "needs a Kubernetes API server: make test-kubernetes"]
fn a_mistake_is_told_with_its_place_and_nothing_is_applied() {
    let (good, name) = route("good");
    let bad = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(bad.path(), ROUTE.replace("NAME", "bad").replace("route:", "rout:")).unwrap();
    let (good, bad) = (good.path().to_str().unwrap(), bad.path().to_str().unwrap());
    let (code, out, _) = weft(&["apply", "-f", good, "-f", bad]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains(&format!("{bad}:7:5: error")) && out.contains("did you mean `route`?"), "{out}");
    assert_eq!(weft(&["get", "vs", &name]).0, 4);
}

#[test]
#[ignore = "needs a Kubernetes API server: make test-kubernetes"]
fn fields_of_another_tool_are_not_taken_over_unasked() {
    let revision = Revision::new("owners");
    assert_eq!(revision.install(&[]).0, 0, "the kinds of policies are needed");
    let (file, name) = route("owned");
    let kubeconfig = std::env::var("WEFT_TEST_KUBECONFIG").expect(NEEDS);
    let kubectl = std::env::var_os("WEFT_TEST_KUBECTL").unwrap_or_else(|| "kubectl".into());
    let (code, _, err) = run(Command::new(kubectl)
        .args(["--kubeconfig", &kubeconfig, "apply", "--server-side", "-f"])
        .arg(file.path()));
    assert_eq!(code, 0, "{err}");
    std::fs::write(file.path(), ROUTE.replace("NAME", &name).replace("reviews", "ratings")).unwrap();
    let path = file.path().to_str().unwrap();
    let (code, _, err) = weft(&["apply", "-f", path]);
    assert!(code == 1 && err.contains("--force-conflicts"), "{code} {err}");
    assert!(fine(&["apply", "-f", path, "--force-conflicts"]).contains("configured"));
    fine(&["delete", "vs", &name]);
}

#[test]
fn a_kubeconfig_that_cannot_be_used_says_which_context_server_and_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let text = "apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: \"https://127.0.0.1:1\"}}]
users: [{name: u, user: {token: secret-of-the-user}}]
contexts: [{name: here, context: {cluster: c, user: u}}, {name: broken, context: {cluster: none, user: u}}]
current-context: here
";
    std::fs::write(&path, text).unwrap();
    let with = |more: &[&str]| {
        run(Command::new(env!("CARGO_BIN_EXE_weft")).arg("--kubeconfig").arg(&path).args(more))
    };
    let (code, _, err) = with(&["stat"]);
    assert!(
        code == 3 && err.contains("context `here` (https://127.0.0.1:1) does not answer"),
        "{code} {err}"
    );
    assert!(!err.contains("secret-of-the-user"), "{err}");
    let (code, _, err) = with(&["stat", "--context", "there"]);
    assert!(code == 5 && err.contains("no context `there`") && err.contains("here, broken"), "{code} {err}");
    let (code, _, err) = with(&["stat", "--context", "broken"]);
    assert!(code == 5 && err.contains("context `broken`"), "{code} {err}");
    std::fs::write(&path, "a: [").unwrap();
    let (code, _, err) = with(&["stat"]);
    assert!(code == 5 && err.contains("config cannot be used"), "{code} {err}");
}
