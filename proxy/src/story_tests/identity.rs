use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weft_model::cluster::{Cluster, Discovery, UpstreamTls, UpstreamTransport};
use weft_model::endpoint::WorkloadInfo;
use weft_model::filter::{FilterConfig, HeaderEdit, HeaderEdits, HttpFilter};
use weft_model::listener::{
    Direction, DownstreamTls, FilterChain, FilterChainMatch, Inspection, Listener, MeshTls, NetworkFilter,
    Transport,
};
use weft_model::policy::HeaderMutations;
use weft_model::route::{RouteTable, VirtualHost};
use weft_model::snapshot::Snapshot;

use super::harness::*;
use crate::listener::statistics::Event;
use crate::tls::testing::{RATINGS, REVIEWS, TestAuthority};

/// What is called, as the control plane configures it: mutual TLS from sidecars, and plain text if it is let in.
fn inbound(application: SocketAddr, plain_text: bool) -> Snapshot {
    let mut snapshot = outbound(vec![to("inbound")], vec![cluster("inbound", &[application])]);
    snapshot.listeners.clear();
    add_listener(&mut snapshot, inbound_listener(plain_text));
    snapshot
}

fn inbound_listener(plain_text: bool) -> Listener {
    let http = |told| match http_filter("routes") {
        NetworkFilter::Http(mut http) => {
            http.forward_client_certificate = told;
            NetworkFilter::Http(http)
        }
        tcp @ NetworkFilter::Tcp(_) => tcp,
    };
    let matches = |transport| FilterChainMatch { transport: Some(transport), ..FilterChainMatch::default() };
    let mutual = FilterChain {
        tls: Some(DownstreamTls::Mesh(MeshTls {
            require_client_certificate: true,
            application_protocols: Vec::new(),
        })),
        ..chain("mtls", matches(Transport::Tls), http(true))
    };
    let mut listener = listener("inbound", "127.0.0.1", Direction::Inbound, http(false));
    listener.default_filter_chain = None;
    listener.filter_chains = vec![mutual];
    if plain_text {
        listener.filter_chains.push(chain("plain", matches(Transport::Raw), http(false)));
    }
    listener.inspection =
        Inspection { tls: true, http: true, timeout: Duration::from_secs(5), ..Inspection::default() };
    listener
}

/// A cluster of one sidecar that must hold `identity`.
pub(super) fn sidecar(address: SocketAddr, identity: &str) -> Cluster {
    Cluster {
        discovery: Discovery::Static(endpoints(&[address], true)),
        transport: UpstreamTransport::MutualTls(UpstreamTls {
            identities: [identity.into()].into(),
            sni: "".into(),
        }),
        ..cluster("a", &[])
    }
}

fn ratings_workload(namespace: &str) -> WorkloadInfo {
    WorkloadInfo { name: "ratings-1".into(), namespace: namespace.into(), ..WorkloadInfo::default() }
}

#[test]
fn sidecars_know_each_other_and_the_workload_is_told_who_called() {
    local(async {
        let authority = TestAuthority::new("root");
        let backend = Backend::named("hello").await;
        let callee =
            Proxy::start_as(inbound(backend.address, false), Some(authority.identity(REVIEWS)), None);
        let address = callee.at("127.0.0.1").await;
        let snapshot = outbound(vec![to("a")], vec![sidecar(address, REVIEWS)]);
        let caller =
            Proxy::start_as(snapshot, Some(authority.identity(RATINGS)), Some(ratings_workload("bookshop")));
        let at = caller.at("127.0.0.1").await;
        let mut request = get("/");
        request
            .headers_mut()
            .insert("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/a/sa/admin".parse().unwrap());
        let got = Client::h1(at).await.send(request).await;
        assert_eq!((got.status, got.body.as_str()), (200, "hello"), "{got:?}");
        let seen = backend.last().headers;
        assert_eq!(seen["x-forwarded-client-cert"], format!("By={REVIEWS};URI={RATINGS}").as_str());
        assert!(!seen.contains_key("x-weft-peer"));
        let got = Client::h2(at).await.send(get("http://a/")).await;
        assert_eq!((got.status, got.body.as_str()), (200, "hello"));
        assert!(!got.headers.contains_key("x-weft-unprocessed"));
    });
}

