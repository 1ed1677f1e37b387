//! Bad input harms nobody but its sender: ambiguous HTTP, broken objects, wrong tokens, garbage on the xDS stream.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use std::fs;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_tests::mesh::Mesh;
use weft_tests::wait::eventually;

const REVIEWS: &str = "http://reviews:9080/";

/// What a client may not send, and why.
fn ambiguous() -> Vec<(&'static str, Vec<u8>)> {
    let post = |headers: &str, body: &str| {
        format!("POST /smuggled HTTP/1.1\r\nHost: reviews:9080\r\n{headers}\r\n{body}").into_bytes()
    };
    vec![
        (
            "both lengths",
            post(
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\nGET /smuggled HTTP/1.1\r\n",
            ),
        ),
        ("two lengths that differ", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!")),
        ("a list of lengths that differ", post("Content-Length: 5, 6\r\n", "hello!")),
        ("a negative length", post("Content-Length: -1\r\n", "")),
        ("a length with a sign", post("Content-Length: +5\r\n", "hello")),
        ("a hexadecimal length", post("Content-Length: 0x5\r\n", "hello")),
        ("a length with junk", post("Content-Length: 5 5\r\n", "hello")),
        ("an empty length", post("Content-Length: \r\n", "")),
        ("a length that overflows", post("Content-Length: 18446744073709551617\r\n", "h")),
        ("an unknown transfer coding", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n")),
        ("chunked that is not last", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n")),
        ("chunked twice", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n")),
        ("a chunk size that is none", post("Transfer-Encoding: chunked\r\n", "zz\r\nhello\r\n0\r\n\r\n")),
        ("a chunk size with a sign", post("Transfer-Encoding: chunked\r\n", "+5\r\nhello\r\n0\r\n\r\n")),
        ("a chunk that is too long", post("Transfer-Encoding: chunked\r\n", "3\r\nhello\r\n0\r\n\r\n")),
        ("a space before the colon", post("Content-Length : 5\r\n", "hello")),
        ("a folded header", post("X-Note: one\r\n two\r\nContent-Length: 0\r\n", "")),
        ("a header without a colon", post("nonsense\r\n", "")),
        ("a header name with a blank", post("X Note: one\r\n", "")),
        ("a null in a header", post("X-Note: a\0b\r\n", "")),
        ("bare line feeds", b"GET /smuggled HTTP/1.1\nHost: reviews:9080\n\n".to_vec()),
        (
            "a bare line feed in the middle",
            b"GET /smuggled HTTP/1.1\r\nHost: reviews:9080\nX-Note: a\r\n\r\n".to_vec(),
        ),
        (
            "a bare carriage return",
            b"GET /smuggled HTTP/1.1\r\nHost: reviews:9080\r\nX-Note: a\rb\r\n\r\n".to_vec(),
        ),
        ("two hosts", b"GET /smuggled HTTP/1.1\r\nHost: reviews:9080\r\nHost: admin\r\n\r\n".to_vec()),
        ("no host", b"GET /smuggled HTTP/1.1\r\n\r\n".to_vec()),
        (
            "transfer coding in HTTP/1.0",
            b"POST /smuggled HTTP/1.0\r\nHost: reviews:9080\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_vec(),
        ),
    ]
}

#[tokio::test]
async fn ambiguous_framing_is_answered_400_and_closed_and_never_forwarded() {
    let mesh = Mesh::up().await;
    let reviews = mesh.run("reviews").http().start().await;
    let (shop, outsider) = (mesh.client("shop").await, mesh.outsider("outsider").await);
    reviews.reached_by(&shop, REVIEWS).await;
    let before: u64 = seen(&shop).await;
    let address = format!("{}:9080", reviews.address(false).await);
    let mut wrong = Vec::new();
    for (what, bytes) in ambiguous() {
        // Through the caller's sidecar, and straight to the one of the server.
        for (way, answer) in [
            ("outbound", shop.exchange_open("reviews:9080", &bytes).await),
            ("inbound", outsider.exchange_open(&address, &bytes).await),
        ] {
            let answer = answer.map(|it| String::from_utf8_lossy(&it).into_owned());
            // A coding that nobody knows is 501 (RFC 9112, section 6.1).
            let refused = answer.as_ref().is_ok_and(|it| {
                let codes =
                    if what.contains("chunked") || what.contains("coding") { "400 501" } else { "400" };
                it.starts_with("HTTP/1.") && it.get(9..12).is_some_and(|code| codes.contains(code))
            });
            if !refused || answer.as_ref().is_ok_and(|it| it.matches("HTTP/1.1 ").count() > 1) {
                wrong.push(format!("{what}, {way}: {answer:?}"));
            }
        }
    }
    let large = format!("GET / HTTP/1.1\r\nHost: reviews:9080\r\nX-Large: {}\r\n\r\n", "x".repeat(200_000));
    let answer = shop.exchange_open("reviews:9080", large.as_bytes()).await;
    // Closing while more comes may cost the client the answer; it never gets another one.
    if answer.as_ref().is_ok_and(|it| {
        !it.is_empty() && !it.starts_with(b"HTTP/1.1 431") && !it.starts_with(b"HTTP/1.1 400")
    }) {
        wrong.push(format!("an oversized head: {answer:?}"));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(seen(&shop).await, before, "something was forwarded");
    shop.get(REVIEWS).await.expect(200);
}

/// How many requests the application has answered.
async fn seen(shop: &weft_tests::client::Client) -> u64 {
    shop.get("http://reviews:9080/seen").await.expect(200).field("seen").parse().unwrap()
}

const CANARY: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [{headers: {response: {set: {x-policy: 'NUMBER'}}}, route: [{destination: {host: reviews}}]}]
";

#[tokio::test]
async fn pain_11_one_bad_object_in_the_directory_is_quarantined_and_the_others_work() {
    let mesh = Mesh::plan().watching("good.yaml", &CANARY.replace("NUMBER", "one")).up().await;
    let shop = mesh.client("shop").await;
    let reviews = mesh.run("reviews").http().start().await;
    reviews.reached_by(&shop, REVIEWS).await;
    let policy = async |wanted: &str| {
        eventually(&format!("policy {wanted} holds"), async || {
            let answer = shop.request("GET", REVIEWS).try_send().await?;
            let found = answer.header("x-policy");
            if found == wanted { Ok(()) } else { Err(format!("{} {found}", answer.status)) }
        })
        .await;
    };
    policy("one").await;
    let load = shop.load(REVIEWS).start();
    let file = |name: &str| mesh.watched_directory().join(name);
    fs::write(
        file("bad.yaml"),
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: bad}\nspec: {hots: 5}\n",
    )
    .unwrap();
    fs::write(file("worse.yaml"), "{{{{ no yaml at all\n\t- :").unwrap();
    // The good one changes beside the bad ones.
    fs::write(file("good.yaml"), CANARY.replace("NUMBER", "two")).unwrap();
    policy("two").await;
    eventually("the bad ones are named", async || {
        let told = mesh.good(&["get"]).await;
        let all = ["bad.yaml", "worse.yaml"].iter().all(|name| told.contains(name));
        if all { Ok(()) } else { Err(told) }
    })
    .await;
    // The good one goes bad: its last good version stays.
    fs::write(file("good.yaml"), CANARY.replace("NUMBER", "three").replace("hosts:", "hots:")).unwrap();
    eventually("it is named", async || {
        let told = mesh.good(&["get"]).await;
        if told.contains("good.yaml") { Ok(()) } else { Err(told) }
    })
    .await;
    policy("two").await;
    fs::write(file("good.yaml"), CANARY.replace("NUMBER", "four")).unwrap();
    policy("four").await;
    load.stop().await.assert_no_failure();
}

/// Starts a sidecar by hand with the token that a workload's sidecar used, and gives what it says.
async fn joins_with(mesh: &Mesh, token: &str, name: &str) -> std::process::Output {
    let workload = mesh.state().join("workloads/reviews.default");
    let directory = mesh.watched_directory();
    fs::write(directory.join("token"), token).unwrap();
    let state = directory.join(name);
    fs::create_dir(&state).unwrap();
    let argument = |path: std::path::PathBuf| path.display().to_string();
    let arguments = [
        "run",
        "--no-sidecar",
        "--name",
        name,
        "--",
        "timeout",
        "2",
        &argument(mesh.program("weft-proxy")),
        "run",
        "--node",
        &format!("sidecar~10.250.0.99~{name}.default~default.svc.cluster.local"),
        "--discovery-address",
        "10.250.0.1:15012",
        "--trust-bundle",
        &argument(workload.join("trust-bundle.pem")),
        "--join-token-file",
        &argument(directory.join("token")),
        "--state-dir",
        &argument(state),
        "--metadata",
        "service_account=reviews",
        "--mode",
        "explicit",
        "--admin-address",
        "127.0.0.1:0",
    ]
    .map(str::to_owned);
    mesh.weft(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await
}

#[tokio::test]
async fn a_join_token_that_is_wrong_or_used_is_refused_and_logged() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    let reviews = mesh.run("reviews").http().start().await;
    reviews.reached_by(&shop, REVIEWS).await;
    let used = mesh.workload_file("reviews", "join-token");
    assert!(!used.is_empty(), "no token");
    let mut forged = used.trim().to_owned();
    let last = if forged.ends_with('A') { 'B' } else { 'A' };
    forged.pop();
    forged.push(last);
    for (name, token, reason) in [
        ("thief", used.as_str(), "already used"),
        ("forger", &forged, ""),
        ("fool", "nonsense", "no join token"),
    ] {
        let output = joins_with(&mesh, token, name).await;
        let said = weft_tests::mesh::said(&output);
        assert!(said.contains("obtained no certificate") && said.contains(reason), "{name}: {said}");
        assert!(!said.contains("obtained a certificate"), "{name}: {said}");
        let log = mesh.control_plane_log();
        let logged = log.lines().any(|line| line.contains("refused a join token") && line.contains(reason));
        assert!(logged, "{name}: not logged: {log}");
    }
    shop.get(REVIEWS).await.expect(200);
}

#[tokio::test]
async fn garbage_on_the_discovery_port_closes_one_connection_and_nobody_else_notices() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    let outsider = mesh.outsider("outsider").await;
    let reviews = mesh.run("reviews").http().start().await;
    reviews.reached_by(&shop, REVIEWS).await;
    let load = shop.load(REVIEWS).start();
    let hello_then_noise = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc][..], &[0x5a; 400]].concat();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 4096], &hello_then_noise] {
        let mut stream = outsider.connect("10.250.0.1:15012").await.unwrap();
        let _ = stream.write_all(garbage).await;
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let closed =
            tokio::time::timeout(std::time::Duration::from_secs(30), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "the connection stays open");
    }
    mesh.in_step().await;
    mesh.apply(&CANARY.replace("NUMBER", "after")).await;
    assert_eq!(shop.get(REVIEWS).await.expect(200).header("x-policy"), "after");
    load.stop().await.assert_no_failure();
}

