//! Kubelet's checks work where only members of the mesh are answered.

use serde_json::json;
use weft_tests::cluster::{App, Namespace};
use weft_tests::wait::eventually;

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn probes_of_all_kinds_pass_under_strict() {
    let space = Namespace::injected("probes");
    space.apply("{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default}, spec: {mtls: {mode: STRICT}}}");
    let kinds = [
        (
            "http",
            json!({"httpGet": {"path": "/ready", "port": "http", "httpHeaders": [{"name": "x-probe", "value": "yes"}]}}),
        ),
        ("tcp", json!({"tcpSocket": {"port": 8080}})),
        ("grpc", json!({"grpc": {"port": 8080}})),
    ];
    for (name, handler) in &kinds {
        let mut probe = handler.clone();
        probe["periodSeconds"] = json!(1);
        let probes = json!({"readinessProbe": probe, "livenessProbe": probe, "startupProbe": probe});
        space.apply(&App::new(name).http(8080).probes(probes).objects().to_string());
    }
    for (name, _) in &kinds {
        space.await_rollout(&format!("deployment/{name}"));
    }
    // The application gets what kubelet would have sent.
    let pod = space.pod("app=http");
    let answer = pod.call("http://127.0.0.1:15020/app-health/app/readyz", &[]);
    assert_eq!(answer["status"], 200, "{answer}");
    assert_eq!(pod.call("http://127.0.0.1:15020/app-health/app/other", &[])["status"], 404);
    for (name, _) in &kinds {
        assert_eq!(
            space.pod(&format!("app={name}")).object()["status"]["containerStatuses"][0]["restartCount"],
            0
        );
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn an_application_that_is_not_ready_is_not_ready() {
    let space = Namespace::injected("unready");
    let probe =
        json!({"readinessProbe": {"httpGet": {"path": "/?status=503", "port": 8080}, "periodSeconds": 1}});
    space.apply(&App::new("server").http(8080).probes(probe).objects().to_string());
    eventually("the probe reaches the application", async || {
        let events = space.try_kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"])?;
        if events.contains("503") { Ok(()) } else { Err(events) }
    })
    .await;
    assert!(space.get("deployment", "server")["status"]["readyReplicas"].is_null());
}
