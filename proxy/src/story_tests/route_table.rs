use std::sync::Arc;
use std::time::Duration;

use weft_model::format::Template;
use weft_model::matcher::Substitution;
use weft_model::policy::{AppendAction, HeaderChange, HeaderMutations, HeaderText};
use weft_model::route::{
    Forward, HostRewrite, MoreForward, PathRewrite, RouteAction, RouteTable, VirtualHost, WeightedCluster,
};
use weft_model::snapshot::Snapshot;

use super::harness::*;

fn text(name: &'static str, value: &str) -> HeaderMutations {
    let value =
        HeaderText::Template { template: Box::new(Template::parse(value).unwrap()), keep_empty: false };
    let action = AppendAction::AppendIfExistsOrAdd;
    HeaderMutations {
        remove: Vec::new(),
        add: vec![HeaderChange { name: name.parse().unwrap(), value, action }],
    }
}

fn set(name: &'static str, value: &str) -> HeaderMutations {
    HeaderMutations::of(Vec::new(), [(name.parse().unwrap(), value.parse().unwrap())], [])
}

/// One host for everything, changed by `change`.
fn with_host(snapshot: &mut Snapshot, change: impl FnOnce(&mut VirtualHost, &mut RouteTable)) {
    let mut table = snapshot.routes["routes"].as_ref().clone();
    let mut host = table.virtual_hosts.remove(0);
    change(&mut host, &mut table);
    let mut changed = RouteTable::new("routes", vec![host]);
    changed.settings = table.settings;
    changed.most_specific_header_mutations_wins = table.most_specific_header_mutations_wins;
    snapshot.routes.insert("routes".into(), Arc::new(changed));
}

#[test]
fn headers_of_all_levels_are_set_in_envoys_order_and_know_the_request() {
    local(async {
        let backend = Backend::named("ok").await;
        let mut forward = Forward::to("a");
        forward.clusters[0].request_headers = set("x-level", "cluster");
        let mut one = route(RouteAction::Forward(forward));
        one.request_headers = set("x-level", "route");
        one.response_headers = text("x-upstream", "%UPSTREAM_HOST% %RESPONSE_CODE% %REQ(x-user?:path)%");
        let mut snapshot = outbound(vec![one], vec![cluster("a", &[backend.address])]);
        with_host(&mut snapshot, |host, table| {
            host.settings.request_headers =
                text("x-client", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %PROTOCOL%");
            host.settings.response_headers = text("x-nothing", "%REQ(x-not-there)%");
            table.settings.request_headers = set("x-level", "table");
        });
        let proxy = Proxy::start(snapshot);
        let address = proxy.at("127.0.0.1").await;
        let got = get_once(address, "/p").await;
        assert_eq!(got.headers["x-upstream"], format!("{} 200 /p", backend.address).as_str());
        assert!(!got.headers.contains_key("x-nothing"), "an empty value leaves the header out");
        assert_eq!(backend.last().headers["x-client"], "127.0.0.1 HTTP/1.1");
        assert_eq!(backend.last().headers["x-level"], "table", "the least specific has the last word");
        proxy.change(|snapshot| {
            with_host(snapshot, |_, table| table.most_specific_header_mutations_wins = true)
        });
        soon(async {
            while backend.last().headers["x-level"] != "route" {
                get_once(address, "/p").await;
            }
        })
        .await;
    });
}

#[test]
fn a_header_names_the_cluster_or_the_share() {
    local(async {
        let (a, b) = (Backend::named("a").await, Backend::named("b").await);
        let more = MoreForward {
            cluster_header: Some("x-cluster".parse().unwrap()),
            cluster_not_found: Some(404),
            ..MoreForward::default()
        };
        let named = Forward { clusters: Vec::new(), more: Some(Box::new(more)), ..Forward::to("") };
        let more =
            MoreForward { random_value_header: Some("x-random".parse().unwrap()), ..MoreForward::default() };
        let drawn = Forward {
            clusters: vec![WeightedCluster::new("a", 50), WeightedCluster::new("b", 50)],
            more: Some(Box::new(more)),
            ..Forward::to("a")
        };
        let mut first = route(RouteAction::Forward(named));
        first.matches.path =
            weft_model::matcher::PathMatch::Exact { path: "/named".into(), ignore_case: false };
        let routes = vec![first, route(RouteAction::Forward(drawn))];
        let proxy =
            Proxy::start(outbound(routes, vec![cluster("a", &[a.address]), cluster("b", &[b.address])]));
        let mut client = Client::h1(proxy.at("127.0.0.1").await).await;
        let mut ask = async |path: &str, name: &'static str, value: &str| {
            let mut request = get(path);
            request.headers_mut().insert(name, value.parse().unwrap());
            client.send(request).await
        };
        assert_eq!(ask("/named", "x-cluster", "b").await.body, "b");
        assert_eq!(ask("/named", "x-cluster", "c").await.status, 404);
        assert_eq!(ask("/named", "x-other", "c").await.status, 404);
        assert_eq!(ask("/", "x-random", "149").await.body, "a");
        assert_eq!(ask("/", "x-random", "50").await.body, "b");
    });
}

