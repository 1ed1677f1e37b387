//! Requests to other sidecars, over mutual TLS; and whole hops through our own HTTP/1 server.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use weft_model::cluster::UpstreamHttp;
use weft_model::policy::RetryPolicy;

use super::peer::{self, X_WEFT_PEER};
use super::test_support::*;
use crate::body::{Body, BodyError, BodyErrorKind};
use crate::error::{ErrorSource, Progress, ResponseFlag};
use crate::http1::{ServerSettings, serve};
use crate::identity::Identity;
use crate::io::Io;
use crate::tls::ServerAcceptor;
use crate::tls::testing::{RATINGS, REVIEWS, TestAuthority};

/// A sidecar of `reviews` that answers with what `answer` says, and the headers it got.
async fn sidecar(
    identity: Identity,
    answer: impl Fn(usize) -> Response<Body> + 'static,
) -> (SocketAddr, Rc<RefCell<Vec<HeaderMap>>>) {
    let seen: Rc<RefCell<Vec<HeaderMap>>> = Rc::default();
    let (got, answer) = (seen.clone(), Rc::new(answer));
    let acceptor = Rc::new(ServerAcceptor::new(identity));
    let address = accept(move |_, stream| {
        let (got, answer, acceptor) = (got.clone(), answer.clone(), acceptor.clone());
        async move {
            let Ok(accepted) = acceptor.accept(stream).await else { return };
            let handler = |request: http::Request<Body>| {
                let response = answer(got.borrow().len());
                got.borrow_mut().push(request.headers().clone());
                async move { response }
            };
            let settings = ServerSettings::default();
            let _ = serve(Io::from(accepted.stream), &settings, std::future::pending(), handler).await;
        }
    })
    .await;
    (address, seen)
}

#[test]
fn over_mutual_tls_the_peer_is_known_and_told_once_who_calls() {
    worker(async {
        let authority = TestAuthority::new("root");
        let (address, seen) = sidecar(authority.identity(REVIEWS), |_| Response::new(Body::from("ok"))).await;
        let upstreams = caller(&authority, address, REVIEWS);
        for _ in 0..3 {
            let mut request = request("GET", Body::Empty);
            request.headers_mut().insert(X_WEFT_PEER, http::HeaderValue::from_static("forged;;;;"));
            let exchange = send(&upstreams, &mut request, None).await.expect("an answer");
            assert_eq!(exchange.record.identity.as_ref().map(ToString::to_string).as_deref(), Some(REVIEWS));
            content(exchange).await;
        }
        let told: Vec<_> =
            seen.borrow().iter().map(|headers| headers.get(X_WEFT_PEER).and_then(peer::decode)).collect();
        assert_eq!(told[0].as_ref().map(|workload| &*workload.name), Some("ratings-v1"));
        assert_eq!(&told[1..], [None, None]);
    });
}

#[test]
fn another_identity_than_expected_gets_no_request() {
    worker(async {
        let authority = TestAuthority::new("root");
        let (address, seen) = sidecar(authority.identity(RATINGS), |_| Response::new(Body::from("ok"))).await;
        let upstreams = caller(&authority, address, REVIEWS);
        let failure = send(&upstreams, &mut request("GET", Body::Empty), None).await.expect_err("refused");
        assert_eq!(failure.error.flag, ResponseFlag::UpstreamConnectionFailure);
        assert!(failure.error.message.contains(REVIEWS), "{}", failure.error.message);
        assert!(seen.borrow().is_empty());
    });
}

#[test]
fn expected_identities_that_cannot_be_read_refuse_everybody() {
    worker(async {
        let authority = TestAuthority::new("root");
        let (address, seen) = sidecar(authority.identity(REVIEWS), |_| Response::new(Body::from("ok"))).await;
        let upstreams = caller(&authority, address, "reviews");
        send(&upstreams, &mut request("GET", Body::Empty), None).await.expect_err("refused");
        assert!(seen.borrow().is_empty());
    });
}

