//! What the command line asks: the real service over a Unix socket, with scripted sidecars on the other side.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's set-up fails the test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Server};
use weft_control_plane::admin;
use weft_control_plane::api::Api;
use weft_control_plane::authority::{AuthoritySettings, CertificateAuthority, JoinTokens};
use weft_control_plane::compile::WorldCompiler;
use weft_control_plane::push::{PeerRequirement, Push, PushSettings, transport};
use weft_control_plane::registry::WorkloadNetworks;
use weft_control_plane::state::MeshState;
use weft_control_plane::telemetry::{Statistics, StatisticsSettings};
use weft_control_plane::world::MeshSettings;
use weft_model::clock::Clock;
use weft_proto::api::apply_event::Event;
use weft_proto::api::mesh_client::MeshClient;
use weft_proto::api::{
    Accepted, ApplyRequest, Change, CreateJoinTokenRequest, DeleteRequest, DeregisterWorkloadRequest,
    GetRequest, InfoRequest, ObjectRef, ProxyResourcesRequest, ProxyStatusRequest, RegisterWorkloadRequest,
    Rejected, ReportWorkloadRequest, Rollout, SourceFile, StatBy, StatRequest, WorkloadPort, WorkloadState,
};
use weft_proto::telemetry::{Edge, EdgeCounts, ReportRequest};
use weft_proto::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE};
use weft_tests::xds_client::{DeltaClient, connect, node};

