//! Requests to real servers on loopback.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use weft_model::cluster::{CircuitBreakers, Cluster, Discovery, UpstreamHttp};
use weft_model::snapshot::Snapshot;

use super::test_support::*;
use super::{Destination, OriginalDestination, UpstreamSettings, Upstreams};
use crate::body::Body;
use crate::error::{Progress, ResponseFlag};

/// An address that refuses connections.
async fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("bound")
}

#[test]
fn requests_share_a_connection_and_get_their_answers() {
    worker(async {
        let server = serve_http(Version::HTTP_11, |_, _| status(200)).await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http1, &[server.address]));
        for _ in 0..20 {
            let exchange = send(&upstreams, &mut request("GET", Body::Empty), None).await.expect("an answer");
            assert_eq!(exchange.record.address, server.address);
            assert_eq!(exchange.record.attempts, 1);
            assert_eq!(content(exchange).await, "answer");
        }
        assert_eq!((server.count(), server.connections.get()), (20, 1));
        let seen = server.requests.borrow()[0].clone();
        assert_eq!(seen.head.uri, "/a?b");
        assert_eq!(seen.head.headers["host"], "reviews");
        assert_eq!(seen.head.headers["x-envoy-attempt-count"], "1");
    });
}

#[test]
fn the_clients_protocol_is_kept_where_the_cluster_says_so() {
    worker(async {
        let one = serve_http(Version::HTTP_11, |_, _| status(200)).await;
        let two = serve_http(Version::HTTP_2, |_, _| status(200)).await;
        for (version, server) in [(Version::HTTP_11, &one), (Version::HTTP_2, &two)] {
            let upstreams = upstreams(cluster(UpstreamHttp::SameAsDownstream, &[server.address]));
            let mut request = request("GET", Body::Empty);
            *request.version_mut() = version;
            send(&upstreams, &mut request, None).await.expect("an answer");
            assert_eq!(server.requests.borrow()[0].head.version, version);
        }
    });
}

#[test]
fn large_bodies_stream_both_ways_by_either_protocol() {
    worker(async {
        for (version, http) in
            [(Version::HTTP_11, UpstreamHttp::Http1), (Version::HTTP_2, UpstreamHttp::Http2)]
        {
            let server = serve_http(version, |_, seen| {
                let mut reply = status(200);
                *reply.response.body_mut() = http_body_util::Full::new(seen.body.clone());
                reply
            })
            .await;
            let upstreams = upstreams(cluster(http, &[server.address]));
            let part = Bytes::from(vec![b'x'; 300_000]);
            let body = pieces(vec![part.clone(), part.clone(), part]);
            let exchange = send(&upstreams, &mut request("POST", body), None).await.expect("an answer");
            let end = exchange.end.clone();
            assert_eq!(exchange.response.body().exact_length(), Some(900_000));
            assert_eq!(content(exchange).await.len(), 900_000);
            assert!(end.complete());
            assert_eq!(end.bytes(), 900_000);
            assert_eq!(upstreams.stats()[0].requests, 0);
        }
    });
}

/// Answers keep-alive requests, and closes each connection after a number of them, sometimes at once after an answer,
/// sometimes when the next request is already on its way.
async fn moody_server() -> SocketAddr {
    accept(|_, mut stream| async move {
        let mut buffer = [0; 4096];
        for _ in 0..fastrand::u32(1..6) {
            if stream.read(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
                return;
            }
        }
        match fastrand::u32(..3) {
            0 => {}
            1 => tokio::task::yield_now().await,
            // The next request is read and not answered.
            _ => {
                let _ = stream.read(&mut buffer).await;
            }
        }
    })
    .await
}

#[test]
fn pain_5_no_client_notices_that_an_upstream_closes_its_connections() {
    worker(async {
        let upstreams = upstreams(cluster(UpstreamHttp::Http1, &[moody_server().await]));
        let upstreams = &upstreams;
        let clients = (0..4).map(|_| async move {
            for _ in 0..500 {
                let exchange =
                    send(upstreams, &mut request("GET", Body::Empty), None).await.expect("an answer");
                assert_eq!(content(exchange).await, "ok");
            }
        });
        futures_util::future::join_all(clients).await;
    });
}

