use std::cell::Cell;
use std::time::Duration;

use weft_model::filter::FilterOverrides;
use weft_model::policy::{Abort, Fault, Fraction, RetryConditions, RetryPolicy};
use weft_model::route::{Forward, RouteAction};

use super::harness::*;

fn retrying(retries: u32) -> RetryPolicy {
    RetryPolicy {
        retries,
        conditions: RetryConditions::SERVER_ERROR,
        status_codes: [].into(),
        per_try_timeout: None,
        per_try_idle_timeout: None,
        backoff_base: Duration::from_millis(1),
        backoff_max: Duration::from_millis(2),
        idempotent_only: true,
        avoid_tried_endpoints: true,
        ..RetryPolicy::default()
    }
}

#[test]
fn a_flaky_service_is_hidden_by_retries() {
    local(async {
        let calls = Cell::new(0);
        let backend = Backend::start(move |_| {
            calls.set(calls.get() + 1);
            if calls.get() % 3 == 0 { text(200, "at last") } else { text(503, "not now") }
        })
        .await;
        let forward = Forward { retry: Some(retrying(2)), ..Forward::to("a") };
        let snapshot =
            outbound(vec![route(RouteAction::Forward(forward))], vec![cluster("a", &[backend.address])]);
        let proxy = Proxy::start(snapshot);
        let got = get_once(proxy.at("127.0.0.1").await, "/").await;
        assert_eq!((got.status, got.body.as_str()), (200, "at last"));
        assert_eq!(backend.last().headers["x-envoy-attempt-count"], "3");
    });
}

#[test]
fn a_service_that_does_not_answer_in_time_is_given_up() {
    local(async {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let forward = Forward { timeout: Some(Duration::from_millis(30)), ..Forward::to("a") };
        let clusters = vec![cluster("a", &[silent.local_addr().unwrap()])];
        let proxy = Proxy::start(outbound(vec![route(RouteAction::Forward(forward))], clusters));
        let got = get_once(proxy.at("127.0.0.1").await, "/").await;
        assert_eq!(got.status, 504);
        assert!(got.body.contains("timeout"), "{}", got.body);
        let mut grpc = get("/");
        grpc.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let got = Client::h1(proxy.at("127.0.0.1").await).await.send(grpc).await;
        assert_eq!((got.status, got.headers["grpc-status"].to_str().unwrap()), (200, "14"));
    });
}

#[test]
fn faults_are_injected_before_the_service_is_called() {
    local(async {
        let backend = Backend::named("real").await;
        let mut faulty = to("a");
        let fault = |abort| Fault {
            delay: Some((Duration::from_millis(1), Fraction::ALL)),
            abort: Some((abort, Fraction::ALL)),
            ..Fault::default()
        };
        faulty.filters = FilterOverrides::fault(Some(fault(Abort::Http(418))));
        let proxy = Proxy::start(outbound(vec![faulty.clone()], vec![cluster("a", &[backend.address])]));
        let address = proxy.at("127.0.0.1").await;
        let got = get_once(address, "/").await;
        assert_eq!((got.status, got.body.as_str(), backend.count()), (418, "fault filter abort", 0));
        faulty.filters = FilterOverrides::fault(Some(fault(Abort::Grpc(8))));
        proxy.change(|snapshot| set_routes(snapshot, vec![faulty]));
        let got = soon(async {
            loop {
                let got = get_once(address, "/").await;
                if got.status == 200 {
                    return got;
                }
            }
        })
        .await;
        assert_eq!((got.headers["grpc-status"].to_str().unwrap(), backend.count()), ("8", 0));
    });
}

#[test]
fn a_service_that_is_not_there_is_named_in_the_answer() {
    local(async {
        let nobody = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let proxy = Proxy::start(outbound(vec![to("a")], vec![cluster("a", &[nobody])]));
        let got = get_once(proxy.at("127.0.0.1").await, "/").await;
        assert_eq!(got.status, 503);
        assert!(got.body.contains(&nobody.to_string()), "{}", got.body);
    });
}

#[test]
fn ambiguous_framing_is_refused_and_never_forwarded() {
    local(async {
        let backend = Backend::named("real").await;
        let proxy = Proxy::start(outbound(vec![to("a")], vec![cluster("a", &[backend.address])]));
        let address = proxy.at("127.0.0.1").await;
        let cases: [&str; 7] = [
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        ];
        for bytes in cases {
            let got = raw(address, bytes.as_bytes()).await;
            assert!(got.starts_with("HTTP/1.1 400 "), "{bytes:?}: {got}");
            assert_eq!(got.matches("HTTP/1.1").count(), 1, "closed after it: {got}");
        }
        assert_eq!(backend.count(), 0);
    });
}

#[test]
fn a_client_that_goes_away_takes_its_request_with_it() {
    local(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let clusters = vec![cluster("a", &[listener.local_addr().unwrap()])];
        let proxy = Proxy::start(outbound(vec![to("a")], clusters));
        let mut client = tokio::net::TcpStream::connect(proxy.at("127.0.0.1").await).await.unwrap();
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let (mut upstream, _) = soon(listener.accept()).await.unwrap();
        let mut head = [0; 16];
        soon(upstream.read_exact(&mut head)).await.unwrap();
        drop(client);
        let mut rest = Vec::new();
        let _ = soon(upstream.read_to_end(&mut rest)).await;
        soon(proxy.shared.open.none_left()).await;
    });
}

/// Whoever gets a connection is answered; whoever comes too late is refused, which is safe to try elsewhere.
#[test]
fn no_caller_is_let_in_and_then_dropped_when_the_process_ends() {
    local(async {
        let backend = Backend::named("served").await;
        let proxy =
            Proxy::start(outbound(vec![route(to("a").action)], vec![cluster("a", &[backend.address])]));
        let address = proxy.at("127.0.0.1").await;
        let drain = proxy.drain.clone();
        let ended = tokio::task::spawn_local(async move {
            drain.run(Duration::from_millis(20), Duration::from_millis(200)).await
        });
        let callers = (0..4).map(|_| {
            tokio::task::spawn_local(async move {
                let mut served = 0;
                while let Ok(mut stream) = tokio::net::TcpStream::connect(address).await {
                    use tokio::io::{AsyncReadExt, AsyncWriteExt};
                    let mut got = String::new();
                    let request = b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
                    stream.write_all(request).await.unwrap();
                    soon(stream.read_to_string(&mut got)).await.unwrap();
                    assert!(got.starts_with("HTTP/1.1 200 "), "after {served} answers: {got:?}");
                    served += 1;
                }
                served
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            assert!(caller.await.unwrap() > 0);
        }
        assert_eq!(ended.await.unwrap(), 0);
    });
}
