//! A mesh's workloads and the world outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use weft_tests::machine::{MACHINE, Machine};
use weft_tests::mesh::{Mesh, said};
use weft_tests::wait::eventually;

/// The process that makes the connections.
fn way_out(mesh: &Mesh) -> i32 {
    let record = std::fs::read(mesh.state().join("mesh.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    i32::try_from(record["egress"]["pid"].as_i64().unwrap()).unwrap()
}

fn machine() -> Machine {
    let known = format!("books.example={MACHINE}");
    let serves =
        ["--instance", "outside", "--http", "8080", "--echo", "9000", "--dns", "53", "--known", &known];
    Machine::start(&serves, MACHINE)
}

async fn reaches_the_world(mesh: &Mesh) {
    let shop = mesh.client("shop").await;
    let answer = shop.get(&format!("http://{MACHINE}:8080/plain")).await.expect(200);
    assert_eq!(answer.field("instance"), "outside");
    assert_eq!(answer.field("path"), "/plain");
    // The machine's resolver knows names that the mesh does not.
    let answer = shop.get("http://books.example:8080/by-name").await.expect(200);
    assert_eq!(answer.field("headers.host"), "books.example:8080");
    let explained = mesh.json(&["proxy", "dns", "shop", "books.example"]).await;
    assert_eq!(explained["addresses"][0], MACHINE, "{explained}");
    let echoed = shop.exchange(&format!("{MACHINE}:9000"), b"raw bytes").await.unwrap();
    assert_eq!(echoed, b"raw bytes");
    // What leaves the mesh is seen like all else.
    mesh.workload("shop").logged(&["PassthroughCluster", &format!("{MACHINE}:8080")]).await;
}

#[tokio::test]
async fn workloads_reach_the_world_outside_and_not_the_machine_itself() {
    let mesh = Mesh::plan().on(machine()).up().await;
    reaches_the_world(&mesh).await;
    // The machine's link-local and loopback addresses are not the world; the workload's own loopback is its own.
    let shop = mesh.client("other").await;
    shop.request("GET", "http://169.254.169.254/latest/meta-data").try_send().await.unwrap_err();
    mesh.workload("other").logged(&["169.254.169.254 is not outside"]).await;
    // Killed, it is missed and says what to do; `weft up` brings it back.
    let pid = way_out(&mesh);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    eventually("it is missed, and what to do is said", async || {
        if let Ok(answer) = shop.request("GET", &format!("http://{MACHINE}:8080/")).try_send().await {
            return Err(answer.text());
        }
        let log = mesh.workload("other").proxy_log();
        if log.contains("`weft up` starts it again") { Ok(()) } else { Err(log) }
    })
    .await;
    mesh.good(&["up"]).await;
    shop.get(&format!("http://{MACHINE}:8080/")).await.expect(200);
    let again = way_out(&mesh);
    assert_ne!(again, pid);
    mesh.good(&["down"]).await;
    assert!(std::fs::read_link(format!("/proc/{again}/exe")).is_err(), "nothing of it is left");
}

#[tokio::test]
async fn an_ordinary_user_reaches_the_world_too() {
    let mesh = Mesh::plan().on(machine()).ordinary_user().up().await;
    reaches_the_world(&mesh).await;
}

#[tokio::test]
async fn without_a_way_out_there_is_none() {
    let mesh = Mesh::plan().on(machine()).option("--no-egress").up().await;
    let shop = mesh.client("shop").await;
    shop.request("GET", &format!("http://{MACHINE}:8080/")).try_send().await.unwrap_err();
    let help = mesh.weft(&["up", "--help"]).await;
    assert!(said(&help).contains("--no-egress"));
}

/// A policy for a host outside: the names that users give to what is not theirs.
#[tokio::test]
async fn a_service_entry_governs_calls_to_the_world() {
    let mesh = Mesh::plan().on(machine()).up().await;
    mesh.apply(&format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: bank}}\nspec:\n  hosts: [api.bank.example]\n  \
         location: MESH_EXTERNAL\n  resolution: STATIC\n  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: 8080}}]\n  \
         endpoints: [{{address: {MACHINE}}}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: bank}}\nspec:\n  hosts: [api.bank.example]\n  \
         http:\n  - match: [{{uri: {{prefix: /admin}}}}]\n    fault: {{abort: {{httpStatus: 403, percentage: {{value: 100}}}}}}\n    \
         route: [{{destination: {{host: api.bank.example}}}}]\n  - route: [{{destination: {{host: api.bank.example}}}}]\n"
    ))
    .await;
    let shop = mesh.client("shop").await;
    let answer = shop.get("http://api.bank.example/accounts").await.expect(200);
    assert_eq!(answer.field("instance"), "outside");
    shop.get("http://api.bank.example/admin/x").await.expect(403);
}