/// Answers one request and then swallows each further one without an answer.
async fn swallowing_server() -> (SocketAddr, std::rc::Rc<std::cell::Cell<usize>>) {
    let swallowed = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = swallowed.clone();
    let address = accept(move |_, mut stream| {
        let count = count.clone();
        async move {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            if stream.read(&mut buffer).await.unwrap_or(0) > 0 {
                count.set(count.get() + 1);
            }
        }
    })
    .await;
    (address, swallowed)
}

#[test]
fn pain_12_a_post_is_not_sent_again_once_bytes_of_it_were_written() {
    worker(async {
        let (address, swallowed) = swallowing_server().await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http1, &[address]));
        let policy = forward(Some(retry(&["reset", "5xx", "connect-failure"])));
        send(&upstreams, &mut request("POST", Body::from("1")), Some(&policy)).await.expect("an answer");
        let failure = send(&upstreams, &mut request("POST", Body::from("2")), Some(&policy))
            .await
            .expect_err("it may have been processed");
        assert_eq!(swallowed.get(), 1);
        assert_eq!(failure.error.flag, ResponseFlag::UpstreamConnectionTermination);
        assert_eq!(failure.error.progress, Progress::MaybeProcessed);
        assert_eq!(failure.error.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(failure.error.message.contains(CLUSTER), "{}", failure.error.message);
        // A GET is.
        send(&upstreams, &mut request("GET", Body::Empty), Some(&policy)).await.expect("an answer");
        send(&upstreams, &mut request("GET", Body::Empty), Some(&policy)).await.expect("an answer");
    });
}

#[test]
fn an_answer_the_policy_names_is_tried_again_with_the_whole_body() {
    worker(async {
        let server = serve_http(Version::HTTP_11, |n, _| status(if n < 2 { 503 } else { 200 })).await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http1, &[server.address]));
        let policy = forward(Some(retry(&["gateway-error"])));
        let body = pieces(vec![Bytes::from_static(b"one "), Bytes::from_static(b"two")]);
        let exchange = send(&upstreams, &mut request("PUT", body), Some(&policy)).await.expect("an answer");
        assert_eq!((exchange.response.status(), exchange.record.attempts), (StatusCode::OK, 3));
        let seen = server.requests.borrow();
        assert!(seen.iter().all(|seen| seen.body == "one two"));
        let counts: Vec<_> =
            seen.iter().map(|seen| seen.head.headers["x-envoy-attempt-count"].clone()).collect();
        assert_eq!(counts, ["1", "2", "3"]);
    });
}

#[test]
fn when_the_retries_are_used_up_the_client_gets_the_last_answer() {
    worker(async {
        let server = serve_http(Version::HTTP_2, |_, _| status(503)).await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http2, &[server.address]));
        let policy = forward(Some(retry(&["5xx"])));
        let exchange =
            send(&upstreams, &mut request("GET", Body::Empty), Some(&policy)).await.expect("an answer");
        assert_eq!(exchange.response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(exchange.flags.contains(ResponseFlag::UpstreamRetryLimitExceeded));
        assert_eq!((server.count(), exchange.record.attempts), (4, 4));
    });
}

#[test]
fn a_body_beyond_the_bound_is_streamed_but_not_tried_again() {
    worker(async {
        let server = serve_http(Version::HTTP_11, |_, _| status(503)).await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http1, &[server.address]));
        let policy = forward(Some(retry(&["5xx"])));
        let body = pieces(vec![Bytes::from(vec![b'x'; 50_000]); 2]);
        let exchange = send(&upstreams, &mut request("PUT", body), Some(&policy)).await.expect("an answer");
        assert_eq!(exchange.response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(server.count(), 1);
        assert_eq!(server.requests.borrow()[0].body.len(), 100_000);
    });
}

#[test]
fn a_refused_connection_is_tried_at_another_endpoint_and_remembered() {
    worker(async {
        let server = serve_http(Version::HTTP_11, |_, _| status(200)).await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http1, &[refusing().await, server.address]));
        let mut attempts = 0;
        for _ in 0..10 {
            let exchange =
                send(&upstreams, &mut request("POST", Body::from("x")), None).await.expect("an answer");
            attempts += exchange.record.attempts;
        }
        assert!(attempts <= 11, "one refusal at most: {attempts} attempts");
    });
}

