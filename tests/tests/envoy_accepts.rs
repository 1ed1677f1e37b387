//! What `weft_model::xds` writes is read by the reference reader: a real Envoy, in `--mode validate`.

#![allow(clippy::expect_used, clippy::panic, reason = "a test may")]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use prost::Message;
use weft_model::cluster::*;
use weft_model::endpoint::*;
use weft_model::filter::FilterOverrides;
use weft_model::hash::HashFunction;
use weft_model::hash_policy::{CookieHash, HashPolicy, HashSource, RegexRewrite};
use weft_model::health_check::*;
use weft_model::listener::*;
use weft_model::load_balancing::*;
use weft_model::matcher::*;
use weft_model::policy::*;
use weft_model::provenance::{ObjectRef, Provenance};
use weft_model::route::*;
use weft_model::subset::*;
use weft_model::xds;
use weft_proto::xds::bootstrap::{Bootstrap, bootstrap};
use weft_proto::xds::{cluster as cluster_pb, core, listener as listener_pb};

/// Has Envoy read a configuration of these resources.
fn assert_accepted(listeners: &[Listener], clusters: &[Cluster]) {
    let ads = core::ApiConfigSource {
        api_type: core::api_config_source::ApiType::DeltaGrpc as i32,
        transport_api_version: core::ApiVersion::V3 as i32,
        grpc_services: vec![core::GrpcService {
            target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(
                core::grpc_service::EnvoyGrpc { cluster_name: "sds-grpc".into(), ..Default::default() },
            )),
            ..Default::default()
        }],
        ..Default::default()
    };
    // The proxy's own agent, which hands out its certificates.
    let agent = Cluster {
        name: "sds-grpc".into(),
        http: UpstreamHttp::Http2,
        discovery: Discovery::Static(EndpointSet {
            cluster: "sds-grpc".into(),
            localities: vec![locality(vec![endpoint("127.0.0.1:15012", false)])],
            policy: Default::default(),
        }),
        transport: UpstreamTransport::Plain,
        service: None,
        ..cluster("sds-grpc")
    };
    let read_cluster = |cluster: &Cluster| {
        cluster_pb::Cluster::decode(xds::cluster::encode(cluster).as_slice()).expect("a cluster")
    };
    let read_listener = |listener: &Listener| {
        listener_pb::Listener::decode(xds::listener::encode(listener).as_slice()).expect("a listener")
    };
    let message = Bootstrap {
        node: Some(core::Node { id: "test".into(), cluster: "test".into(), ..Default::default() }),
        static_resources: Some(bootstrap::StaticResources {
            listeners: listeners.iter().map(read_listener).collect(),
            clusters: clusters.iter().chain([&agent]).map(read_cluster).collect(),
            secrets: Vec::new(),
        }),
        dynamic_resources: Some(bootstrap::DynamicResources { ads_config: Some(ads), ..Default::default() }),
        ..Default::default()
    };
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("bootstrap.pb");
    std::fs::write(&file, message.encode_to_vec()).expect("a file");
    let output = Command::new(weft_tests::envoy::binary())
        .args([
            "--mode",
            "validate",
            "--log-level",
            "warning",
            "--base-id-path",
            "/dev/null",
            "--config-path",
        ])
        .arg(&file)
        .output()
        .expect("Envoy starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "Envoy refused it:\n{said}");
}

fn provenance() -> Vec<Provenance> {
    let object = ObjectRef::new("gateway.networking.k8s.io/v1", "HTTPRoute", "default", "reviews");
    vec![Provenance { object, generation: 3, field: "spec.rules[0]".into() }]
}

fn endpoint(address: &str, mutual_tls: bool) -> Arc<Endpoint> {
    let workload = WorkloadInfo {
        name: "reviews-v1".into(),
        namespace: "default".into(),
        service: "reviews".into(),
        version: "v1".into(),
        cluster: "mesh".into(),
    };
    let address = address.parse().expect("an address");
    Arc::new(Endpoint {
        address,
        health: Health::Healthy,
        weight: 1,
        mutual_tls,
        workload,
        ..Endpoint::new(address)
    })
}

fn locality(endpoints: Vec<Arc<Endpoint>>) -> LocalityEndpoints {
    let locality = Locality { region: "eu".into(), zone: "eu-1".into(), sub_zone: "".into() };
    LocalityEndpoints { locality, priority: 0, weight: 1, endpoints }
}

