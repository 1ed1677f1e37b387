//! Who may call whom: mutual TLS without the applications' knowledge, STRICT and PERMISSIVE.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use std::time::Duration;

use weft_tests::mesh::{Mesh, said};
use weft_tests::wait::eventually;

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

#[tokio::test]
async fn pain_17_who_calls_in_plain_text_is_known_before_strict_refuses_it() {
    let mesh = Mesh::up().await;
    let reviews = mesh.run("reviews").http().start().await;
    let (shop, outsider) = (mesh.client("shop").await, mesh.outsider("outsider").await);
    reviews.reached_by(&shop, REVIEWS).await;
    let url = format!("http://{}:9080/", reviews.address(false).await);
    for _ in 0..7 {
        outsider.get(&url).await.expect(200);
        shop.get(REVIEWS).await.expect(200);
    }

    let row = eventually("the plain-text caller is reported", async || {
        let stat = mesh.json(&["stat", "--plaintext"]).await;
        let rows = stat["plaintext"].as_array().cloned().unwrap_or_default();
        match &rows[..] {
            [row] if row["count"] == 7 => Ok(row.clone()),
            _ => Err(stat.to_string()),
        }
    })
    .await;
    assert_eq!(row["source"], "outsider", "{row}");
    assert_eq!(row["service"], "reviews.default.svc.cluster.local", "{row}");
    assert_eq!((&row["workload"], &row["port"]), (&"reviews".into(), &9080.into()), "{row}");
    let table = mesh.good(&["stat", "--plaintext"]).await;
    assert!(table.contains("(outsider.default)"), "{table}");

    for arguments in [&["apply", "--dry-run"][..], &["apply", "--wait"]] {
        let output = mesh.weft_with(arguments, STRICT).await;
        let told = said(&output);
        assert!(output.status.success(), "{told}");
        for words in
            ["warning", "reviews.default received 7 plain-text requests", "(outsider.default)", "refused"]
        {
            assert!(told.contains(words), "{arguments:?} does not say `{words}`: {told}");
        }
        assert!(!told.contains("shop"), "the mesh's own client is named: {told}");
    }
    // What is refused already is no news, nor is a policy that refuses nobody.
    let again = mesh.apply(STRICT).await;
    assert!(!again.contains("plain-text"), "{again}");
    let eased = mesh.apply(&STRICT.replace("STRICT", "PERMISSIVE")).await;
    assert!(!eased.contains("plain-text"), "{eased}");
}

#[tokio::test]
async fn pain_17_a_client_of_the_mesh_loses_no_request_whichever_way_policy_turns() {
    let mesh = Mesh::up().await;
    let reviews = mesh.run("reviews").http().start().await;
    let (shop, outsider) = (mesh.client("shop").await, mesh.outsider("outsider").await);
    reviews.reached_by(&shop, REVIEWS).await;
    let url = format!("http://{}:9080/", reviews.address(false).await);
    let load = shop.load(REVIEWS).connections(8).pause(Duration::from_millis(1)).start();
    let posts = shop.load(REVIEWS).method("POST").connections(8).pause(Duration::from_millis(1)).start();
    let policy = |mode: &str| STRICT.replace("STRICT", mode);
    for mode in ["PERMISSIVE", "STRICT", "DISABLE", "STRICT", "PERMISSIVE", "DISABLE", "PERMISSIVE", "STRICT"]
    {
        mesh.apply(&policy(mode)).await;
        // Whoever waited for it can rely on it.
        let answer = shop.get(REVIEWS).await.expect(200);
        let proven = !answer.field("headers.x-forwarded-client-cert").is_empty();
        assert_eq!(proven, mode != "DISABLE", "{mode}: {}", answer.text());
        let stranger = outsider.request("GET", &url).try_send().await;
        assert_eq!(stranger.is_err(), mode == "STRICT", "{mode}: {stranger:?}");
        load.more(100).await;
    }
    // Nobody waits: each change overtakes the one before it.
    for round in 0..12 {
        let mode = ["DISABLE", "STRICT", "PERMISSIVE", "STRICT"][round % 4];
        let output = mesh.weft_with(&["apply"], &policy(mode)).await;
        assert!(output.status.success(), "{}", said(&output));
    }
    mesh.good(&["delete", "PeerAuthentication/default", "--wait"]).await;
    load.more(100).await;
    load.stop().await.assert_no_failure();
    posts.stop().await.assert_no_failure();
}

const PATCH: &str = "
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch}
spec:
  workloadSelector: {labels: {app: reviews}}
  configPatches:
  - applyTo: HTTP_FILTER
    match: {context: SIDECAR_INBOUND}
    patch:
      operation: INSERT_BEFORE
      value: VALUE
";

