//! Who may call whom: mutual TLS without the applications' knowledge, STRICT and PERMISSIVE.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use weft_tests::mesh::Mesh;

const STRICT: &str = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
";

const REVIEWS: &str = "http://reviews:9080/reviews/1?book=7";

#[tokio::test]
async fn services_talk_over_mutual_tls_and_the_caller_is_known_by_its_identity() {
    let mesh = Mesh::up().await;
    let reviews = mesh.run("reviews").version("v1").http().start().await;
    let shop = mesh.client("shop").await;
    reviews.reached_by(&shop, REVIEWS).await;

    let answer = shop.request("GET", REVIEWS).header("x-note", "kept").send().await.expect(200);
    let caller = answer.field("headers.x-forwarded-client-cert");
    assert!(caller.contains("URI=spiffe://cluster.local/ns/default/sa/shop"), "{}", answer.text());
    assert!(caller.contains("By=spiffe://cluster.local/ns/default/sa/reviews"), "{}", answer.text());
    // The application sees the request as it was written.
    assert_eq!(answer.field("path"), "/reviews/1?book=7");
    assert_eq!(answer.field("headers.host"), "reviews:9080");
    assert_eq!(answer.field("headers.x-note"), "kept");
}

#[tokio::test]
async fn nobody_can_claim_another_identity_in_a_header() {
    let mesh = Mesh::up().await;
    let reviews = mesh.run("reviews").http().start().await;
    let (shop, outsider) = (mesh.client("shop").await, mesh.outsider("outsider").await);
    reviews.reached_by(&shop, REVIEWS).await;
    let lie =
        "By=spiffe://cluster.local/ns/default/sa/reviews;URI=spiffe://cluster.local/ns/default/sa/admin";

    let answer = shop.request("GET", REVIEWS).header("x-forwarded-client-cert", lie).send().await.expect(200);
    assert!(!answer.field("headers.x-forwarded-client-cert").contains("admin"), "{}", answer.text());
    assert!(answer.field("headers.x-forwarded-client-cert").contains("sa/shop"), "{}", answer.text());

    let url = format!("http://{}:9080/", reviews.address(false).await);
    let answer =
        outsider.request("GET", &url).header("x-forwarded-client-cert", lie).send().await.expect(200);
    assert_eq!(answer.field("headers.x-forwarded-client-cert"), "", "{}", answer.text());
}

#[tokio::test]
async fn plain_text_is_accepted_by_permissive_and_refused_by_strict_workloads() {
    let mesh = Mesh::up().await;
    let reviews = mesh.run("reviews").http().start().await;
    let (shop, outsider) = (mesh.client("shop").await, mesh.outsider("outsider").await);
    reviews.reached_by(&shop, REVIEWS).await;
    let url = format!("http://{}:9080/", reviews.address(false).await);

    outsider.get(&url).await.expect(200);
    mesh.apply(STRICT).await;
    let refused = outsider.request("GET", &url).try_send().await;
    assert!(refused.is_err(), "plain text was answered: {refused:?}");
    shop.get(REVIEWS).await.expect(200);

    mesh.apply(&STRICT.replace("STRICT", "PERMISSIVE")).await;
    outsider.get(&url).await.expect(200);
    shop.get(REVIEWS).await.expect(200);
}

#[tokio::test]
async fn mutual_tls_can_be_disabled_for_one_workload() {
    let mesh = Mesh::up().await;
    let reviews = mesh.run("reviews").http().start().await;
    let shop = mesh.client("shop").await;
    reviews.reached_by(&shop, REVIEWS).await;
    mesh.apply(
        "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: reviews}
spec:
  selector: {matchLabels: {app: reviews}}
  mtls: {mode: DISABLE}
",
    )
    .await;
    let answer = shop.get(REVIEWS).await.expect(200);
    assert_eq!(answer.field("headers.x-forwarded-client-cert"), "", "{}", answer.text());
}
