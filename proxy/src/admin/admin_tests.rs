//! Over real sockets, as people and probes ask.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Registry, reload};
use weft_model::cluster::{Cluster, Discovery as EndpointSource};
use weft_model::endpoint::EndpointSet;
use weft_model::policy::HeaderMutations;
use weft_model::provenance::{ObjectRef, Provenance};
use weft_model::route::{Forward, Route, RouteAction, RouteMatch, RouteTable, VirtualHost};
use weft_model::snapshot::Snapshot;

use super::*;

fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::default();
    let mut cluster = Cluster::new("a", EndpointSource::Endpoints("a".into()));
    let object = ObjectRef::new("networking.istio.io/v1", "DestinationRule", "default", "a");
    cluster.provenance = vec![Provenance { object, generation: 2, field: "spec.trafficPolicy".into() }];
    let route = Route {
        name: "all".into(),
        matches: RouteMatch::any(),
        action: RouteAction::Forward(Forward::to("a")),
        request_headers: HeaderMutations::default(),
        response_headers: HeaderMutations::default(),
        filters: Default::default(),
        provenance: Vec::new(),
    };
    let host = VirtualHost {
        name: "all".into(),
        domains: vec!["*".into()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    snapshot.routes.insert("r".into(), RouteTable::new("r", vec![host]).into());
    snapshot.clusters.insert("a".into(), cluster.into());
    snapshot.endpoints.insert("a".into(), EndpointSet::empty("a").into());
    snapshot
}

fn state(snapshot: Snapshot) -> AdminState {
    AdminState::new(Discovery::fixed(snapshot), "sidecar~10.0.0.1~a.default~cluster.local".to_owned())
}

/// All doors, open; and where they are.
async fn open(state: AdminState) -> (Doors, tokio::task::JoinHandle<()>) {
    let any = Some("127.0.0.1:0".parse().unwrap());
    let addresses = AdminAddresses { admin: any, socket: None, readiness: any, metrics: any };
    let admin = Admin::bind(state, &addresses).await.unwrap();
    let at = |door| admin.address(door).unwrap();
    let doors = Doors { admin: at(Door::Admin), readiness: at(Door::Readiness), metrics: at(Door::Metrics) };
    (doors, tokio::spawn(admin.run()))
}

#[derive(Clone, Copy)]
struct Doors {
    admin: std::net::SocketAddr,
    readiness: std::net::SocketAddr,
    metrics: std::net::SocketAddr,
}

struct Answer {
    status: StatusCode,
    head: String,
    body: String,
}

async fn ask(at: std::net::SocketAddr, method: Method, path: &str) -> Answer {
    exchange(TcpStream::connect(at).await.unwrap(), &method, path).await
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, method: &Method, path: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("an answer").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let head = head.to_ascii_lowercase();
    let body = if head.contains("transfer-encoding: chunked") { joined(body) } else { body.to_owned() };
    Answer { status, head, body }
}

/// What chunks (RFC 9112, section 7.1) hold together.
fn joined(mut chunks: &str) -> String {
    let mut all = String::new();
    while let Some((length, rest)) = chunks.split_once("\r\n") {
        let (chunk, rest) = rest.split_at(usize::from_str_radix(length, 16).unwrap());
        all.push_str(chunk);
        chunks = rest.strip_prefix("\r\n").unwrap();
    }
    all
}

#[tokio::test]
async fn what_changes_something_is_a_post_and_everything_else_is_read() {
    let drained = Arc::new(AtomicUsize::new(0));
    let mut state = state(snapshot());
    let count = drained.clone();
    state.drain = Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let (doors, _running) = open(state).await;
    for path in ["/drain_listeners", "/quitquitquit", "/logging?level=debug"] {
        let refused = ask(doors.admin, Method::GET, path).await;
        assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert!(refused.body.contains("POST"), "{}", refused.body);
    }
    assert_eq!(drained.load(Ordering::SeqCst), 0);
    assert_eq!(ask(doors.admin, Method::POST, "/drain_listeners").await.status, StatusCode::OK);
    assert_eq!(drained.load(Ordering::SeqCst), 1);
    for path in [
        "/",
        "/help",
        "/ready",
        "/config_dump",
        "/listeners",
        "/clusters",
        "/certs",
        "/server_info",
        "/stats",
    ] {
        assert_eq!(ask(doors.admin, Method::GET, path).await.status, StatusCode::OK, "{path}");
        assert_eq!(
            ask(doors.admin, Method::POST, path).await.status,
            StatusCode::METHOD_NOT_ALLOWED,
            "{path}"
        );
        let head = ask(doors.admin, Method::HEAD, path).await;
        assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""), "{path}");
    }
    let unknown = ask(doors.admin, Method::GET, "/nothing").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert!(unknown.body.contains("/config_dump"), "it says what there is: {}", unknown.body);
}