/// The answer of a filter's passage is still this sidecar's own: who asked may go elsewhere, whatever the method.
#[test]
fn a_filter_of_responses_does_not_hide_that_nobody_has_looked_at_a_request() {
    local(async {
        let authority = TestAuthority::new("root");
        let backend = Backend::named("hello").await;
        let nobody = SocketAddr::new(OWN, 1);
        let done = [("x-done".parse().unwrap(), "yes".parse().unwrap())];
        let edit = HeaderEdit(HeaderMutations::of(Vec::new(), done, []));
        let edits = HeaderEdits { response: vec![edit], ..HeaderEdits::default() };
        let filter = HttpFilter::new("edit", FilterConfig::HeaderMutation(edits.into()));
        let (mut callees, mut addresses) = (Vec::new(), Vec::new());
        for application in [nobody, backend.address] {
            let mut listener = inbound_listener(false);
            let NetworkFilter::Http(http) = &mut listener.filter_chains[0].filter else { unreachable!() };
            http.filters = vec![filter.clone()].into();
            let mut snapshot = inbound(application, false);
            add_listener(&mut snapshot, listener);
            let callee = Proxy::start_as(snapshot, Some(authority.identity(REVIEWS)), None);
            addresses.push(callee.at("127.0.0.1").await);
            callees.push(callee);
        }
        let mut cluster = sidecar(addresses[0], REVIEWS);
        cluster.discovery = Discovery::Static(endpoints(&addresses, true));
        let caller = Proxy::start_as(
            outbound(vec![to("a")], vec![cluster]),
            Some(authority.identity(RATINGS)),
            Some(ratings_workload("bookshop")),
        );
        let mut client = Client::h1(caller.at("127.0.0.1").await).await;
        for _ in 0..8 {
            let mut request = get("/");
            *request.method_mut() = http::Method::POST;
            let got = client.send(request).await;
            assert_eq!((got.status, got.body.as_str()), (200, "hello"), "{got:?}");
            assert_eq!(got.headers["x-done"], "yes");
            assert!(!got.headers.contains_key("x-weft-unprocessed"));
        }
    });
}

