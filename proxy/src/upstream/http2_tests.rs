//! Requests to HTTP/2 servers on loopback.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Version};
use http_body_util::BodyExt;
use weft_model::cluster::UpstreamHttp;

use super::test_support::*;
use crate::body::Body;
use crate::error::ResponseFlag;

#[test]
fn http2_requests_share_a_connection_even_when_they_come_together() {
    worker(async {
        let server = serve_http(Version::HTTP_2, |_, _| late(Duration::from_millis(20))).await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http2, &[server.address]));
        let sends = (0..50).map(|_| async {
            let body = Body::from("question");
            let exchange = send(&upstreams, &mut request("POST", body), None).await.expect("an answer");
            assert_eq!(exchange.response.version(), Version::HTTP_2);
            content(exchange).await
        });
        let answers = futures_util::future::join_all(sends).await;
        assert!(answers.iter().all(|answer| answer == "answer"));
        assert_eq!((server.count(), server.connections.get()), (50, 1));
        let seen = server.requests.borrow()[0].clone();
        assert_eq!(seen.head.uri, "http://reviews/a?b");
        assert_eq!(seen.body, "question");
        assert!(seen.head.headers.get("host").is_none());
    });
}

/// An HTTP/2 server, by hand: what it does with the nth request of a connection is the test's business.
async fn serve_h2<F, R>(handle: F) -> SocketAddr
where
    F: Fn(usize, h2::server::Connection<tokio::net::TcpStream, Bytes>) -> R + 'static,
    R: Future<Output = ()> + 'static,
{
    let handle = std::rc::Rc::new(handle);
    accept(move |n, stream| {
        let handle = handle.clone();
        async move {
            let Ok(connection) = h2::server::handshake(stream).await else { return };
            handle(n, connection).await;
        }
    })
    .await
}

#[test]
fn a_refused_stream_is_sent_again_even_if_it_is_a_post() {
    worker(async {
        let address = serve_h2(|_, mut connection| async move {
            let mut refused = false;
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                if std::mem::replace(&mut refused, true) {
                    let _ = respond.send_response(http::Response::new(()), true);
                } else {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                }
            }
        })
        .await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http2, &[address]));
        let exchange =
            send(&upstreams, &mut request("POST", Body::from("pay")), None).await.expect("an answer");
        assert_eq!((exchange.response.status(), exchange.record.attempts), (StatusCode::OK, 2));
    });
}

#[test]
fn goaway_lets_the_stream_under_way_finish_and_the_next_takes_a_new_connection() {
    worker(async {
        let address = serve_h2(|n, mut connection| async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let response =
                    http::Response::builder().header("connection-number", n).body(()).expect("valid");
                let mut stream = respond.send_response(response, false).expect("sent");
                let _ = stream.send_data(Bytes::from_static(b"first "), false);
                if n == 0 {
                    connection.graceful_shutdown();
                }
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    let _ = stream.send_data(Bytes::from_static(b"last"), true);
                });
            }
        })
        .await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http2, &[address]));
        let mut first = send(&upstreams, &mut request("GET", Body::Empty), None).await.expect("an answer");
        let frame = first.response.body_mut().frame().await.expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data"), "first ");
        let rest = content(first).await;
        assert_eq!(rest, "last");
        let second = send(&upstreams, &mut request("POST", Body::from("x")), None).await.expect("an answer");
        assert_eq!(second.response.headers()["connection-number"], "1");
        assert_eq!(content(second).await, "first last");
    });
}

#[test]
fn a_stream_that_is_reset_in_the_middle_says_so_at_its_end() {
    worker(async {
        let address = serve_h2(|_, mut connection| async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut stream = respond.send_response(http::Response::new(()), false).expect("sent");
                let _ = stream.send_data(Bytes::from_static(b"half"), false);
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    stream.send_reset(h2::Reason::INTERNAL_ERROR);
                });
            }
        })
        .await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http2, &[address]));
        let exchange = send(&upstreams, &mut request("GET", Body::Empty), None).await.expect("an answer");
        let end = exchange.end.clone();
        assert!(exchange.response.into_body().collect().await.is_err());
        assert_eq!(end.flag(), Some(ResponseFlag::UpstreamRemoteReset));
        assert!(!end.complete());
        assert_eq!(upstreams.stats()[0].requests, 0);
    });
}

#[test]
fn grpc_status_is_seen_in_trailers_and_a_status_of_trailers_only_can_be_tried_again() {
    worker(async {
        let address = serve_h2(|_, mut connection| async move {
            let mut asked = 0;
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                asked += 1;
                if asked == 1 {
                    let response =
                        http::Response::builder().header("grpc-status", 14).body(()).expect("valid");
                    let _ = respond.send_response(response, true);
                    continue;
                }
                let mut stream = respond.send_response(http::Response::new(()), false).expect("sent");
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                let _ = stream.send_data(Bytes::from_static(b"message"), false);
                let _ = stream.send_trailers(trailers);
            }
        })
        .await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http2, &[address]));
        let mut policy = retry(&["unavailable"]);
        policy.idempotent_only = false;
        let policy = forward(Some(policy));
        let exchange =
            send(&upstreams, &mut request("POST", Body::from("x")), Some(&policy)).await.expect("an answer");
        assert_eq!(exchange.record.attempts, 2);
        let end = exchange.end.clone();
        let collected = exchange.response.into_body().collect().await.expect("the whole body");
        assert_eq!(collected.trailers().expect("trailers")["grpc-status"], "0");
        assert_eq!(end.grpc_status().expect("known"), "0");
    });
}