#[test]
fn errors_name_the_service_the_cluster_and_the_flag() {
    worker(async {
        let to = |addresses: &[SocketAddr]| upstreams(cluster(UpstreamHttp::Http1, addresses));
        let cases: Vec<(std::rc::Rc<Upstreams>, ResponseFlag, &str)> = vec![
            (to(&[]), ResponseFlag::NoHealthyUpstream, "no healthy endpoint"),
            (to(&[refusing().await]), ResponseFlag::UpstreamConnectionFailure, "cannot connect"),
            (Upstreams::new(Default::default()), ResponseFlag::NoClusterFound, "is not known"),
        ];
        for (upstreams, flag, words) in cases {
            let failure =
                send(&upstreams, &mut request("GET", Body::Empty), None).await.expect_err("no answer");
            let error = failure.error;
            assert_eq!((error.flag, error.status), (flag, StatusCode::SERVICE_UNAVAILABLE));
            assert_eq!(error.progress, Progress::Unprocessed);
            assert!(error.message.contains(words) && error.message.contains(CLUSTER), "{}", error.message);
        }
    });
}

#[test]
fn an_attempt_that_takes_too_long_is_made_elsewhere() {
    worker(async {
        let slow = serve_http(Version::HTTP_11, |_, _| late(Duration::from_secs(3_600))).await;
        let fast = serve_http(Version::HTTP_11, |_, _| status(200)).await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http1, &[slow.address, fast.address]));
        let mut policy = retry(&["5xx"]);
        policy.per_try_timeout = Some(Duration::from_millis(300));
        let policy = forward(Some(policy));
        for _ in 0..2 {
            let exchange =
                send(&upstreams, &mut request("GET", Body::Empty), Some(&policy)).await.expect("an answer");
            assert_eq!(exchange.record.address, fast.address);
        }
        assert!(slow.count() >= 1, "round robin has taken it");
    });
}

#[test]
fn when_the_requests_time_is_up_the_client_gets_504() {
    worker(async {
        for (version, http) in
            [(Version::HTTP_11, UpstreamHttp::Http1), (Version::HTTP_2, UpstreamHttp::Http2)]
        {
            let slow = serve_http(version, |_, _| late(Duration::from_secs(3_600))).await;
            let upstreams = upstreams(cluster(http, &[slow.address]));
            let mut bounded = forward(None);
            bounded.timeout = Some(Duration::from_millis(50));
            let failure = send(&upstreams, &mut request("GET", Body::Empty), Some(&bounded))
                .await
                .expect_err("no answer in time");
            assert_eq!(failure.error.status, StatusCode::GATEWAY_TIMEOUT);
            assert_eq!(failure.error.flag, ResponseFlag::UpstreamRequestTimeout);
            assert_eq!(upstreams.stats()[0].requests, 0);
        }
    });
}

#[test]
fn what_is_over_the_circuit_breaker_gets_503_and_what_waits_for_a_connection_gets_through() {
    worker(async {
        let server = serve_http(Version::HTTP_11, |_, _| late(Duration::from_millis(20))).await;
        let limits = CircuitBreakers { max_connections: 1, max_pending_requests: 1, ..Default::default() };
        let upstreams = upstreams(Cluster { limits, ..cluster(UpstreamHttp::Http1, &[server.address]) });
        // Warm, so that one request has the connection, one waits and one is too many.
        let first = send(&upstreams, &mut request("GET", Body::Empty), None).await.expect("an answer");
        content(first).await;
        let sends = (0..3).map(|_| async {
            match send(&upstreams, &mut request("GET", Body::Empty), None).await {
                Ok(exchange) => {
                    content(exchange).await;
                    None
                }
                Err(failure) => Some(failure.error.flag),
            }
        });
        let mut flags = futures_util::future::join_all(sends).await;
        flags.sort();
        assert_eq!(flags, [None, None, Some(ResponseFlag::UpstreamOverflow)]);
        assert_eq!(server.connections.get(), 1);
    });
}

#[test]
fn a_retry_of_a_caller_is_not_multiplied() {
    worker(async {
        let server = serve_http(Version::HTTP_11, |_, _| status(503)).await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http1, &[server.address]));
        let policy = forward(Some(retry(&["5xx"])));
        let mut request = request("GET", Body::Empty);
        request.headers_mut().insert("x-envoy-attempt-count", http::HeaderValue::from_static("2"));
        send(&upstreams, &mut request, Some(&policy)).await.expect("an answer");
        assert_eq!(server.count(), 1);
        assert_eq!(server.requests.borrow()[0].head.headers["x-envoy-attempt-count"], "2");
    });
}

