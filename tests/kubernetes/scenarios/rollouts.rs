//! Nothing is lost while applications change: constant load, and not one failed request.

use serde_json::json;
use weft_tests::cluster::{App, Namespace, kubectl};

/// A namespace with two versions of a server, each a subset.
pub(crate) fn two_versions(scenario: &str) -> Namespace {
    let space = Namespace::injected(scenario);
    for version in ["v1", "v2"] {
        space.start(&App::new("server").version(version).http(8080));
    }
    space.apply(
        r"
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: server}
spec:
  host: server
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
",
    );
    space
}

/// Pain 6.
#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn pain_6_a_rolling_update_loses_nothing() {
    let space = Namespace::injected("rolling");
    space.start(&App::new("server").http(8080).replicas(3));
    let load = space.load("load", "http://server:8080/", &[]);
    load.more(200).await;
    space.kubectl(&["rollout", "restart", "deployment/server"]);
    space.await_rollout("deployment/server");
    load.more(300).await.assert_no_failure();
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn scaling_down_loses_nothing() {
    let space = Namespace::injected("scaling");
    space.start(&App::new("server").http(8080).replicas(4));
    let load = space.load("load", "http://server:8080/", &[]);
    load.more(200).await;
    space.kubectl(&["scale", "deployment/server", "--replicas=1"]);
    space.await_rollout("deployment/server");
    load.more(400).await.assert_no_failure();
    space.kubectl(&["scale", "deployment/server", "--replicas=3"]);
    space.await_rollout("deployment/server");
    load.more(300).await.assert_no_failure();
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn a_pod_that_is_deleted_while_it_serves_loses_nothing() {
    let space = Namespace::injected("deleted");
    space.start(&App::new("server").http(8080).replicas(2));
    // Requests take a while, so that there are some under way.
    let load = space.load("load", "http://server:8080/?ms=200", &["--connections", "8", "--pause", "1"]);
    load.more(50).await;
    for _ in 0..2 {
        let pod = space.pod("app=server");
        space.kubectl(&["delete", "pod", pod.name(), "--wait=false"]);
        load.more(100).await;
        space.await_rollout("deployment/server");
    }
    load.more(100).await.assert_no_failure();
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn eviction_of_a_pod_loses_nothing() {
    let space = Namespace::injected("evicted");
    space.start(&App::new("server").http(8080).replicas(2));
    let load = space.load("load", "http://server:8080/", &[]);
    load.more(200).await;
    // What `kubectl drain` asks for, of one pod: other scenarios share the node.
    let pod = space.pod("app=server");
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": pod.name(), "namespace": space.name()},
    });
    let path = format!("/api/v1/namespaces/{}/pods/{}/eviction", space.name(), pod.name());
    weft_tests::cluster::try_kubectl_with(&eviction.to_string(), &["create", "--raw", &path])
        .expect("evicted");
    load.more(300).await;
    space.await_rollout("deployment/server");
    load.more(200).await.assert_no_failure();
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn policies_that_change_under_load_lose_nothing() {
    let space = two_versions("changing");
    let load = space.load("load", "http://server:8080/", &[]);
    load.more(100).await;
    for weight in [0, 10, 50, 90, 100] {
        let routes = json!([
            {"destination": {"host": "server", "subset": "v1"}, "weight": 100 - weight},
            {"destination": {"host": "server", "subset": "v2"}, "weight": weight},
        ]);
        let route = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "server"},
            "spec": {"hosts": ["server"], "http": [{"route": routes}]},
        });
        space.weft_apply(&route.to_string());
        load.more(100).await;
    }
    space.apply("{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default}, spec: {mtls: {mode: STRICT}}}");
    load.more(200).await.assert_no_failure();
    let client = space.client();
    assert_eq!(client.requests("http://server:8080/", 50, &[]).share("v2"), 1.0);
    kubectl(&["-n", space.name(), "delete", "virtualservice", "server"]);
    load.more(200).await.assert_no_failure();
}
