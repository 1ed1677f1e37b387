//! The proxy's discovery client against a scripted control plane, over a real connection.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's set-up fails the test")]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tonic::Status;
use weft_model::cluster::{Cluster, Discovery as EndpointSource};
use weft_model::endpoint::EndpointSet;
use weft_model::listener::{
    Codec, Direction, FilterChain, FilterChainMatch, HttpConnection, Inspection, Listener, NetworkFilter,
    RouteSource,
};
use weft_model::policy::HeaderMutations;
use weft_model::route::{Forward, Route, RouteAction, RouteMatch, RouteTable, VirtualHost};
use weft_model::snapshot::Snapshot;
use weft_model::xds::{Names, Resource};
use weft_proto::type_url::{self, CLUSTER, ENDPOINT, LISTENER, ROUTE};
use weft_proto::xds::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use weft_proto::xds::protobuf::value::Kind;
use weft_proxy::discovery::{self, Discovery, DiscoverySettings, Node, Origin};
use weft_tests::xds_server::{ScriptedServer, ScriptedStream, delivered};

fn cluster(name: &str) -> Resource {
    Resource::Cluster(Cluster::new(name, EndpointSource::Endpoints(name.into())).into())
}

fn endpoints(name: &str) -> Resource {
    Resource::Endpoints(EndpointSet::empty(name).into())
}

fn names() -> Resource {
    Resource::Names(Arc::new(Names::from([("a".into(), vec!["10.96.0.1".parse().unwrap()])])))
}