#[tokio::test]
async fn pain_23_a_patch_of_the_proxy_is_refused_with_the_typed_resource_that_does_it() {
    let mesh = Mesh::up().await;
    let fault = "{name: envoy.filters.http.fault, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, abort: {http_status: 503}}}";
    let script = "{name: envoy.filters.http.lua, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua, inlineCode: ''}}";
    let plugin = "
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: plugin}
spec: {url: 'oci://example.com/plugin'}
";
    for (yaml, kind, instead) in [
        (PATCH.replace("VALUE", fault), "EnvoyFilter", "VirtualService `spec.http[].fault`"),
        (
            PATCH.replace("VALUE", "{route: {retry_policy: {num_retries: 3}, timeout: 2s}}"),
            "EnvoyFilter",
            "HTTPRoute `spec.rules[].retry`",
        ),
        (
            PATCH.replace("VALUE", "{connect_timeout: 1s, outlier_detection: {}}"),
            "EnvoyFilter",
            "DestinationRule `spec.trafficPolicy.outlierDetection`",
        ),
        (PATCH.replace("VALUE", script), "EnvoyFilter", "put it into a service"),
        (PATCH.replace("VALUE", "{something: else}"), "EnvoyFilter", "PeerAuthentication for mutual TLS"),
        (plugin.to_owned(), "WasmPlugin", "no foreign code runs in Weft's proxy"),
    ] {
        for arguments in [&["apply"][..], &["apply", "--dry-run"]] {
            let output = mesh.weft_with(arguments, &yaml).await;
            let told = said(&output);
            assert_eq!(output.status.code(), Some(1), "{told}");
            assert!(told.contains(&format!("the kind `{kind}` is not supported")), "{told}");
            assert!(told.contains(instead), "it does not name `{instead}`: {told}");
        }
    }
    assert!(!mesh.good(&["get"]).await.contains("patch"), "it was stored");
}

/// Something at an address that says it is a workload of a service, with the service's own identity.
fn claims(service: &str, address: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {service}-claimed}}
spec:
  address: {address}
  serviceAccount: {service}
  labels: {{app: {service}, security.istio.io/tlsMode: istio}}
"
    )
}

#[tokio::test]
async fn a_workload_of_another_identity_gets_no_request_in_a_services_name() {
    let mesh = Mesh::up().await;
    let reviews = mesh.run("reviews").http().start().await;
    let rogue = mesh.run("rogue").http().start().await;
    let shop = mesh.client("shop").await;
    reviews.reached_by(&shop, REVIEWS).await;
    // Called by its own name, the rogue is a workload like any other.
    rogue.reached_by(&shop, "http://rogue:9080/").await;
    let address = rogue.address(false).await;

    // Beside a true workload: requests that find the rogue go on to the other.
    mesh.apply(&claims("reviews", &address)).await;
    let answers = shop.load(REVIEWS).requests(100).await;
    answers.assert_no_failure();
    assert_eq!(answers.instances.keys().collect::<Vec<_>>(), ["reviews"], "{answers:?}");

    // Alone: nobody answers, and the error names who is there and who should be.
    let service = "
apiVersion: v1
kind: Service
metadata: {name: payments}
spec: {selector: {app: payments}, ports: [{name: http, port: 9080}]}
---";
    mesh.apply(&format!("{service}{}", claims("payments", &address))).await;
    let answer = shop.get("http://payments:9080/").await.expect(503);
    let identity = |account: &str| format!("spiffe://cluster.local/ns/default/sa/{account}");
    for expected in [identity("rogue"), identity("payments")] {
        assert!(answer.text().contains(&expected), "{expected} is not named: {}", answer.text());
    }
    rogue.reached_by(&shop, "http://rogue:9080/").await;
}

#[tokio::test]
async fn a_service_goes_over_to_another_service_account_under_load_and_loses_no_request() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    let mut current = mesh.run("reviews").name("first").http().start().await;
    current.reached_by(&shop, REVIEWS).await;
    let load = shop.load(REVIEWS).start();
    let posts = shop.load("http://reviews:9080/?ms=20").method("POST").connections(2).start();
    for name in ["second", "third", "fourth"] {
        let account = format!("--service-account={name}");
        let next = mesh.run("reviews").name(name).option(&account).http().start().await;
        eventually("the new one gets requests", async || {
            let got = load.so_far().instances.get(name).copied().unwrap_or_default();
            if got > 5 { Ok(()) } else { Err(format!("{got}")) }
        })
        .await;
        std::mem::replace(&mut current, next).stop().await;
        load.more(30).await;
    }
    load.stop().await.assert_no_failure();
    posts.stop().await.assert_no_failure();
    // In the end those who left are accepted no more.
    eventually("only the last identity is accepted", async || {
        let page = mesh.workload("shop").admin("/config_dump").await;
        let is_named = |account: &str| page.contains(&format!("ns/default/sa/{account}\""));
        let named = ["reviews", "second", "third", "fourth"].map(is_named);
        if named == [false, false, false, true] { Ok(()) } else { Err(format!("{named:?}")) }
    })
    .await;
}
