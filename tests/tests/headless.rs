//! Headless services: clients choose the workload themselves, by its address or its name, and the mesh does the rest.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use weft_tests::client::Client;
use weft_tests::mesh::Mesh;
use weft_tests::wait::eventually;
use weft_tests::workload::App;

const STRICT: &str = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
";

/// The addresses that a workload's application is answered for a name, by its sidecar; in order.
async fn addresses(mesh: &Mesh, workload: &str, name: &str) -> Vec<String> {
    let output = mesh.weft(&["proxy", "dns", workload, name, "-o", "json"]).await;
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let all = told["addresses"].as_array().cloned().unwrap_or_default();
    let mut all: Vec<String> = all.iter().filter_map(|it| it.as_str().map(str::to_owned)).collect();
    all.sort();
    all
}

async fn resolves_to(mesh: &Mesh, name: &str, expected: &[&str]) {
    let mut expected: Vec<&str> = expected.to_vec();
    expected.sort_unstable();
    eventually(&format!("{name} is {expected:?}"), async || {
        let found = addresses(mesh, "shop", name).await;
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

/// The first line that a server says which speaks first.
async fn banner(client: &Client, place: &str) -> String {
    eventually(&format!("{place} speaks"), async || {
        let said = client.exchange(place, b"").await.map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        if said.is_empty() { Err("it said nothing".to_owned()) } else { Ok(said) }
    })
    .await
}

#[tokio::test]
async fn pain_21_each_workload_of_a_headless_service_is_reached_by_its_own_name_over_mutual_tls() {
    let mesh = Mesh::up().await;
    mesh.apply(STRICT).await;
    let shop = mesh.client("shop").await;
    let member = |service: &str, ordinal: u8| {
        let name = format!("{service}-{ordinal}");
        mesh.run(service).name(&name).serve("http:9080", App::http()).option("--headless").start()
    };
    // Two services on one port: Istio's listeners by port collided here.
    let (db_0, db_1, cache_0) = (member("db", 0).await, member("db", 1).await, member("cache", 0).await);
    let at = [db_0.address(false).await, db_1.address(false).await, cache_0.address(false).await];

    resolves_to(&mesh, "db", &[&at[0], &at[1]]).await;
    resolves_to(&mesh, "cache.default", &[&at[2]]).await;
    for (workload, service, address) in
        [(&db_0, "db", &at[0]), (&db_1, "db", &at[1]), (&cache_0, "cache", &at[2])]
    {
        let name = &workload.name;
        resolves_to(&mesh, &format!("{name}.{service}"), &[address]).await;
        let by_name = format!("http://{name}.{service}:9080/");
        workload.reached_by(&shop, &by_name).await;
        for url in [by_name, format!("http://{address}:9080/")] {
            for _ in 0..8 {
                let answer = shop.get(&url).await.expect(200);
                assert_eq!(answer.header("x-instance"), *name, "{url}");
                let caller = answer.field("headers.x-forwarded-client-cert");
                assert!(
                    caller.contains("URI=spiffe://cluster.local/ns/default/sa/shop"),
                    "{}",
                    answer.text()
                );
                let own = format!("By=spiffe://cluster.local/ns/default/sa/{service}");
                assert!(caller.contains(&own), "{}", answer.text());
            }
        }
    }
    // Whatever the request says: it is the address that was chosen.
    let url = format!("http://{}:9080/", at[1]);
    let answer = shop.request("GET", &url).header("host", "db-0.db:9080").send().await.expect(200);
    assert_eq!(answer.header("x-instance"), "db-1");
    // Telemetry has the name of the service.
    let host = "db.default.svc.cluster.local";
    let stats = mesh.workload("shop").admin("/stats/prometheus").await;
    let counted = format!("destination_service=\"{host}\"");
    assert!(stats.contains(&counted), "{counted} is missing:\n{stats}");
}

#[tokio::test]
async fn pain_21_a_workload_with_another_identity_is_not_taken_for_a_member() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    let other = mesh.run("other").http().start().await;
    other.reached_by(&shop, "http://other:9080/").await;
    // As after an address has gone from one workload to another, and not everybody has heard of it.
    let address = other.address(false).await;
    mesh.apply(&format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: db}}
spec: {{clusterIP: None, selector: {{app: db}}, ports: [{{name: http, port: 9080}}]}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: db-0}}
spec: {{address: {address}, serviceAccount: db, labels: {{app: db, security.istio.io/tlsMode: istio}}}}
"
    ))
    .await;
    resolves_to(&mesh, "db-0.db", &[&address]).await;
    let answer = shop.get("http://db-0.db:9080/").await.expect(503);
    assert!(answer.text().contains("spiffe://cluster.local/ns/default/sa/other"), "{}", answer.text());
}