#[test]
fn a_new_snapshot_keeps_connections_and_a_removed_endpoint_loses_them() {
    worker(async {
        let server = serve_http(Version::HTTP_11, |_, _| status(200)).await;
        let other = serve_http(Version::HTTP_11, |_, _| status(200)).await;
        let before = cluster(UpstreamHttp::Http1, &[server.address]);
        let upstreams = upstreams(before.clone());
        let ask = || async {
            let exchange = send(&upstreams, &mut request("GET", Body::Empty), None).await.expect("an answer");
            content(exchange).await;
        };
        ask().await;
        upstreams
            .update(&snapshot(vec![Cluster { connect_timeout: Duration::from_secs(1), ..before.clone() }]));
        ask().await;
        assert_eq!(server.connections.get(), 1);
        let Discovery::Static(set) = cluster(UpstreamHttp::Http1, &[other.address]).discovery else { return };
        upstreams.update(&snapshot(vec![Cluster { discovery: Discovery::Static(set), ..before }]));
        assert_eq!(upstreams.stats()[0].connections, 0, "the idle connection is closed");
        ask().await;
        assert_eq!((server.count(), other.count()), (2, 1));
    });
}

#[test]
fn a_dropped_response_gives_the_connection_up_and_leaves_no_count_behind() {
    worker(async {
        let server = serve_http(Version::HTTP_11, |_, _| {
            let mut reply = status(200);
            *reply.response.body_mut() = http_body_util::Full::new(Bytes::from(vec![b'x'; 5_000_000]));
            reply
        })
        .await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http1, &[server.address]));
        let exchange = send(&upstreams, &mut request("GET", Body::Empty), None).await.expect("an answer");
        assert_eq!((upstreams.stats()[0].requests, upstreams.stats()[0].connections), (1, 1));
        let end = exchange.end.clone();
        drop(exchange);
        assert_eq!((upstreams.stats()[0].requests, upstreams.stats()[0].connections), (0, 0));
        assert!(!end.complete() && end.flag().is_none());
    });
}

#[test]
fn original_destinations_are_gone_to_and_names_are_resolved() {
    worker(async {
        let server = serve_http(Version::HTTP_11, |_, _| status(200)).await;
        let by = |discovery| upstreams(Cluster { discovery, ..cluster(UpstreamHttp::Http1, &[]) });
        let original = by(Discovery::OriginalDst);
        let destination = Destination {
            cluster: CLUSTER,
            forward: None,
            original_dst: Some(OriginalDestination::of(server.address)),
            downstream: Version::HTTP_11,
            provenance: &[],
            preference: Default::default(),
            client: None,
        };
        original.send(&mut request("GET", Body::Empty), &destination).await.expect("an answer");
        let named = by(Discovery::Dns(vec![("127.0.0.1".into(), server.address.port())]));
        send(&named, &mut request("GET", Body::Empty), None).await.expect("an answer");
        assert_eq!(server.count(), 2);
    });
}

#[test]
fn the_endpoint_that_the_client_dialled_is_the_only_one_that_will_do() {
    worker(async {
        let (first, second) = (
            serve_http(Version::HTTP_11, |_, _| status(200)).await,
            serve_http(Version::HTTP_11, |_, _| status(200)).await,
        );
        let headless = cluster(UpstreamHttp::Http1, &[first.address, second.address]);
        let Discovery::Static(set) = headless.discovery.clone() else { panic!() };
        let headless = Cluster { discovery: Discovery::Dialled(CLUSTER.into()), ..headless };
        let mut known = Snapshot::default();
        known.clusters.insert(CLUSTER.into(), headless.into());
        known.endpoints.insert(CLUSTER.into(), set.into());
        let upstreams = Upstreams::new(UpstreamSettings::default());
        upstreams.update(&known.into());
        let to = |address, is_endpoint| Destination {
            cluster: CLUSTER,
            forward: None,
            original_dst: Some(OriginalDestination { address, is_endpoint }),
            downstream: Version::HTTP_11,
            provenance: &[],
            preference: Default::default(),
            client: None,
        };
        for _ in 0..6 {
            let destination = to(second.address, true);
            upstreams.send(&mut request("GET", Body::Empty), &destination).await.expect("an answer");
        }
        assert_eq!((first.count(), second.count()), (0, 6));
        let stranger = refusing().await;
        let failure = upstreams.send(&mut request("GET", Body::Empty), &to(stranger, true)).await;
        let failure = failure.expect_err("nobody else will do");
        assert_eq!(failure.error.flag, ResponseFlag::NoHealthyUpstream);
        assert!(failure.error.message.contains(&stranger.to_string()), "{}", failure.error.message);
        // Who dialled a virtual address has chosen nobody.
        for _ in 0..6 {
            let destination = to(stranger, false);
            upstreams.send(&mut request("GET", Body::Empty), &destination).await.expect("an answer");
        }
        assert_eq!((first.count(), second.count()), (3, 9));
    });
}

