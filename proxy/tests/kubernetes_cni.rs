//! The agent's questions against a real API server: `WEFT_TEST_KUBECONFIG` names a kubeconfig with every right, and
//! `kubectl` is in the path.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a test program")]

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use weft_proxy::cni::agent::Pods;
use weft_proxy::cni::kubernetes::Api;
use weft_proxy::cni::message::PodRef;
use weft_proxy::cni::repair::{self, LABEL, Repair};

fn kubectl(arguments: &[&str], input: &str) -> String {
    let kubeconfig = std::env::var("WEFT_TEST_KUBECONFIG").expect("WEFT_TEST_KUBECONFIG names a kubeconfig");
    let mut command = Command::new("kubectl");
    command.arg("--kubeconfig").arg(kubeconfig).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A namespace that goes with the test.
struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        kubectl(&["delete", "namespace", &self.0, "--wait=false"], "");
        kubectl(&["delete", "clusterrole,clusterrolebinding", &self.0, "--ignore-not-found"], "");
    }
}

/// The agent's service account, with the rights that docs/cni.md lists and no others.
fn agent(namespace: &str, folder: &std::path::Path) -> Api {
    let role = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "agent", "namespace": namespace } },
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": namespace }, "rules": [
            { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "delete", "patch"] },
            { "apiGroups": [""], "resources": ["events"], "verbs": ["create"] },
        ] },
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": namespace },
          "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": namespace },
          "subjects": [{ "kind": "ServiceAccount", "name": "agent", "namespace": namespace }] },
    ] });
    kubectl(&["apply", "-f", "-"], &role.to_string());
    let token = folder.join("token");
    std::fs::write(&token, kubectl(&["-n", namespace, "create", "token", "agent"], "")).unwrap();
    let config: Value = serde_json::from_str(&kubectl(
        &["config", "view", "--raw", "--flatten", "--minify", "-o", "json"],
        "",
    ))
    .unwrap();
    let cluster = &config["clusters"][0]["cluster"];
    let roots = folder.join("ca.crt");
    let encoded = cluster["certificate-authority-data"].as_str().unwrap();
    std::fs::write(&roots, base64::Engine::decode(&base64::prelude::BASE64_STANDARD, encoded).unwrap())
        .unwrap();
    let server = cluster["server"].as_str().unwrap().strip_prefix("https://").unwrap();
    let (host, port) = server.rsplit_once(':').unwrap();
    Api::at(host, port, token, roots)
}

/// A pod on a node of this test's own, whose validation has ended with the code.
fn pod(namespace: &str, name: &str, code: u8) {
    let container = |name: &str| json!({ "name": name, "image": "localhost/none:1" });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": namespace },
        "spec": { "nodeName": namespace, "initContainers": [container("weft-validation")], "containers": [container("app")] } });
    kubectl(&["create", "-f", "-"], &pod.to_string());
    let status = json!({ "status": { "initContainerStatuses": [{
        "name": "weft-validation", "image": "", "imageID": "", "ready": false, "restartCount": 1,
        "state": { "waiting": { "reason": "CrashLoopBackOff" } },
        "lastState": { "terminated": { "exitCode": code, "finishedAt": null, "startedAt": null } },
    }] } });
    let patch = ["-n", namespace, "patch", "pod", name, "--subresource=status", "--type=merge", "-p"];
    kubectl(&[&patch[..], &[&status.to_string()]].concat(), "");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-kubernetes"]
async fn pods_without_their_rules_are_found_labelled_and_deleted_and_others_stay() {
    let namespace = Namespace(format!("cni-{}", std::process::id()));
    let name = namespace.0.as_str();
    kubectl(&["create", "namespace", name], "");
    let folder = tempfile::tempdir().unwrap();
    let api = agent(name, folder.path());
    pod(name, "unprotected", 126);
    pod(name, "other-trouble", 1);

    let unprotected =
        PodRef { namespace: name.to_owned(), name: "unprotected".to_owned(), uid: String::new() };
    assert_eq!(api.pod(&unprotected).await.unwrap()["spec"]["nodeName"], name);
    let unknown = PodRef { name: "nobody".to_owned(), ..unprotected.clone() };
    assert!(api.pod(&unknown).await.unwrap_err().is_not_found());

    assert_eq!(repair::once(&api, "another-node", Repair::Delete).await.unwrap(), 0);
    assert_eq!(repair::once(&api, name, Repair::Label).await.unwrap(), 1);
    assert_eq!(api.pod(&unprotected).await.unwrap()["metadata"]["labels"][LABEL], "true");
    assert_eq!(repair::once(&api, name, Repair::Label).await.unwrap(), 0, "once is enough");
    let events = kubectl(&["-n", name, "get", "events", "-o", "json"], "");
    assert!(events.contains("NotIntercepted"), "{events}");

    assert_eq!(repair::once(&api, name, Repair::Delete).await.unwrap(), 1);
    let gone = api.pod(&unprotected).await;
    // Its node's kubelet, which is not there, has the last word.
    assert!(
        gone.map_or_else(|error| error.is_not_found(), |pod| !pod["metadata"]["deletionTimestamp"].is_null())
    );
    let other = PodRef { name: "other-trouble".to_owned(), ..unprotected };
    assert!(api.pod(&other).await.unwrap()["metadata"]["deletionTimestamp"].is_null());

    let refused = api.get("/api/v1/secrets").await.unwrap_err().to_string();
    assert!(refused.contains("403") && refused.contains("secrets"), "{refused}");
}