#[tokio::test]
async fn pain_21_policies_hold_for_headless_services() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    let db = mesh.run("db").name("db-0").serve("http:9080", App::http()).option("--headless").start().await;
    let url = "http://db-0.db:9080/";
    db.reached_by(&shop, url).await;
    mesh.apply(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db}
spec:
  hosts: [db]
  http:
  - match: [{headers: {x-user: {exact: tester}}}]
    fault: {abort: {percentage: {value: 100}, httpStatus: 418}}
    route: [{destination: {host: db}}]
  - retries: {attempts: 3, retryOn: 5xx}
    route: [{destination: {host: db}}]
",
    )
    .await;
    shop.request("GET", url).header("x-user", "tester").send().await.expect(418);
    let answer = shop.get(&format!("{url}?key=a&status=503&fail_first=2")).await.expect(200);
    assert_eq!(answer.header("x-instance"), "db-0");
}

#[tokio::test]
async fn pain_21_raw_tcp_of_a_headless_service_goes_to_the_chosen_workload() {
    let mesh = Mesh::up().await;
    mesh.apply(STRICT).await;
    let (shop, outsider) = (mesh.client("shop").await, mesh.outsider("outsider").await);
    let member = |service: &str, ordinal: u8| {
        let name = format!("{service}-{ordinal}");
        mesh.run(service).name(&name).serve("tcp-mail:2525", App::banner()).option("--headless").start()
    };
    let (one, two, other) = (member("mail", 0).await, member("mail", 1).await, member("post", 0).await);
    for (workload, service) in [(&one, "mail"), (&two, "mail"), (&other, "post")] {
        let address = workload.address(false).await;
        for place in [format!("{}.{service}:2525", workload.name), format!("{address}:2525")] {
            assert_eq!(banner(&shop, &place).await, format!("220 {} speaks first", workload.name), "{place}");
        }
        // STRICT: without mutual TLS nothing is said.
        let refused = outsider.exchange(&format!("{address}:2525"), b"").await;
        assert!(refused.as_ref().map_or(true, Vec::is_empty), "{refused:?}");
    }
}

#[tokio::test]
async fn pain_21_a_headless_service_grows_and_shrinks_and_no_request_is_lost() {
    let mesh = Mesh::up().await;
    mesh.apply(STRICT).await;
    let shop = mesh.client("shop").await;
    let first =
        mesh.run("db").name("db-0").serve("http:9080", App::http()).option("--headless").start().await;
    let at_first = first.address(false).await;
    resolves_to(&mesh, "db", &[&at_first]).await;
    first.reached_by(&shop, "http://db-0.db:9080/").await;
    let load = shop.load("http://db-0.db:9080/").start();

    let second =
        mesh.run("db").name("db-1").serve("http:9080", App::http()).option("--headless").start().await;
    let at_second = second.address(false).await;
    resolves_to(&mesh, "db", &[&at_first, &at_second]).await;
    second.reached_by(&shop, "http://db-1.db:9080/").await;

    second.stop().await;
    resolves_to(&mesh, "db", &[&at_first]).await;
    resolves_to(&mesh, "db-1.db", &[]).await;
    load.stop().await.assert_no_failure();
}

#[tokio::test]
async fn pain_21_a_service_of_yaml_may_be_headless() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    // Nobody registered it, so that its state is not known: it passes for ready.
    mesh.apply(
        "
apiVersion: v1
kind: Service
metadata: {name: old}
spec: {clusterIP: None, selector: {app: old}, ports: [{name: http, port: 80, targetPort: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: old-a}
spec: {address: 10.250.77.1, labels: {app: old}}
",
    )
    .await;
    resolves_to(&mesh, "old", &["10.250.77.1"]).await;
    resolves_to(&mesh, "old-a.old.default.svc.cluster.local.", &["10.250.77.1"]).await;
    // Nobody is there: the answer is the sidecar's, which names the service's port that the address stands for.
    let answer = shop.get("http://old:9080/").await.expect(503);
    assert!(answer.text().contains("10.250.77.1:9080"), "{}", answer.text());
    // `weft run` does not make a service headless that clients call by a virtual address.
    let web = mesh.run("web").http().start().await;
    let output =
        mesh.weft(&["run", "--service", "web", "--port", "http:9080", "--headless", "--", "true"]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("`web`") && said.contains("not headless"), "{said}");
    drop(web);
}