#[test]
fn a_post_that_another_sidecar_says_reached_nobody_is_tried_again() {
    worker(async {
        let authority = TestAuthority::new("root");
        let (address, seen) = sidecar(authority.identity(REVIEWS), |n| {
            let response = Response::builder();
            if n == 0 {
                let response = response.status(503).header(peer::X_WEFT_UNPROCESSED, "1");
                return response.body(Body::Empty).expect("valid");
            }
            response.body(Body::Empty).expect("valid")
        })
        .await;
        let upstreams = caller(&authority, address, REVIEWS);
        let policy = forward(Some(retry(&["gateway-error"])));
        let exchange =
            send(&upstreams, &mut request("POST", Body::from("x")), Some(&policy)).await.expect("an answer");
        assert_eq!(exchange.response.status(), StatusCode::OK);
        assert_eq!(seen.borrow().len(), 2);
    });
}

/// A sidecar whose application has gone.
async fn forsaken(authority: &TestAuthority) -> (SocketAddr, Rc<RefCell<Vec<HeaderMap>>>) {
    let unprocessed = || Response::builder().status(503).header(peer::X_WEFT_UNPROCESSED, "1");
    sidecar(authority.identity(REVIEWS), move |_| unprocessed().body(Body::Empty).expect("valid")).await
}

#[test]
fn instances_that_refuse_a_request_do_not_use_up_the_meshs_own_retries() {
    worker(async {
        let authority = TestAuthority::new("root");
        let mut addresses = Vec::new();
        let mut refused = Vec::new();
        for _ in 0..6 {
            let (address, seen) = forsaken(&authority).await;
            addresses.push(address);
            refused.push(seen);
        }
        let (works, seen) =
            sidecar(authority.identity(REVIEWS), |_| Response::new(Body::from("served"))).await;
        addresses.push(works);
        let upstreams = caller_of(&authority, &addresses, REVIEWS);
        let ours = RetryPolicy { retries: 2, ..retry(&["gateway-error"]) };
        for _ in 0..20 {
            let mut request = request("POST", Body::from("x"));
            let exchange = send(&upstreams, &mut request, Some(&forward(Some(ours.clone())))).await;
            assert_eq!(exchange.expect("an answer").response.status(), StatusCode::OK);
        }
        assert_eq!(seen.borrow().len(), 20);
        // Who refused is not asked again soon.
        assert!(refused.iter().all(|seen| seen.borrow().len() <= 2));
    });
}

#[test]
fn a_policy_whose_conditions_the_user_named_is_obeyed_to_the_letter() {
    worker(async {
        let authority = TestAuthority::new("root");
        let mut addresses = Vec::new();
        for _ in 0..6 {
            addresses.push(forsaken(&authority).await.0);
        }
        let upstreams = caller_of(&authority, &addresses, REVIEWS);
        let theirs = RetryPolicy { retries: 2, idempotent_only: false, ..retry(&["gateway-error"]) };
        let mut of_theirs = request("GET", Body::Empty);
        let exchange =
            send(&upstreams, &mut of_theirs, Some(&forward(Some(theirs)))).await.expect("an answer");
        assert_eq!(exchange.record.attempts, 3);
        // Where all refuse, everybody is asked, and two retries are what is left.
        let upstreams = caller_of(&authority, &addresses, REVIEWS);
        let ours = RetryPolicy { retries: 2, ..retry(&["gateway-error"]) };
        let mut of_ours = request("GET", Body::Empty);
        let exchange = send(&upstreams, &mut of_ours, Some(&forward(Some(ours)))).await.expect("an answer");
        assert_eq!(exchange.record.attempts, 8);
        assert_eq!(exchange.response.status(), StatusCode::SERVICE_UNAVAILABLE);
    });
}

