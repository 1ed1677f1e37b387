use weft_model::matcher::{HeaderKey, HeaderMatch, PathMatch, StringMatch, ValueMatch};
use weft_model::policy::HeaderMutations;
use weft_model::route::{
    DirectResponse, Forward, HostRewrite, PathRewrite, Redirect, RouteAction, RouteMatch, WeightedCluster,
};

use super::harness::*;

#[test]
fn a_request_travels_to_the_service_and_its_answer_back() {
    local(async {
        let backend = Backend::named("hello").await;
        let proxy = Proxy::start(outbound(vec![to("a")], vec![cluster("a", &[backend.address])]));
        let mut client = Client::h1(proxy.at("127.0.0.1").await).await;
        let got = client.send(get("/a/../books?x=/../y")).await;
        assert_eq!((got.status, got.body.as_str()), (200, "hello"));
        assert!(got.headers.contains_key("x-envoy-upstream-service-time"));
        let seen = backend.last();
        assert_eq!(seen.path, "/books?x=/../y");
        assert_eq!(seen.headers["host"], "shop.example");
        assert_eq!(seen.headers["x-forwarded-proto"], "http");
        assert_eq!(seen.headers["x-envoy-attempt-count"], "1");
        assert_eq!(seen.headers["x-request-id"].len(), 36);
        // The connection stays, and so does a request id.
        let mut again = get("/books");
        again.headers_mut().insert("x-request-id", "mine".parse().unwrap());
        again.headers_mut().insert("connection", "x-private".parse().unwrap());
        again.headers_mut().insert("x-private", "1".parse().unwrap());
        assert_eq!(client.send(again).await.status, 200);
        assert_eq!(backend.last().headers["x-request-id"], "mine");
        assert!(!backend.last().headers.contains_key("x-private"), "fields for this hop do not travel on");
    });
}

#[test]
fn a_header_can_decide_where_a_request_goes() {
    local(async {
        let (v1, v2) = (Backend::named("v1").await, Backend::named("v2").await);
        let condition = HeaderMatch {
            name: HeaderKey::Header("end-user".parse().unwrap()),
            value: ValueMatch::Value(StringMatch::exact("jason")),
            invert: false,
            absent_as_empty: false,
        };
        let mut for_jason = to("v2");
        for_jason.matches.headers.push(condition);
        let clusters = vec![cluster("v1", &[v1.address]), cluster("v2", &[v2.address])];
        let proxy = Proxy::start(outbound(vec![for_jason, to("v1")], clusters));
        let mut client = Client::h1(proxy.at("127.0.0.1").await).await;
        assert_eq!(client.send(get("/")).await.body, "v1");
        let mut request = get("/");
        request.headers_mut().insert("end-user", "jason".parse().unwrap());
        assert_eq!(client.send(request).await.body, "v2");
    });
}

#[test]
fn weights_split_the_traffic() {
    local(async {
        let (stable, canary) = (Backend::named("stable").await, Backend::named("canary").await);
        let split = Forward {
            clusters: vec![WeightedCluster::new("stable", 90), WeightedCluster::new("canary", 10)],
            ..Forward::to("stable")
        };
        let clusters = vec![cluster("stable", &[stable.address]), cluster("canary", &[canary.address])];
        let proxy = Proxy::start(outbound(vec![route(RouteAction::Forward(split))], clusters));
        let mut client = Client::h1(proxy.at("127.0.0.1").await).await;
        for _ in 0..1000 {
            client.send(get("/")).await;
        }
        // Seven standard deviations to either side.
        assert!((34..=166).contains(&canary.count()), "{} of 1000", canary.count());
        assert_eq!(stable.count() + canary.count(), 1000);
    });
}

#[test]
fn what_no_route_matches_is_answered_with_its_reason() {
    local(async {
        let mut only_books = to("a");
        only_books.matches.path = PathMatch::Exact { path: "/books".into(), ignore_case: false };
        let proxy = Proxy::start(outbound(vec![only_books], Vec::new()));
        let address = proxy.at("127.0.0.1").await;
        let got = get_once(address, "/other").await;
        assert_eq!(got.status, 404);
        assert!(got.body.contains("route table routes") && got.body.contains("GET /other"), "{}", got.body);
        let got = get_once(address, "/books").await;
        assert_eq!(got.status, 503, "the cluster is not known");
        assert!(got.body.contains('a'), "{}", got.body);
        proxy.change(|snapshot| snapshot.routes.clear());
        let got = soon(async {
            loop {
                let got = get_once(address, "/books").await;
                if got.body.contains("not known yet") {
                    return got;
                }
            }
        })
        .await;
        assert_eq!(got.status, 503);
    });
}

#[test]
fn headers_paths_and_hosts_are_changed_as_the_route_says() {
    local(async {
        let backend = Backend::start(|_| {
            let mut answer = text(200, "ok");
            answer.headers_mut().insert("x-internal", "secret".parse().unwrap());
            answer
        })
        .await;
        let mutations = |remove: &str, set: (&'static str, &str)| {
            let set = (set.0.parse().unwrap(), set.1.parse().unwrap());
            HeaderMutations::of(vec![remove.parse().unwrap()], [set], [])
        };
        let forward = Forward {
            path_rewrite: Some(PathRewrite::Prefix("/v2".into())),
            host_rewrite: Some(HostRewrite::Literal("inner.example".parse().unwrap())),
            ..Forward::to("a")
        };
        let mut changing = route(RouteAction::Forward(forward));
        changing.matches = RouteMatch { path: PathMatch::SeparatedPrefix("/v1".into()), ..RouteMatch::any() };
        changing.request_headers = mutations("x-debug", ("x-team", "books"));
        changing.response_headers = mutations("x-internal", ("x-served-by", "weft"));
        let proxy = Proxy::start(outbound(vec![changing], vec![cluster("a", &[backend.address])]));
        let mut request = get("/v1/books?a=b");
        request.headers_mut().insert("x-debug", "1".parse().unwrap());
        let got = Client::h1(proxy.at("127.0.0.1").await).await.send(request).await;
        assert_eq!(got.headers["x-served-by"], "weft");
        assert!(!got.headers.contains_key("x-internal"));
        let seen = backend.last();
        assert_eq!(
            (seen.path.as_str(), seen.headers["host"].to_str().unwrap()),
            ("/v2/books?a=b", "inner.example")
        );
        assert_eq!(seen.headers["x-team"], "books");
        assert!(!seen.headers.contains_key("x-debug"));
    });
}

#[test]
fn redirects_and_direct_responses_need_no_service() {
    local(async {
        let redirect = Redirect { status: 301, host: Some("new.example".into()), ..Redirect::default() };
        let mut moved = route(RouteAction::Redirect(redirect));
        moved.matches.path = PathMatch::SeparatedPrefix("/old".into());
        let teapot =
            route(RouteAction::Respond(DirectResponse { status: 418, body: "short and stout".into() }));
        let proxy = Proxy::start(outbound(vec![moved, teapot], Vec::new()));
        let address = proxy.at("127.0.0.1").await;
        let got = get_once(address, "/old/x?y").await;
        assert_eq!(
            (got.status, got.headers["location"].to_str().unwrap()),
            (301, "http://new.example/old/x?y")
        );
        let got = get_once(address, "/").await;
        assert_eq!((got.status, got.body.as_str()), (418, "short and stout"));
    });
}
