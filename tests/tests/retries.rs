//! Retries: they hide failures, send nothing twice that must not be, and cannot become a storm.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use weft_tests::client::Client;
use weft_tests::mesh::Mesh;

fn retries(policy: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: stock}}
spec:
  hosts: [stock]
  http:
  - route: [{{destination: {{host: stock}}}}]
    retries: {policy}
"
    )
}

async fn stock() -> (Mesh, Client) {
    let mesh = Mesh::up().await;
    let stock = mesh.run("stock").http().start().await;
    let shop = mesh.client("shop").await;
    stock.reached_by(&shop, "http://stock:9080/").await;
    (mesh, shop)
}

/// How often the application saw requests with this key.
async fn seen(shop: &Client, key: &str) -> u64 {
    shop.get(&format!("http://stock:9080/seen?key={key}")).await.expect(200).field("seen").parse().unwrap()
}

#[tokio::test]
async fn retries_hide_the_failures_of_a_flaky_service() {
    let (mesh, shop) = stock().await;
    let url = "http://stock:9080/?status=500&fail_every=5";
    let before = shop.load(url).requests(200).await;
    assert!(before.failed >= 30, "{before:?}");
    mesh.apply(&retries("{attempts: 3, retryOn: 5xx, perTryTimeout: 5s}")).await;
    shop.load(url).connections(1).requests(300).await.assert_no_failure();
    mesh.apply(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stock}
spec:
  parentRefs: [{group: '', kind: Service, name: stock, port: 9080}]
  rules:
  - backendRefs: [{name: stock, port: 9080}]
    retry: {codes: [500], attempts: 3, backoff: 5ms}
",
    )
    .await;
    shop.load(url).connections(1).requests(300).await.assert_no_failure();
}

#[tokio::test]
async fn pain_12_a_post_that_may_have_been_processed_is_sent_once() {
    let (_mesh, shop) = stock().await;
    // The application takes the request, then the connection breaks: nobody knows whether the payment was made.
    let broken =
        shop.request("POST", "http://stock:9080/pay?reset_first=1&key=broken").body("5 EUR").send().await;
    broken.expect(503);
    assert_eq!(seen(&shop, "broken").await, 1, "the payment was sent twice");
    let busy = shop.request("POST", "http://stock:9080/pay?status=503&key=busy").body("5 EUR").send().await;
    busy.expect(503);
    assert_eq!(seen(&shop, "busy").await, 1, "the payment was sent twice");
}

#[tokio::test]
async fn pain_05_a_get_whose_connection_breaks_is_sent_again() {
    let (_mesh, shop) = stock().await;
    shop.get("http://stock:9080/?reset_first=1&key=get").await.expect(200);
    assert_eq!(seen(&shop, "get").await, 2);
}

#[tokio::test]
async fn a_post_is_sent_again_where_the_policy_says_so() {
    let (mesh, shop) = stock().await;
    mesh.apply(&retries("{attempts: 2, retryOn: 5xx}")).await;
    let url = "http://stock:9080/pay?status=503&fail_first=1&key=post";
    shop.request("POST", url).body("5 EUR").send().await.expect(200);
    assert_eq!(seen(&shop, "post").await, 2);
}

#[tokio::test]
async fn pain_13_a_service_that_is_down_gets_a_bounded_share_of_retries() {
    let (mesh, shop) = stock().await;
    mesh.apply(&retries("{attempts: 10, retryOn: 5xx}")).await;
    let load = shop.load("http://stock:9080/?status=503&key=storm").connections(16);
    let down = load.requests(1000).await;
    assert_eq!(down.failed, down.requests, "{down:?}");
    let attempts = seen(&shop, "storm").await;
    // Without a budget there would be eleven attempts a request.
    assert!(attempts < down.requests * 2, "{attempts} attempts for {} requests", down.requests);
}
