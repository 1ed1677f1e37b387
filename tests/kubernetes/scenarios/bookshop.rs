//! The demo's claims, in a cluster: services in several languages, policies, telemetry.

use serde_json::Value;
use weft_tests::cluster::{App, Namespace, kubectl, proxy_status, weft_ok};
use weft_tests::wait::eventually;

const BOOKSHOP: &str = include_str!("../../../deploy/demo/kubernetes/bookshop.yaml");
const REVIEWS: &str = "http://reviews:9080/reviews/1";

/// The demo's policies: what is claimed on one machine is claimed of a cluster.
fn policy(name: &str) -> &'static str {
    match name {
        "canary" => include_str!("../../../deploy/demo/policies/canary.yaml"),
        "tester" => include_str!("../../../deploy/demo/policies/tester.yaml"),
        "retries" => include_str!("../../../deploy/demo/policies/retries.yaml"),
        "strict" => include_str!("../../../deploy/demo/policies/strict.yaml"),
        _ => panic!("the demo has no policy `{name}`"),
    }
}

fn bookshop(scenario: &str) -> Namespace {
    let shop = Namespace::injected(scenario);
    shop.apply(BOOKSHOP);
    for deployment in
        ["details-v1", "ratings-v1", "reviews-v1", "reviews-v2", "reviews-v3", "shop-v1", "stock-v1"]
    {
        shop.await_rollout(&format!("deployment/{deployment}"));
    }
    shop
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn the_bookshop_obeys_the_policies_of_its_namespace() {
    let shop = bookshop("bookshop");
    let client = shop.client();

    // Stock fails one request in four on purpose; a page is whole when it does not.
    let page = client.until("http://shop:9080/books/1", &[], 200).await;
    let page: Value = serde_json::from_str(page["body"].as_str().unwrap()).unwrap();
    for (service, language) in [("details", "Rust"), ("stock", "C")] {
        assert_eq!(page[service]["language"], language, "{page}");
    }

    shop.weft_apply(policy("canary"));
    let summary = client.requests(REVIEWS, 1000, &[]);
    summary.assert_no_failure();
    let share = summary.share("v2");
    assert!((0.06..0.14).contains(&share), "v2 gets a tenth: {:?}", summary.versions);

    shop.weft_apply(policy("tester"));
    let summary = client.requests(REVIEWS, 50, &["--header", "x-user=tester"]);
    summary.assert_no_failure();
    assert_eq!(summary.share("v3"), 1.0, "{:?}", summary.versions);
    assert_eq!(client.requests(REVIEWS, 200, &[]).share("v3"), 0.0);

    let before = client.requests("http://stock:9080/stock/1", 200, &[]);
    assert!(before.failed > 20, "stock fails on purpose: {before:?}");
    shop.weft_apply(policy("retries"));
    // One at a time: of many, one could meet every fourth answer again and again.
    client.requests("http://stock:9080/stock/1", 400, &["--connections", "1"]).assert_no_failure();
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn strict_mutual_tls_refuses_pods_without_a_sidecar() {
    let mesh = Namespace::injected("strict");
    mesh.start(&App::new("server").http(8080).service_account("server"));
    let client = mesh.client();
    let outside = Namespace::labelled("outside", &[]);
    let outsider = outside.client();
    assert_eq!(outsider.object()["spec"]["containers"].as_array().unwrap().len(), 1);

    let url = format!("http://server.{}:8080/", mesh.name());
    outsider.until(&url, &[], 200).await;
    client.until(&url, &[], 200).await;
    mesh.weft_apply(policy("strict"));
    client.requests(&url, 100, &[]).assert_no_failure();
    let refused = outsider.call(&url, &[]);
    assert_eq!(refused["status"], 0, "an outsider is refused: {refused}");

    // Kubelet's checks still pass: the pods stay ready.
    assert_eq!(mesh.pods("app=server").len(), 1);
    let ready = mesh.get("deployment", "server");
    assert_eq!(ready["status"]["readyReplicas"], 1, "{ready}");

    // What the server is told of who calls: the identity of the client's service account.
    let answer = client.call(&url, &[]);
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    let caller = body["headers"]["x-forwarded-client-cert"].as_str().unwrap_or_default();
    let identity = format!("spiffe://cluster.local/ns/{}/sa/default", mesh.name());
    assert!(caller.contains(&identity), "{body}");
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn policies_come_through_kubectl_and_their_status_says_so() {
    let space = Namespace::injected("kubectl");
    space.start(&App::new("server").version("v1").http(8080));
    space.start(&App::new("server").version("v2").http(8080));
    let client = space.client();
    space.apply(
        r#"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: server}
spec:
  parentRefs: [{group: "", kind: Service, name: server}]
  rules:
  - filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: x-route, value: ruled}]}
    backendRefs: [{name: server, port: 8080}]
"#,
    );
    eventually("the route holds", async || {
        let answer = client.call("http://server:8080/", &[]);
        if answer["body"].as_str().unwrap_or_default().contains("x-route") {
            Ok(())
        } else {
            Err(answer.to_string())
        }
    })
    .await;
    space
        .until("httproute", "server", |route| {
            let conditions = &route["status"]["parents"][0]["conditions"];
            let accepted = conditions.as_array().into_iter().flatten().find(|it| it["type"] == "Accepted");
            match accepted {
                Some(it)
                    if it["status"] == "True"
                        && it["observedGeneration"] == route["metadata"]["generation"] =>
                {
                    Ok(())
                }
                _ => Err(route["status"].to_string()),
            }
        })
        .await;

    // A mistake is refused where it is made, with its place.
    let why = space
        .try_apply(
            r#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wrong}
spec:
  hosts: [server]
  http:
  - timeout: soon
    route: [{destination: {host: server}}]
"#,
        )
        .expect_err("refused");
    assert!(why.contains("spec.http[0].timeout"), "{why}");
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn telemetry_tells_who_calls_whom() {
    let space = Namespace::injected("telemetry");
    space.start(&App::new("server").http(8080));
    let client = space.client();
    client.requests("http://server:8080/?status=503&fail_every=4", 200, &[]);
    let host = format!("server.{}.svc.cluster.local", space.name());
    eventually("weft stat shows the edge", async || {
        let text = weft_ok(&["stat", "-n", space.name(), "--by", "edge", "--window", "10m", "-o", "json"]);
        if text.contains(&host) && text.contains("client") { Ok(()) } else { Err(text) }
    })
    .await;
    let table = weft_ok(&["stat", "-n", space.name(), "--window", "10m"]);
    assert!(table.contains(&host), "{table}");
    let status = proxy_status();
    for pod in space.pods("app=server") {
        assert!(status.contains(&pod), "{status}");
    }
    // Prometheus' way: each sidecar's own page, and Istio's names of metrics.
    let pod = space.pod("app=client");
    let page = kubectl(&[
        "get",
        "--raw",
        &format!("/api/v1/namespaces/{}/pods/{}:15090/proxy/stats/prometheus", space.name(), pod.name()),
    ]);
    assert!(page.contains("istio_requests_total"), "{page}");
}