fn tls() -> UpstreamTls {
    UpstreamTls {
        identities: vec!["spiffe://cluster.local/ns/default/sa/reviews".into()].into(),
        sni: "outbound_.9080_._.reviews.default.svc.cluster.local".into(),
    }
}

fn cluster(name: &str) -> Cluster {
    Cluster {
        name: name.into(),
        discovery: Discovery::Endpoints(name.into()),
        load_balancing: LoadBalancing::LEAST_REQUEST,
        connect_timeout: Duration::from_secs(10),
        http: UpstreamHttp::SameAsDownstream,
        transport: UpstreamTransport::ByEndpoint(tls()),
        limits: CircuitBreakers::default(),
        outlier_detection: Some(OutlierDetection {
            consecutive_5xx: 5,
            consecutive_gateway_errors: 0,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_percent: 10,
            ..OutlierDetection::default()
        }),
        max_requests_per_connection: Some(100),
        idle_timeout: Duration::from_secs(3600),
        service: Some(ServiceInfo {
            host: "reviews.default.svc.cluster.local".into(),
            name: "reviews".into(),
            namespace: "default".into(),
        }),
        provenance: provenance(),
        ..Cluster::new("", Discovery::OriginalDst)
    }
}

#[test]
fn envoy_accepts_clusters_of_every_kind() {
    let endpoints = vec![endpoint("10.0.0.1:9080", true), endpoint("[fd00::1]:9080", false)];
    let set = EndpointSet {
        cluster: "static".into(),
        localities: vec![locality(endpoints)],
        policy: Default::default(),
    };
    let dns = vec![("example.org".into(), 443)];
    let clusters = [
        cluster("outbound|9080||reviews.default.svc.cluster.local"),
        Cluster { discovery: Discovery::Static(set), ..cluster("static") },
        Cluster { discovery: Discovery::Dns(dns), http: UpstreamHttp::Http1, ..cluster("dns") },
        Cluster {
            discovery: Discovery::OriginalDst,
            load_balancing: LoadBalancing::RoundRobin,
            transport: UpstreamTransport::Plain,
            ..cluster(ClusterName::PASSTHROUGH)
        },
        Cluster {
            discovery: Discovery::Dialled("headless".into()),
            load_balancing: LoadBalancing::RoundRobin,
            transport: UpstreamTransport::MutualTls(tls()),
            ..cluster("headless")
        },
        Cluster {
            transport: UpstreamTransport::MutualTls(tls()),
            http: UpstreamHttp::Http2,
            outlier_detection: None,
            ..cluster("mutual")
        },
    ];
    assert_accepted(&[], &clusters);
}

