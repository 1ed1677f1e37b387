use std::cell::RefCell;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::body::BodyErrorKind;
use crate::error::ErrorSource;
use crate::http1::test_support::{Raw, fed, local, local_paused, pair};

type Pool = Rc<RefCell<Vec<ClientConnection>>>;

/// A connection, a pool for it to come back to, and the upstream's end by hand.
async fn upstream() -> (ClientConnection, Pool, Rc<dyn OnIdle>, Raw) {
    let (client, server) = pair().await;
    let pool = Pool::default();
    let back = pool.clone();
    let on_idle: Rc<dyn OnIdle> = Rc::new(move |connection| back.borrow_mut().push(connection));
    (ClientConnection::new(client.into(), ClientSettings::default()), pool, on_idle, Raw::new(server))
}

fn get(target: &str) -> Request<Body> {
    Request::get(target).header("host", "x").body(Body::Empty).unwrap()
}

fn post(body: Body) -> Request<Body> {
    Request::post("/").header("host", "x").body(body).unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Sends, while the upstream reads up to `end` and writes `answer`.
async fn exchange(request: &mut Request<Body>, end: &str, answer: &str) -> Result<Response<Body>, SendError> {
    let (connection, _pool, on_idle, mut raw) = upstream().await;
    let (result, ()) = tokio::join!(connection.send(request, Some(on_idle)), async {
        raw.until(end).await;
        raw.write(answer).await;
        drop(raw);
    });
    result
}

#[test]
fn a_connection_is_used_again_when_both_sides_allow() {
    local(async {
        let (mut connection, pool, on_idle, mut raw) = upstream().await;
        for (answer, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
            ("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", ""),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "hello"),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=7, max=3\r\nContent-Length: 1\r\n\r\nx",
                "x",
            ),
        ] {
            let mut request = get("/");
            let (response, ()) = tokio::join!(connection.send(&mut request, Some(on_idle.clone())), async {
                assert_eq!(raw.until("\r\n\r\n").await, "GET / HTTP/1.1\r\nhost: x\r\n\r\n");
                raw.write(answer).await;
            });
            assert_eq!(text(response.unwrap()).await, body);
            connection = pool.borrow_mut().pop().expect(answer);
            assert!(connection.is_reusable());
        }
        assert_eq!(connection.requests(), 4);
        assert_eq!(connection.keep_alive_timeout(), Some(Duration::from_secs(7)));
    });
}

#[test]
fn a_connection_is_not_used_again_when_it_ends_or_holds_more() {
    local(async {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\r\n",
        ] {
            let (connection, pool, on_idle, mut raw) = upstream().await;
            let mut request = get("/");
            let (response, ()) = tokio::join!(connection.send(&mut request, Some(on_idle)), async {
                raw.until("\r\n\r\n").await;
                raw.write(answer).await;
            });
            assert_eq!(text(response.unwrap()).await, "x");
            assert!(pool.borrow().is_empty(), "{answer}");
        }
        let response = exchange(&mut get("/"), "\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nuntil the end").await;
        assert_eq!(text(response.unwrap()).await, "until the end");
    });
}

