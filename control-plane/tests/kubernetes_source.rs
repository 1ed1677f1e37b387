//! The real control plane at a real API server: what is there becomes the mesh.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
#![allow(unreachable_pub, missing_docs, dead_code, reason = "shared by several tests")]

mod cluster;

use cluster::{Cluster, Relay, until};
use serde_json::{Value, json};

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": "web"}]},
    })
}

fn pod(name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}},
        // For no scheduler, so that nobody but the test writes its status.
        "spec": {"schedulerName": "nobody", "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "i", "ports": [{"name": "web", "containerPort": 8080}]}]},
    })
}

fn running(address: &str, ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [{"type": "Ready", "status": ready}]})
}

fn rule(spec: Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "web"}, "spec": spec})
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-kubernetes"]
async fn services_and_pods_are_the_mesh_and_readiness_recompiles_nothing_but_endpoints() {
    let cluster = Cluster::new().await;
    let plane = cluster.control_plane(None, &[]).await;
    let namespace = &cluster.namespace;
    cluster.apply("services", service("web")).await;
    let web = pod("web-1", "web");
    cluster.apply("pods", web.clone()).await;
    cluster.set_status("pods", &web, running("192.0.2.7", false)).await;
    plane.says("/debug/world", &format!("web.{namespace}.svc.cluster.local")).await;
    plane.says("/debug/world", &format!("web-1.{namespace} 192.0.2.7 Unhealthy")).await;
    let page = plane.page("/debug/world").await;
    let configuration = page.lines().next().unwrap().split_once("(configuration").unwrap().1.to_owned();
    cluster.set_status("pods", &web, running("192.0.2.7", true)).await;
    plane.says("/debug/world", &format!("web-1.{namespace} 192.0.2.7 Healthy")).await;
    plane.says("/debug/world", &format!("(configuration{configuration}")).await;
    cluster.delete("pods", &web).await;
    plane.says_no_more("/debug/world", "192.0.2.7").await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-kubernetes"]
async fn a_kind_that_comes_later_is_read_and_a_bad_object_is_held_back_and_told_so() {
    let cluster = Cluster::new().await;
    let plane = cluster.control_plane(None, &[]).await;
    cluster.define("networking.istio.io", "DestinationRule", "destinationrules", "v1").await;
    cluster.apply("services", service("web")).await;
    let condition = async |kind: &str| {
        let written = cluster.get("destinationrules", &rule(Value::Null)).await;
        let conditions = written["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == kind);
        found.map(|condition| condition["status"].clone()).unwrap_or_default()
    };
    cluster.apply("destinationrules", rule(json!({"host": "web"}))).await;
    until("the good one is in force", async || condition("Reconciled").await == "True").await;
    assert_eq!(plane.page("/debug/findings").await, "");
    cluster.apply("destinationrules", rule(json!({"hots": "web"}))).await;
    plane.says("/debug/findings", "there is no field `hots`").await;
    plane.says("/debug/findings", "of generation 1 stays in force").await;
    until("the bad one is told", async || condition("Reconciled").await == "False").await;
    plane.says("/debug/world", &format!("web.{}.svc", cluster.namespace)).await;
    cluster.apply("destinationrules", rule(json!({"host": "web"}))).await;
    until("the mended one is in force", async || condition("PassedValidation").await == "True").await;
    plane.says_no_more("/debug/world", "nothing of the kind").await;
    until("nothing is wrong any more", async || plane.page("/debug/findings").await.is_empty()).await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-kubernetes"]
async fn what_was_known_stays_while_the_api_server_is_away_and_is_followed_when_it_is_back() {
    let cluster = Cluster::new().await;
    let relay = Relay::to(cluster.server()).await;
    let plane = cluster.control_plane(Some(&cluster.kubeconfig_over(&relay).await), &[]).await;
    cluster.apply("services", service("before")).await;
    cluster.apply("services", service("leaves")).await;
    plane.says("/debug/world", "before.").await;
    plane.says("/debug/world", "leaves.").await;
    relay.cut();
    cluster.apply("services", service("meanwhile")).await;
    cluster.delete("services", &service("leaves")).await;
    until("its age is told", async || plane.metric("weft_source_age_seconds").await > 6.0).await;
    let world = plane.page("/debug/world").await;
    assert!(
        world.contains("before.") && world.contains("leaves.") && !world.contains("meanwhile."),
        "{world}"
    );
    assert_eq!(plane.page("/ready").await, "ok\n", "it serves what it knows");
    relay.mend();
    plane.says("/debug/world", "meanwhile.").await;
    plane.says_no_more("/debug/world", "leaves.").await;
    until("it is heard of again", async || plane.metric("weft_source_age_seconds").await < 6.0).await;
}
