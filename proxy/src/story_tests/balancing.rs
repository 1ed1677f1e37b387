//! Which endpoint a request gets to, by what its route says of it.

use std::time::Duration;

use weft_model::cluster::{CircuitBreakers, Discovery};
use weft_model::endpoint::Endpoint;
use weft_model::hash_policy::{CookieHash, HashPolicy, HashSource};
use weft_model::load_balancing::{LoadBalancing, Maglev};
use weft_model::policy::{Fraction, RetryConditions, RetryPolicy};
use weft_model::route::{Forward, RouteAction, RoutingPriority, WeightedCluster};
use weft_model::subset::{LbMetadata, SubsetFallback, SubsetSelector, Subsets};

use super::harness::*;

fn by(source: HashSource) -> Forward {
    Forward { hash_policy: vec![HashPolicy { source, terminal: false }], ..Forward::to("a") }
}

async fn backends() -> Vec<Backend> {
    let mut backends = Vec::new();
    for name in ["one", "two", "three", "four"] {
        backends.push(Backend::named(name).await);
    }
    backends
}

fn hashing(backends: &[Backend]) -> weft_model::cluster::Cluster {
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    weft_model::cluster::Cluster {
        load_balancing: LoadBalancing::Maglev(Maglev::default()),
        ..cluster("a", &addresses)
    }
}

#[test]
fn a_client_keeps_its_server_by_the_cookie_that_it_was_given() {
    local(async {
        let backends = backends().await;
        let cookie = CookieHash {
            name: "sticky".into(),
            ttl: Some(Duration::from_secs(60)),
            path: "/".into(),
            attributes: vec![],
        };
        let route = route(RouteAction::Forward(by(HashSource::Cookie(cookie))));
        let proxy = Proxy::start(outbound(vec![route], vec![hashing(&backends)]));
        let address = proxy.at("127.0.0.1").await;
        let mut servers = std::collections::HashSet::new();
        for _ in 0..20 {
            let first = get_once(address, "/").await;
            let given = first.headers["set-cookie"].to_str().unwrap().to_owned();
            assert!(given.ends_with("; Max-Age=60; Path=/; HttpOnly"), "{given}");
            let pair = given.split(';').next().unwrap();
            let mut request = get("/");
            request.headers_mut().insert("cookie", pair.parse().unwrap());
            let again = Client::h1(address).await.send(request).await;
            assert_eq!(again.body, first.body);
            assert!(!again.headers.contains_key("set-cookie"), "it has one");
            servers.insert(first.body);
        }
        assert!(servers.len() > 1, "others got others");
    });
}

#[test]
fn requests_of_one_user_go_to_one_server() {
    local(async {
        let backends = backends().await;
        let header = HashSource::Header { name: "x-user".parse().unwrap(), rewrite: None };
        let route = route(RouteAction::Forward(by(header)));
        let proxy = Proxy::start(outbound(vec![route], vec![hashing(&backends)]));
        let mut client = Client::h1(proxy.at("127.0.0.1").await).await;
        let mut servers = std::collections::HashSet::new();
        for user in 0..20 {
            let request = || {
                let mut request = get("/");
                request.headers_mut().insert("x-user", format!("user-{user}").parse().unwrap());
                request
            };
            let first = client.send(request()).await.body;
            for _ in 0..3 {
                assert_eq!(client.send(request()).await.body, first);
            }
            servers.insert(first);
        }
        assert!(servers.len() > 1);
    });
}