#[test]
fn bodies_leave_framed_as_their_length_is_known() {
    local(async {
        let mut request = post(Body::from("hello"));
        let (connection, _pool, _on_idle, mut raw) = upstream().await;
        let (response, ()) = tokio::join!(connection.send(&mut request, None), async {
            let text = raw.until("hello").await;
            assert_eq!(text, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello");
            raw.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        });
        assert!(response.is_ok() && request.body().is_replayable());

        let (feeder, body) = fed();
        feeder.data("hello");
        feeder.trailers("x-sum", "1");
        let mut request = post(body);
        let (connection, _pool, _on_idle, mut raw) = upstream().await;
        let (response, ()) = tokio::join!(connection.send(&mut request, None), async {
            let text = raw.until("x-sum: 1\r\n\r\n").await;
            let head = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
            assert_eq!(text, format!("{head}5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"));
            raw.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        });
        assert!(response.is_ok() && matches!(request.body(), Body::Consumed));
    });
}

#[test]
fn an_empty_post_says_so() {
    local(async {
        let end = "content-length: 0\r\n\r\n";
        let response = exchange(&mut post(Body::Empty), end, "HTTP/1.1 204 No\r\n\r\n").await;
        assert_eq!(response.unwrap().status(), 204);
    });
}

#[test]
fn an_early_answer_is_taken_and_the_rest_still_flows() {
    local(async {
        let (feeder, body) = fed();
        let mut request = post(body);
        let (connection, pool, on_idle, mut raw) = upstream().await;
        let (response, ()) = tokio::join!(connection.send(&mut request, Some(on_idle)), async {
            raw.until("\r\n\r\n").await;
            raw.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        });
        let mut response = response.unwrap().into_body();
        feeder.data("ping");
        let (frame, ()) = tokio::join!(response.frame(), async {
            assert_eq!(raw.until("ping\r\n").await, "4\r\nping\r\n");
            raw.write("4\r\npong\r\n").await;
        });
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "pong");
        feeder.end();
        let (frame, ()) = tokio::join!(response.frame(), async {
            raw.until("0\r\n\r\n").await;
            raw.write("0\r\n\r\n").await;
        });
        assert!(frame.is_none());
        assert_eq!(pool.borrow().len(), 1);
    });
}

#[test]
fn an_answer_that_ends_before_the_request_does_ends_the_connection() {
    local(async {
        let (_feeder, body) = fed();
        let mut request = post(body);
        let (connection, pool, on_idle, mut raw) = upstream().await;
        let (response, ()) = tokio::join!(connection.send(&mut request, Some(on_idle)), async {
            raw.until("\r\n\r\n").await;
            raw.write("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").await;
        });
        assert_eq!(text(response.unwrap()).await, "no");
        assert!(pool.borrow().is_empty());
        assert_eq!(raw.rest().await, "");
    });
}

/// Without the rest, an upstream that waits for it would never end its answer.
#[test]
fn a_request_that_breaks_off_ends_the_answer_that_began() {
    local(async {
        let (feeder, body) = fed();
        let mut request = post(body);
        let (connection, pool, on_idle, mut raw) = upstream().await;
        let (response, ()) = tokio::join!(connection.send(&mut request, Some(on_idle)), async {
            raw.until("\r\n\r\n").await;
            raw.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha").await;
        });
        let mut body = response.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "ha");
        let broken = BodyError::new(ErrorSource::Downstream, BodyErrorKind::Protocol("http1.codec_error"));
        feeder.put(Err(broken));
        assert_eq!(body.frame().await.unwrap().unwrap_err(), broken);
        assert!(pool.borrow().is_empty());
        assert_eq!(raw.rest().await, "", "the connection is closed at once");
    });
}

#[test]
fn an_answer_is_taken_even_when_writing_fails() {
    local(async {
        let (feeder, body) = fed();
        let mut request = post(body);
        let (connection, pool, on_idle, mut raw) = upstream().await;
        let (response, ()) = tokio::join!(connection.send(&mut request, Some(on_idle)), async {
            raw.until("\r\n\r\n").await;
            // The upstream stops reading: writing to it fails soon, but what it said is still to be had.
            raw.write("HTTP/1.1 413 Too Large\r\nContent-Le").await;
            for _ in 0..50 {
                feeder.data(vec![0; 10_000]);
                tokio::task::yield_now().await;
            }
            raw.write("ngth: 2\r\n\r\nno").await;
            raw.0.shutdown().await.unwrap();
        });
        assert_eq!(text(response.unwrap()).await, "no");
        assert!(pool.borrow().is_empty());
    });
}