/// A control plane without TLS: everything else of it is real.
struct Mesh {
    client: MeshClient<Channel>,
    statistics: Arc<Statistics>,
    xds: SocketAddr,
    pages: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Mesh {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let networks = WorkloadNetworks {
            v4: "10.250.0.0/16".parse().unwrap(),
            v6: Some("fd00:7766::/64".parse().unwrap()),
        };
        let mesh = MeshSettings::default();
        let trust_domain = mesh.trust_domain.clone();
        let state = MeshState::open(&directory.path().join("state"), mesh, networks, &[]).unwrap();
        let clock = Clock::system();
        let settings = AuthoritySettings::new(directory.path().join("state"), trust_domain);
        let authority = CertificateAuthority::open(settings, clock.clone()).unwrap();
        let tokens = JoinTokens::open(&directory.path().join("state"), clock).unwrap();
        let compiler = Arc::new(WorldCompiler::new(state.world()));
        let push = Push::new(compiler, state.revisions(), PushSettings::default());
        let now = tokio::time::Instant::now;
        let statistics = Arc::new(Statistics::new(StatisticsSettings::default(), now));
        let running = push.clone();
        tokio::spawn(async move { running.run().await });

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let xds = listener.local_addr().unwrap();
        let sidecars = transport(Server::builder())
            .add_service(push.service(PeerRequirement::None))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(async move { sidecars.await.unwrap() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pages = listener.local_addr().unwrap();
        let shown = Arc::new(admin::Pages::default());
        shown.serve_mesh(state.clone(), push.clone());
        tokio::spawn(admin::serve(listener, shown));

        let api = Api {
            state,
            push,
            statistics: statistics.clone(),
            authority,
            tokens: Some(tokens),
            discovery_address: "127.0.0.1:15012".to_owned(),
            started: Instant::now(),
        };
        let path = directory.path().join("api.sock");
        let socket = UnixListenerStream::new(UnixListener::bind(&path).unwrap());
        let server = Server::builder().add_service(api.into_server()).serve_with_incoming(socket);
        tokio::spawn(async move { server.await.unwrap() });
        let endpoint = Endpoint::from_shared(format!("unix://{}", path.display())).unwrap();
        let client = MeshClient::new(endpoint.connect().await.unwrap());
        Self { client, statistics, xds, pages, _directory: directory }
    }

    async fn apply(&mut self, request: ApplyRequest) -> Vec<Event> {
        let mut stream = self.client.apply(request).await.unwrap().into_inner();
        let mut events = Vec::new();
        while let Some(event) = soon(stream.message()).await.unwrap() {
            events.push(event.event.unwrap());
        }
        events
    }

    async fn accept(&mut self, yaml: &str) -> Accepted {
        match self.apply(request(&[("mesh.yaml", yaml)])).await.remove(0) {
            Event::Accepted(accepted) => accepted,
            other => panic!("{other:?}"),
        }
    }

    async fn reject(&mut self, request: ApplyRequest) -> Rejected {
        let mut events = self.apply(request).await;
        match (events.remove(0), events.is_empty()) {
            (Event::Rejected(rejected), true) => rejected,
            other => panic!("{other:?}"),
        }
    }

    /// Kinds and names of all that is stored.
    async fn stored(&mut self) -> Vec<String> {
        let response = self.client.get(GetRequest::default()).await.unwrap().into_inner();
        let name = |object: ObjectRef| format!("{}/{}", object.kind, object.name);
        response.objects.into_iter().map(|object| name(object.object.unwrap())).collect()
    }

    /// Registers workload `reviews-v1`, and connects a sidecar for it that has taken everything.
    async fn sidecar(&mut self) -> DeltaClient {
        self.client.register_workload(reviews()).await.unwrap();
        let channel = connect(self.xds).await.unwrap();
        let mut sidecar = DeltaClient::open(channel, Some(node("reviews-v1"))).await.unwrap();
        for kind in [CLUSTER, LISTENER] {
            sidecar.change(kind, &[], &[]).await;
            assert_eq!(sidecar.take().await.unwrap().type_url, kind);
        }
        sidecar.change(ROUTE, &[ROUTES], &[]).await;
        assert_eq!(sidecar.take().await.unwrap().resources[0].name, ROUTES);
        sidecar
    }

    async fn page(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.pages).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it took too long")
}

fn request(files: &[(&str, &str)]) -> ApplyRequest {
    let file =
        |(path, content): &(&str, &str)| SourceFile { path: (*path).into(), content: (*content).into() };
    ApplyRequest { files: files.iter().map(file).collect(), ..ApplyRequest::default() }
}

fn reviews() -> RegisterWorkloadRequest {
    let ports = vec![WorkloadPort { port: 9080, name: "http".into(), ..WorkloadPort::default() }];
    RegisterWorkloadRequest { service: "reviews".into(), version: "v1".into(), ports, ..Default::default() }
}

const ROUTES: &str = "reviews.default.svc.cluster.local:9080";

fn policy(timeout: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: reviews}}\nspec:\n  \
         hosts: [reviews]\n  http:\n  - name: all\n    timeout: {timeout}\n    match:\n    - uri: {{regex: \"/v[0-9]+\"}}\n    \
         route:\n    - destination: {{host: reviews}}\n"
    )
}

fn waiting(timeout: &str, milliseconds: u64) -> ApplyRequest {
    let yaml = policy(timeout);
    ApplyRequest { wait: true, wait_timeout_ms: milliseconds, ..request(&[("policy.yaml", &yaml)]) }
}

fn last_rollout(events: &[Event]) -> &Rollout {
    match events.last() {
        Some(Event::Rollout(rollout)) => rollout,
        other => panic!("{other:?}"),
    }
}

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {selector: {app: b}, ports: [{name: http, port: 80}]}
";

#[tokio::test]
async fn with_a_mistake_nothing_is_applied_and_every_mistake_is_told() {
    let mut mesh = Mesh::start().await;
    let wrong_port = "apiVersion: v1\nkind: Service\nmetadata: {name: c}\nspec: {ports: [{port: 99999}]}\n";
    let unknown = "apiVersion: v1\nkind: Servise\nmetadata: {name: d}\n";
    let files =
        [("good.yaml", SERVICES), ("port.yaml", wrong_port), ("kind.yaml", unknown), ("broken.yaml", "a: [")];
    let rejected = mesh.reject(request(&files)).await;
    for file in ["port.yaml", "kind.yaml", "broken.yaml"] {
        let found: Vec<_> = rejected.findings.iter().filter(|finding| finding.file == file).collect();
        assert!(!found.is_empty(), "{file}: {:#?}", rejected.findings);
        assert!(found.iter().all(|finding| finding.line > 0 && !finding.message.is_empty()), "{found:#?}");
    }
    assert!(rejected.findings.iter().all(|finding| finding.file != "good.yaml"));
    assert_eq!(mesh.stored().await, Vec::<String>::new());
    let twice = [("one.yaml", SERVICES), ("two.yaml", SERVICES)];
    let rejected = mesh.reject(request(&twice)).await;
    assert_eq!(rejected.findings.iter().filter(|f| f.code == "duplicate-object").count(), 2);
}

#[tokio::test]
async fn what_is_worth_knowing_of_the_good_objects_is_told_with_the_mistakes_of_others() {
    let mut mesh = Mesh::start().await;
    let homeless = policy("1s");
    let alone = mesh.apply(ApplyRequest { dry_run: true, ..request(&[("policy.yaml", &homeless)]) }).await;
    let [Event::Accepted(alone)] = &alone[..] else { panic!("{alone:?}") };
    let codes: Vec<&str> = alone.findings.iter().map(|finding| finding.code.as_str()).collect();
    assert!(!codes.is_empty(), "a route to a service that is nowhere is worth knowing");
    let rejected = mesh.reject(request(&[("policy.yaml", &homeless), ("broken.yaml", "a: [")])).await;
    for code in codes {
        assert!(rejected.findings.iter().any(|finding| finding.code == code), "{:#?}", rejected.findings);
    }
}

#[tokio::test]
async fn objects_are_applied_shown_changed_and_deleted() {
    let mut mesh = Mesh::start().await;
    let change = |accepted: &Accepted| accepted.changes.iter().map(|one| one.change()).collect::<Vec<_>>();
    let dry = ApplyRequest { dry_run: true, wait: true, ..request(&[("mesh.yaml", SERVICES)]) };
    assert_eq!(mesh.apply(dry).await.len(), 1);
    assert!(mesh.stored().await.is_empty());
    let created = mesh.accept(SERVICES).await;
    assert_eq!(change(&created), [Change::Created, Change::Created]);
    assert_eq!(mesh.stored().await, ["Service/a", "Service/b"]);
    let again = mesh.accept(SERVICES).await;
    assert_eq!((change(&again), again.revision), (vec![Change::Unchanged; 2], created.revision));
    let changed = mesh.accept(&SERVICES.replace("port: 80", "port: 81")).await;
    assert_eq!(change(&changed), [Change::Configured, Change::Configured]);

    let by_name = GetRequest { kind: "svc".into(), name: "a".into(), ..GetRequest::default() };
    let found = mesh.client.get(by_name).await.unwrap().into_inner().objects;
    assert_eq!((found.len(), found[0].generation), (1, 2));
    assert!(found[0].yaml.contains("port: 81"), "{}", found[0].yaml);
    let json: Value = serde_json::from_str(&found[0].json).unwrap();
    assert_eq!(json["spec"]["ports"][0]["port"], 81);
    let elsewhere = GetRequest { namespace: "elsewhere".into(), ..GetRequest::default() };
    assert!(mesh.client.get(elsewhere).await.unwrap().into_inner().objects.is_empty());
    let wrong = GetRequest { kind: "servise".into(), ..GetRequest::default() };
    assert_eq!(mesh.client.get(wrong).await.unwrap_err().code(), Code::InvalidArgument);

    let named = |name: &str| ObjectRef { kind: "Service".into(), name: name.into(), ..ObjectRef::default() };
    let with_unknown = DeleteRequest { objects: vec![named("a"), named("z")], ..DeleteRequest::default() };
    let refused = mesh.client.delete(with_unknown.clone()).await.unwrap_err();
    assert!(refused.code() == Code::NotFound && refused.message().contains("Service/default/z"), "{refused}");
    assert_eq!(mesh.stored().await.len(), 2, "nothing was deleted");
    let tolerant = DeleteRequest { ignore_not_found: true, ..with_unknown };
    let mut events = mesh.client.delete(tolerant).await.unwrap().into_inner();
    let Some(Event::Accepted(deleted)) = events.message().await.unwrap().unwrap().event else { panic!() };
    assert_eq!(change(&deleted), [Change::Deleted]);
    let files = request(&[("mesh.yaml", SERVICES)]).files;
    let by_file = DeleteRequest { files, ignore_not_found: true, ..DeleteRequest::default() };
    let mut events = mesh.client.delete(by_file).await.unwrap().into_inner();
    while events.message().await.unwrap().is_some() {}
    assert!(mesh.stored().await.is_empty());
}

#[tokio::test]
async fn waiting_ends_when_the_sidecars_have_taken_the_change() {
    let mut mesh = Mesh::start().await;
    let mut sidecar = mesh.sidecar().await;
    let answering = tokio::spawn(async move { while sidecar.take().await.is_ok() {} });
    let events = mesh.apply(waiting("1.5s", 20_000)).await;
    let end = last_rollout(&events);
    assert!(end.done && !end.timed_out, "{end:?}");
    assert_eq!((end.concerned, end.acknowledged, end.refusals.len(), end.pending.len()), (1, 1, 0, 0));
    // What changes nothing concerns nobody.
    let events = mesh.apply(waiting("1.5s", 20_000)).await;
    assert!(last_rollout(&events).done);
    answering.abort();
}

#[tokio::test]
async fn a_refusal_names_the_sidecar_the_object_and_its_field() {
    let mut mesh = Mesh::start().await;
    let mut sidecar = mesh.sidecar().await;
    let refusing = tokio::spawn(async move {
        while let Ok(response) = sidecar.next().await {
            let refuse = response.type_url == ROUTE;
            let message = format!("{ROUTES}: the time-out is too long");
            sidecar.answer(&response, refuse.then_some(message.as_str())).await;
        }
    });
    let events = mesh.apply(waiting("1.5s", 20_000)).await;
    let end = last_rollout(&events);
    let refusal = end.refusals.first().unwrap_or_else(|| panic!("{end:?}"));
    assert_eq!((refusal.proxy.as_str(), refusal.resource.as_str()), ("reviews-v1.default", ROUTES));
    assert_eq!(refusal.type_url, ROUTE);
    assert!(refusal.message.contains("the time-out is too long"), "{refusal:?}");
    let object = refusal.object.as_ref().unwrap();
    assert_eq!((object.kind.as_str(), object.name.as_str()), ("VirtualService", "reviews"));
    assert!(refusal.field.starts_with("spec"), "{refusal:?}");
    assert!(end.done && end.acknowledged == 0, "a refusal is an answer: {end:?}");
    let status = mesh.client.proxy_status(ProxyStatusRequest::default()).await.unwrap().into_inner();
    let routes = status.proxies[0].types.iter().find(|kind| kind.r#type == "routes").unwrap();
    assert_eq!(routes.state, "REFUSED");
    assert!(mesh.page("GET", "/metrics").await.1.contains("weft_resources_refused 1"));
    refusing.abort();
}

#[tokio::test]
async fn waiting_for_a_silent_sidecar_ends_with_the_time_and_says_who_is_missing() {
    let mut mesh = Mesh::start().await;
    let _silent = mesh.sidecar().await;
    let events = mesh.apply(waiting("1.5s", 200)).await;
    let end = last_rollout(&events);
    assert!(end.timed_out && !end.done, "{end:?}");
    assert_eq!(end.pending, ["reviews-v1.default"]);
}

#[tokio::test]
async fn a_workload_joins_becomes_an_endpoint_and_leaves() {
    let mut mesh = Mesh::start().await;
    let joined = mesh.client.register_workload(reviews()).await.unwrap().into_inner();
    assert_eq!((joined.name.as_str(), joined.namespace.as_str()), ("reviews-v1", "default"));
    assert_eq!(joined.addresses, ["10.250.0.2/16", "fd00:7766::2/64"]);
    assert!(joined.node.starts_with("sidecar~10.250.0.2~reviews-v1.default~"), "{}", joined.node);
    assert!(joined.trust_bundle.contains("BEGIN CERTIFICATE") && !joined.join_token.is_empty());

    let channel = connect(mesh.xds).await.unwrap();
    let mut sidecar = DeltaClient::open(channel, Some(node("reviews-v1"))).await.unwrap();
    let cluster = "outbound|9080||reviews.default.svc.cluster.local";
    sidecar.change(ENDPOINT, &[cluster], &[]).await;
    let before = sidecar.take().await.unwrap();
    let report = |state: WorkloadState| ReportWorkloadRequest {
        name: "reviews-v1".into(),
        state: state.into(),
        wait_ms: 20_000,
        ..Default::default()
    };
    let (known, after) =
        tokio::join!(mesh.client.report_workload(report(WorkloadState::Ready)), sidecar.take());
    assert!(known.unwrap().into_inner().known, "it waits until the sidecars know");
    assert_ne!(before.resources[0].resource, after.unwrap().resources[0].resource);

    let nobody = ReportWorkloadRequest { name: "nobody".into(), ..report(WorkloadState::Ready) };
    assert_eq!(mesh.client.report_workload(nobody).await.unwrap_err().code(), Code::NotFound);
    let nothing = report(WorkloadState::Unspecified);
    assert_eq!(mesh.client.report_workload(nothing).await.unwrap_err().code(), Code::InvalidArgument);
    let wrong = RegisterWorkloadRequest { name: "Not A Name".into(), ..reviews() };
    assert_eq!(mesh.client.register_workload(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    assert!(mesh.page("GET", "/debug/world").await.1.contains("reviews-v1.default 10.250.0.2 Healthy"));

    let leaving = DeregisterWorkloadRequest { name: "reviews-v1".into(), ..Default::default() };
    mesh.client.deregister_workload(leaving).await.unwrap();
    assert!(!mesh.stored().await.iter().any(|name| name.starts_with("WorkloadEntry")));
}

#[tokio::test]
async fn a_sidecars_state_and_resources_are_shown_as_data() {
    let mut mesh = Mesh::start().await;
    mesh.accept(&policy("1.5s")).await;
    let _sidecar = mesh.sidecar().await;
    let one = ProxyStatusRequest { proxy: "reviews-v1".into() };
    let status = mesh.client.proxy_status(one).await.unwrap().into_inner();
    assert_eq!((status.proxies.len(), status.proxies[0].proxy.as_str()), (1, "reviews-v1.default"));
    assert!(status.proxies[0].connected);
    let other = ProxyStatusRequest { proxy: "nobody".into() };
    assert!(mesh.client.proxy_status(other).await.unwrap().into_inner().proxies.is_empty());

    let asked = |kind: &str, name: &str| ProxyResourcesRequest {
        proxy: "reviews-v1".into(),
        r#type: kind.into(),
        name: name.into(),
    };
    let shown = mesh.client.proxy_resources(asked("routes", "")).await.unwrap().into_inner().resources;
    assert_eq!((shown.len(), shown[0].name.as_str(), shown[0].r#type.as_str()), (1, ROUTES, "routes"));
    assert!(!shown[0].version.is_empty());
    let routes: Value = serde_json::from_str(&shown[0].json).unwrap();
    let route = &routes["virtual_hosts"][0]["routes"][0];
    assert_eq!(route["match"]["path"]["safe_regex"], "/v[0-9]+", "{routes:#}");
    assert_eq!(route["action"]["route"]["timeout"], "1.5s");
    assert_eq!(route["provenance"][0]["object"]["kind"], "VirtualService");
    let all = mesh.client.proxy_resources(asked("", "")).await.unwrap().into_inner().resources;
    for resource in &all {
        let shown: Value = serde_json::from_str(&resource.json).unwrap();
        assert!(shown.is_object() && shown.get("refused").is_none(), "{}: {shown}", resource.name);
    }
    assert!(
        all.iter().any(|one| one.r#type == "clusters") && all.iter().any(|one| one.r#type == "listeners")
    );

    let wrong = mesh.client.proxy_resources(asked("secrets", "")).await.unwrap_err();
    assert!(wrong.code() == Code::InvalidArgument && wrong.message().contains("routes"), "{wrong}");
    let nobody = ProxyResourcesRequest { proxy: "nobody".into(), ..Default::default() };
    assert_eq!(mesh.client.proxy_resources(nobody).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn statistics_of_the_sidecars_are_asked_for_by_service() {
    let mut mesh = Mesh::start().await;
    let edge = Edge {
        reporter: "destination".into(),
        source_workload: "page".into(),
        source_namespace: "default".into(),
        destination_service: "reviews.default.svc.cluster.local".into(),
        destination_workload: "reviews-v1".into(),
        destination_namespace: "default".into(),
        protocol: "http".into(),
        ..Edge::default()
    };
    let edges = vec![EdgeCounts { edge: Some(edge), requests: 10, failures: 1, ..EdgeCounts::default() }];
    let node = "sidecar~10.250.0.2~reviews-v1.default~default.svc.cluster.local".to_owned();
    mesh.statistics.ingest(&ReportRequest {
        node,
        sequence: 1,
        interval_ms: 1000,
        edges,
        ..Default::default()
    });
    let asked = StatRequest { by: StatBy::Service.into(), ..StatRequest::default() };
    let rows = mesh.client.stat(asked).await.unwrap().into_inner().rows;
    assert_eq!((rows.len(), rows[0].requests, rows[0].failures), (1, 10, 1));
}

#[tokio::test]
async fn it_says_what_it_is_and_makes_tokens_for_one_account() {
    let mut mesh = Mesh::start().await;
    mesh.accept(SERVICES).await;
    let info = mesh.client.info(InfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.objects, info.proxies, info.revision), (2, 0, 2));
    assert_eq!(info.discovery_address, "127.0.0.1:15012");
    assert_eq!(info.pid, u64::from(std::process::id()));
    assert!(info.root_expires.ends_with('Z') && !info.trust_domain.is_empty(), "{info:?}");

    let nobody = CreateJoinTokenRequest::default();
    assert_eq!(mesh.client.create_join_token(nobody).await.unwrap_err().code(), Code::InvalidArgument);
    let asked =
        CreateJoinTokenRequest { service_account: "reviews".into(), ttl_seconds: 60, ..Default::default() };
    let token = mesh.client.create_join_token(asked.clone()).await.unwrap().into_inner();
    assert_eq!(token.ttl_seconds, 60);
    let other = mesh.client.create_join_token(asked).await.unwrap().into_inner();
    assert_ne!(token.token, other.token);
}

#[tokio::test]
async fn the_monitoring_pages_show_the_mesh_and_change_nothing() {
    let mut mesh = Mesh::start().await;
    mesh.accept(SERVICES).await;
    for path in ["/", "/healthz", "/ready", "/metrics", "/debug/world", "/debug/findings"] {
        assert_eq!(mesh.page("GET", path).await.0, 200, "{path}");
        assert_eq!(mesh.page("POST", path).await.0, 405, "{path}");
        assert_eq!(mesh.page("HEAD", path).await, (200, String::new()), "{path}");
    }
    let (status, body) = mesh.page("GET", "/nothing").await;
    assert!(status == 404 && body.contains("/debug/world"), "{body}");
    let metrics = mesh.page("GET", "/metrics").await.1;
    for line in ["pilot_services 2", "pilot_xds 0", "weft_world_revision 2", "weft_object_errors 0"] {
        assert!(metrics.lines().any(|one| one == line), "{line}: {metrics}");
    }
    assert!(mesh.page("GET", "/debug/world").await.1.contains("a.default.svc.cluster.local"));
    let _sidecar = mesh.sidecar().await;
    assert!(mesh.page("GET", "/metrics").await.1.contains("pilot_xds 1"));
}
