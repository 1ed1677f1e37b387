use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weft_model::cluster::{Cluster, ClusterName, Discovery};
use weft_model::listener::{Direction, NetworkFilter};
use weft_model::route::{RouteTable, VirtualHost};
use weft_model::snapshot::Snapshot;

use super::harness::*;

fn forward_proxy(reviews: SocketAddr) -> Snapshot {
    let mut snapshot = outbound(Vec::new(), vec![cluster("reviews", &[reviews])]);
    let host = VirtualHost {
        name: "reviews".into(),
        domains: vec!["reviews:9080".into(), "reviews.shop:9080".into()],
        routes: vec![to("reviews")],
        ..VirtualHost::default()
    };
    snapshot.routes.insert("explicit".into(), Arc::new(RouteTable::new("explicit", vec![host])));
    let passthrough = Cluster { discovery: Discovery::OriginalDst, ..cluster(ClusterName::PASSTHROUGH, &[]) };
    snapshot.clusters.insert(passthrough.name.clone(), Arc::new(passthrough));
    let NetworkFilter::Http(mut http) = http_filter("explicit") else { panic!() };
    http.forward_proxy = true;
    add_listener(
        &mut snapshot,
        listener("explicit", "127.0.0.3", Direction::Outbound, NetworkFilter::Http(http)),
    );
    snapshot
}

#[test]
fn absolute_targets_go_to_the_service_they_name() {
    local(async {
        let (reviews, outside) = (Backend::named("reviews").await, Backend::named("outside").await);
        let proxy = Proxy::start(forward_proxy(reviews.address));
        let mut client = Client::h1(proxy.at("127.0.0.3").await).await;
        let got = client.send(get("http://reviews.shop:9080/x?y")).await;
        assert_eq!((got.status, got.body.as_str()), (200, "reviews"), "{}", got.body);
        assert_eq!(reviews.last().path, "/x?y");
        assert_eq!(reviews.last().headers["host"], "reviews.shop:9080");
        let got = client.send(get("http://unknown:9080/")).await;
        assert_eq!(got.status, 404);
        assert!(got.body.contains("unknown:9080"), "{}", got.body);
        let got = client.send(get(&format!("http://{}/", outside.address))).await;
        assert_eq!((got.status, got.body.as_str()), (200, "outside"));
    });
}

async fn connect(proxy: SocketAddr, authority: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream
        .write_all(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut head = Vec::new();
    soon(async {
        while !String::from_utf8_lossy(&head).contains("\r\n\r\n") {
            if stream.read_buf(&mut head).await.unwrap() == 0 {
                break;
            }
        }
    })
    .await;
    (stream, String::from_utf8(head).unwrap())
}

#[test]
fn http_inside_of_a_tunnel_is_routed_like_any_other() {
    local(async {
        let reviews = Backend::named("reviews").await;
        let proxy = Proxy::start(forward_proxy(reviews.address));
        let (stream, head) = connect(proxy.at("127.0.0.3").await, "reviews:9080").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (client, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        tokio::task::spawn_local(connection);
        // Whatever it says inside, it gets where the tunnel leads to.
        let got = Client::H2(client).send(get("http://elsewhere/inside")).await;
        assert_eq!((got.status, got.body.as_str()), (200, "reviews"), "{}", got.body);
        assert_eq!(reviews.last().path, "/inside");
        assert!(reviews.last().headers.contains_key("x-request-id"), "it was governed");
    });
}

#[test]
fn other_protocols_inside_of_a_tunnel_pass_byte_by_byte() {
    local(async {
        let echo = echo_server("hi").await;
        let proxy = Proxy::start(forward_proxy(echo));
        let address = proxy.at("127.0.0.3").await;
        for authority in ["reviews:9080".to_owned(), echo.to_string()] {
            let (mut stream, head) = connect(address, &authority).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            stream.write_all(b"\x01bytes").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut got = Vec::new();
            soon(stream.read_to_end(&mut got)).await.unwrap();
            assert_eq!(got, b"hi\x01bytes");
        }
        let (_, head) = connect(address, "unknown:1").await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    });
}

#[test]
fn a_listener_that_is_no_forward_proxy_takes_no_connect() {
    local(async {
        let proxy = Proxy::start(outbound(vec![to("a")], Vec::new()));
        let (_, head) = connect(proxy.at("127.0.0.1").await, "reviews:9080").await;
        assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
    });
}