#[test]
fn interim_responses_are_passed_over_but_not_without_end() {
    local(async {
        let answer =
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx";
        let response = exchange(&mut get("/"), "\r\n\r\n", answer).await.unwrap();
        assert_eq!((response.status(), text(response).await.as_str()), (StatusCode::OK, "x"));
        let answer = "HTTP/1.1 102 Processing\r\n\r\n".repeat(40);
        let error = exchange(&mut get("/"), "\r\n\r\n", &answer).await.unwrap_err();
        assert!(matches!(error.kind, SendErrorKind::Refused(Refusal::TooManyInterim)));
    });
}

#[test]
fn a_body_waits_for_continue_and_stays_here_when_it_is_refused() {
    local(async {
        let (feeder, body) = fed();
        feeder.data("hello");
        feeder.end();
        let mut request = post(body);
        request.headers_mut().insert("expect", "100-continue".parse().unwrap());
        let (connection, _pool, _on_idle, mut raw) = upstream().await;
        let (response, ()) = tokio::join!(connection.send(&mut request, None), async {
            assert!(raw.until("\r\n\r\n").await.contains("expect: 100-continue"));
            assert!(raw.1.is_empty());
            raw.write("HTTP/1.1 100 Continue\r\n\r\n").await;
            assert_eq!(raw.until("0\r\n\r\n").await, "5\r\nhello\r\n0\r\n\r\n");
            raw.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        });
        assert_eq!(response.unwrap().status(), 200);
    });
}

#[test]
fn a_body_does_not_wait_for_continue_for_ever() {
    local_paused(async {
        let (feeder, body) = fed();
        feeder.data("hello");
        feeder.end();
        let mut request = post(body);
        request.headers_mut().insert("expect", "100-continue".parse().unwrap());
        let end = "hello\r\n0\r\n\r\n";
        let response = exchange(&mut request, end, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(response.unwrap().status(), 200);
    });
}

#[test]
fn an_upgrade_returns_the_connection_with_what_was_read_ahead() {
    local(async {
        let mut request = get("/");
        request.headers_mut().insert("upgrade", "websocket".parse().unwrap());
        let (connection, _pool, _on_idle, mut raw) = upstream().await;
        let (response, ()) = tokio::join!(connection.send(&mut request, None), async {
            assert!(raw.until("\r\n\r\n").await.contains("upgrade: websocket\r\nconnection: upgrade\r\n"));
            raw.write("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nahead")
                .await;
        });
        let mut io = response.unwrap().body_mut().take_upgraded().unwrap();
        let mut ahead = [0; 5];
        tokio::io::AsyncReadExt::read_exact(&mut io, &mut ahead).await.unwrap();
        assert_eq!(&ahead, b"ahead");
        io.write_all(b"tunnel").await.unwrap();
        assert_eq!(raw.until("tunnel").await, "tunnel");
    });
}

#[test]
fn an_upgrade_nobody_asked_for_is_refused() {
    local(async {
        let answer = "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n";
        let error = exchange(&mut get("/"), "\r\n\r\n", answer).await.unwrap_err();
        assert!(matches!(error.kind, SendErrorKind::Refused(Refusal::UnexpectedUpgrade)));
    });
}

#[test]
fn a_pooled_connection_that_was_closed_is_noticed_before_anything_is_written() {
    local(async {
        for unexpected in ["", "HTTP/1.1 408 Request Timeout\r\n\r\n"] {
            let (connection, pool, on_idle, mut raw) = upstream().await;
            let mut request = get("/");
            let (response, ()) = tokio::join!(connection.send(&mut request, Some(on_idle)), async {
                raw.until("\r\n\r\n").await;
                raw.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            });
            response.unwrap();
            let mut connection = pool.borrow_mut().pop().unwrap();
            assert!(connection.is_reusable());
            raw.write(unexpected).await;
            drop(raw);
            poll_fn(|cx| connection.poll_unusable(cx)).await;
            assert!(!connection.is_reusable());
            let (_feeder, body) = fed();
            let mut request = post(body);
            let error = connection.send(&mut request, None).await.unwrap_err();
            assert!(matches!(error.kind, SendErrorKind::NotReusable), "{error:?}");
            assert!(error.progress == Progress::Unprocessed && error.replayable);
            assert!(matches!(request.body(), Body::Boxed(_)), "the body is back");
        }
    });
}

#[test]
fn a_close_without_an_answer_tells_how_far_it_got() {
    local(async {
        let error = exchange(&mut get("/"), "\r\n\r\n", "").await.unwrap_err();
        assert!(matches!(error.kind, SendErrorKind::ClosedBeforeResponse { reused: false }), "{error:?}");
        assert!(error.progress == Progress::MaybeProcessed && error.replayable);
        let error = exchange(&mut get("/"), "\r\n\r\n", "HTTP/1.1 20").await.unwrap_err();
        assert!(matches!(error.kind, SendErrorKind::ClosedInResponse), "{error:?}");
        let (feeder, body) = fed();
        feeder.data("x");
        let error = exchange(&mut post(body), "x", "").await.unwrap_err();
        assert!(!error.replayable);
    });
}

#[test]
fn a_body_that_was_given_away_is_never_sent_as_an_empty_one() {
    local(async {
        let (connection, _pool, _on_idle, mut raw) = upstream().await;
        let mut request = post(Body::Consumed);
        let error = connection.send(&mut request, None).await.unwrap_err();
        assert!(matches!(error.kind, SendErrorKind::RequestBody(e) if e.kind == BodyErrorKind::Consumed));
        assert!(!error.replayable);
        assert!(!raw.rest().await.contains("0\r\n\r\n"));
    });
}

#[test]
fn answers_that_two_hops_could_read_differently_are_refused() {
    local(async {
        for (answer, refusal) in [
            ("HTTP/1.1 200 OK\nContent-Length: 0\n\n", Refusal::BareLineEnd),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                Refusal::AmbiguousLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
                Refusal::ContentLengthRepeated,
            ),
            ("SSH-2.0-OpenSSH\r\n", Refusal::StatusLine),
        ] {
            let error = exchange(&mut get("/"), "\r\n\r\n", answer).await.unwrap_err();
            assert!(matches!(error.kind, SendErrorKind::Refused(r) if r == refusal), "{answer:?}: {error:?}");
        }
    });
}