fn table(name: &str, cluster: &str) -> Resource {
    let route = Route {
        name: "all".into(),
        matches: RouteMatch::any(),
        action: RouteAction::Forward(Forward::to(cluster)),
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
    Resource::Routes(RouteTable::new(name, vec![host]).into())
}

fn listener(name: &str, routes: &str) -> Resource {
    let http = HttpConnection {
        stat_prefix: name.into(),
        codec: Codec::Auto,
        routes: RouteSource::Named(routes.into()),
        forward_client_certificate: false,
        stream_idle_timeout: None,
        upgrades: Vec::new(),
        forward_proxy: false,
        filters: weft_model::filter::HttpFilter::of_the_mesh(),
    };
    let chain = FilterChain::new("default", FilterChainMatch::default(), None, NetworkFilter::Http(http));
    Resource::Listener(Arc::new(Listener {
        name: name.into(),
        addresses: vec!["10.96.0.1:80".parse().unwrap()],
        bind: false,
        use_original_dst: false,
        headless: false,
        direction: Direction::Outbound,
        inspection: Inspection::default(),
        filter_chains: vec![chain],
        default_filter_chain: None,
        provenance: Vec::new(),
    }))
}

fn node() -> Node {
    Node {
        id: "sidecar~10.0.0.1~a-1.default~default.svc.cluster.local".parse().unwrap(),
        cluster: "a.default".to_owned(),
        labels: BTreeMap::from([("app".to_owned(), "a".to_owned())]),
        service_account: "a".to_owned(),
        metadata: std::collections::BTreeMap::new(),
        ports: vec![8080],
        interception_mode: "NONE".to_owned(),
        explicit: Some((
            Some("127.0.0.1:15001".parse().unwrap()),
            BTreeMap::from([(8080, "127.0.0.1:18080".parse().unwrap())]),
        )),
    }
}

/// Times so short that no test waits for them, but for warming, which none may reach by accident.
fn settings(state_dir: Option<&Path>) -> DiscoverySettings {
    let mut settings = DiscoverySettings::new(node(), state_dir.map(Path::to_owned));
    settings.warming = Duration::from_secs(600);
    settings.backoff_base = Duration::from_millis(1);
    settings.backoff_max = Duration::from_millis(10);
    settings.write_after = Duration::from_millis(1);
    settings
}

/// A proxy's discovery client, and its control plane.
struct Proxy {
    server: ScriptedServer,
    discovery: Discovery,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    async fn start(settings: DiscoverySettings) -> Self {
        let server = ScriptedServer::start().await.unwrap();
        let (discovery, client) = discovery::start(settings).unwrap();
        let channel =
            tonic::transport::Endpoint::from_shared(format!("http://{}", server.address())).unwrap();
        let task = tokio::spawn(client.run(channel.connect_lazy()));
        Self { server, discovery, task }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.discovery.snapshot.load_full()
    }

    /// Waits until the snapshot fits.
    async fn until(&mut self, fits: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let waiting = async {
            loop {
                let snapshot = self.discovery.snapshot.load_full();
                if fits(&snapshot) {
                    return snapshot;
                }
                self.discovery.changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("a snapshot that fits")
    }
}

/// Waits until something holds, as seen from outside.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A listener `l` with routes `r` to cluster `a`, in version `1`.
async fn bring_everything(stream: &mut ScriptedStream) {
    bring_all_but_names(stream).await;
    assert_eq!(stream.push(&[names()], "1").await.unwrap(), None);
}

async fn bring_all_but_names(stream: &mut ScriptedStream) {
    assert_eq!(stream.push(&[cluster("a")], "1").await.unwrap(), None);
    assert_eq!(stream.push(&[endpoints("a")], "1").await.unwrap(), None);
    let nonce = stream.offer(&[listener("l", "r")], "1");
    assert_eq!(stream.push(&[table("r", "a")], "1").await.unwrap(), None);
    assert_eq!(stream.word(&nonce).await.unwrap(), None);
}

#[tokio::test]
async fn a_listener_is_served_only_with_everything_it_refers_to_which_is_asked_for_by_name() {
    let mut proxy = Proxy::start(settings(None)).await;
    let mut stream = proxy.server.accept().await.unwrap();
    let listeners = stream.offer(&[listener("l", "r")], "1");
    assert_eq!(stream.subscription(ROUTE).await.unwrap().resource_names_subscribe, ["r"]);
    assert_eq!(stream.push(&[cluster("a")], "1").await.unwrap(), None);
    assert_eq!(stream.subscription(ENDPOINT).await.unwrap().resource_names_subscribe, ["a"]);
    let routes = stream.offer(&[table("r", "a")], "1");
    assert_eq!(stream.push(&[cluster("b")], "1").await.unwrap(), None);
    // The word on an answer is given after it was published, and answers are taken in order: nothing is served so far.
    assert!(proxy.snapshot().listeners.is_empty() && !proxy.discovery.is_configured());
    let both = DeltaDiscoveryResponse {
        type_url: ENDPOINT.to_owned(),
        resources: vec![delivered(&endpoints("a"), "1"), delivered(&endpoints("b"), "1")],
        ..Default::default()
    };
    assert_eq!(stream.exchange(both).await.unwrap(), None);
    // Listeners and routes are acknowledged when they are served.
    assert_eq!(stream.word(&listeners).await.unwrap(), None);
    assert_eq!(stream.word(&routes).await.unwrap(), None);
    assert!(proxy.snapshot().listeners.contains_key("l"));
    assert!(!proxy.discovery.is_configured(), "names are part of what a workload starts by");
    assert_eq!(stream.push(&[names()], "1").await.unwrap(), None);
    assert_eq!(proxy.discovery.status.stream().origin, Some(Origin::ControlPlane));
    // What is no longer referred to is no longer asked for.
    stream.offer(&[listener("l", "s")], "2");
    let change = stream.subscription(ROUTE).await.unwrap();
    assert_eq!(
        (&change.resource_names_subscribe[..], &change.resource_names_unsubscribe[..]),
        (&["s".to_owned()][..], &["r".to_owned()][..])
    );
}

#[tokio::test]
async fn what_never_comes_is_waited_for_no_longer_than_the_bound() {
    let bounded = DiscoverySettings { warming: Duration::from_millis(20), ..settings(None) };
    let mut proxy = Proxy::start(bounded).await;
    let mut stream = proxy.server.accept().await.unwrap();
    stream.push(&[cluster("a")], "1").await.unwrap();
    assert_eq!(stream.push(&[listener("l", "nowhere")], "1").await.unwrap(), None);
    proxy.until(|snapshot| snapshot.listeners.contains_key("l")).await;
    // A control plane that sends no names does not hold up the workload either.
    let discovery = proxy.discovery.clone();
    eventually("configured", || discovery.is_configured()).await;
}

#[tokio::test]
async fn the_first_request_says_who_asks_and_where_its_explicit_addresses_are() {
    let mut proxy = Proxy::start(settings(None)).await;
    let mut stream = proxy.server.accept().await.unwrap();
    let first = stream.next().await.unwrap();
    let node = first.node.expect("the first says who");
    assert_eq!(node.id, "sidecar~10.0.0.1~a-1.default~default.svc.cluster.local");
    let metadata: HashMap<_, _> =
        node.metadata.unwrap().fields.into_iter().map(|(key, value)| (key, value.kind.unwrap())).collect();
    assert_eq!(metadata["INTERCEPTION_MODE"], Kind::StringValue("NONE".to_owned()));
    assert_eq!(metadata["WEFT_EXPLICIT_OUTBOUND"], Kind::StringValue("127.0.0.1:15001".to_owned()));
    let Kind::StructValue(inbound) = &metadata["WEFT_EXPLICIT_INBOUND"] else { panic!("no ports") };
    assert_eq!(inbound.fields["8080"].kind, Some(Kind::StringValue("127.0.0.1:18080".to_owned())));
    // Types that are not asked for by name, each once, and who asks only once.
    let more = [stream.next().await.unwrap(), stream.next().await.unwrap()];
    let mut kinds = vec![first.type_url];
    kinds.extend(more.iter().map(|request| request.type_url.clone()));
    assert_eq!(kinds, [CLUSTER, LISTENER, type_url::NAME_TABLE]);
    assert!(more.iter().all(|request| request.node.is_none()));
}

#[tokio::test]
async fn one_bad_resource_is_refused_by_name_while_its_last_good_and_the_others_serve() {
    let mut proxy = Proxy::start(settings(None)).await;
    let mut stream = proxy.server.accept().await.unwrap();
    bring_everything(&mut stream).await;
    let good = proxy.snapshot().clusters["a"].clone();
    let mut bad = delivered(&cluster("a"), "2");
    bad.resource.as_mut().unwrap().value = vec![0xff; 9];
    let answer = DeltaDiscoveryResponse {
        type_url: CLUSTER.to_owned(),
        resources: vec![bad, delivered(&cluster("b"), "2")],
        ..Default::default()
    };
    let refusal = stream.exchange(answer).await.unwrap().expect("it is refused");
    assert!(refusal.starts_with("a: "), "{refusal}");
    let now = proxy.snapshot();
    assert!(Arc::ptr_eq(&now.clusters["a"], &good) && now.clusters.contains_key("b"));
    let status = proxy.discovery.status.stream();
    assert_eq!(status.refusals.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(status.nacks, 1);
    let versions = proxy.discovery.status.versions();
    let version = |name: &str| versions[&(CLUSTER.to_owned(), name.to_owned())].clone();
    assert_eq!((version("a").as_str(), version("b").as_str()), ("1", "2"));
    // Corrected, it is no longer held against it.
    assert_eq!(stream.push(&[cluster("a")], "3").await.unwrap(), None);
    assert!(proxy.discovery.status.stream().refusals.is_empty());
}

#[tokio::test]
async fn a_change_of_endpoints_rebuilds_nothing_else() {
    let mut proxy = Proxy::start(settings(None)).await;
    let mut stream = proxy.server.accept().await.unwrap();
    bring_everything(&mut stream).await;
    let before = proxy.snapshot();
    let mut other = EndpointSet::empty("a");
    other.localities.push(weft_model::endpoint::LocalityEndpoints {
        locality: weft_model::endpoint::Locality::default(),
        priority: 0,
        weight: 1,
        endpoints: Vec::new(),
    });
    stream.push(&[Resource::Endpoints(other.into())], "2").await.unwrap();
    let after = proxy.snapshot();
    assert!(!Arc::ptr_eq(&before.endpoints["a"], &after.endpoints["a"]));
    assert!(Arc::ptr_eq(&before.listeners["l"], &after.listeners["l"]));
    assert!(Arc::ptr_eq(&before.routes["r"], &after.routes["r"]));
    assert!(Arc::ptr_eq(&before.clusters["a"], &after.clusters["a"]));
}

#[tokio::test]
async fn it_comes_back_with_what_it_has_and_learns_only_what_changed() {
    let mut proxy = Proxy::start(settings(None)).await;
    let mut stream = proxy.server.accept().await.unwrap();
    bring_everything(&mut stream).await;
    stream.push(&[cluster("b")], "1").await.unwrap();
    let before = proxy.snapshot();
    drop(stream);
    let mut stream = proxy.server.accept().await.unwrap();
    let has = |request: &DeltaDiscoveryRequest| {
        request.initial_resource_versions.clone().into_iter().collect::<BTreeMap<_, _>>()
    };
    let one =
        |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), "1".to_owned())).collect::<BTreeMap<_, _>>();
    let clusters = stream.subscription(CLUSTER).await.unwrap();
    assert!(clusters.node.is_some(), "a new stream says anew who asks");
    assert_eq!(has(&clusters), one(&["a", "b"]));
    let asked = stream.subscription(ENDPOINT).await.unwrap();
    let mut wanted = asked.resource_names_subscribe.clone();
    wanted.sort();
    assert_eq!((wanted, has(&asked)), (vec!["a".to_owned(), "b".to_owned()], one(&["a"])));
    assert_eq!(has(&stream.subscription(LISTENER).await.unwrap()), one(&["l"]));
    let asked = stream.subscription(ROUTE).await.unwrap();
    assert_eq!((&asked.resource_names_subscribe[..], has(&asked)), (&["r".to_owned()][..], one(&["r"])));
    // Nothing was said: everything goes on. What was removed meanwhile is told.
    assert!(Arc::ptr_eq(&before.listeners["l"], &proxy.snapshot().listeners["l"]));
    assert_eq!(stream.remove(CLUSTER, &["b"]).await.unwrap(), None);
    assert!(!proxy.snapshot().clusters.contains_key("b"));
    assert!(Arc::ptr_eq(&before.clusters["a"], &proxy.snapshot().clusters["a"]));
    assert_eq!(proxy.discovery.status.stream().connects, 2);
}

#[tokio::test]
async fn a_stream_may_end_at_any_moment_and_the_next_one_completes_it() {
    let script: Vec<Vec<Resource>> = vec![
        vec![cluster("a"), cluster("b")],
        vec![endpoints("a")],
        vec![listener("l", "r")],
        vec![table("r", "a")],
        vec![names()],
    ];
    for cut in 0..=script.len() {
        for with_error in [false, true] {
            let mut proxy = Proxy::start(settings(None)).await;
            let mut stream = proxy.server.accept().await.unwrap();
            for resources in &script[..cut] {
                stream.offer(resources, "1");
            }
            if let Some(last) = script[..cut].iter().rfind(|one| one[0].type_url() == CLUSTER) {
                // Taken, not only sent: what was sent before it is taken too.
                assert_eq!(stream.push(last, "1").await.unwrap(), None);
            }
            // One answer more, which nobody waits for.
            if let Some(next) = script.get(cut) {
                let resources = next.iter().map(|resource| delivered(resource, "1")).collect();
                let type_url = next[0].type_url().to_owned();
                stream.send(DeltaDiscoveryResponse { type_url, resources, ..Default::default() });
            }
            if with_error {
                stream.fail(Status::unavailable("leaving"));
            } else {
                drop(stream);
            }
            let mut stream = proxy.server.accept().await.unwrap();
            let sent: Vec<String> = script.iter().map(|resources| stream.offer(resources, "1")).collect();
            for nonce in sent {
                assert_eq!(stream.word(&nonce).await.unwrap(), None, "cut after {cut}");
            }
            let snapshot = proxy.snapshot();
            assert!(
                snapshot.listeners.contains_key("l") && snapshot.dangling().is_empty(),
                "cut after {cut}"
            );
            assert!(proxy.discovery.is_configured() && proxy.discovery.status.stream().connected);
            assert_eq!(proxy.discovery.status.age_seconds(), Some(0.0));
        }
    }
}

#[tokio::test]
async fn every_answer_is_acknowledged_under_its_own_nonce_in_order() {
    let mut proxy = Proxy::start(settings(None)).await;
    let mut stream = proxy.server.accept().await.unwrap();
    let answer = |name: &str| DeltaDiscoveryResponse {
        type_url: CLUSTER.to_owned(),
        resources: vec![delivered(&cluster(name), "1")],
        ..Default::default()
    };
    let sent: Vec<String> = (0..20).map(|n| stream.send(answer(&format!("c{n}")))).collect();
    for nonce in sent {
        let word = stream.find(|request| !request.response_nonce.is_empty()).await.unwrap();
        assert_eq!((word.response_nonce, word.error_detail), (nonce, None));
    }
}

#[tokio::test]
async fn a_start_without_a_control_plane_serves_the_last_good_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("last-good");
    let mut proxy = Proxy::start(settings(Some(directory.path()))).await;
    let mut stream = proxy.server.accept().await.unwrap();
    bring_everything(&mut stream).await;
    eventually("written", || file.exists()).await;
    let before = proxy.snapshot();
    drop(proxy);

    let (again, _client) = discovery::start(settings(Some(directory.path()))).unwrap();
    let snapshot = again.snapshot.load_full();
    assert_eq!(again.status.stream().origin, Some(Origin::LastGood));
    assert_eq!((&snapshot.listeners, &snapshot.routes), (&before.listeners, &before.routes));
    assert_eq!((&snapshot.clusters, &snapshot.endpoints), (&before.clusters, &before.endpoints));
    assert_eq!(snapshot.names, before.names);
    assert!(again.status.age_seconds().is_some(), "as old as the file");
}