#[test]
fn a_route_and_its_destination_name_a_subset_together() {
    local(async {
        let backends = backends().await;
        let mut cluster = hashing(&backends);
        cluster.load_balancing = LoadBalancing::RoundRobin;
        let labels = [("v1", "prod"), ("v1", "dev"), ("v2", "prod"), ("v2", "dev")];
        if let Discovery::Static(set) = &mut cluster.discovery {
            for (endpoint, (version, stage)) in set.localities[0].endpoints.iter_mut().zip(labels) {
                let metadata = LbMetadata::of_texts(&[("version", version), ("stage", stage)]);
                *endpoint = Endpoint { metadata, ..(**endpoint).clone() }.into();
            }
        }
        let keys = ["stage", "version"].into_iter().map(Into::into).collect();
        cluster.balancing.subsets = Some(Subsets {
            fallback: SubsetFallback::None,
            default_subset: LbMetadata::default(),
            selectors: vec![SubsetSelector { keys, fallback: None }],
        });
        let to = |version| {
            let metadata_match = LbMetadata::of_texts(&[("version", version)]);
            let only = WeightedCluster { metadata_match, ..WeightedCluster::new("a", 1) };
            let metadata_match = LbMetadata::of_texts(&[("stage", "dev")]);
            route(RouteAction::Forward(Forward { clusters: vec![only], metadata_match, ..Forward::to("a") }))
        };
        let proxy = Proxy::start(outbound(vec![to("v2")], vec![cluster.clone()]));
        let mut client = Client::h1(proxy.at("127.0.0.1").await).await;
        for _ in 0..5 {
            assert_eq!(client.send(get("/")).await.body, "four");
        }
        let proxy = Proxy::start(outbound(vec![to("v3")], vec![cluster]));
        assert_eq!(get_once(proxy.at("127.0.0.1").await, "/").await.status, 503);
    });
}

#[test]
fn routes_of_high_priority_have_bounds_of_their_own() {
    local(async {
        let backend = Backend::named("a").await;
        let mut cluster = cluster("a", &[backend.address]);
        cluster.limits = CircuitBreakers { max_requests: 0, ..CircuitBreakers::default() };
        let high = Forward { priority: RoutingPriority::High, ..Forward::to("a") };
        let mut high = route(RouteAction::Forward(high));
        high.matches.path =
            weft_model::matcher::PathMatch::Exact { path: "/high".into(), ignore_case: false };
        let proxy = Proxy::start(outbound(vec![high, to("a")], vec![cluster]));
        let address = proxy.at("127.0.0.1").await;
        assert_eq!(get_once(address, "/high").await.status, 200);
        assert_eq!(get_once(address, "/").await.status, 503);
    });
}

#[test]
fn what_the_load_assignment_drops_is_answered_503() {
    local(async {
        let backend = Backend::named("a").await;
        let mut cluster = cluster("a", &[backend.address]);
        if let Discovery::Static(set) = &mut cluster.discovery {
            set.policy.drop_overloads = vec![("throttle".into(), Fraction::ALL)];
        }
        let proxy = Proxy::start(outbound(vec![to("a")], vec![cluster]));
        let got = get_once(proxy.at("127.0.0.1").await, "/").await;
        assert_eq!(got.status, 503);
        assert!(got.body.contains("throttle"), "{}", got.body);
        assert_eq!(backend.count(), 0);
    });
}

#[test]
fn an_answer_of_a_rate_limit_is_tried_again_where_the_policy_says_so() {
    local(async {
        let backend = Backend::start(|seen| {
            if seen.headers["x-envoy-attempt-count"] == "1" {
                let mut answer = text(429, "slow down");
                answer.headers_mut().insert("x-envoy-ratelimited", "true".parse().unwrap());
                answer
            } else {
                text(200, "ok")
            }
        })
        .await;
        let status = |conditions| {
            let retry = RetryPolicy {
                conditions,
                backoff_base: Duration::from_millis(1),
                backoff_max: Duration::from_millis(2),
                status_codes: [429].into(),
                ..RetryPolicy::default()
            };
            let forward = Forward { retry: Some(retry), ..Forward::to("a") };
            let routes = vec![route(RouteAction::Forward(forward))];
            let proxy = Proxy::start(outbound(routes, vec![cluster("a", &[backend.address])]));
            async move { get_once(proxy.at("127.0.0.1").await, "/").await.status }
        };
        assert_eq!(status(RetryConditions::RATE_LIMITED).await, 200);
        assert_eq!(status(RetryConditions::STATUS_CODES).await, 429);
    });
}
