//! What all share changes or goes away, under constant load: not one request fails. These run alone.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_tests::cluster::{
    App, CONTROL_PLANE, LoadPod, Namespace, PODS, SYSTEM, kubectl, proxy_status, try_kubectl,
};
use weft_tests::wait::eventually;

/// How long the API server is away: minutes, longer than clients' time-outs and the leader's lease.
const AWAY: Duration = Duration::from_secs(125);

pub(crate) struct Mesh {
    pub(crate) space: Namespace,
    pub(crate) load: LoadPod,
}

/// Two servers under load.
pub(crate) async fn mesh(scenario: &str) -> Mesh {
    let space = crate::rollouts::two_versions(scenario);
    let load = space.load("load", "http://server:8080/", &[]);
    load.more(100).await;
    Mesh { space, load }
}

impl Mesh {
    /// A policy that is applied now holds.
    pub(crate) fn obeys(&self, version: &str) {
        let route = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "server"},
            "spec": {"hosts": ["server"], "http": [{"route": [{"destination": {"host": "server", "subset": version}}]}]},
        });
        self.space.weft_apply(&route.to_string());
        let summary = self.space.client().requests("http://server:8080/", 50, &[]);
        summary.assert_no_failure();
        assert_eq!(summary.share(version), 1.0, "{:?}", summary.versions);
    }
}

pub(crate) fn rolled_out() {
    kubectl(&["-n", SYSTEM, "rollout", "status", CONTROL_PLANE, "--timeout=150s"]);
}

fn replicas() -> u64 {
    let object = kubectl(&["-n", SYSTEM, "get", CONTROL_PLANE, "-o", "json"]);
    let object: Value = serde_json::from_str(&object).unwrap();
    object["spec"]["replicas"].as_u64().unwrap()
}

fn scale(replicas: u64) {
    kubectl(&["-n", SYSTEM, "scale", CONTROL_PLANE, &format!("--replicas={replicas}")]);
    rolled_out();
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn the_control_plane_is_scaled_from_one_to_three_and_back() {
    let before = replicas();
    let mesh = mesh("replicas").await;
    for count in [1, 3, 1] {
        scale(count);
        mesh.obeys(if count == 3 { "v2" } else { "v1" });
        // Whoever serves a sidecar now, all of them are told of.
        let status = proxy_status();
        for pod in mesh.space.pods("app=server") {
            assert!(status.contains(&pod), "{count} replicas: {status}");
        }
        mesh.load.more(100).await;
    }
    scale(before);
    mesh.load.more(100).await.assert_no_failure();
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn the_control_plane_is_replaced() {
    let mesh = mesh("replaced").await;
    mesh.obeys("v1");
    kubectl(&["-n", SYSTEM, "rollout", "restart", CONTROL_PLANE]);
    rolled_out();
    mesh.obeys("v2");
    // At once, without a word of warning.
    kubectl(&["-n", SYSTEM, "delete", "pods", "-l", PODS, "--grace-period=0", "--force"]);
    rolled_out();
    mesh.obeys("v1");
    mesh.load.more(100).await.assert_no_failure();
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn without_a_control_plane_traffic_flows_and_nothing_starts_unprotected() {
    let before = replicas();
    let mesh = mesh("nobody").await;
    kubectl(&["-n", SYSTEM, "scale", CONTROL_PLANE, "--replicas=0"]);
    kubectl(&["-n", SYSTEM, "wait", "--for=delete", "pods", "-l", PODS, "--timeout=60s"]);

    // A pod that should have a sidecar does not start without one; others are none of the webhook's business.
    let mut pod = App::new("late").http(8080).pod_template("Never");
    (pod["apiVersion"], pod["kind"], pod["metadata"]["name"]) = (json!("v1"), json!("Pod"), json!("late"));
    let why = mesh.space.try_apply(&pod.to_string()).expect_err("refused");
    assert!(why.contains("inject.weft.mesh"), "{why}");
    let plain = Namespace::labelled("nobody-plain", &[]);
    plain.start(&App::new("server").http(8080));
    kubectl(&["-n", "kube-system", "rollout", "restart", "deployment/coredns"]);
    kubectl(&["-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s"]);

    // Endpoints that go are noticed by those that call them.
    mesh.load.more(300).await.assert_no_failure();
    scale(before);
    mesh.obeys("v2");
    mesh.load.more(100).await.assert_no_failure();
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn the_api_server_is_away_for_a_while() {
    let Some(cluster) = std::env::var_os("WEFT_TEST_CLUSTER") else {
        eprintln!("not on a cluster of the user's own: its API server is not ours to end");
        return;
    };
    let switch = PathBuf::from(cluster).join("api-server.sh");
    let switch = |word: &str| assert!(Command::new(&switch).arg(word).status().unwrap().success(), "{word}");
    let mesh = mesh("away").await;
    mesh.obeys("v1");
    let before = mesh.load.so_far().unwrap();
    let began = Instant::now();
    switch("stop");
    while began.elapsed() < AWAY {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    switch("start");
    eventually("the API server is back", async || try_kubectl(&["get", "--raw", "/readyz"])).await;
    let after = mesh.load.more(100).await;
    after.assert_no_failure();
    assert!(
        after.requests > before.requests + 500,
        "traffic went on meanwhile: {} then {}",
        before.requests,
        after.requests
    );
    rolled_out();
    mesh.obeys("v2");
    mesh.load.more(100).await.assert_no_failure();
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn a_node_is_drained() {
    let mesh = mesh("drain").await;
    mesh.space.kubectl(&["scale", "deployment/server-v1", "deployment/server-v2", "--replicas=2"]);
    for version in ["v1", "v2"] {
        mesh.space.await_rollout(&format!("deployment/server-{version}"));
    }
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "server"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "server"}}},
    });
    mesh.space.apply(&budget.to_string());
    let load_node = mesh.space.pod("app=load").object()["spec"]["nodeName"].as_str().unwrap().to_owned();
    // The other node: what calls must stay to tell.
    let nodes = kubectl(&["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"]);
    let other = nodes
        .split(' ')
        .find(|name| *name != load_node && !name.starts_with("fake-"))
        .expect("a second node");
    kubectl(&["drain", other, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s"]);
    let summary = mesh.load.more(200).await;
    kubectl(&["uncordon", other]);
    summary.assert_no_failure();
    rolled_out();
}