#[tokio::test]
async fn a_workload_that_dials_its_sidecars_own_ports_is_closed_and_nothing_goes_round() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    let reviews = mesh.run("reviews").http().start().await;
    reviews.reached_by(&shop, REVIEWS).await;
    let (own, other) = (mesh.workload("shop").address(false).await, reviews.address(false).await);
    for host in ["127.0.0.1", &own, &other] {
        for port in [15001, 15006] {
            let mut stream = shop.connect(&format!("{host}:{port}")).await.unwrap();
            let _ =
                stream.write_all(b"GET / HTTP/1.1\r\nHost: reviews:9080\r\nConnection: close\r\n\r\n").await;
            let mut answer = Vec::new();
            let end =
                tokio::time::timeout(std::time::Duration::from_secs(30), stream.read_to_end(&mut answer));
            assert!(end.await.is_ok(), "{host}:{port} stays open");
            assert!(!answer.starts_with(b"HTTP/1.1 200"), "{host}:{port} leads around the mesh's rules");
        }
    }
    let events = |page: String| -> u64 {
        let loops = page.lines().filter(|line| line.contains("event=\"loop\""));
        loops.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    };
    let seen = events(mesh.workload("shop").admin("/stats").await) + events(reviews.admin("/stats").await);
    assert!((1..=12).contains(&seen), "each connection is noticed once, or refused before: {seen}");
    shop.get(REVIEWS).await.expect(200);
}
