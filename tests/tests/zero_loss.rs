//! Nothing is lost while the mesh changes: policy, endpoints, certificates, workloads that leave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use std::time::Duration;

use weft_tests::client::Client;
use weft_tests::mesh::{Mesh, Plan};
use weft_tests::wait::eventually;

const REVIEWS: &str = "http://reviews:9080/";

async fn with_client(plan: Plan) -> (Mesh, Client) {
    let mesh = plan.up().await;
    let shop = mesh.client("shop").await;
    (mesh, shop)
}

#[tokio::test]
async fn policy_changes_under_load_lose_no_request() {
    let (mesh, shop) = with_client(Mesh::plan()).await;
    for version in ["v1", "v2"] {
        mesh.run("reviews").version(version).http().start().await.reached_by(&shop, REVIEWS).await;
    }
    let load = shop.load(REVIEWS).start();
    let posts = shop.load(REVIEWS).method("POST").connections(2).start();
    for round in 0..6 {
        let (one, two) = if round % 2 == 0 { (100, 0) } else { (0, 100) };
        let mode = ["PERMISSIVE", "STRICT", "PERMISSIVE", "DISABLE", "PERMISSIVE", "STRICT"][round];
        mesh.apply(&format!(
            "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: reviews}}
spec:
  host: reviews
  trafficPolicy: {{loadBalancer: {{simple: {balancer}}}}}
  subsets:
  - {{name: 'v1-{round}', labels: {{version: v1}}}}
  - {{name: 'v2-{round}', labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec:
  hosts: [reviews]
  http:
  - timeout: 1{round}s
    route:
    - {{destination: {{host: reviews, subset: 'v1-{round}'}}, weight: {one}}}
    - {{destination: {{host: reviews, subset: 'v2-{round}'}}, weight: {two}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default}}
spec: {{mtls: {{mode: {mode}}}}}
",
            balancer = ["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"][round % 3],
        ))
        .await;
        load.more(40).await;
    }
    for object in ["VirtualService/reviews", "DestinationRule/reviews", "PeerAuthentication/default"] {
        mesh.good(&["delete", object]).await;
        load.more(40).await;
    }
    load.stop().await.assert_no_failure();
    posts.stop().await.assert_no_failure();
}

#[tokio::test]
async fn pain_06_and_07_replicas_that_come_and_go_under_load_lose_no_request() {
    let (mesh, shop) = with_client(Mesh::plan()).await;
    mesh.run("reviews").http().start().await.reached_by(&shop, REVIEWS).await;
    let load = shop.load(REVIEWS).start();
    let posts = shop.load("http://reviews:9080/?ms=20").method("POST").connections(2).start();
    for name in ["second", "third", "fourth"] {
        let replica = mesh.run("reviews").name(name).http().start().await;
        eventually("the new replica gets requests", async || {
            let got = load.so_far().instances.get(name).copied().unwrap_or_default();
            if got > 5 { Ok(()) } else { Err(format!("{got}")) }
        })
        .await;
        replica.stop().await;
        load.more(30).await;
    }
    load.stop().await.assert_no_failure();
    posts.stop().await.assert_no_failure();
}

#[tokio::test]
async fn pain_02_a_workload_that_leaves_finishes_what_it_took() {
    let (mesh, shop) = with_client(Mesh::plan()).await;
    mesh.run("reviews").name("stays").http().start().await.reached_by(&shop, REVIEWS).await;
    let leaves = mesh.run("reviews").name("leaves").http().start().await;
    let slow = shop.load("http://reviews:9080/?ms=300").method("POST").connections(8).start();
    eventually("the one that leaves has work", async || {
        let got = slow.so_far().instances.get("leaves").copied().unwrap_or_default();
        if got > 0 { Ok(()) } else { Err("none yet".to_owned()) }
    })
    .await;
    let record = leaves.record().await;
    let pid = i32::try_from(record["pid"].as_i64().expect("a pid")).unwrap();
    // As an orchestrator does it: only the application is told, by SIGTERM.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).unwrap();
    eventually("it has left", async || {
        let record = leaves.record().await;
        if record["state"] == "exited" { Ok(()) } else { Err(record.to_string()) }
    })
    .await;
    slow.more(20).await;
    slow.stop().await.assert_no_failure();
}

#[tokio::test]
async fn pain_02_an_application_that_ends_still_reaches_others_while_it_finishes() {
    let (mesh, shop) = with_client(Mesh::plan()).await;
    mesh.run("reviews").http().start().await.reached_by(&shop, REVIEWS).await;
    // On SIGTERM this application says goodbye to another service, as many do.
    let script = "trap 'curl -sf --max-time 10 http://reviews:9080/goodbye > /dev/null && echo goodbye was said; exit 0' TERM
echo waiting; while :; do sleep 0.1; done";
    mesh.good(&["run", "--detach", "--name", "polite", "--", "sh", "-c", script]).await;
    let polite = mesh.workload("polite");
    let path = mesh.state().join("workloads/polite.default/app.log");
    // Its log goes with it: keep it open.
    let mut log = std::fs::File::open(path).unwrap();
    eventually(
        "it waits",
        async || if polite.app_log().contains("waiting") { Ok(()) } else { Err(polite.app_log()) },
    )
    .await;
    polite.stop().await;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut log, &mut text).unwrap();
    assert!(text.contains("goodbye was said"), "{text}");
}

#[tokio::test]
async fn pain_18_certificates_are_renewed_under_load_and_no_request_is_lost() {
    let (mesh, shop) = with_client(Mesh::plan().environment("WEFT_CERTIFICATE_LIFETIME", "6s")).await;
    let reviews = mesh.run("reviews").http().start().await;
    reviews.reached_by(&shop, REVIEWS).await;
    let load = shop.load(REVIEWS).pause(Duration::from_millis(10)).start();
    let serial = async || {
        let page = reviews.admin("/certs").await;
        page.lines().find(|line| line.contains("serial")).unwrap_or_default().to_owned()
    };
    let mut seen = std::collections::BTreeSet::new();
    eventually("it is renewed three times", async || {
        seen.insert(serial().await);
        if seen.len() > 3 { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    load.stop().await.assert_no_failure();
    // What is presented is the new one, and strangers still are not let in.
    shop.get(REVIEWS).await.expect(200);
}

#[tokio::test]
async fn pain_07_an_endpoint_that_vanished_without_a_word_is_tried_once_and_avoided() {
    let (mesh, shop) = with_client(Mesh::plan()).await;
    mesh.run("reviews").name("stays").http().start().await.reached_by(&shop, REVIEWS).await;
    let vanishes = mesh.run("reviews").name("vanishes").http().start().await;
    vanishes.reached_by(&shop, REVIEWS).await;
    let load = shop.load(REVIEWS).start();
    load.more(50).await;
    let record = vanishes.record().await;
    let pid = i32::try_from(record["pid"].as_i64().expect("a pid")).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    load.more(300).await;
    load.stop().await.assert_no_failure();
}
