//! What is not plain HTTP/1.1: HTTP/2, gRPC, upgrades, bytes, servers that speak first, IPv6, old clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use weft_tests::client::Client;
use weft_tests::mesh::Mesh;
use weft_tests::wait::eventually;
use weft_tests::workload::App;

const REVIEWS: &str = "http://reviews:9080/";

/// Connects until bytes come back: the mesh has heard of the service.
async fn echoes(client: &Client, place: &str) {
    eventually(&format!("{place} echoes"), async || {
        let back = client.exchange(place, b"\x00\x01binary\xff").await.map_err(|error| error.to_string())?;
        if back == b"\x00\x01binary\xff" { Ok(()) } else { Err(format!("{back:?}")) }
    })
    .await;
}

/// One gRPC message, framed.
fn message(text: &str) -> Bytes {
    let mut frame = vec![0];
    frame.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
    frame.extend(text.as_bytes());
    frame.into()
}

fn grpc(url: &str, text: &str) -> Request<Full<Bytes>> {
    Request::post(format!("{url}weft.test.Echo/Say"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(message(text)))
        .unwrap()
}

#[tokio::test]
async fn http2_and_grpc_arrive_with_their_trailers() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    let api = mesh.run("api").serve("grpc:9090", App::http()).start().await;
    let reviews = mesh.run("reviews").http().start().await;
    reviews.reached_by(&shop, REVIEWS).await;
    let url = "http://api:9090/";
    eventually("the API answers", async || {
        let uri = url.parse().unwrap();
        let mut connection = shop.http2(&uri).await?;
        let answer = connection.send_request(grpc(url, "ready?")).await.map_err(|error| error.to_string())?;
        let answer = answer.into_body().collect().await.map_err(|error| error.to_string())?;
        let status = answer.trailers().and_then(|it| it.get("grpc-status")).cloned();
        if status.is_some_and(|it| it == "0") { Ok(()) } else { Err("no status".to_owned()) }
    })
    .await;
    let mut connection = shop.http2(&url.parse().unwrap()).await.unwrap();
    let answer = connection.send_request(grpc(url, "hello")).await.unwrap();
    assert_eq!(answer.headers()["x-instance"], *api.name);
    let answer = answer.into_body().collect().await.unwrap();
    let trailers = answer.trailers().cloned().expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["x-instance"], *api.name);
    assert_eq!(answer.to_bytes(), message("hello"));

    // A port that is declared HTTP takes HTTP/2 from clients, too.
    let answer = shop.request("POST", REVIEWS).http2().body("words").send().await.expect(200);
    assert_eq!(answer.field("body_bytes"), "5");
    // A gRPC call to nobody fails as gRPC fails: with a status that its clients understand.
    mesh.apply(
        "
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {selector: {app: nobody}, ports: [{port: 9091, name: grpc}]}
",
    )
    .await;
    eventually("a call to nobody fails as gRPC does", async || {
        let url = "http://nobody:9091/";
        let mut connection = shop.http2(&url.parse().unwrap()).await?;
        let answer = connection.send_request(grpc(url, "?")).await.map_err(|error| error.to_string())?;
        let status = answer.headers().get("grpc-status").cloned();
        if answer.status() == 200 && status.is_some_and(|it| it == "14") {
            Ok(())
        } else {
            Err("not 14".to_owned())
        }
    })
    .await;
}

