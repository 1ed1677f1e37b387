use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weft_model::cluster::UpstreamHttp;
use weft_model::listener::{Direction, FilterChainMatch, Inspection, NetworkFilter, TcpProxy};
use weft_model::route::WeightedCluster;

use super::harness::*;

pub(super) fn tcp_filter(cluster: &str) -> NetworkFilter {
    NetworkFilter::Tcp(TcpProxy {
        stat_prefix: "tcp".into(),
        clusters: vec![WeightedCluster::new(cluster, 1)],
        idle_timeout: None,
        hash_source_ip: false,
        metadata_match: Default::default(),
    })
}

#[test]
fn http2_and_grpcs_trailers_pass() {
    local(async {
        let backend = Backend::start(|seen| {
            let trailers: HeaderMap =
                [("grpc-status".parse().unwrap(), "5".parse().unwrap())].into_iter().collect();
            let frames = [Ok(Frame::data(seen.body.clone())), Ok(Frame::trailers(trailers))];
            let body = StreamBody::new(tokio_stream::iter(frames)).boxed_unsync();
            let mut answer = http::Response::new(body);
            answer.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
            answer
        })
        .await;
        let proxy = Proxy::start(outbound(vec![to("a")], vec![cluster("a", &[backend.address])]));
        let mut client = Client::h2(proxy.at("127.0.0.1").await).await;
        let call = |body: &'static str| {
            http::Request::post("http://grpc.example/package.Service/Method")
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Bytes::from(body).into())
                .unwrap()
        };
        for body in ["first", "second"] {
            let got = client.send(call(body)).await;
            assert_eq!((got.status, got.body.as_str()), (200, body));
            assert_eq!(got.trailers.expect("trailers")["grpc-status"], "5");
        }
        assert_eq!(backend.last().headers["te"], "trailers");
        // The call to a service that is not there ends with gRPC's own status.
        proxy.change(|snapshot| snapshot.clusters.clear());
        let got = soon(async {
            loop {
                let got = client.send(call("")).await;
                if got.trailers.is_none() {
                    return got;
                }
            }
        })
        .await;
        assert_eq!((got.status, got.headers["grpc-status"].to_str().unwrap()), (200, "14"));
    });
}

#[test]
fn http1_clients_reach_http2_services() {
    local(async {
        let backend = Backend::named("over http/2").await;
        let cluster =
            weft_model::cluster::Cluster { http: UpstreamHttp::Http2, ..cluster("a", &[backend.address]) };
        let proxy = Proxy::start(outbound(vec![to("a")], vec![cluster]));
        let got = get_once(proxy.at("127.0.0.1").await, "/x").await;
        assert_eq!((got.status, got.body.as_str()), (200, "over http/2"));
    });
}

/// Answers an upgrade and echoes; says whether it was asked for one.
async fn upgrading_server() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            tokio::task::spawn_local(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
                assert!(
                    text.contains("connection: upgrade") && text.contains("upgrade: websocket"),
                    "{text}"
                );
                let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nwelcome";
                let _ = stream.write_all(answer.as_bytes()).await;
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

#[test]
fn websockets_pass_and_other_upgrades_do_not() {
    local(async {
        let server = upgrading_server().await;
        let proxy = Proxy::start(outbound(vec![to("a")], vec![cluster("a", &[server])]));
        let address = proxy.at("127.0.0.1").await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let ask = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        client.write_all(ask.as_bytes()).await.unwrap();
        let mut got = Vec::new();
        soon(async {
            while !got.ends_with(b"welcome") {
                assert_ne!(client.read_buf(&mut got).await.unwrap(), 0, "{}", String::from_utf8_lossy(&got));
            }
            assert!(got.starts_with(b"HTTP/1.1 101 "));
            client.write_all(b"ping").await.unwrap();
            client.shutdown().await.unwrap();
            let mut echo = String::new();
            client.read_to_string(&mut echo).await.unwrap();
            assert_eq!(echo, "ping");
        })
        .await;
        let other = ask.replace("websocket", "something\r\nX-Close: 1").replace("/chat", "/");
        let got = raw(
            address,
            format!("{}GET / HTTP/1.0\r\n\r\n", other.replace("Upgrade\r\n", "Upgrade, close\r\n"))
                .as_bytes(),
        )
        .await;
        assert!(got.starts_with("HTTP/1.1 403 "), "{got}");
    });
}

#[test]
fn tcp_passes_both_ways_and_keeps_half_closes() {
    local(async {
        let server = echo_server("220 ready\r\n").await;
        let mut snapshot = outbound(Vec::new(), vec![cluster("a", &[server])]);
        add_listener(&mut snapshot, listener("tcp", "127.0.0.2", Direction::Outbound, tcp_filter("a")));
        let proxy = Proxy::start(snapshot);
        let mut client = TcpStream::connect(proxy.at("127.0.0.2").await).await.unwrap();
        let mut greeting = [0; 11];
        soon(client.read_exact(&mut greeting)).await.unwrap();
        assert_eq!(&greeting, b"220 ready\r\n", "the server speaks first, and is not waited for");
        let sent = vec![b'x'; 300_000];
        let (mut read, mut write) = client.split();
        let mut got = Vec::new();
        let (written, read) = soon(async {
            tokio::join!(
                async {
                    write.write_all(&sent).await.unwrap();
                    write.shutdown().await
                },
                read.read_to_end(&mut got)
            )
        })
        .await;
        written.unwrap();
        read.unwrap();
        assert_eq!(got, sent);
    });
}

#[test]
fn an_undeclared_protocol_is_found_by_its_first_bytes() {
    local(async {
        let (web, echo) = (Backend::named("web").await, echo_server("").await);
        let mut snapshot =
            outbound(vec![to("web")], vec![cluster("web", &[web.address]), cluster("echo", &[echo])]);
        let sniffed = FilterChainMatch {
            application_protocols: vec!["http/1.1".into(), "h2c".into()],
            ..FilterChainMatch::default()
        };
        let mut undeclared = listener("any", "127.0.0.2", Direction::Outbound, tcp_filter("echo"));
        undeclared.filter_chains = vec![chain("http", sniffed, http_filter("routes"))];
        undeclared.inspection = Inspection {
            tls: false,
            http: true,
            timeout: Duration::from_millis(50),
            ..Inspection::default()
        };
        add_listener(&mut snapshot, undeclared);
        let proxy = Proxy::start(snapshot);
        let address = proxy.at("127.0.0.2").await;
        assert_eq!(get_once(address, "/").await.body, "web");
        assert_eq!(Client::h2(address).await.send(get("http://a/")).await.body, "web");
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"\x00binary").await.unwrap();
        let mut got = [0; 7];
        soon(client.read_exact(&mut got)).await.unwrap();
        assert_eq!(&got, b"\x00binary");
        // Who says nothing is taken for TCP after the time-out; and counted.
        let mut silent = TcpStream::connect(address).await.unwrap();
        soon(async {
            while proxy.shared.statistics.by_port().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        silent.write_all(b"late").await.unwrap();
        let mut got = [0; 4];
        soon(silent.read_exact(&mut got)).await.unwrap();
        assert_eq!(&got, b"late");
    });
}
