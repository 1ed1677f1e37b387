//! Services of all kinds.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};
use weft_tests::cluster::{App, Kind, Namespace, kubectl};
use weft_tests::wait::eventually;

fn instance(answer: &Value) -> String {
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap_or_default()).unwrap_or_default();
    body["instance"].as_str().unwrap_or_default().to_owned()
}

/// Pain 21.
#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn pain_21_pods_of_a_stateful_set_are_reached_by_name() {
    let space = Namespace::injected("stateful");
    space.start(&App::new("db").kind(Kind::StatefulSet).replicas(3).http(8080).echo(9000));
    // Another service with the same port must not be mixed up with it.
    space.start(&App::new("other").kind(Kind::StatefulSet).http(8080).echo(9000));
    let client = space.client();
    for number in 0..3 {
        let name = format!("db-{number}");
        for host in [format!("{name}.db"), format!("{name}.db.{}.svc.cluster.local", space.name())] {
            let answer = client.until(&format!("http://{host}:8080/"), &[], 200).await;
            assert_eq!(instance(&answer), name, "{host}: {answer}");
        }
    }
    assert_eq!(instance(&client.until("http://other-0.other:8080/", &[], 200).await), "other-0");
    // Pods of one set find each other, and themselves.
    let first = kubectl(&[
        "-n",
        space.name(),
        "exec",
        "db-0",
        "-c",
        "app",
        "--",
        "/weft-test-app",
        "call",
        "http://db-0.db:8080/",
    ]);
    assert!(first.contains("db-0"), "{first}");
}

/// Pain 8.
#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn pain_8_a_server_that_speaks_first_is_heard_at_once() {
    let space = Namespace::injected("banner");
    space.start(
        &App::new("server")
            .banner(3306)
            .echo(9000)
            .probes(json!({"readinessProbe": {"tcpSocket": {"port": 3306}, "periodSeconds": 1}})),
    );
    let client = space.client();
    let text =
        eventually("the banner comes", async || client.run(&["exchange", "server:3306", "quit"])).await;
    assert!(text.contains("quit"), "{text}");
    let text = eventually("the echo comes", async || client.run(&["exchange", "server:9000", "hello"])).await;
    assert!(text.contains("hello"), "{text}");
}

/// Pain 24: gRPC is balanced by request.
#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn pain_24_grpc_calls_are_spread_over_all_pods() {
    let space = Namespace::injected("grpc");
    space.start(&App::new("server").grpc(8080).replicas(2));
    let client = space.client();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..12 {
        let answer = client.call("http://server:8080/shop.Books/Get", &["--grpc", "--body", "a message"]);
        assert_eq!(answer["trailers"]["grpc-status"], "0", "{answer}");
        seen.insert(answer["trailers"]["x-instance"].to_string());
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn a_pod_reaches_itself_through_its_service() {
    let space = Namespace::injected("itself");
    space.start(&App::new("server").http(8080));
    space.apply("{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default}, spec: {mtls: {mode: STRICT}}}");
    let server = space.pod("app=server");
    let answer = server.until("http://server:8080/", &[], 200).await;
    assert_eq!(instance(&answer), server.name(), "{answer}");
    // By its own address, and on loopback.
    for host in [server.address(), "127.0.0.1".to_owned()] {
        let answer = server.until(&format!("http://{host}:8080/"), &[], 200).await;
        assert_eq!(instance(&answer), server.name(), "{answer}");
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn services_by_other_means_than_a_selector() {
    let space = Namespace::injected("means");
    space.start(&App::new("server").http(8080).replicas(2));
    let client = space.client();
    let address = space.pod("app=server").address();
    space.apply(&format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{name: alias}}
spec: {{type: ExternalName, externalName: server.{space}.svc.cluster.local, ports: [{{name: http, port: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: chosen}}
spec: {{ports: [{{name: http, port: 80, targetPort: 8080}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: chosen-1, labels: {{kubernetes.io/service-name: chosen}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints: [{{addresses: ["{address}"], conditions: {{ready: true}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: named}}
spec: {{selector: {{app: server}}, ports: [{{name: http, port: 80, targetPort: http}}]}}
"#,
        space = space.name()
    ));
    client.until("http://alias:8080/", &[], 200).await;
    client.until("http://named/", &[], 200).await;
    client.until("http://chosen/", &[], 200).await;
    let only = client.requests("http://chosen/", 20, &[]);
    only.assert_no_failure();
    assert_eq!(only.instances.len(), 1, "{:?}", only.instances);
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn node_local_traffic_stays_on_its_node() {
    let space = Namespace::injected("local");
    let spread = json!({"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "server"}},
    }]});
    space.start(&App::new("server").http(8080).replicas(2).pod(spread));
    let client = space.client();
    let both = client.requests("http://server:8080/", 40, &[]);
    assert_eq!(both.instances.len(), 2, "{:?}", both.instances);
    space.kubectl(&[
        "patch",
        "service",
        "server",
        "--type=merge",
        "-p",
        r#"{"spec":{"internalTrafficPolicy":"Local"}}"#,
    ]);
    let node = client.object()["spec"]["nodeName"].clone();
    let here =
        space.pods("app=server").into_iter().find(|name| space.get("pod", name)["spec"]["nodeName"] == node);
    let here = here.expect("one pod a node");
    eventually("requests stay on the node", async || {
        let summary = client.requests("http://server:8080/", 20, &[]);
        summary.assert_no_failure();
        if summary.instances.keys().eq([&here]) { Ok(()) } else { Err(format!("{:?}", summary.instances)) }
    })
    .await;
}

/// A service with an address of each family: both lead into the mesh, by literal address and by name.
#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn services_of_both_address_families_are_reached_by_either() {
    let families = kubectl(&["get", "service", "kubernetes", "-o", "jsonpath={.spec.ipFamilyPolicy}"]);
    let space = Namespace::injected("families");
    space.start(&App::new("server").http(8080));
    space.apply("{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default}, spec: {mtls: {mode: STRICT}}}");
    let both = r#"{"spec": {"ipFamilyPolicy": "RequireDualStack"}}"#;
    if let Err(why) = space.try_kubectl(&["patch", "service", "server", "--type=merge", "-p", both]) {
        eprintln!("not done: the cluster has one address family ({families}): {why}");
        return;
    }
    let service = space.get("service", "server");
    let urls = |addresses: &Value, field: Option<&str>| -> Vec<String> {
        let addresses = addresses.as_array().unwrap().iter();
        let addresses = addresses.map(|address| field.map_or(address, |field| &address[field]));
        let addresses = addresses.map(|address| address.as_str().unwrap().parse::<IpAddr>().unwrap());
        addresses.map(|address| format!("http://{}/", SocketAddr::new(address, 8080))).collect()
    };
    let of_service = urls(&service["spec"]["clusterIPs"], None);
    let of_pod = urls(&space.pod("app=server").object()["status"]["podIPs"], Some("ip"));
    assert_eq!((of_service.len(), of_pod.len()), (2, 2), "{of_service:?}, {of_pod:?}");
    let client = space.client();
    for url in &of_service {
        client.until(url, &[], 200).await;
    }
    client.until("http://server:8080/", &[], 200).await;
    // Neither family is a way round STRICT.
    let outside = Namespace::labelled("families-outside", &[]);
    let outsider = outside.client();
    for url in of_service.iter().chain(&of_pod) {
        eventually(&format!("strict holds at {url}"), async || {
            let answer = outsider.call(url, &[]);
            if answer["status"] == 0 { Ok(()) } else { Err(answer.to_string()) }
        })
        .await;
    }
}
