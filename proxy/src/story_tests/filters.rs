use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body_util::Full;
use weft_model::cluster::UpstreamHttp;
use weft_model::filter::cors::CorsPolicy;
use weft_model::filter::ext_authz::{AuthzService, BodySettings, ExtAuthz, GrpcCall, HttpAuthz};
use weft_model::filter::local_rate_limit::{BucketState, LocalRateLimit, TokenBucket};
use weft_model::filter::rbac::{Condition, Doer, Policy, Rbac, RbacAction, Rules};
use weft_model::filter::{FilterConfig, FilterOverrides, HeaderEdit, HeaderEdits, HttpFilter, RouteFilter};
use weft_model::listener::{Direction, NetworkFilter};
use weft_model::matcher::{
    HeaderKey, HeaderMatch, PathMatch, PseudoHeader, StringMatch, StringPattern, ValueMatch,
};
use weft_model::policy::{Fraction, HeaderMutations};
use weft_model::route::Route;
use weft_model::snapshot::Snapshot;
use weft_proto::xds::auth_service::authorization_server::{Authorization, AuthorizationServer};
use weft_proto::xds::auth_service::check_response::HttpResponse;
use weft_proto::xds::auth_service::{CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse};
use weft_proto::xds::{Status, core, kind};

use super::harness::*;

fn filtered(snapshot: &mut Snapshot, filters: Vec<HttpFilter>) {
    let NetworkFilter::Http(mut http) = http_filter("routes") else { unreachable!() };
    http.filters = filters.into();
    add_listener(snapshot, listener("outbound", "127.0.0.1", Direction::Outbound, NetworkFilter::Http(http)));
}

fn start(routes: Vec<Route>, backend: &Backend, filters: Vec<HttpFilter>) -> Proxy {
    let mut snapshot = outbound(routes, vec![cluster("a", &[backend.address])]);
    filtered(&mut snapshot, filters);
    Proxy::start(snapshot)
}

fn at(path: &str, name: &str, filter: RouteFilter) -> Route {
    let mut route = to("a");
    route.matches.path = PathMatch::Prefix { prefix: path.into(), ignore_case: false };
    route.filters = FilterOverrides::new([(name.into(), filter)]);
    route
}

fn prefix(text: &str) -> StringMatch {
    StringMatch { pattern: StringPattern::Prefix(text.into()), ignore_case: false }
}

fn post(path: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::post(path).header("host", "shop.example").body(Full::new(Bytes::from(body))).unwrap()
}

#[test]
fn pages_of_allowed_origins_may_call() {
    local(async {
        let backend = Backend::named("ok").await;
        let policy = CorsPolicy {
            origins: vec![prefix("https://shop.")],
            methods: HeaderValue::from_static("GET"),
            headers: HeaderValue::from_static(""),
            expose: HeaderValue::from_static("x-total"),
            max_age: HeaderValue::from_static("60"),
            credentials: true,
            private_network: false,
            enabled: Fraction::ALL,
            forward_not_matching_preflights: false,
        };
        let routes = vec![at("/", "cors", RouteFilter::Cors(policy.into()))];
        let proxy = start(routes, &backend, vec![HttpFilter::new("cors", FilterConfig::Cors)]);
        let mut client = Client::h1(proxy.at("127.0.0.1").await).await;
        let mut ask = async |method: &str, origin: &'static str| {
            let request =
                Request::builder().method(method).uri("/").header("host", "api").header("origin", origin);
            let request = request.header("access-control-request-method", "GET");
            client.send(request.body(Full::default()).unwrap()).await
        };
        let got = ask("OPTIONS", "https://shop.example").await;
        assert_eq!(
            (got.status, &got.headers["access-control-allow-methods"]),
            (200, &HeaderValue::from_static("GET"))
        );
        assert_eq!(got.headers["access-control-max-age"], "60");
        let got = ask("OPTIONS", "https://evil.example").await;
        assert!(got.status == 200 && !got.headers.contains_key("access-control-allow-origin"));
        assert_eq!(backend.count(), 0, "preflights are answered here");
        let got = ask("GET", "https://shop.example").await;
        assert_eq!(got.headers["access-control-allow-origin"], "https://shop.example");
        assert_eq!(got.headers["access-control-expose-headers"], "x-total");
        assert!(
            !ask("GET", "https://evil.example").await.headers.contains_key("access-control-allow-origin")
        );
    });
}