#[test]
fn an_upgraded_connection_is_copied_both_ways_until_both_ends_are_done() {
    worker(async {
        let backend = accept(|_, mut stream| async move {
            let mut head = vec![0; 1024];
            let n = stream.read(&mut head).await.expect("read");
            let head = String::from_utf8_lossy(&head[..n]).to_ascii_lowercase();
            assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
            let answer =
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhi";
            stream.write_all(answer).await.expect("written");
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await.expect("echoed");
        })
        .await;
        let upstreams = upstreams(cluster(UpstreamHttp::SameAsDownstream, &[backend]));
        let forwarding = upstreams.clone();
        let front = accept(move |_, stream| forward_all(Io::from(stream), forwarding.clone())).await;
        let mut client = TcpStream::connect(front).await.expect("connected");
        let ask = b"GET /chat HTTP/1.1\r\nhost: chat\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        client.write_all(ask).await.expect("written");
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\nhi") {
            assert_ne!(
                client.read_buf(&mut got).await.expect("read"),
                0,
                "{}",
                String::from_utf8_lossy(&got)
            );
        }
        assert!(got.starts_with(b"HTTP/1.1 101 "));
        assert_eq!(upstreams.stats()[0].connections, 1, "what ended HTTP is still a connection");
        client.write_all(b"echo").await.expect("written");
        client.shutdown().await.expect("half closed");
        let mut echoed = String::new();
        client.read_to_string(&mut echoed).await.expect("read to the end");
        assert_eq!(echoed, "echo");
        while upstreams.stats()[0].requests > 0 || upstreams.stats()[0].connections > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn an_early_answer_is_passed_on_while_the_request_is_still_coming() {
    worker(async {
        let backend = accept(|_, mut stream| async move {
            let mut head = vec![0; 1024];
            let _ = stream.read(&mut head).await.expect("read");
            let answer = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig";
            stream.write_all(answer).await.expect("written");
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        })
        .await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http1, &[backend]));
        let never = http_body_util::StreamBody::new(futures_util::StreamExt::chain(
            tokio_stream::iter([Ok(http_body::Frame::data(Bytes::from_static(b"begin")))]),
            tokio_stream::pending(),
        ));
        let mut request = request("POST", Body::boxed(never));
        let exchange = send(&upstreams, &mut request, None).await.expect("an answer");
        assert_eq!(exchange.response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let mut body = exchange.response.into_body();
        let frame = body.frame().await.expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data"), "big");
    });
}

#[test]
fn a_client_that_breaks_off_its_request_is_not_the_upstreams_fault() {
    worker(async {
        for (version, http) in
            [(http::Version::HTTP_11, UpstreamHttp::Http1), (http::Version::HTTP_2, UpstreamHttp::Http2)]
        {
            let server = serve_http(version, |_, _| status(200)).await;
            let upstreams = upstreams(cluster(http, &[server.address]));
            let gone = BodyError::new(ErrorSource::Downstream, BodyErrorKind::Closed);
            let frames = [Ok(http_body::Frame::data(Bytes::from_static(b"begin"))), Err(gone)];
            let body = Body::boxed(http_body_util::StreamBody::new(tokio_stream::iter(frames)));
            let policy = forward(Some(retry(&["5xx", "reset"])));
            let failure =
                send(&upstreams, &mut request("PUT", body), Some(&policy)).await.expect_err("broken off");
            assert_eq!(failure.error.fault, ErrorSource::Downstream);
            assert_eq!(failure.error.flag, ResponseFlag::DownstreamConnectionTermination);
            assert_eq!(failure.error.progress, Progress::MaybeProcessed);
        }
    });
}

/// A request's body of which only the beginning comes, until `gone` is told: then it breaks off.
fn broken_off(gone: &Rc<Notify>) -> Body {
    let gone = gone.clone();
    let error = BodyError::new(ErrorSource::Downstream, BodyErrorKind::Closed);
    let rest = futures_util::stream::once(async move {
        gone.notified().await;
        Err(error)
    });
    let begin = tokio_stream::iter([Ok(http_body::Frame::data(Bytes::from_static(b"begin")))]);
    Body::boxed(http_body_util::StreamBody::new(futures_util::StreamExt::chain(begin, rest)))
}

/// Both protocols, because the rest of a request is sent in different ways.
#[test]
fn a_client_that_breaks_off_after_the_response_began_ends_it_and_is_the_one_to_blame() {
    worker(async {
        let one = accept(|_, mut stream| async move {
            let mut head = vec![0; 1024];
            let _ = stream.read(&mut head).await.expect("read");
            let begin = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
            stream.write_all(begin).await.expect("written");
            let _ = stream.read_to_end(&mut head).await;
        })
        .await;
        let two = accept(|_, stream| async move {
            let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
            let mut under_way = Vec::new();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let mut stream = respond.send_response(Response::new(()), false).expect("sent");
                stream.send_data(Bytes::from_static(b"half"), false).expect("sent");
                under_way.push((request, stream));
            }
        })
        .await;
        for (http, backend) in [(UpstreamHttp::Http1, one), (UpstreamHttp::Http2, two)] {
            let upstreams = upstreams(cluster(http, &[backend]));
            let gone = Rc::new(Notify::new());
            let mut request = request("PUT", broken_off(&gone));
            let mut exchange = send(&upstreams, &mut request, None).await.expect("an answer");
            let frame = exchange.response.body_mut().frame().await.expect("a frame").expect("no error");
            assert_eq!(frame.into_data().expect("data"), "half");
            gone.notify_one();
            let error = exchange.response.body_mut().frame().await.expect("an end").expect_err("broken off");
            assert_eq!(error.source_side, ErrorSource::Downstream);
            assert_eq!(exchange.end.flag(), Some(ResponseFlag::DownstreamConnectionTermination));
        }
    });
}