#[test]
fn tcp_goes_to_another_endpoint_when_the_first_refuses() {
    worker(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let upstreams = upstreams(cluster(UpstreamHttp::Http1, &[refusing().await, address]));
        for _ in 0..4 {
            let mut upstream =
                upstreams.connect_tcp(CLUSTER, None, Default::default(), None, &[]).await.expect("connected");
            assert_eq!(upstream.record.address, address);
            let (mut accepted, _) = listener.accept().await.expect("accepted");
            upstream.io.write_all(b"hi").await.expect("written");
            let mut got = [0; 2];
            accepted.read_exact(&mut got).await.expect("read");
            assert_eq!(&got, b"hi");
        }
        assert_eq!(upstreams.stats()[0].connections, 0);
    });
}

#[test]
fn an_idle_connection_is_closed_before_the_upstream_said_it_would() {
    worker(async {
        let server = serve_http(Version::HTTP_11, |_, _| {
            let mut reply = status(200);
            reply.response.headers_mut().insert("keep-alive", http::HeaderValue::from_static("timeout=1"));
            reply
        })
        .await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http1, &[server.address]));
        let exchange = send(&upstreams, &mut request("GET", Body::Empty), None).await.expect("an answer");
        assert!(exchange.response.headers().get("keep-alive").is_none(), "hop by hop");
        content(exchange).await;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while upstreams.stats()[0].connections > 0 {
            assert!(tokio::time::Instant::now() < deadline, "it stays open");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn the_future_of_a_request_stays_small() {
    worker(async {
        let upstreams = Upstreams::new(Default::default());
        let mut request = request("GET", Body::Empty);
        let size = size_of_val(&send(&upstreams, &mut request, None));
        assert!(size <= 4096, "{size} bytes: box the rare branch that made it grow");
    });
}

#[test]
fn a_policy_for_other_failures_does_not_take_away_what_is_always_safe() {
    worker(async {
        let server = serve_http(Version::HTTP_11, |_, _| status(200)).await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http1, &[refusing().await, server.address]));
        let policy = forward(Some(retry(&["retriable-4xx"])));
        for _ in 0..2 {
            send(&upstreams, &mut request("POST", Body::from("x")), Some(&policy)).await.expect("an answer");
        }
    });
}

#[test]
fn endpoints_that_a_snapshot_does_not_have_are_not_gone() {
    worker(async {
        let server = serve_http(Version::HTTP_11, |_, _| status(200)).await;
        let Discovery::Static(set) = cluster(UpstreamHttp::Http1, &[server.address]).discovery else {
            return;
        };
        let by_name = Cluster {
            discovery: Discovery::Endpoints("reviews".into()),
            ..cluster(UpstreamHttp::Http1, &[])
        };
        let without = snapshot(vec![by_name]);
        let mut with = (*without).clone();
        with.endpoints.insert("reviews".into(), std::sync::Arc::new(set));
        let upstreams = Upstreams::new(Default::default());
        upstreams.update(&without);
        let failure = send(&upstreams, &mut request("GET", Body::Empty), None).await.expect_err("none yet");
        assert_eq!(failure.error.flag, ResponseFlag::NoHealthyUpstream);
        upstreams.update(&std::sync::Arc::new(with));
        for _ in 0..2 {
            let exchange = send(&upstreams, &mut request("GET", Body::Empty), None).await.expect("an answer");
            content(exchange).await;
            upstreams.update(&without);
        }
        assert_eq!(server.connections.get(), 1);
    });
}
