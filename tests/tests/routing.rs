//! Where requests go: splits, header routes, time-outs, faults; and what becomes of those that can go nowhere.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use std::time::Duration;

use weft_tests::client::Client;
use weft_tests::mesh::{Mesh, said};

const REVIEWS: &str = "http://reviews:9080/reviews/1";

const SUBSETS: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---";

/// A mesh with two versions of `reviews` and a client.
async fn two_versions() -> (Mesh, Client) {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    for version in ["v1", "v2"] {
        let reviews = mesh.run("reviews").version(version).http().start().await;
        reviews.reached_by(&shop, REVIEWS).await;
    }
    (mesh, shop)
}

#[tokio::test]
async fn a_canary_gets_its_share_and_no_request_fails_while_shares_change() {
    let (mesh, shop) = two_versions().await;
    let split = |one: u32, two: u32| {
        format!(
            "{SUBSETS}
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec:
  hosts: [reviews]
  http:
  - route:
    - {{destination: {{host: reviews, subset: v1}}, weight: {one}}}
    - {{destination: {{host: reviews, subset: v2}}, weight: {two}}}
"
        )
    };
    let load = shop.load(REVIEWS).start();
    load.more(100).await;
    mesh.apply(&split(90, 10)).await;
    let canary = shop.load(REVIEWS).requests(1000).await;
    mesh.apply(&split(0, 100)).await;
    let promoted = shop.load(REVIEWS).requests(100).await;
    load.stop().await.assert_no_failure();

    canary.assert_no_failure();
    // Five standard deviations of the binomial distribution around 100 of 1,000.
    assert!((0.05..=0.15).contains(&canary.share("v2")), "{canary:?}");
    assert!(promoted.share("v2") >= 1.0, "{promoted:?}");
}

#[tokio::test]
async fn a_header_chooses_the_version_with_a_virtual_service() {
    let (mesh, shop) = two_versions().await;
    mesh.apply(&format!(
        "{SUBSETS}
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec:
  hosts: [reviews]
  http:
  - match: [{{headers: {{x-user: {{exact: tester}}}}}}]
    route: [{{destination: {{host: reviews, subset: v2}}}}]
  - route: [{{destination: {{host: reviews, subset: v1}}}}]
"
    ))
    .await;
    one_user_sees_the_second_version(&shop).await;
}

#[tokio::test]
async fn a_header_chooses_the_version_with_an_http_route() {
    let (mesh, shop) = two_versions().await;
    mesh.apply(
        "
apiVersion: v1
kind: Service
metadata: {name: reviews-v1}
spec: {selector: {app: reviews, version: v1}, ports: [{port: 9080, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: reviews-v2}
spec: {selector: {app: reviews, version: v2}, ports: [{port: 9080, name: http}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews}
spec:
  parentRefs: [{group: '', kind: Service, name: reviews, port: 9080}]
  rules:
  - matches: [{headers: [{name: x-user, value: tester}]}]
    backendRefs: [{name: reviews-v2, port: 9080}]
  - backendRefs: [{name: reviews-v1, port: 9080}]
",
    )
    .await;
    one_user_sees_the_second_version(&shop).await;
}

async fn one_user_sees_the_second_version(shop: &Client) {
    let others = shop.load(REVIEWS).requests(40).await;
    let tester = shop.load(REVIEWS).header("x-user", "tester").requests(40).await;
    others.assert_no_failure();
    tester.assert_no_failure();
    assert!(others.share("v1") >= 1.0, "{others:?}");
    assert!(tester.share("v2") >= 1.0, "{tester:?}");
}

#[tokio::test]
async fn a_time_out_is_answered_504_and_says_so() {
    let (mesh, shop) = two_versions().await;
    mesh.apply(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - timeout: 250ms
    retries: {attempts: 0}
    route: [{destination: {host: reviews}}]
",
    )
    .await;
    shop.get(REVIEWS).await.expect(200);
    let answer = shop.get("http://reviews:9080/slow?ms=60000").await.expect(504);
    assert!(!answer.text().is_empty(), "the body says what happened");
    mesh.workload("shop").logged(&["504", "UT", "/slow"]).await;
}

#[tokio::test]
async fn injected_faults_hit_their_share_and_nobody_else() {
    let (mesh, shop) = two_versions().await;
    mesh.apply(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {x-fault: {exact: abort}}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: reviews}}]
  - match: [{headers: {x-fault: {exact: half}}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 50}}}
    route: [{destination: {host: reviews}}]
  - match: [{headers: {x-fault: {exact: delay}}}]
    fault: {delay: {fixedDelay: 700ms, percentage: {value: 100}}}
    route: [{destination: {host: reviews}}]
  - route: [{destination: {host: reviews}}]
",
    )
    .await;
    shop.request("GET", REVIEWS).header("x-fault", "abort").send().await.expect(418);
    let half = shop.load(REVIEWS).header("x-fault", "half").requests(400).await;
    let aborted = half.statuses.get(&418).copied().unwrap_or_default();
    assert!((120..=280).contains(&aborted), "{half:?}");
    let began = std::time::Instant::now();
    shop.request("GET", REVIEWS).header("x-fault", "delay").send().await.expect(200);
    assert!(began.elapsed() >= Duration::from_millis(700), "it was not delayed");
    shop.load(REVIEWS).requests(50).await.assert_no_failure();
    mesh.workload("shop").logged(&["418", "FI"]).await;
    mesh.workload("shop").logged(&["200", "DI"]).await;
}

#[tokio::test]
async fn a_reference_to_nothing_is_accepted_with_a_warning_and_its_requests_get_503_naming_it() {
    let (mesh, shop) = two_versions().await;
    let printed = mesh
        .apply(&format!(
            "{SUBSETS}
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec:
  hosts: [reviews]
  http:
  - match: [{{uri: {{prefix: /to-no-service}}}}]
    route: [{{destination: {{host: missing}}}}]
  - match: [{{uri: {{prefix: /to-no-subset}}}}]
    route: [{{destination: {{host: reviews, subset: v9}}}}]
  - route: [{{destination: {{host: reviews}}}}]
"
        ))
        .await;
    for named in ["warning", "missing", "v9"] {
        assert!(printed.contains(named), "{named} is not named: {printed}");
    }
    for (path, object) in [("/to-no-service", "missing"), ("/to-no-subset", "v9")] {
        let answer = shop.get(&format!("http://reviews:9080{path}")).await.expect(503);
        assert!(answer.text().contains(object), "{path}: {}", answer.text());
        mesh.workload("shop").logged(&["503", "NC", path]).await;
    }
    shop.get(REVIEWS).await.expect(200);
    // What was missing comes: no further change of the policy is needed.
    let missing = mesh.run("missing").http().start().await;
    missing.reached_by(&shop, "http://missing:9080/").await;
}

#[tokio::test]
async fn all_mistakes_of_a_file_are_told_at_once_and_nothing_is_applied() {
    let (mesh, shop) = two_versions().await;
    let output = mesh
        .weft_with(
            &["apply"],
            "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - timeuot: 1s
    route:
    - destination: {host: reviews, port: {number: 99999}}
      weight: heavy
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: good}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
",
        )
        .await;
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for part in
        ["timeuot", "did you mean", "timeout", "99999", "heavy", ":7:", ":9:", ":10:", "nothing was applied"]
    {
        assert!(told.contains(part), "{part} is missing: {told}");
    }
    let objects = mesh.good(&["get"]).await;
    assert!(!objects.contains("good"), "a part was applied: {objects}");
    shop.get(REVIEWS).await.expect(200);
}