#[tokio::test]
async fn a_grpc_stream_flows_in_both_directions_at_the_same_time() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    mesh.run("api").serve("grpc:9090", App::http()).start().await;
    let uri: hyper::Uri = "http://api:9090/weft.test.Echo/Chat".parse().unwrap();
    eventually("the API answers", async || {
        let answer = shop.request("GET", "http://api:9090/").http2().try_send().await?;
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    let stream = shop.connect("api:9090").await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut connection, driver) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(driver);
    let (say, said) =
        tokio::sync::mpsc::channel::<Result<hyper::body::Frame<Bytes>, std::convert::Infallible>>(1);
    let body = http_body_util::StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(said));
    let request = Request::post(uri).header("content-type", "application/grpc").body(body).unwrap();
    let answer = connection.send_request(request).await.unwrap();
    let mut answers = answer.into_body();
    for number in 0..5 {
        let words = message(&format!("message {number}"));
        say.send(Ok(hyper::body::Frame::data(words.clone()))).await.unwrap();
        let frame =
            tokio::time::timeout(Duration::from_secs(20), answers.frame()).await.expect("it comes back");
        assert_eq!(frame.expect("a frame").unwrap().into_data().expect("data"), words);
    }
    drop(say);
    let end = answers.frame().await.expect("trailers").unwrap().into_trailers().expect("trailers");
    assert_eq!(end["grpc-status"], "0");
}

#[tokio::test]
async fn pain_24_grpc_requests_of_one_connection_are_balanced_over_all_replicas() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    let names = ["first", "second", "third"];
    for name in names {
        mesh.run("api").name(name).serve("grpc:9090", App::http()).start().await;
    }
    let url = "http://api:9090/";
    let mut connection = shop.http2(&url.parse().unwrap()).await.unwrap();
    let mut instances: BTreeMap<String, u32> = BTreeMap::new();
    eventually("all replicas are called over one connection", async || {
        let answer = connection.send_request(grpc(url, "who?")).await.map_err(|error| error.to_string())?;
        let name = answer.headers().get("x-instance").map(|it| it.to_str().unwrap().to_owned());
        answer.into_body().collect().await.map_err(|error| error.to_string())?;
        *instances.entry(name.unwrap_or_default()).or_default() += 1;
        let all = names.iter().all(|name| instances.get(*name).is_some_and(|count| *count >= 5));
        if all { Ok(()) } else { Err(format!("{instances:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_websocket_carries_bytes_both_ways() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    mesh.run("reviews").http().start().await.reached_by(&shop, REVIEWS).await;
    let mut stream = shop.connect("reviews:9080").await.unwrap();
    stream
        .write_all(
            b"GET /chat HTTP/1.1\r\nHost: reviews:9080\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await
        .unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).await.unwrap() > 0, "the end came early: {head}");
    }
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.to_lowercase().contains("upgrade: websocket"), "{head}");
    // A masked text frame, "Hello" (RFC 6455, section 5.7): for the mesh these are bytes.
    let frame = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    for _ in 0..3 {
        stream.write_all(&frame).await.unwrap();
        let mut back = [0; 11];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, frame);
    }
}

#[tokio::test]
async fn pain_08_a_server_that_speaks_first_does_not_wait_when_declared_and_works_when_not() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    mesh.run("mail").serve("tcp-smtp:2525", App::banner()).serve("4000", App::banner()).start().await;
    let banner = async |port: u16| -> Result<Duration, String> {
        let began = Instant::now();
        let mut stream = shop.connect(&format!("mail:{port}")).await.map_err(|error| error.to_string())?;
        let mut line = String::new();
        let read = tokio::time::timeout(Duration::from_secs(15), stream.read_line(&mut line)).await;
        read.map_err(|_| "no banner".to_owned())?.map_err(|error| error.to_string())?;
        if line != "220 mail speaks first\r\n" {
            return Err(format!("{line:?}"));
        }
        let took = began.elapsed();
        stream.write_all(b"HELO\r\n").await.map_err(|error| error.to_string())?;
        line.clear();
        stream.read_line(&mut line).await.map_err(|error| error.to_string())?;
        if line == "HELO\r\n" { Ok(took) } else { Err(format!("{line:?}")) }
    };
    eventually("the declared port greets", async || banner(2525).await).await;
    eventually("the undeclared port greets, after detection gave up", async || banner(4000).await).await;
    let page = mesh.workload("shop").admin("/stats").await;
    let named = |port: &str| {
        page.lines().any(|line| line.contains("protocol_detection_timeout") && line.contains(port))
    };
    assert!(named("4000"), "no counter names the port that waited:\n{page}");
    assert!(!named("2525"), "a declared port was sniffed:\n{page}");
}

