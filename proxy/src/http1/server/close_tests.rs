//! Early answers, clients that go or stall, draining, and responses that fail.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;

use super::*;
use crate::body::{BodyError, BodyErrorKind};
use crate::error::ErrorSource;
use crate::http1::test_support::{dateless, echo, fed, local, local_paused, serving};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: ";

#[test]
fn an_early_answer_discards_a_little_body_and_closes_on_much() {
    local(async {
        let early = |_| async { Response::new(Body::from("early")) };
        let mut s = serving(dateless(), early).await;
        s.client.write("POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc").await;
        assert_eq!(s.client.until("early").await, format!("{OK}5\r\n\r\nearly"));
        s.client.write("defGET /2 HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(s.client.until("early").await, format!("{OK}5\r\n\r\nearly"));
        s.client.write("POST /3 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc").await;
        assert_eq!(s.client.rest().await, format!("{OK}5\r\nconnection: close\r\n\r\nearly"));
    });
}

#[test]
fn an_endless_body_nobody_reads_is_cut_off() {
    local(async {
        let linger_timeout = Duration::from_millis(50);
        let settings = ServerSettings { discard_limit: 1000, linger_timeout, ..dateless() };
        let mut s = serving(settings, |_| async { Response::new(Body::from("early")) }).await;
        s.client.write("POST /1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        assert!(s.client.until("early").await.starts_with(OK));
        let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
        while tokio::io::AsyncWriteExt::write_all(&mut s.client.0, chunk.as_bytes()).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert_eq!(s.task.await.unwrap().unwrap(), Served::Closed);
    });
}

#[test]
fn an_early_answer_keeps_the_connection_only_if_all_of_the_body_is_here() {
    local(async {
        let mut s = serving(dateless(), |_| async { Response::new(Body::from("early")) }).await;
        let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        s.client.write(format!("{head}3\r\nabc\r\n0\r\n\r\n")).await;
        assert_eq!(s.client.until("early").await, format!("{OK}5\r\n\r\nearly"));
        // How much is still to come is not known: a promise to stay might not be kept.
        s.client.write(format!("{head}3\r\nabc\r\n")).await;
        assert_eq!(s.client.rest().await, format!("{OK}5\r\nconnection: close\r\n\r\nearly"));
    });
}

/// Many clients look for an answer only when they have sent all of the request.
#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending_much() {
    const LENGTH: usize = 16 * 1024 * 1024;
    local(async {
        let mut s = serving(dateless(), |_| async { Response::new(Body::from("early")) }).await;
        s.client.write(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {LENGTH}\r\n\r\n")).await;
        s.client.write(vec![b'x'; LENGTH]).await;
        assert_eq!(s.client.rest().await, format!("{OK}5\r\nconnection: close\r\n\r\nearly"));
    });
}

/// Gives other tasks of this thread their turn until they have nothing to do.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// HTTP/2 upstreams read a request's body in a task of their own.
#[test]
fn a_client_that_goes_is_noticed_while_the_bodys_reader_is_busy_elsewhere() {
    local(async {
        let read = Rc::new(Cell::new(false));
        let done = read.clone();
        let mut s = serving(dateless(), move |request: Request<Body>| {
            let done = done.clone();
            tokio::task::spawn_local(async move {
                let mut body = request.into_body();
                body.frame().await.unwrap().unwrap();
                done.set(true);
                std::future::pending::<()>().await;
                drop(body);
            });
            std::future::pending()
        })
        .await;
        s.client.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n").await;
        while s.handled.get() == 0 {
            tokio::task::yield_now().await;
        }
        settle().await;
        s.client.write("abc").await;
        while !read.get() {
            tokio::task::yield_now().await;
        }
        settle().await;
        drop(s.client);
        assert!(matches!(s.task.await.unwrap(), Err(ServeError::ClientGone)));
    });
}

#[test]
fn an_old_body_that_is_dropped_late_does_not_take_the_waking_from_a_new_ones_reader() {
    local(async {
        let old = Rc::new(RefCell::new(None));
        let (poke, kept, poked) = (Rc::new(tokio::sync::Notify::new()), old.clone(), Cell::new(0));
        let poking = poke.clone();
        let mut s = serving(dateless(), move |request: Request<Body>| {
            poked.set(poked.get() + 1);
            let (first, kept, poke) = (poked.get() == 1, kept.clone(), poking.clone());
            async move {
                let body = request.into_body();
                if first {
                    *kept.borrow_mut() = Some(body);
                    return Response::new(Body::from("early"));
                }
                let reading =
                    tokio::task::spawn_local(async move { body.collect().await.unwrap().to_bytes() });
                poke.notified().await;
                Response::new(Body::from(reading.await.unwrap()))
            }
        })
        .await;
        s.client.write("POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n").await;
        s.client.until("early").await;
        s.client.write("oldPOST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n").await;
        while s.handled.get() < 2 {
            tokio::task::yield_now().await;
        }
        settle().await;
        drop(old.take());
        poke.notify_one();
        settle().await;
        s.client.write("new").await;
        assert_eq!(s.client.until("new").await, format!("{OK}3\r\n\r\nnew"));
    });
}

#[test]
fn draining_lets_the_request_under_way_end_and_says_close() {
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
        s.client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        while s.handled.get() == 0 {
            tokio::task::yield_now().await;
        }
        s.drain.notify_one();
        gate.notify_one();
        assert!(s.client.rest().await.contains("connection: close"));
        assert_eq!(s.task.await.unwrap().unwrap(), Served::Drained);
    });
}