#[test]
fn envoy_accepts_every_way_of_choosing_and_asking() {
    let named = |name: &str, load_balancing| Cluster { load_balancing, ..cluster(name) };
    let least = LeastRequest { choice_count: 4, active_request_bias: 0.5, full_scan: false };
    let slow_start = SlowStart { window: Duration::from_secs(60), aggression: 1.5, min_weight_percent: 20.0 };
    let ring = RingHash { function: HashFunction::MurmurHash2, minimum_size: 64, maximum_size: 128 };
    let mut clusters = vec![
        named("random", LoadBalancing::Random),
        named("ring", LoadBalancing::RingHash(ring)),
        named("maglev", LoadBalancing::Maglev(Maglev { table_size: 251 })),
        named("ewma", LoadBalancing::PeakEwma(PeakEwma::default())),
        named("least", LoadBalancing::LeastRequest(least)),
        named("scan", LoadBalancing::LeastRequest(LeastRequest { full_scan: true, ..least })),
        named("slow", LoadBalancing::RoundRobin),
        named("subsets", LoadBalancing::RoundRobin),
        named("outliers", LoadBalancing::RoundRobin),
    ];
    clusters[1].balancing.hash_balance_factor = Some(150);
    // Envoy takes host names only from the DNS.
    clusters[2].discovery = Discovery::Dns(vec![("example.org".into(), 443)]);
    clusters[2].balancing.hash_by_hostname = true;
    clusters[2].balancing.locality = LocalityBalancing::Weighted;
    for at in [4, 5, 6] {
        clusters[at].balancing.slow_start = Some(slow_start);
    }
    clusters[6].balancing.locality = LocalityBalancing::ZoneAware { fail_traffic_on_panic: true };
    let keys = |keys: &[&str]| keys.iter().map(|key| Arc::from(*key)).collect::<Arc<[Arc<str>]>>();
    clusters[7].balancing.subsets = Some(Subsets {
        fallback: SubsetFallback::DefaultSubset,
        default_subset: LbMetadata::of_texts(&[("stage", "prod"), ("version", "v1")]),
        selectors: vec![
            SubsetSelector {
                keys: keys(&["stage", "version"]),
                fallback: Some(SelectorFallback::Keys(keys(&["stage"]))),
            },
            SubsetSelector { keys: keys(&["stage"]), fallback: None },
        ],
    });
    clusters[8].outlier_detection = Some(OutlierDetection {
        split_local_origin_errors: true,
        consecutive_local_origin_failures: 3,
        success_rate: Some(SuccessRate::default()),
        failure_percentage: Some(FailurePercentage {
            enforcing: 100,
            enforcing_local_origin: 50,
            threshold: 80,
            minimum_hosts: 3,
            request_volume: 20,
        }),
        max_ejection_time_jitter: Duration::from_secs(5),
        ..OutlierDetection::default()
    });
    let budget = RetryBudget { budget: Fraction::from_percent(25.0), min_retry_concurrency: 5 };
    clusters[8].high_priority_limits =
        CircuitBreakers { retry_budget: Some(budget), ..CircuitBreakers::default() };
    let http = |http2| {
        HealthQuestion::Http(HttpQuestion {
            host: "".into(),
            path: "/health?deep".into(),
            method: http::Method::HEAD,
            headers: HeaderMutations::of(Vec::new(), [header("x-from", "weft")], []),
            expected_statuses: vec![(200, 300)],
            retriable_statuses: vec![(503, 504)],
            http2,
        })
    };
    let grpc = HealthQuestion::Grpc { service: "reviews".into(), authority: "reviews".into() };
    let tcp = HealthQuestion::Tcp { send: Some(vec![1, 2].into()), receive: vec![vec![3].into()] };
    for (at, question) in [http(false), http(true), grpc, tcp].into_iter().enumerate() {
        let asked = Cluster { health_check: Some(check(question)), ..cluster(&format!("asked-{at}")) };
        // gRPC's protocol needs a cluster that speaks HTTP/2.
        clusters.push(Cluster { http: UpstreamHttp::Http2, ..asked });
    }
    assert_accepted(&[], &clusters);
}

fn check(question: HealthQuestion) -> HealthCheck {
    HealthCheck {
        timeout: Duration::from_secs(1),
        interval: Duration::from_secs(5),
        no_traffic_interval: Duration::from_secs(60),
        no_traffic_healthy_interval: Some(Duration::from_secs(90)),
        unhealthy_interval: Some(Duration::from_secs(2)),
        unhealthy_edge_interval: Some(Duration::from_secs(1)),
        healthy_edge_interval: Some(Duration::from_secs(3)),
        initial_jitter: Duration::from_millis(100),
        interval_jitter: Duration::from_millis(50),
        interval_jitter_percent: 10,
        unhealthy_threshold: 3,
        healthy_threshold: 2,
        alt_port: Some(8080),
        reuse_connection: false,
        question,
    }
}

fn header(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
    (HeaderName::from_static(name), HeaderValue::from_static(value))
}

fn hash_policies() -> Vec<HashPolicy> {
    let rewrite = RegexRewrite::new("^user-(.*)$", r"\1").expect("an expression");
    let cookie = CookieHash {
        name: "sticky".into(),
        ttl: Some(Duration::from_secs(60)),
        path: "/".into(),
        attributes: vec![("SameSite".into(), "Lax".into())],
    };
    let of = |source| HashPolicy { source, terminal: true };
    vec![
        of(HashSource::Header { name: HeaderName::from_static("x-user"), rewrite: Some(rewrite) }),
        of(HashSource::Cookie(cookie)),
        of(HashSource::QueryParameter("user".into())),
        of(HashSource::SourceIp),
    ]
}

