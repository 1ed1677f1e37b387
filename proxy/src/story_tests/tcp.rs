//! How connections that are passed on byte by byte end.

use std::io::ErrorKind;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weft_model::filter::rbac::{Condition, Doer, Policy, Rbac, RbacAction, Rules};
use weft_model::listener::{
    Direction, DownstreamTls, FilterChain, FilterChainMatch, Inspection, MeshTls, Transport,
};
use weft_model::matcher::{StringMatch, StringPattern};
use weft_model::snapshot::Snapshot;

use super::harness::*;
use super::identity::sidecar;
use super::protocols::tcp_filter;
use crate::tls::testing::{RATINGS, REVIEWS, TestAuthority};

/// A connection through one sidecar, or through two with mutual TLS between them; something was said both ways.
struct Relay {
    client: TcpStream,
    server: TcpStream,
    /// The client's is the last.
    proxies: Vec<Proxy>,
}

impl Relay {
    async fn open(mutual_tls: bool) -> Self {
        let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = application.local_addr().unwrap();
        let authority = TestAuthority::new("root");
        let mut proxies = Vec::new();
        let called = if mutual_tls {
            let callee = Proxy::start_as(inbound(address), Some(authority.identity(REVIEWS)), None);
            let at = callee.at("127.0.0.1").await;
            proxies.push(callee);
            sidecar(at, REVIEWS)
        } else {
            cluster("a", &[address])
        };
        let mut snapshot = outbound(Vec::new(), vec![called]);
        add_listener(&mut snapshot, listener("tcp", "127.0.0.2", Direction::Outbound, tcp_filter("a")));
        let caller = Proxy::start_as(snapshot, Some(authority.identity(RATINGS)), None);
        let mut client = TcpStream::connect(caller.at("127.0.0.2").await).await.unwrap();
        proxies.push(caller);
        let (mut server, _) = soon(application.accept()).await.unwrap();
        client.write_all(b"?").await.unwrap();
        assert_eq!(soon(server.read_u8()).await.unwrap(), b'?');
        server.write_all(b"!").await.unwrap();
        assert_eq!(soon(client.read_u8()).await.unwrap(), b'!');
        Self { client, server, proxies }
    }
}

fn inbound(application: std::net::SocketAddr) -> Snapshot {
    let mut snapshot = outbound(Vec::new(), vec![cluster("inbound", &[application])]);
    snapshot.listeners.clear();
    let mut listener = listener("inbound", "127.0.0.1", Direction::Inbound, tcp_filter("inbound"));
    let matches = FilterChainMatch { transport: Some(Transport::Tls), ..FilterChainMatch::default() };
    listener.filter_chains = vec![FilterChain {
        tls: Some(DownstreamTls::Mesh(MeshTls {
            require_client_certificate: true,
            application_protocols: Vec::new(),
        })),
        ..chain("mtls", matches, tcp_filter("inbound"))
    }];
    listener.default_filter_chain = None;
    listener.inspection =
        Inspection { tls: true, http: false, timeout: Duration::from_secs(5), ..Inspection::default() };
    add_listener(&mut snapshot, listener);
    snapshot
}