#[tokio::test]
async fn the_readiness_and_metrics_doors_show_nothing_else() {
    let (doors, _running) = open(state(snapshot())).await;
    let shown = async |at, path| ask(at, Method::GET, path).await.status == StatusCode::OK;
    assert!(shown(doors.readiness, "/ready").await && shown(doors.readiness, "/healthz/ready").await);
    assert!(shown(doors.metrics, "/metrics").await && shown(doors.metrics, "/stats/prometheus").await);
    for path in ["/config_dump", "/certs", "/clusters", "/listeners", "/server_info", "/", "/stats"] {
        assert!(!shown(doors.readiness, path).await && !shown(doors.metrics, path).await, "{path}");
    }
    for path in ["/drain_listeners", "/quitquitquit", "/logging?level=trace"] {
        for at in [doors.readiness, doors.metrics] {
            assert_eq!(ask(at, Method::POST, path).await.status, StatusCode::NOT_FOUND, "{path}");
        }
    }
}

#[tokio::test]
async fn it_is_ready_from_the_configuration_until_it_drains() {
    let fresh = crate::discovery::start(crate::discovery::DiscoverySettings::new(
        crate::discovery::Node {
            id: "sidecar~10.0.0.1~a.default~default.svc.cluster.local".parse().unwrap(),
            cluster: "a.default".to_owned(),
            labels: std::collections::BTreeMap::new(),
            service_account: "a".to_owned(),
            metadata: std::collections::BTreeMap::new(),
            ports: Vec::new(),
            interception_mode: "NONE".to_owned(),
            explicit: None,
        },
        None,
    ));
    let (doors, _running) = open(AdminState::new(fresh.unwrap().0, "node".to_owned())).await;
    let waiting = ask(doors.readiness, Method::GET, "/ready").await;
    assert_eq!(waiting.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(waiting.body.contains("no configuration"), "{}", waiting.body);
    assert!(ask(doors.admin, Method::GET, "/server_info").await.body.contains("PRE_INITIALIZING"));

    let reason = Arc::new(Mutex::new(Some("no certificate yet".to_owned())));
    let mut state = state(snapshot());
    let told = reason.clone();
    state.not_ready = Arc::new(move || told.lock().unwrap().clone());
    let (doors, _running) = open(state).await;
    let says = async |status, info: &str, text: &str| {
        let answer = ask(doors.readiness, Method::GET, "/healthz/ready").await;
        assert_eq!(answer.status, status);
        assert!(answer.body.contains(text), "{}", answer.body);
        let page = ask(doors.admin, Method::GET, "/server_info").await.body;
        let page: Value = serde_json::from_str(&page).unwrap();
        assert_eq!(page["state"], info);
    };
    says(StatusCode::SERVICE_UNAVAILABLE, "INITIALIZING", "no certificate yet").await;
    *reason.lock().unwrap() = None;
    says(StatusCode::OK, "LIVE", "LIVE").await;
    *reason.lock().unwrap() = Some(DRAINING.to_owned());
    says(StatusCode::SERVICE_UNAVAILABLE, "DRAINING", "draining").await;
}

#[tokio::test]
async fn the_configuration_is_shown_by_name_with_where_it_came_from() {
    let (doors, _running) = open(state(snapshot())).await;
    let shown = async |path: &str| {
        let answer = ask(doors.admin, Method::GET, path).await;
        assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
        let dump: Value = serde_json::from_str(&answer.body).unwrap();
        dump["configs"].as_array().unwrap().clone()
    };
    let dump = shown("/config_dump?include_eds").await;
    let kinds: Vec<&str> = dump.iter().map(|config| config["@type"].as_str().unwrap()).collect();
    let expected = ["Bootstrap", "Clusters", "Listeners", "Routes", "Endpoints"]
        .map(|kind| format!("type.googleapis.com/envoy.admin.v3.{kind}ConfigDump"));
    assert_eq!(kinds, expected);
    // Every resource is a message that Envoy's own descriptors know, in the form that Envoy shows it in.
    let cluster = &dump[1]["static_clusters"][0]["cluster"];
    assert_eq!(cluster["@type"], "type.googleapis.com/envoy.config.cluster.v3.Cluster");
    assert_eq!(cluster["name"], "a");
    assert!(cluster["metadata"].to_string().contains("DestinationRule"), "{cluster}");
    let route = &dump[3]["static_route_configs"][0]["route_config"];
    assert_eq!(route["virtual_hosts"][0]["routes"][0]["route"]["cluster"], "a");
    assert_eq!(dump[4]["static_endpoint_configs"][0]["endpoint_config"]["cluster_name"], "a");

    let one = shown("/config_dump?resource=static_clusters").await;
    assert_eq!(one.len(), 1);
    assert_eq!(one[0]["@type"], "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.StaticCluster");
    let none = shown("/config_dump?name_regex=b.*").await;
    assert_eq!(none[1]["static_clusters"], Value::Null);
    let broken = ask(doors.admin, Method::GET, "/config_dump?name_regex=(").await;
    assert_eq!(broken.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn clusters_are_shown_with_their_hosts_as_text_and_as_json() {
    let mut state = state(snapshot());
    let host = crate::upstream::HostStats {
        address: "10.0.0.7:80".parse().unwrap(),
        requests: 2,
        connections: 3,
        ejected: true,
        checked: Some(false),
    };
    let stats = crate::upstream::ClusterStats {
        cluster: "a".into(),
        endpoints: 1,
        ejected: 1,
        connections: 3,
        requests: 2,
        retries: 0,
        overflows: 0,
        hosts: vec![host],
    };
    state.clusters = Arc::new(move || vec![stats.clone()]);
    let (doors, _running) = open(state).await;
    let text = ask(doors.admin, Method::GET, "/clusters").await.body;
    for line in [
        "a::default_priority::max_connections::",
        "a::added_via_api::false\n",
        "a::10.0.0.7:80::cx_active::3\n",
        "a::10.0.0.7:80::rq_active::2\n",
        "a::10.0.0.7:80::health_flags::/failed_active_hc/failed_outlier_check\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let answer = ask(doors.admin, Method::GET, "/clusters?format=json").await;
    let json: Value = serde_json::from_str(&answer.body).unwrap();
    let host = &json["cluster_statuses"][0]["host_statuses"][0];
    assert_eq!(host["address"]["socket_address"]["port_value"], 80);
    assert_eq!(host["health_status"]["failed_outlier_check"], true);
}

#[tokio::test]
async fn metrics_are_those_of_the_proxy_with_how_discovery_does_and_each_once() {
    let mut state = state(snapshot());
    let own = ["# HELP a_total A.\n# TYPE a_total counter\n", "a_total 1\n", "# EOF\n"];
    state.metrics = Arc::new(move || {
        let parts: crate::admin::Parts = Box::new(own.into_iter().map(str::to_owned));
        Box::pin(std::future::ready(parts))
    });
    let (doors, _running) = open(state).await;
    let answer = ask(doors.metrics, Method::GET, "/metrics").await;
    assert!(answer.head.contains("text/plain; version=0.0.4"), "{}", answer.head);
    let samples: Vec<&str> = answer.body.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        samples,
        [
            "weft_control_plane_connected 0",
            "weft_config_refused_resources 0",
            "weft_config_version 1",
            "a_total 1"
        ]
    );
    assert!(answer.body.ends_with("# EOF\n") && answer.body.matches("# EOF").count() == 1, "{}", answer.body);
}

#[tokio::test]
async fn the_log_level_is_shown_and_set_and_a_wrong_one_changes_nothing() {
    let (layer, handle) = reload::Layer::<EnvFilter, Registry>::new(EnvFilter::new("info"));
    let _subscriber = tracing_subscriber::registry().with(layer);
    let mut state = state(snapshot());
    state.log_level = Arc::new(move |wanted| {
        if let Some(text) = wanted {
            let filter = EnvFilter::try_new(text).map_err(|error| error.to_string())?;
            handle.reload(filter).map_err(|error| error.to_string())?;
        }
        handle.with_current(ToString::to_string).map_err(|error| error.to_string())
    });
    let (doors, _running) = open(state).await;
    let level = async |path| ask(doors.admin, Method::POST, path).await;
    assert!(level("/logging").await.body.contains("info"));
    assert!(
        level("/logging?level=warn%2Cweft_proxy%3A%3Adns%3Ddebug")
            .await
            .body
            .contains("weft_proxy::dns=debug")
    );
    let wrong = level("/logging?level=a=b=c").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(level("/logging").await.body.contains("weft_proxy::dns=debug"));
}

async fn bind_socket(path: &Path) -> std::io::Result<Admin> {
    let addresses = AdminAddresses { socket: Some(path.to_owned()), ..AdminAddresses::default() };
    Admin::bind(state(snapshot()), &addresses).await
}

#[tokio::test]
async fn the_unix_socket_is_for_its_owner_and_shows_everything() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let running = tokio::spawn(bind_socket(&path).await.unwrap().run());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let answer = exchange(UnixStream::connect(&path).await.unwrap(), &Method::GET, "/config_dump").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");

    let taken = bind_socket(&path).await.unwrap_err().to_string();
    assert!(taken.contains("admin.sock") && taken.contains("another process answers"), "{taken}");
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    let again = tokio::spawn(bind_socket(&path).await.expect("a stale socket is replaced").run());
    UnixStream::connect(&path).await.unwrap();
    again.abort();
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("precious");
    std::fs::write(&path, "words").unwrap();
    let refused = bind_socket(&path).await.unwrap_err().to_string();
    assert!(refused.contains("no socket"), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "words");
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let addresses = AdminAddresses { metrics: Some(address), ..AdminAddresses::default() };
    let error = Admin::bind(state(snapshot()), &addresses).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()), "{error}");
}