fn forward() -> Forward {
    Forward {
        clusters: vec![
            WeightedCluster {
                request_headers: HeaderMutations::of(Vec::new(), [header("x-canary", "100% yes")], []),
                ..WeightedCluster::new("a", 90)
            },
            WeightedCluster::new("b", 10),
            WeightedCluster::new("c", 0),
        ],
        timeout: Some(Duration::from_millis(1500)),
        idle_timeout: Some(Duration::from_secs(60)),
        retry: Some(RetryPolicy {
            retries: 2,
            conditions: RetryConditions::CONNECT_FAILURE
                .and(RetryConditions::REFUSED_STREAM)
                .and(RetryConditions::GRPC_UNAVAILABLE)
                .and(RetryConditions::RESET_BEFORE_REQUEST)
                .and(RetryConditions::STATUS_CODES),
            status_codes: vec![503].into(),
            per_try_timeout: Some(Duration::from_millis(500)),
            per_try_idle_timeout: None,
            backoff_base: RetryPolicy::BACKOFF_BASE,
            backoff_max: RetryPolicy::BACKOFF_MAX,
            idempotent_only: true,
            avoid_tried_endpoints: true,
            omit_canary_hosts: true,
            omit_host_metadata: LbMetadata::of_texts(&[("stage", "dev")]),
            previous_priorities: Some(2),
            rate_limited: Some(RateLimitedBackOff {
                reset_headers: vec![(HeaderName::from_static("retry-after"), ResetFormat::Seconds)],
                max_interval: RateLimitedBackOff::MAX_INTERVAL,
            }),
            ..RetryPolicy::default()
        }),
        path_rewrite: None,
        host_rewrite: Some(HostRewrite::Literal(HeaderValue::from_static("other.example"))),
        mirrors: vec![Mirror { cluster: "b".into(), fraction: Fraction::from_percent(12.5) }],
        hash_policy: hash_policies(),
        metadata_match: LbMetadata::of_texts(&[("version", "v1")]),
        priority: RoutingPriority::High,
        ..Forward::to("")
    }
}

fn rule(path: PathMatch, action: RouteAction) -> Route {
    let exact = |name: &'static str, text: &str, invert: bool| HeaderMatch {
        name: HeaderKey::Header(HeaderName::from_static(name)),
        value: ValueMatch::Value(StringMatch::exact(text)),
        invert,
        absent_as_empty: false,
    };
    let method = HeaderMatch {
        name: HeaderKey::Pseudo(PseudoHeader::Method),
        value: ValueMatch::Value(StringMatch::exact("GET")),
        invert: false,
        absent_as_empty: true,
    };
    let query = QueryMatch { name: "page".into(), value: ValueMatch::Present };
    Route {
        name: "reviews".into(),
        matches: RouteMatch {
            path,
            headers: vec![exact("end-user", "jason", false), method],
            query: vec![query],
            more: None,
        },
        action,
        request_headers: HeaderMutations::of(
            vec![HeaderName::from_static("x-secret")],
            [header("x-set", "")],
            [header("x-add", "a%b")],
        ),
        response_headers: HeaderMutations::of(Vec::new(), [], [header("x-answered", "yes")]),
        filters: FilterOverrides::fault(Some(Fault {
            delay: Some((Duration::from_millis(5), Fraction::from_percent(10.0))),
            abort: Some((Abort::Http(503), Fraction::from_percent(0.1))),
            ..Fault::default()
        })),
        provenance: provenance(),
    }
}

fn table() -> RouteTable {
    let to = |path_rewrite| RouteAction::Forward(Forward { path_rewrite, ..forward() });
    let redirect = |path| {
        RouteAction::Redirect(Redirect {
            status: 308,
            scheme: Some("https".into()),
            host: Some("example.org".into()),
            port: Some(8443),
            path,
            strip_query: false,
        })
    };
    let nothing = RouteAction::Forward(Forward { clusters: vec![WeightedCluster::new("a", 0)], ..forward() });
    let regex = FullRegex::new("/v[12]/.*").expect("an expression");
    let routes = vec![
        rule(PathMatch::SeparatedPrefix("/a.b".into()), to(Some(PathRewrite::Prefix("/".into())))),
        rule(PathMatch::SeparatedPrefix("/a".into()), to(Some(PathRewrite::Prefix("/z".into())))),
        rule(PathMatch::SeparatedPrefix("".into()), to(None)),
        rule(
            PathMatch::Exact { path: "/x".into(), ignore_case: true },
            to(Some(PathRewrite::Full(r"/y\1".into()))),
        ),
        rule(PathMatch::Regex(regex), redirect(Some(PathRewrite::Full("/full".into())))),
        rule(
            PathMatch::Prefix { prefix: "/p".into(), ignore_case: false },
            redirect(Some(PathRewrite::Prefix("/q".into()))),
        ),
        rule(PathMatch::any(), nothing),
        rule(PathMatch::any(), RouteAction::Respond(DirectResponse { status: 418, body: "short".into() })),
    ];
    let host = |name: &str, domains: &[&str], routes| VirtualHost {
        name: name.into(),
        domains: domains.iter().map(|domain| Arc::from(*domain)).collect(),
        routes,
        ..VirtualHost::default()
    };
    let hosts = vec![
        host("reviews", &["reviews", "reviews:9080", "reviews.default:*", "*.example.org"], routes.clone()),
        host("any", &["*"], routes),
    ];
    RouteTable::new("reviews.default.svc.cluster.local:9080", hosts)
}