/// The caller's connection is made, and ends before the application hears of it.
#[test]
fn connections_are_let_in_by_who_calls() {
    local(async {
        let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = TestAuthority::new("root");
        let who = |pattern: &str| {
            let name = StringMatch { pattern: StringPattern::Exact(pattern.into()), ignore_case: false };
            let principals = vec![Condition::Special(Doer::Authenticated(Some(name)))];
            let policy = Policy { name: "who".into(), permissions: vec![Condition::Any], principals };
            Rules { action: RbacAction::Allow, policies: vec![policy] }
        };
        for (wanted, let_in) in [(RATINGS, true), (REVIEWS, false)] {
            let mut snapshot = inbound(application.local_addr().unwrap());
            let mut listener = (*snapshot.listeners["inbound"]).clone();
            let shadow = Rbac { rules: None, shadow_rules: Some(who("spiffe://nobody")) };
            listener.filter_chains[0].rbac =
                vec![shadow, Rbac { rules: Some(who(wanted)), shadow_rules: None }];
            add_listener(&mut snapshot, listener);
            let callee = Proxy::start_as(snapshot, Some(authority.identity(REVIEWS)), None);
            let called = sidecar(callee.at("127.0.0.1").await, REVIEWS);
            let mut snapshot = outbound(Vec::new(), vec![called]);
            add_listener(
                &mut snapshot,
                self::listener("tcp", "127.0.0.2", Direction::Outbound, tcp_filter("a")),
            );
            let caller = Proxy::start_as(snapshot, Some(authority.identity(RATINGS)), None);
            let mut client = TcpStream::connect(caller.at("127.0.0.2").await).await.unwrap();
            client.write_all(b"?").await.unwrap();
            if let_in {
                let (mut server, _) = soon(application.accept()).await.unwrap();
                assert_eq!(soon(server.read_u8()).await.unwrap(), b'?');
            } else {
                assert_eq!(end_of(&mut client).await, Err(ErrorKind::ConnectionReset));
                let nobody = std::pin::pin!(application.accept());
                assert!(futures_util::poll!(nobody).is_pending());
            }
            let counts = &callee.shared.statistics.connection_rbac;
            let counts = [&counts.allowed, &counts.denied, &counts.shadow_denied]
                .map(|count| count.load(std::sync::atomic::Ordering::Relaxed));
            assert_eq!(counts, [u64::from(let_in), u64::from(!let_in), 1]);
        }
    });
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// How a connection ends for who only listens.
async fn end_of(stream: &mut TcpStream) -> Result<usize, ErrorKind> {
    soon(stream.read(&mut [0; 16])).await.map_err(|error| error.kind())
}

#[test]
fn a_reset_of_either_side_is_a_reset_for_the_other() {
    local(async {
        for mutual_tls in [false, true] {
            let Relay { mut client, server, proxies } = Relay::open(mutual_tls).await;
            reset(server);
            assert_eq!(
                end_of(&mut client).await,
                Err(ErrorKind::ConnectionReset),
                "mutual TLS: {mutual_tls}"
            );
            drop(proxies);
            let Relay { client, mut server, proxies } = Relay::open(mutual_tls).await;
            reset(client);
            assert_eq!(
                end_of(&mut server).await,
                Err(ErrorKind::ConnectionReset),
                "mutual TLS: {mutual_tls}"
            );
            drop(proxies);
        }
    });
}

#[test]
fn a_plain_end_is_a_plain_end_for_the_other() {
    local(async {
        for mutual_tls in [false, true] {
            let Relay { mut client, mut server, proxies } = Relay::open(mutual_tls).await;
            server.shutdown().await.unwrap();
            assert_eq!(end_of(&mut client).await, Ok(0), "mutual TLS: {mutual_tls}");
            client.write_all(b"more").await.unwrap();
            assert_eq!(end_of(&mut server).await, Ok(4), "the other direction stays open");
            drop(client);
            assert_eq!(end_of(&mut server).await, Ok(0), "mutual TLS: {mutual_tls}");
            drop(proxies);
        }
    });
}

#[test]
fn what_is_cut_at_the_end_of_the_drain_does_not_look_whole() {
    local(async {
        for mutual_tls in [false, true] {
            let Relay { mut client, mut server, proxies } = Relay::open(mutual_tls).await;
            // The sidecar of the application, or the only one.
            proxies[0].drain.end();
            let ends = (end_of(&mut client).await, end_of(&mut server).await);
            let reset = Err(ErrorKind::ConnectionReset);
            assert_eq!(ends, (reset, reset), "mutual TLS: {mutual_tls}");
        }
    });
}

#[test]
fn bytes_and_the_end_that_came_before_the_upstream_was_connected_are_passed_on() {
    local(async {
        let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut snapshot = outbound(Vec::new(), vec![cluster("a", &[application.local_addr().unwrap()])]);
        let mut undeclared = listener("any", "127.0.0.2", Direction::Outbound, tcp_filter("a"));
        let sniffed = FilterChainMatch {
            application_protocols: vec!["http/1.1".into()],
            ..FilterChainMatch::default()
        };
        undeclared.filter_chains = vec![chain("http", sniffed, http_filter("routes"))];
        undeclared.inspection =
            Inspection { tls: false, http: true, timeout: Duration::from_secs(5), ..Inspection::default() };
        add_listener(&mut snapshot, undeclared);
        let proxy = Proxy::start(snapshot);
        let mut client = TcpStream::connect(proxy.at("127.0.0.2").await).await.unwrap();
        // Half of a word that HTTP could begin with, and no more: the sidecar has to give up looking.
        client.write_all(b"GE").await.unwrap();
        client.shutdown().await.unwrap();
        let (mut server, _) = soon(application.accept()).await.unwrap();
        let mut got = String::new();
        soon(server.read_to_string(&mut got)).await.unwrap();
        assert_eq!(got, "GE");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        let mut got = String::new();
        soon(client.read_to_string(&mut got)).await.unwrap();
        assert_eq!(got, "answer");
    });
}