/// RFC 9113, section 8.1: after all of its answer a server may reset a stream with NO_ERROR.
#[test]
fn an_http2_answer_is_whole_though_the_rest_of_the_request_is_refused() {
    worker(async {
        let backend = accept(|_, stream| async move {
            let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let mut stream = respond.send_response(Response::new(()), false).expect("sent");
                stream.send_data(Bytes::from_static(b"enough"), true).expect("sent");
                // Whoever drops a request that is not complete refuses the rest of it.
                drop(request);
            }
        })
        .await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http2, &[backend]));
        let never = Rc::new(Notify::new());
        let exchange =
            send(&upstreams, &mut request("PUT", broken_off(&never)), None).await.expect("an answer");
        // The body is let go of when the reset has come.
        while Rc::strong_count(&never) > 1 {
            tokio::task::yield_now().await;
        }
        let end = exchange.end.clone();
        assert_eq!(content(exchange).await, "enough");
        assert_eq!((end.flag(), end.complete()), (None, true));
    });
}

#[test]
fn a_response_body_that_stalls_is_ended_by_the_idle_timeout() {
    worker(async {
        let backend = accept(|_, mut stream| async move {
            let mut head = vec![0; 1024];
            let _ = stream.read(&mut head).await.expect("read");
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await.expect("written");
            let _ = stream.read(&mut head).await;
        })
        .await;
        let upstreams = upstreams(cluster(UpstreamHttp::Http1, &[backend]));
        let mut bounded = forward(None);
        bounded.idle_timeout = Some(Duration::from_millis(50));
        let exchange =
            send(&upstreams, &mut request("GET", Body::Empty), Some(&bounded)).await.expect("an answer");
        let end = exchange.end.clone();
        let mut body = exchange.response.into_body();
        while body.frame().await.is_some_and(|frame| frame.is_ok()) {}
        assert_eq!((end.flag(), end.bytes()), (Some(ResponseFlag::StreamIdleTimeout), 4));
        assert!(!http_body::Body::is_end_stream(&body), "what broke off is never complete");
        assert!(body.frame().await.is_some_and(|frame| frame.is_err()));
    });
}