fn http(routes: RouteSource, forward_proxy: bool) -> NetworkFilter {
    NetworkFilter::Http(HttpConnection {
        stat_prefix: "http".into(),
        codec: Codec::Auto,
        routes,
        forward_client_certificate: true,
        stream_idle_timeout: None,
        upgrades: vec!["websocket".into()],
        forward_proxy,
        filters: weft_model::filter::HttpFilter::of_the_mesh(),
    })
}

fn tcp(clusters: &[(&str, u32)]) -> NetworkFilter {
    let clusters = clusters.iter().map(|(name, weight)| WeightedCluster::new(name, *weight)).collect();
    NetworkFilter::Tcp(TcpProxy {
        stat_prefix: "tcp".into(),
        clusters,
        idle_timeout: None,
        hash_source_ip: false,
        metadata_match: Default::default(),
    })
}

#[test]
fn envoy_accepts_listeners_and_routes_of_every_kind() {
    let chain = FilterChain::new;
    let port = |port: u16, transport| FilterChainMatch {
        destination_port: Some(port),
        destination_prefixes: vec![IpPrefix { address: [10, 0, 0, 0].into(), length: 8 }],
        transport: Some(transport),
        ..Default::default()
    };
    let server = DownstreamTls::Mesh(MeshTls {
        require_client_certificate: true,
        application_protocols: vec!["istio-http/1.1".into(), "istio".into()],
    });
    let sniffed = FilterChainMatch {
        application_protocols: vec!["http/1.1".into(), "h2c".into()],
        server_names: vec!["*.example.org".into(), "example.org".into()],
        ..Default::default()
    };
    let inline = RouteSource::Inline(Arc::new(table()));
    let inbound = Listener {
        name: "virtualInbound".into(),
        addresses: vec!["127.0.0.1:15006".parse().expect("address"), "[::1]:15006".parse().expect("address")],
        bind: true,
        use_original_dst: true,
        headless: false,
        direction: Direction::Inbound,
        inspection: Inspection {
            tls: true,
            http: true,
            timeout: Duration::from_millis(500),
            ..Inspection::default()
        },
        filter_chains: vec![
            chain("9080-mtls", port(9080, Transport::Tls), Some(server), http(inline, false)),
            chain("9080-plain", port(9080, Transport::Raw), None, tcp(&[("a", 1)])),
            chain("sniffed", sniffed, None, http(RouteSource::Named("9080".into()), true)),
        ],
        default_filter_chain: Some(chain(
            "rest",
            FilterChainMatch::default(),
            None,
            tcp(&[("a", 3), ("b", 1), ("c", 0)]),
        )),
        provenance: provenance(),
    };
    let outbound = Listener {
        name: "10.96.0.1_9080".into(),
        addresses: vec!["10.96.0.1:9080".parse().expect("address")],
        bind: false,
        use_original_dst: false,
        headless: false,
        direction: Direction::Outbound,
        inspection: Inspection { tls: false, http: true, timeout: Duration::ZERO, ..Inspection::default() },
        filter_chains: vec![chain("all", FilterChainMatch::default(), None, tcp(&[("a", 0)]))],
        default_filter_chain: None,
        provenance: Vec::new(),
    };
    let headless = Listener {
        name: "db.default.svc.cluster.local_5432".into(),
        addresses: ["10.0.0.1:5432", "10.0.0.2:5432"].map(|it| it.parse().expect("address")).to_vec(),
        headless: true,
        ..outbound.clone()
    };
    let clusters = ["a", "b", "c", ClusterName::BLACK_HOLE].map(cluster);
    assert_accepted(&[inbound, outbound, headless], &clusters);
}