#[test]
fn a_request_longer_than_the_buffer_is_refused_before_the_service_sees_it() {
    local(async {
        let backend = Backend::named("ok").await;
        let routes = vec![at("/free", "buffer", RouteFilter::Disabled), to("a")];
        let proxy = start(routes, &backend, vec![HttpFilter::new("buffer", FilterConfig::Buffer(4))]);
        let address = proxy.at("127.0.0.1").await;
        assert_eq!(Client::h1(address).await.send(post("/", "12345")).await.status, 413);
        assert_eq!(backend.count(), 0);
        assert_eq!(Client::h2(address).await.send(post("/", "1234")).await.status, 200);
        assert_eq!(backend.last().body, "1234");
        assert_eq!(Client::h1(address).await.send(post("/free", "12345")).await.status, 200);
        let chunked =
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
            3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n";
        assert!(raw(address, chunked).await.starts_with("HTTP/1.1 413"));
    });
}

#[test]
fn header_mutations_are_made_in_the_place_of_the_filter() {
    local(async {
        let backend = Backend::named("ok").await;
        let set = |name: &'static str, value: &str| {
            HeaderEdit(HeaderMutations::of(Vec::new(), [(name.parse().unwrap(), value.parse().unwrap())], []))
        };
        let everywhere = HeaderEdits {
            request: vec![set("x-from", "listener"), set("x-all", "1")],
            response: vec![set("x-done", "listener")],
            most_specific_wins: true,
        };
        let here = HeaderEdits { request: vec![set("x-from", "route")], ..HeaderEdits::default() };
        let routes = vec![at("/", "edit", RouteFilter::HeaderMutation(here.into()))];
        let filter = HttpFilter::new("edit", FilterConfig::HeaderMutation(everywhere.into()));
        let proxy = start(routes, &backend, vec![filter]);
        let got = get_once(proxy.at("127.0.0.1").await, "/").await;
        assert_eq!(got.headers["x-done"], "listener");
        assert_eq!(
            (&backend.last().headers["x-from"], &backend.last().headers["x-all"]),
            (&HeaderValue::from_static("route"), &HeaderValue::from_static("1"))
        );
    });
}

fn limit(max_tokens: u32, per_connection: bool) -> Arc<LocalRateLimit> {
    let fill_interval = Duration::from_secs(3600);
    Arc::new(LocalRateLimit {
        stat_prefix: "p".into(),
        bucket: Some(TokenBucket { max_tokens, tokens_per_fill: 1, fill_interval }),
        enabled: Fraction::ALL,
        enforced: Fraction::ALL,
        status: 429,
        response_headers: HeaderMutations::of(
            Vec::new(),
            [("x-limited".parse().unwrap(), "yes".parse().unwrap())],
            [],
        ),
        request_headers: HeaderMutations::default(),
        per_connection,
        x_ratelimit_headers: true,
        as_resource_exhausted: true,
        state: BucketState::default(),
    })
}

#[test]
fn requests_beyond_the_rate_are_refused() {
    local(async {
        let backend = Backend::named("ok").await;
        let routes = vec![at("/own", "limit", RouteFilter::LocalRateLimit(limit(1, true))), to("a")];
        let filter = HttpFilter::new("limit", FilterConfig::LocalRateLimit(limit(2, false)));
        let proxy = start(routes, &backend, vec![filter]);
        let address = proxy.at("127.0.0.1").await;
        let got = get_once(address, "/").await;
        assert_eq!(
            (got.status, &got.headers["x-ratelimit-remaining"]),
            (200, &HeaderValue::from_static("1"))
        );
        assert_eq!(get_once(address, "/").await.status, 200);
        let got = get_once(address, "/").await;
        assert_eq!((got.status, got.body.as_str()), (429, "local_rate_limited"));
        assert_eq!(
            (&got.headers["x-limited"], &got.headers["x-ratelimit-limit"]),
            (&HeaderValue::from_static("yes"), &HeaderValue::from_static("2"))
        );
        let mut grpc = get("/");
        grpc.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let got = Client::h2(address).await.send(grpc).await;
        assert_eq!(got.headers["grpc-status"], "8");
        for _ in 0..2 {
            let mut client = Client::h1(address).await;
            assert_eq!(client.send(get("/own")).await.status, 200, "each connection has its own bucket");
            assert_eq!(client.send(get("/own")).await.status, 429);
        }
    });
}

