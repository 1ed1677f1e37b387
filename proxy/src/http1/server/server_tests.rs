use std::cell::Cell;

use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::body::BodyErrorKind;
use crate::http1::test_support::{Raw, dateless, echo, fed, local, pair, serving};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: ";

#[test]
fn requests_are_answered_on_one_connection() {
    local(async {
        let mut s = serving(dateless(), echo).await;
        for _ in 0..3 {
            s.client.write("GET /a HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert_eq!(s.client.until("[]").await, format!("{OK}9\r\n\r\nGET /a []"));
        }
        drop(s.client);
        assert_eq!(s.task.await.unwrap().unwrap(), Served::Closed);
        assert_eq!(s.handled.get(), 3);
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    local(async {
        let mut s = serving(dateless(), echo).await;
        s.client
            .write(
                "POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nonePOST /2 HTTP/1.1\r\nHost: x\r\n\
                 Transfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\nGET /3 HTTP/1.1\r\nHost: x\r\n\
                 Connection: close\r\n\r\n",
            )
            .await;
        let answers = s.client.rest().await;
        let bodies: Vec<_> =
            answers.split("\r\n\r\n").skip(1).map(|t| t.split("HTTP").next().unwrap()).collect();
        assert_eq!(bodies, ["POST /1 [one]", "POST /2 [two]", "GET /3 []"]);
        assert!(answers.contains("connection: close"));
    });
}

#[test]
fn pipelined_bytes_survive_a_handler_that_waits() {
    local(async {
        let gate = Rc::new(tokio::sync::Notify::new());
        let opened = gate.clone();
        let mut s = serving(dateless(), move |request| {
            let gate = opened.clone();
            async move {
                gate.notified().await;
                echo(request).await
            }
        })
        .await;
        s.client.write("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
        while s.handled.get() == 0 {
            tokio::task::yield_now().await;
        }
        s.client.write("GET /2 HTTP/1.1\r\nHost: x\r\n\r\n").await;
        gate.notify_one();
        assert!(s.client.until("/1 []").await.contains("200 OK"));
        gate.notify_one();
        assert!(s.client.until("/2 []").await.contains("200 OK"));
    });
}

#[test]
fn a_body_that_comes_late_is_streamed_to_the_handler() {
    local(async {
        let mut s = serving(dateless(), echo).await;
        s.client.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc").await;
        while s.handled.get() == 0 {
            tokio::task::yield_now().await;
        }
        s.client.write("def").await;
        assert!(s.client.until("[abcdef]").await.starts_with(OK));
    });
}

#[test]
fn continue_is_said_when_the_body_is_asked_for() {
    local(async {
        let mut s = serving(dateless(), echo).await;
        s.client
            .write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
            .await;
        assert_eq!(s.client.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        s.client.write("abc").await;
        assert!(s.client.until("[abc]").await.starts_with(OK));
    });
}

#[test]
fn an_answer_without_the_body_says_no_continue_and_closes() {
    local(async {
        let mut s = serving(dateless(), |_| async { Response::new(Body::from("no")) }).await;
        s.client
            .write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
            .await;
        assert_eq!(s.client.rest().await, format!("{OK}2\r\nconnection: close\r\n\r\nno"));
    });
}

#[test]
fn head_is_answered_with_the_length_and_no_body() {
    local(async {
        let mut s = serving(dateless(), |_| async { Response::new(Body::from("hello")) }).await;
        s.client.write("HEAD / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(s.client.until("hello").await, format!("{OK}5\r\n\r\n{OK}5\r\n\r\nhello"));
    });
}

#[test]
fn statuses_without_content_have_none() {
    local(async {
        let mut s = serving(dateless(), |request: Request<Body>| async move {
            let status: u16 = request.uri().path()[1..].parse().unwrap();
            let response = Response::builder().status(status).header("content-length", "7");
            response.body(Body::from("ignored")).unwrap()
        })
        .await;
        s.client.write("GET /204 HTTP/1.1\r\nHost: x\r\n\r\nGET /304 HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(s.client.until("\r\n\r\n").await, "HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(
            s.client.until("\r\n\r\n").await,
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n"
        );
    });
}

#[test]
fn a_stream_leaves_in_chunks_with_the_trailers_a_client_can_take() {
    local(async {
        let mut s = serving(dateless(), |_| async {
            let (feeder, body) = fed();
            feeder.data("hello");
            feeder.trailers("x-sum", "1");
            Response::new(body)
        })
        .await;
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
        s.client.write("GET / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n").await;
        assert_eq!(s.client.until("x-sum: 1\r\n\r\n").await, format!("{head}x-sum: 1\r\n\r\n"));
        s.client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(s.client.until("0\r\n\r\n").await, format!("{head}\r\n"));
    });
}

#[test]
fn parts_of_a_stream_are_not_held_back() {
    local(async {
        let (feeder, body) = fed();
        let body = Cell::new(Some(body));
        let mut s = serving(dateless(), move |_| {
            let body = body.take().unwrap();
            async { Response::new(body) }
        })
        .await;
        s.client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        s.client.until("\r\n\r\n").await;
        feeder.data("one");
        assert_eq!(s.client.until("one\r\n").await, "3\r\none\r\n");
        feeder.data(vec![b'x'; 100_000]);
        assert_eq!(s.client.until("x\r\n").await.len(), 100_000 + 9);
        feeder.end();
        assert_eq!(s.client.until("0\r\n\r\n").await, "0\r\n\r\n");
    });
}

#[test]
fn http_1_0_is_served_as_it_expects() {
    local(async {
        let mut s = serving(dateless(), echo).await;
        s.client.write("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        assert_eq!(s.client.until("[]").await, format!("{OK}8\r\nconnection: keep-alive\r\n\r\nGET / []"));
        s.client.write("GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(s.client.rest().await, format!("{OK}8\r\nconnection: close\r\n\r\nGET / []"));
        let mut s = serving(dateless(), |_| async {
            let (feeder, body) = fed();
            feeder.data("until the end");
            feeder.end();
            Response::new(body)
        })
        .await;
        s.client.write("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        assert_eq!(s.client.rest().await, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end");
    });
}

#[test]
fn an_upgrade_hands_the_connection_over_with_what_was_read_ahead() {
    local(async {
        let mut s = serving(dateless(), |_| async {
            let body = Body::on_upgrade(|mut io| async move {
                let (mut reader, mut writer) = tokio::io::split(&mut io);
                tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                writer.shutdown().await.unwrap();
            });
            Response::builder().status(101).header("upgrade", "echo").body(body).unwrap()
        })
        .await;
        s.client
            .write("GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly ")
            .await;
        assert_eq!(
            s.client.until("\r\n\r\n").await,
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n"
        );
        s.client.write("late").await;
        assert_eq!(s.client.until("late").await, "early late");
        tokio::io::AsyncWriteExt::shutdown(&mut s.client.0).await.unwrap();
        assert_eq!(s.client.rest().await, "");
        assert_eq!(s.task.await.unwrap().unwrap(), Served::Upgraded);
    });
}

#[test]
fn an_upgrade_nobody_asked_for_does_not_reach_the_client() {
    local(async {
        let mut s = serving(dateless(), |_| async {
            Response::builder().status(101).body(Body::on_upgrade(|_| async {})).unwrap()
        })
        .await;
        s.client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(s.client.until("\r\n\r\n").await.starts_with("HTTP/1.1 502 "));
    });
}

#[test]
fn connect_opens_a_tunnel() {
    local(async {
        let mut s = serving(dateless(), |_| async {
            Response::new(Body::on_upgrade(|mut io: Io| async move {
                io.write_all(b"tunnel").await.unwrap();
            }))
        })
        .await;
        s.client.write("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n").await;
        assert_eq!(s.client.rest().await, "HTTP/1.1 200 OK\r\n\r\ntunnel");
    });
}

#[test]
fn bytes_that_were_sniffed_are_served() {
    local(async {
        let (client, server) = pair().await;
        let mut client = Raw::new(client);
        let io = Io::from(server).with_prefix("GET /sniffed HTT");
        let settings = dateless();
        client.write("P/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        serve(io, &settings, std::future::pending(), echo).await.unwrap();
        assert!(client.rest().await.contains("GET /sniffed"));
    });
}

#[test]
fn an_idle_connection_holds_no_buffer_and_a_small_future() {
    local(async {
        let (client, server) = pair().await;
        let settings = dateless();
        let serving = serve(Io::from(server), &settings, std::future::pending(), |request| async {
            let _large = [0_u8; 4096];
            echo(request).await
        });
        assert!(std::mem::size_of_val(&serving) < 1024, "{}", std::mem::size_of_val(&serving));
        drop(client);
        serving.await.unwrap();
    });
}

#[test]
fn a_body_kept_after_its_request_reads_nothing_of_the_next() {
    local(async {
        let kept: Rc<RefCell<Vec<Body>>> = Rc::default();
        let keep = kept.clone();
        let mut s = serving(dateless(), move |request: Request<Body>| {
            keep.borrow_mut().push(request.into_body());
            async { Response::new(Body::from("early")) }
        })
        .await;
        s.client.write("POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc").await;
        s.client.until("early").await;
        s.client.write("defPOST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n").await;
        s.client.until("early").await;
        let first = kept.borrow_mut().remove(0);
        assert_eq!(first.collect().await.unwrap_err().kind, BodyErrorKind::Closed);
    });
}
