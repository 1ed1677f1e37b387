//! Workloads begin and end: the order of sidecar and application, jobs, explicit mode, ordinary users; and nothing is
//! left.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use weft_tests::mesh::{Mesh, Plan, said};
use weft_tests::wait::{eventually, until};

const REVIEWS: &str = "http://reviews:9080/";

#[tokio::test]
async fn pain_01_an_application_that_calls_at_once_is_served_by_its_sidecar() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    mesh.run("reviews").http().start().await.reached_by(&shop, REVIEWS).await;
    for _ in 0..8 {
        // The first thing that it does is a call; there is nobody who would try again.
        let answer = mesh.good(&["run", "--", "curl", "-sf", "--max-time", "10", REVIEWS]).await;
        assert!(answer.contains("x-forwarded-client-cert"), "it went around its sidecar: {answer}");
    }
}

#[tokio::test]
async fn pain_03_a_job_ends_with_its_own_exit_code_and_leaves_nothing_running() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    mesh.run("reviews").http().start().await.reached_by(&shop, REVIEWS).await;
    let job = "curl -sf --max-time 10 http://reviews:9080/ > /dev/null && exit 7";
    let output = mesh.weft(&["run", "--name", "job", "--", "sh", "-c", job]).await;
    assert_eq!(output.status.code(), Some(7), "{}", said(&output));
    // Also with a connection that it leaves half closed, and a child that it leaves behind.
    let job = "sleep 1000 & exec 3<>/dev/tcp/reviews/9080; printf 'GET / HTTP/1.1\\r\\nHost: reviews\\r\\n' >&3; exit 3";
    let output = mesh.weft(&["run", "--name", "job", "--drain", "2", "--", "bash", "-c", job]).await;
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    mesh.good(&["run", "--detach", "--name", "job", "--", "sh", "-c", "sleep 0.3; exit 5"]).await;
    eventually("the job has ended, and its sidecar too", async || {
        let record = mesh.workload("job").record().await;
        let ended = record["state"] == "exited" && record["exitCode"] == 5 && record["sidecarPid"].is_null();
        if ended { Ok(()) } else { Err(record.to_string()) }
    })
    .await;
}

/// What every kind of mesh must be able to do.
async fn works_and_leaves_nothing(plan: Plan) {
    let mesh = plan.up().await;
    let shop = mesh.client("shop").await;
    let outsider = mesh.outsider("outsider").await;
    for version in ["v1", "v2"] {
        mesh.run("reviews").version(version).http().start().await.reached_by(&shop, REVIEWS).await;
    }
    let answer = shop.get(REVIEWS).await.expect(200);
    assert!(answer.field("headers.x-forwarded-client-cert").contains("sa/shop"), "{}", answer.text());
    mesh.apply(
        "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: v2}}]}]}
",
    )
    .await;
    let load = shop.load(REVIEWS).requests(100).await;
    load.assert_no_failure();
    assert!(load.share("v2") >= 1.0, "{load:?}");
    let address = mesh.workload("reviews-v1").address(false).await;
    let plain = outsider.request("GET", &format!("http://{address}:9080/")).try_send().await;
    assert!(plain.is_err(), "plain text was answered: {plain:?}");
    eventually("the traffic is counted", async || {
        let stat = mesh.json(&["stat", "--by", "edge", "--window", "10m"]).await;
        let rows = stat["rows"].as_array().cloned().unwrap_or_default();
        let edge = rows.iter().find(|row| {
            row["service"].as_str().is_some_and(|it| it.starts_with("reviews"))
                && row["source"].as_str().is_some_and(|it| it.contains("shop"))
        });
        let all = edge.is_some_and(|edge| {
            edge["requests"].as_u64() >= Some(100) && edge["mtls_share"].as_f64() >= Some(0.99)
        });
        if all { Ok(()) } else { Err(stat.to_string()) }
    })
    .await;
    mesh.good(&["down"]).await;
    until("every trace is gone", || mesh.traces().is_empty()).await;
    assert!(mesh.good(&["down"]).await.contains("is not up"));
}

#[tokio::test]
async fn a_mesh_of_root_works_and_down_leaves_nothing() {
    works_and_leaves_nothing(Mesh::plan()).await;
}

#[tokio::test]
async fn a_mesh_of_an_ordinary_user_works_and_down_leaves_nothing() {
    if !nix::unistd::geteuid().is_root() {
        // Then the other scenarios are run by an ordinary user already.
        return;
    }
    works_and_leaves_nothing(Mesh::plan().ordinary_user()).await;
}

#[tokio::test]
async fn a_mesh_without_namespaces_works_through_local_ports() {
    let mesh = Mesh::plan().option("--explicit").up().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let reviews = mesh.run("reviews").serve(&format!("http:{port}"), weft_tests::workload::App::http());
    let reviews = reviews.start().await;
    let url = format!("http://reviews:{port}/hello");
    eventually("reviews is reached", async || {
        let output = mesh
            .weft(&["run", "--service-account", "shop", "--", "curl", "-s", "--max-time", "10", &url])
            .await;
        let answer = said(&output);
        // Over mutual TLS, though nothing was intercepted.
        if answer.contains("sa/shop") && answer.contains("\"instance\":\"reviews\"") {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    mesh.apply(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{fault: {abort: {httpStatus: 418, percentage: {value: 100}}}, route: [{destination: {host: reviews}}]}]}
",
    )
    .await;
    let output = mesh.weft(&["run", "--", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", &url]).await;
    assert!(said(&output).contains("418"), "{}", said(&output));
    reviews.stop().await;
    mesh.good(&["down"]).await;
    until("every trace is gone", || mesh.traces().is_empty()).await;
}

#[tokio::test]
async fn two_meshes_of_one_machine_know_nothing_of_each_other() {
    let (one, other) = (Mesh::up().await, Mesh::up().await);
    let (here, there) = (one.client("shop").await, other.client("shop").await);
    one.run("reviews").name("here").http().start().await.reached_by(&here, REVIEWS).await;
    let unknown = there.request("GET", REVIEWS).try_send().await;
    assert!(unknown.is_err(), "{unknown:?}");
    other.run("reviews").name("there").http().start().await.reached_by(&there, REVIEWS).await;
    let answers = here.load(REVIEWS).requests(30).await;
    answers.assert_no_failure();
    assert_eq!(answers.instances.keys().collect::<Vec<_>>(), ["here"]);
}

#[tokio::test]
async fn a_sidecar_that_crashes_comes_back_and_its_workload_is_reached_again() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    let reviews = mesh.run("reviews").http().start().await;
    reviews.reached_by(&shop, REVIEWS).await;
    let pid = i32::try_from(reviews.record().await["sidecarPid"].as_i64().expect("a sidecar")).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    eventually("another one runs", async || {
        let record = reviews.record().await;
        if record["sidecarPid"].as_i64().is_some_and(|it| it != i64::from(pid)) {
            Ok(())
        } else {
            Err(record.to_string())
        }
    })
    .await;
    reviews.reached_by(&shop, REVIEWS).await;
    mesh.in_step().await;
}