#[test]
fn rules_deny_and_shadow_rules_only_count() {
    local(async {
        let backend = Backend::named("ok").await;
        let rules = |path, principal| Rules {
            action: RbacAction::Deny,
            policies: vec![Policy {
                name: "p".into(),
                permissions: vec![Condition::UrlPath(prefix(path))],
                principals: vec![principal],
            }],
        };
        let nobody = Condition::Not(Box::new(Condition::Special(Doer::Authenticated(None))));
        let rbac =
            Rbac { rules: Some(rules("/secret", nobody)), shadow_rules: Some(rules("/", Condition::Any)) };
        let routes = vec![at("/secret/open", "rbac", RouteFilter::Disabled), to("a")];
        let proxy = start(routes, &backend, vec![HttpFilter::new("rbac", FilterConfig::Rbac(rbac.into()))]);
        let address = proxy.at("127.0.0.1").await;
        let got = get_once(address, "/secret/x").await;
        assert_eq!((got.status, got.body.as_str()), (403, "RBAC: access denied"));
        assert_eq!(get_once(address, "/public").await.status, 200);
        assert_eq!(get_once(address, "/secret/open").await.status, 200);
        let counts = &proxy.shared.statistics.rbac;
        let count =
            |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!((count(&counts.allowed), count(&counts.denied), count(&counts.shadow_denied)), (1, 1, 2));
    });
}

#[test]
fn health_checks_are_answered_without_a_route() {
    local(async {
        let path = HeaderMatch {
            name: HeaderKey::Pseudo(PseudoHeader::Path),
            value: ValueMatch::Value(StringMatch::exact("/healthz")),
            invert: false,
            absent_as_empty: false,
        };
        let mut snapshot = outbound(Vec::new(), Vec::new());
        filtered(&mut snapshot, vec![HttpFilter::new("health", FilterConfig::HealthCheck(vec![path]))]);
        let proxy = Proxy::start(snapshot);
        let address = proxy.at("127.0.0.1").await;
        assert_eq!(get_once(address, "/healthz").await.status, 200);
        assert_eq!(get_once(address, "/other").await.status, 404);
    });
}

/// Allows what has `x-token: good`, and tells what it saw.
struct Guard;

#[tonic::async_trait]
impl Authorization for Guard {
    async fn check(
        &self,
        request: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        let http = request.into_inner().attributes.unwrap().request.unwrap().http.unwrap();
        let option = |key: &str, value: String| core::HeaderValueOption {
            header: Some(core::HeaderValue { key: key.into(), value, ..Default::default() }),
            ..Default::default()
        };
        let (code, response) = if http.headers.get("x-token").is_some_and(|token| token == "good") {
            let ok = OkHttpResponse {
                headers: vec![option("x-user", format!("{} {}", http.path, http.body))],
                headers_to_remove: vec!["x-token".into()],
                response_headers_to_add: vec![option("x-checked", "yes".into())],
                ..Default::default()
            };
            (0, HttpResponse::OkResponse(ok))
        } else {
            let denied = DeniedHttpResponse {
                status: Some(kind::HttpStatus { code: 401 }),
                headers: vec![option("www-authenticate", "Token".into())],
                body: "who are you?".into(),
            };
            (16, HttpResponse::DeniedResponse(denied))
        };
        let status = Some(Status { code, ..Default::default() });
        Ok(tonic::Response::new(CheckResponse {
            status,
            http_response: Some(response),
            ..Default::default()
        }))
    }
}

fn authz(service: AuthzService) -> ExtAuthz {
    ExtAuthz {
        service,
        failure_mode_allow: false,
        failure_mode_allow_header_add: true,
        body: None,
        status_on_error: 503,
        allowed_headers: None,
        disallowed_headers: Vec::new(),
        enabled: Fraction::ALL,
    }
}