#[test]
fn paths_and_hosts_are_rewritten_by_expressions() {
    local(async {
        let backend = Backend::named("ok").await;
        let regex = |pattern, text| Substitution::new(pattern, text).unwrap();
        let more = MoreForward { append_x_forwarded_host: true, ..MoreForward::default() };
        let forward = Forward {
            path_rewrite: Some(PathRewrite::Regex(Box::new(regex("^/t/([^/]+)(/.*)$", r"/\1/api\2")))),
            host_rewrite: Some(HostRewrite::PathRegex(Box::new(regex("^/t/([^/]+)/.*$", r"\1.example")))),
            more: Some(Box::new(more)),
            ..Forward::to("a")
        };
        let snapshot =
            outbound(vec![route(RouteAction::Forward(forward))], vec![cluster("a", &[backend.address])]);
        let proxy = Proxy::start(snapshot);
        assert_eq!(get_once(proxy.at("127.0.0.1").await, "/t/blue/x?q=1").await.status, 200);
        let seen = backend.last();
        assert_eq!(seen.path, "/blue/api/x?q=1");
        assert_eq!(
            (&seen.headers["host"], &seen.headers["x-forwarded-host"]),
            (&"blue.example".parse().unwrap(), &"shop.example".parse().unwrap())
        );
    });
}

#[test]
fn a_host_may_demand_tls_and_tell_the_attempts() {
    local(async {
        let backend = Backend::named("ok").await;
        let mut snapshot = outbound(vec![to("a")], vec![cluster("a", &[backend.address])]);
        with_host(&mut snapshot, |host, _| {
            host.require_tls = true;
            host.attempt_count_in_response = true;
        });
        let proxy = Proxy::start(snapshot);
        let address = proxy.at("127.0.0.1").await;
        let got = get_once(address, "/p?q").await;
        assert_eq!(
            (got.status, &got.headers["location"]),
            (301, &"https://shop.example/p?q".parse().unwrap())
        );
        let mut protected = get("/p");
        protected.headers_mut().insert("x-forwarded-proto", "https".parse().unwrap());
        let got = Client::h1(address).await.send(protected).await;
        assert_eq!((got.status, &got.headers["x-envoy-attempt-count"]), (200, &"1".parse().unwrap()));
    });
}

#[test]
fn the_request_may_shorten_its_own_time() {
    local(async {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let forward = Forward { timeout: Some(Duration::from_secs(60)), ..Forward::to("a") };
        let clusters = vec![cluster("a", &[silent.local_addr().unwrap()])];
        let proxy = Proxy::start(outbound(vec![route(RouteAction::Forward(forward))], clusters));
        let mut request = get("/");
        request.headers_mut().insert("x-envoy-upstream-rq-timeout-ms", "30".parse().unwrap());
        assert_eq!(Client::h1(proxy.at("127.0.0.1").await).await.send(request).await.status, 504);
    });
}
