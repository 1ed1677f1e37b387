use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weft_model::listener::Direction;

use super::harness::*;

#[test]
fn no_request_fails_while_the_configuration_changes_again_and_again() {
    local(async {
        let (a, b) = (Backend::named("a").await, Backend::named("b").await);
        let clusters = vec![cluster("a", &[a.address]), cluster("b", &[b.address])];
        let proxy = Proxy::start(outbound(vec![to("a")], clusters));
        let address = proxy.at("127.0.0.1").await;
        let stop = Rc::new(Cell::new(false));
        let mut clients = Vec::new();
        for _ in 0..4 {
            let stop = stop.clone();
            clients.push(tokio::task::spawn_local(async move {
                let mut client = Client::h1(address).await;
                let mut sent = 0;
                while !stop.get() {
                    let got = client.send(get("/")).await;
                    assert_eq!(got.status, 200, "{}", got.body);
                    sent += 1;
                }
                sent
            }));
        }
        for change in 0..60 {
            let served = a.count() + b.count();
            proxy.change(|snapshot| {
                set_routes(snapshot, vec![to(if change % 2 == 0 { "b" } else { "a" })]);
                if change % 3 == 0 {
                    let moved = cluster("a", &[a.address, a.address]);
                    snapshot.clusters.insert("a".into(), Arc::new(moved));
                }
                if change % 5 == 0 {
                    let more = listener(
                        &format!("more-{change}"),
                        &format!("127.0.1.{change}"),
                        Direction::Outbound,
                        http_filter("routes"),
                    );
                    add_listener(snapshot, more);
                }
            });
            soon(async {
                while a.count() + b.count() < served + 5 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
        stop.set(true);
        for client in clients {
            assert!(soon(client).await.unwrap() > 0);
        }
        assert!(a.count() > 0 && b.count() > 0);
    });
}

#[test]
fn a_listener_that_is_gone_takes_no_connection_and_its_old_ones_finish() {
    local(async {
        let backend = Backend::named("a").await;
        let proxy = Proxy::start(outbound(vec![to("a")], vec![cluster("a", &[backend.address])]));
        let address = proxy.at("127.0.0.1").await;
        let mut client = Client::h1(address).await;
        assert_eq!(client.send(get("/")).await.status, 200);
        proxy.change(|snapshot| snapshot.listeners.clear());
        soon(async { while TcpStream::connect(address).await.is_ok() {} }).await;
        let got = client.send(get("/")).await;
        assert_eq!(got.status, 200);
        assert_eq!(got.headers["connection"], "close");
    });
}

#[test]
fn on_its_way_out_the_proxy_finishes_what_is_under_way_and_still_takes_more() {
    local(async {
        let backend = Backend::named("a").await;
        let proxy = Proxy::start(outbound(vec![to("a")], vec![cluster("a", &[backend.address])]));
        let address = proxy.at("127.0.0.1").await;
        let (mut h1, mut h2) = (Client::h1(address).await, Client::h2(address).await);
        assert_eq!(h1.send(get("/")).await.status, 200);
        assert_eq!(h2.send(get("http://a/")).await.status, 200);
        let mut half_sent = TcpStream::connect(address).await.unwrap();
        half_sent.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab").await.unwrap();
        soon(async {
            while proxy.shared.open.count() < 3 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let drain = proxy.drain.clone();
        let draining =
            tokio::task::spawn_local(async move { drain.run(std::time::Duration::ZERO, DEADLINE).await });
        soon(proxy.shared.drain.draining()).await;
        // The workload may still send: on the connections it has, and on new ones.
        let got = get_once(address, "/").await;
        assert_eq!((got.status, got.headers["connection"].to_str().unwrap()), (200, "close"));
        let got = h1.send(get("/")).await;
        assert_eq!((got.status, got.headers["connection"].to_str().unwrap()), (200, "close"));
        half_sent.write_all(b"cd").await.unwrap();
        let mut answer = String::new();
        soon(half_sent.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        drop(h2);
        assert_eq!(soon(draining).await.unwrap(), 0, "nothing was cut");
        assert!(proxy.shared.drain.is_draining());
    });
}

#[test]
fn a_connection_over_the_limit_is_closed_and_the_next_is_served() {
    local(async {
        let backend = Backend::named("a").await;
        let proxy = Proxy::start(outbound(vec![to("a")], vec![cluster("a", &[backend.address])]));
        let address = proxy.at("127.0.0.1").await;
        let held: Vec<_> =
            (0..proxy.shared.limits.max_connections).map(|_| proxy.shared.open.enter()).collect();
        assert_eq!(raw(address, b"").await, "");
        drop(held);
        assert_eq!(get_once(address, "/").await.status, 200);
        let over = proxy.shared.statistics.over_limit.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(over, 1);
    });
}