/// One proxy, both sides of the call: no packet filter brings it there.
#[test]
fn a_workload_that_calls_its_own_service_comes_to_its_own_inbound_side() {
    local(async {
        let authority = TestAuthority::new("root");
        let backend = Backend::named("myself").await;
        // Where the application listens; the story must not go there, but to the inbound side.
        let service = SocketAddr::new(OWN, backend.address.port());
        let mut snapshot = inbound(backend.address, false);
        let mut entry = inbound_listener(false);
        entry.addresses = vec![SocketAddr::new(OWN, 0)];
        entry.use_original_dst = true;
        snapshot.listeners.clear();
        add_listener(&mut snapshot, entry);
        let proxy = Proxy::start_as(snapshot, Some(authority.identity(REVIEWS)), None);
        let entry = proxy.at(&OWN.to_string()).await;
        // Now that its port is known, as in a pod from the beginning.
        proxy.change(|snapshot| {
            let mut inbound = inbound_listener(false);
            inbound.addresses = vec![entry];
            inbound.use_original_dst = true;
            add_listener(snapshot, inbound);
            let filter = http_filter("own");
            add_listener(snapshot, listener("outbound", "127.0.0.1", Direction::Outbound, filter));
            let cluster = sidecar(service, REVIEWS);
            snapshot.clusters.insert(cluster.name.clone(), Arc::new(cluster));
            let host = VirtualHost {
                name: "all".into(),
                domains: vec!["*".into()],
                routes: vec![to("a")],
                ..VirtualHost::default()
            };
            snapshot.routes.insert("own".into(), Arc::new(RouteTable::new("own", vec![host])));
        });
        let got = get_once(proxy.at("127.0.0.1").await, "/").await;
        assert_eq!((got.status, got.body.as_str()), (200, "myself"), "{got:?}");
        let seen = backend.last().headers;
        assert_eq!(seen["x-forwarded-client-cert"], format!("By={REVIEWS};URI={REVIEWS}").as_str());
        // Whoever comes to that port by himself would go round in circles.
        assert_eq!(raw(entry, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await, "");
    });
}

#[test]
fn a_callee_of_another_identity_is_not_sent_the_request() {
    local(async {
        let authority = TestAuthority::new("root");
        let backend = Backend::named("impostor").await;
        let callee =
            Proxy::start_as(inbound(backend.address, false), Some(authority.identity(RATINGS)), None);
        let snapshot = outbound(vec![to("a")], vec![sidecar(callee.at("127.0.0.1").await, REVIEWS)]);
        let caller = Proxy::start_as(snapshot, Some(authority.identity(RATINGS)), None);
        let got = get_once(caller.at("127.0.0.1").await, "/").await;
        assert_eq!((got.status, backend.count()), (503, 0));
        assert!(got.body.contains(RATINGS) && got.body.contains(REVIEWS), "{}", got.body);
    });
}

#[test]
fn strict_refuses_plain_text_and_counts_it_and_permissive_takes_both() {
    local(async {
        let authority = TestAuthority::new("root");
        let backend = Backend::named("hello").await;
        let callee =
            Proxy::start_as(inbound(backend.address, false), Some(authority.identity(REVIEWS)), None);
        let address = callee.at("127.0.0.1").await;
        assert_eq!(raw(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await, "", "closed without a word");
        assert_eq!(callee.shared.statistics.by_port()[&(Event::Refused, address.port())], 1);
        assert_eq!(backend.count(), 0);

        callee.change(|snapshot| add_listener(snapshot, inbound_listener(true)));
        let mut spoofed = get("/");
        for header in ["x-forwarded-client-cert", "x-weft-peer"] {
            spoofed.headers_mut().insert(header, "admin".parse().unwrap());
        }
        let got = soon(async {
            loop {
                let stream = Client::h1(address).await.try_send(spoofed.clone()).await;
                if let Ok(got) = stream {
                    return got;
                }
            }
        })
        .await;
        assert_eq!(got.body, "hello");
        let seen = backend.last().headers;
        assert!(!seen.contains_key("x-forwarded-client-cert") && !seen.contains_key("x-weft-peer"));
    });
}

#[test]
fn a_plain_text_connection_that_was_let_in_retires_when_the_port_becomes_strict() {
    local(async {
        let authority = TestAuthority::new("root");
        let backend = Backend::named("hello").await;
        let callee = Proxy::start_as(inbound(backend.address, true), Some(authority.identity(REVIEWS)), None);
        let mut client = Client::h1(callee.at("127.0.0.1").await).await;
        assert_eq!(client.send(get("/")).await.status, 200);
        callee.change(|snapshot| add_listener(snapshot, inbound_listener(false)));
        soon(async {
            loop {
                match client.try_send(get("/")).await {
                    Ok(got) if got.headers.get("connection").is_some_and(|value| value == "close") => return,
                    Ok(got) => assert_eq!(got.status, 200),
                    Err(_) => return,
                }
            }
        })
        .await;
    });
}

#[test]
fn a_client_of_another_root_is_refused_in_the_handshake() {
    local(async {
        let (ours, theirs) = (TestAuthority::new("root"), TestAuthority::new("another"));
        let backend = Backend::named("hello").await;
        let callee = Proxy::start_as(inbound(backend.address, false), Some(ours.identity(REVIEWS)), None);
        let address = callee.at("127.0.0.1").await;
        let snapshot = outbound(vec![to("a")], vec![sidecar(address, REVIEWS)]);
        let caller = Proxy::start_as(snapshot, Some(theirs.identity(RATINGS)), None);
        let got = get_once(caller.at("127.0.0.1").await, "/").await;
        assert_eq!((got.status, backend.count()), (503, 0));
        soon(async {
            while !callee.shared.statistics.by_port().contains_key(&(Event::HandshakeFailed, address.port()))
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
    });
}