#[test]
fn draining_answers_a_request_that_was_on_its_way_and_closes_idle_connections() {
    local_paused(async {
        let mut s = serving(dateless(), echo).await;
        s.drain.notify_one();
        s.client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(s.client.rest().await.ends_with("connection: close\r\n\r\nGET / []"));
        let s = serving(dateless(), echo).await;
        s.drain.notify_one();
        assert_eq!(s.task.await.unwrap().unwrap(), Served::Drained);
    });
}

#[test]
fn a_client_that_goes_away_drops_the_handler() {
    local(async {
        struct Dropped(Rc<Cell<bool>>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let dropped = Rc::new(Cell::new(false));
        let guard = dropped.clone();
        let mut s = serving(dateless(), move |_| {
            let guard = Dropped(guard.clone());
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        })
        .await;
        s.client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        while s.handled.get() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!dropped.get());
        drop(s.client);
        assert!(matches!(s.task.await.unwrap(), Err(ServeError::ClientGone)));
        assert!(dropped.get());
    });
}

#[test]
fn a_client_that_goes_away_within_a_body_nobody_reads_drops_the_handler() {
    local(async {
        let mut s = serving(dateless(), |request: Request<Body>| async move {
            let _unread = request;
            std::future::pending().await
        })
        .await;
        s.client.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc").await;
        while s.handled.get() == 0 {
            tokio::task::yield_now().await;
        }
        drop(s.client);
        assert!(matches!(s.task.await.unwrap(), Err(ServeError::ClientGone)));
    });
}

#[test]
fn a_client_that_goes_away_ends_a_silent_stream() {
    local(async {
        let (_feeder, body) = fed();
        let body = Cell::new(Some(body));
        let mut s = serving(dateless(), move |_| {
            let body = body.take().unwrap();
            async { Response::new(body) }
        })
        .await;
        s.client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        s.client.until("\r\n\r\n").await;
        drop(s.client);
        assert!(matches!(s.task.await.unwrap(), Err(ServeError::ClientGone)));
    });
}

#[test]
fn a_body_that_breaks_off_reaches_the_handler_as_an_error() {
    local(async {
        let mut s = serving(dateless(), echo).await;
        s.client.write("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX").await;
        let answer = s.client.rest().await;
        assert!(
            answer.contains("connection: close") && answer.contains("http1.invalid_chunk_end"),
            "{answer}"
        );
    });
}

#[test]
fn a_response_that_fails_midway_is_cut_so_that_the_client_can_tell() {
    local(async {
        for version in ["1.0", "1.1"] {
            let error = BodyError::new(ErrorSource::Upstream, BodyErrorKind::Closed);
            let mut s = serving(dateless(), move |_| async move {
                let (feeder, body) = fed();
                feeder.data(vec![b'x'; 100_000]);
                feeder.put(Err(error));
                Response::new(body)
            })
            .await;
            s.client.write(format!("GET / HTTP/{version}\r\nHost: x\r\n\r\n")).await;
            let mut all = Vec::new();
            let end = tokio::io::AsyncReadExt::read_to_end(&mut s.client.0, &mut all).await;
            let text = String::from_utf8_lossy(&all);
            // Where the end of the connection is the end of the body, only a reset tells.
            assert_eq!(end.is_err(), version == "1.0", "{version}");
            assert!(!text.ends_with("0\r\n\r\n"), "{version}");
            assert!(matches!(s.task.await.unwrap(), Err(ServeError::ResponseBody(e)) if e == error));
        }
    });
}

#[test]
fn a_response_that_fails_at_once_becomes_502() {
    local(async {
        let error = BodyError::new(ErrorSource::Upstream, BodyErrorKind::Closed);
        let mut s = serving(dateless(), move |_| async move {
            let (feeder, body) = fed();
            feeder.put(Err(error));
            Response::new(body)
        })
        .await;
        s.client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(s.client.rest().await.starts_with("HTTP/1.1 502 "));
    });
}

#[test]
fn a_trickled_head_is_given_up_after_the_header_timeout() {
    local_paused(async {
        let mut s = serving(dateless(), echo).await;
        let started = tokio::time::Instant::now();
        for byte in "GET / HTTP/1.1\r\nHost: x\r\nX: ".bytes() {
            s.client.write([byte]).await;
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(s.client.rest().await.starts_with("HTTP/1.1 408 "));
        assert!(matches!(s.task.await.unwrap(), Err(ServeError::HeaderTimeout)));
        assert!(started.elapsed() >= Duration::from_secs(60), "{:?}", started.elapsed());
        assert_eq!(s.handled.get(), 0);
    });
}

#[test]
fn an_idle_connection_is_closed_after_the_idle_timeout() {
    local_paused(async {
        let mut s = serving(dateless(), echo).await;
        s.client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        s.client.until("[]").await;
        let idle = tokio::time::Instant::now();
        assert_eq!(s.task.await.unwrap().unwrap(), Served::Idle);
        assert!(idle.elapsed() >= Duration::from_secs(3600));
    });
}

#[test]
fn a_client_that_stalls_in_a_body_is_given_up_but_a_slow_handler_is_not() {
    local_paused(async {
        let mut s = serving(dateless(), echo).await;
        s.client.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc").await;
        assert!(s.client.rest().await.starts_with("HTTP/1.1 408 "));
        assert!(matches!(s.task.await.unwrap(), Err(ServeError::Stalled)));
        let mut s = serving(dateless(), |request| async {
            tokio::time::sleep(Duration::from_secs(3000)).await;
            echo(request).await
        })
        .await;
        s.client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(s.client.until("[]").await.starts_with(OK));
    });
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    local_paused(async {
        let mut s =
            serving(dateless(), |_| async { Response::new(Body::from(Bytes::from(vec![0; 64 << 20]))) })
                .await;
        s.client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(matches!(s.task.await.unwrap(), Err(ServeError::Stalled)));
    });
}