#[test]
fn a_body_that_breaks_off_is_an_error_of_the_upstream() {
    local(async {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ] {
            let response = exchange(&mut get("/"), "\r\n\r\n", answer).await.unwrap();
            let error = response.into_body().collect().await.unwrap_err();
            assert_eq!(error, BodyError::new(ErrorSource::Upstream, BodyErrorKind::Closed), "{answer}");
        }
    });
}

/// TLS takes bytes before the socket does: the last of a body must leave also when the socket was full just then.
#[test]
fn the_end_of_a_body_does_not_stay_behind_in_tls() {
    const LENGTH: usize = 1024 * 1024;
    local(async {
        let (client, mut server) = crate::io::tests::tls_pair().await;
        socket2::SockRef::from(client.tcp()).set_send_buffer_size(32 * 1024).unwrap();
        let connection = ClientConnection::new(client, ClientSettings::default());
        let mut request = post(Body::from(Bytes::from(vec![b'x'; LENGTH])));
        let (response, ()) = tokio::join!(connection.send(&mut request, None), async {
            let mut received = Vec::new();
            while !received.ends_with(b"\r\n\r\n") {
                received.push(server.read_u8().await.unwrap());
            }
            let mut body = vec![0; LENGTH];
            server.read_exact(&mut body).await.unwrap();
            server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            server.flush().await.unwrap();
        });
        assert_eq!(response.unwrap().status(), StatusCode::NO_CONTENT);
    });
}