#[tokio::test]
async fn raw_tcp_crosses_the_mesh_declared_or_not_and_half_closes() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    mesh.run("store").serve("tcp:7000", App::echo()).serve("7001", App::echo()).start().await;
    echoes(&shop, "store:7000").await;
    echoes(&shop, "store:7001").await;
    // More than any buffer on the way holds, in both directions.
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut read, mut write) = tokio::io::split(shop.connect("store:7000").await.unwrap());
    let sent = large.clone();
    let writing = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    read.read_to_end(&mut back).await.unwrap();
    writing.await.unwrap();
    assert!(back == large, "{} of {} bytes came back, or others", back.len(), large.len());
}

#[tokio::test]
async fn undeclared_ports_are_told_apart_by_what_clients_say() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    let any = mesh.run("any").serve("5000", App::http()).start().await;
    any.reached_by(&shop, "http://any:5000/").await;
    let answer = shop.get("http://any:5000/").await.expect(200);
    assert!(answer.field("headers.x-forwarded-client-cert").contains("sa/shop"), "{}", answer.text());
    let answer = shop.request("GET", "http://any:5000/").http2().send().await.expect(200);
    assert_eq!(answer.field("http"), "HTTP/2.0");
}

#[tokio::test]
async fn ipv6_is_intercepted_and_carried() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    let reviews = mesh.run("reviews").http().start().await;
    reviews.reached_by(&shop, REVIEWS).await;
    let address = reviews.address(true).await;
    let answer = shop.get(&format!("http://[{address}]:9080/")).await.expect(200);
    assert_eq!(answer.header("x-instance"), "reviews");
    // By the address of a workload as by name: over mutual TLS, or plainly; never around the sidecar.
    assert!(!answer.field("headers.x-request-id").is_empty(), "{}", answer.text());
}

#[tokio::test]
async fn a_workload_reaches_itself_through_its_own_service_name() {
    let mesh = Mesh::up().await;
    mesh.run("reviews").http().start().await;
    // A client in the same workload: a second process beside the server.
    let shop = mesh.client("shop").await;
    mesh.workload("reviews").reached_by(&shop, REVIEWS).await;
    let app = mesh.program("weft-test-app").display().to_string();
    let script = format!(
        "{app} serve --http 9081 --instance own & for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do          curl -sf --max-time 5 http://own:9081/self && exit 0; sleep 0.5; done; exit 1"
    );
    let printed =
        mesh.good(&["run", "--service", "own", "--port", "http:9081", "--", "sh", "-c", &script]).await;
    assert!(printed.contains("\"instance\":\"own\""), "{printed}");
}

#[tokio::test]
async fn http_1_0_is_answered_not_refused() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    mesh.run("reviews").http().start().await.reached_by(&shop, REVIEWS).await;
    let answer =
        shop.exchange_open("reviews:9080", b"GET /old HTTP/1.0\r\nHost: reviews:9080\r\n\r\n").await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"path\":\"/old\""), "{answer}");
    assert!(!answer.to_lowercase().contains("transfer-encoding"), "HTTP/1.0 knows no chunks: {answer}");
}

#[tokio::test]
async fn large_bodies_and_many_headers_pass_unchanged() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    mesh.run("reviews").http().start().await.reached_by(&shop, REVIEWS).await;
    let mut call = shop.request("POST", "http://reviews:9080/upload").body(vec![b'x'; 5_000_000]);
    for number in 0..60 {
        call = call.header(&format!("x-header-{number}"), &"v".repeat(200));
    }
    let answer = call.send().await.expect(200);
    assert_eq!(answer.field("body_bytes"), "5000000");
    assert_eq!(answer.field("headers.x-header-59"), "v".repeat(200));
}