#[test]
fn a_grpc_service_decides_about_requests() {
    local(async {
        let backend = Backend::named("ok").await;
        let guard = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let guard_address = guard.local_addr().unwrap();
        let serving = tonic::transport::Server::builder()
            .add_service(AuthorizationServer::new(Guard))
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(guard));
        let serving = tokio::task::spawn_local(serving);
        let call = GrpcCall {
            cluster: "guard".into(),
            authority: "guard".into(),
            timeout: DEADLINE,
            metadata: Vec::new(),
        };
        let body = BodySettings { max_request_bytes: 8, allow_partial_message: false, pack_as_bytes: false };
        let asking = ExtAuthz { body: Some(body), ..authz(AuthzService::Grpc(call)) };
        let lenient = ExtAuthz { failure_mode_allow: true, ..asking.clone() };
        let of = |authz: ExtAuthz| vec![HttpFilter::new("authz", FilterConfig::ExtAuthz(authz.into()))];
        let mut guards = cluster("guard", &[guard_address]);
        guards.http = UpstreamHttp::Http2;
        let routes = vec![at("/open", "authz", RouteFilter::Disabled), to("a")];
        let mut snapshot = outbound(routes, vec![cluster("a", &[backend.address]), guards]);
        filtered(&mut snapshot, of(asking));
        let proxy = Proxy::start(snapshot.clone());
        let address = proxy.at("127.0.0.1").await;
        let got = get_once(address, "/a?b").await;
        assert_eq!((got.status, got.body.as_str()), (401, "who are you?"));
        assert_eq!(got.headers["www-authenticate"], "Token");
        assert_eq!(backend.count(), 0);
        let mut good = post("/a?b", "content");
        good.headers_mut().insert("x-token", "good".parse().unwrap());
        let got = Client::h1(address).await.send(good).await;
        assert_eq!((got.status, &got.headers["x-checked"]), (200, &HeaderValue::from_static("yes")));
        let seen = backend.last();
        assert_eq!(
            (&seen.headers["x-user"], &seen.body[..]),
            (&HeaderValue::from_static("/a?b content"), &b"content"[..])
        );
        assert!(!seen.headers.contains_key("x-token"));
        assert_eq!(Client::h1(address).await.send(post("/", "too long to see")).await.status, 413);
        assert_eq!(get_once(address, "/open").await.status, 200);
        drop(proxy);
        // Nobody answers any more.
        serving.abort();
        let _ = serving.await;
        let proxy = Proxy::start(snapshot.clone());
        assert_eq!(get_once(proxy.at("127.0.0.1").await, "/").await.status, 503);
        filtered(&mut snapshot, of(lenient));
        let proxy = Proxy::start(snapshot);
        assert_eq!(get_once(proxy.at("127.0.0.1").await, "/").await.status, 200);
        assert_eq!(backend.last().headers["x-envoy-auth-failure-mode-allowed"], "true");
    });
}

#[test]
fn an_http_service_decides_about_requests() {
    local(async {
        let backend = Backend::named("ok").await;
        let guard = Backend::start(|seen| match seen.headers.get("authorization") {
            Some(_) => {
                let mut answer = text(200, "");
                answer.headers_mut().insert("x-user", "jason".parse().unwrap());
                answer
            }
            None => text(403, "no"),
        })
        .await;
        let http = HttpAuthz {
            cluster: "guard".into(),
            authority: HeaderValue::from_static("guard"),
            uri: "http://guard".into(),
            timeout: DEADLINE,
            path_prefix: "/check".into(),
            headers_to_add: Vec::new(),
            upstream_headers: vec![prefix("x-user")],
            upstream_headers_to_append: Vec::new(),
            client_headers: Vec::new(),
            client_headers_on_success: Vec::new(),
        };
        let clusters = vec![cluster("a", &[backend.address]), cluster("guard", &[guard.address])];
        let mut snapshot = outbound(vec![to("a")], clusters);
        let filter = FilterConfig::ExtAuthz(authz(AuthzService::Http(Box::new(http))).into());
        filtered(&mut snapshot, vec![HttpFilter::new("authz", filter)]);
        let proxy = Proxy::start(snapshot);
        let address = proxy.at("127.0.0.1").await;
        let got = get_once(address, "/a").await;
        assert_eq!((got.status, got.body.as_str()), (403, "no"));
        assert_eq!(guard.last().path, "/check/a");
        let mut known = get("/a");
        known.headers_mut().insert("authorization", "Basic x".parse().unwrap());
        assert_eq!(Client::h1(address).await.send(known).await.status, 200);
        assert_eq!(backend.last().headers["x-user"], "jason");
    });
}