#[tokio::test]
async fn a_control_plane_that_sends_no_names_leaves_a_last_good_configuration_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("last-good");
    // Names are waited for that long, and nothing changes when they did not come.
    let settings =
        DiscoverySettings { warming: Duration::from_millis(500), ..settings(Some(directory.path())) };
    let mut proxy = Proxy::start(settings.clone()).await;
    let mut stream = proxy.server.accept().await.unwrap();
    bring_all_but_names(&mut stream).await;
    eventually("written", || file.exists()).await;
    drop(proxy);
    let (again, _client) = discovery::start(settings).unwrap();
    assert_eq!(again.status.stream().origin, Some(Origin::LastGood));
    assert_eq!(again.snapshot.load().listeners.len(), 1);
}

#[tokio::test]
async fn a_control_plane_that_fails_after_every_first_answer_is_asked_less_and_less_often() {
    let settings = DiscoverySettings { backoff_max: Duration::from_millis(500), ..settings(None) };
    let mut proxy = Proxy::start(settings).await;
    let begun = std::time::Instant::now();
    for _ in 0..16 {
        let mut stream = proxy.server.accept().await.unwrap();
        assert_eq!(stream.push(&[cluster("a")], "1").await.unwrap(), None);
        stream.fail(Status::unavailable("not yet"));
    }
    // Waits that did not double would be a millisecond at most; these are half a second at most, on average half of it.
    assert!(begun.elapsed() > Duration::from_millis(200), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_damaged_or_cut_last_good_file_is_ignored_and_the_control_plane_asked_for_everything() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("last-good");
    let mut proxy = Proxy::start(settings(Some(directory.path()))).await;
    let mut stream = proxy.server.accept().await.unwrap();
    bring_everything(&mut stream).await;
    eventually("written", || file.exists()).await;
    drop(proxy);
    let good = std::fs::read(&file).unwrap();
    let ignored = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let (discovery, _) = discovery::start(settings(Some(directory.path()))).unwrap();
        !discovery.is_configured() && discovery.snapshot.load().listeners.is_empty()
    };
    assert!(!ignored(&good));
    for length in (0..good.len()).step_by(3) {
        assert!(ignored(&good[..length]), "cut to {length}");
        let mut damaged = good.clone();
        damaged[length] ^= 0x10;
        assert!(ignored(&damaged), "damaged at {length}");
    }
    std::fs::write(&file, &good[..good.len() / 2]).unwrap();
    let mut proxy = Proxy::start(settings(Some(directory.path()))).await;
    let mut stream = proxy.server.accept().await.unwrap();
    assert!(stream.subscription(CLUSTER).await.unwrap().initial_resource_versions.is_empty());
    bring_everything(&mut stream).await;
    assert!(proxy.discovery.is_configured());
}
