//! Pain 10: many changes at once, many sidecars, some of which do not read. The real control plane, and 200 scripted
//! clients of two classes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use weft_proto::api::apply_event::Event;
use weft_proto::api::mesh_client::MeshClient;
use weft_proto::api::{ApplyRequest, ReportWorkloadRequest, SourceFile, WorkloadState};
use weft_proto::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE};
use weft_proto::xds::core::Node;
use weft_proto::xds::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use weft_proto::xds::protobuf::{Struct, Value, value::Kind};
use weft_tests::mesh::built;
use weft_tests::wait::eventually;
use weft_tests::xds_client::{DeltaClient, connect, node};

const CLIENTS: usize = 200;
const SERVICES: usize = 20;
const WORKLOADS: usize = 200;
const EDITS: usize = 50;
/// What a control plane may grow by in a storm, in bytes: generous, for the allocator keeps some, but far from what a
/// queue of messages for every client that does not read would take.
const GROWTH: u64 = 96 << 20;
const KINDS: [&str; 4] = [CLUSTER, ENDPOINT, LISTENER, ROUTE];

struct ControlPlane {
    process: Child,
    _directory: TempDir,
    mesh: MeshClient<Channel>,
    xds: SocketAddr,
    pages: SocketAddr,
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl ControlPlane {
    async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("weft-c").tempdir_in("/tmp").unwrap();
        // Held together until all three are chosen, so that they differ.
        let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [tls, xds, pages] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        drop(listeners);
        let file = |name: &str| directory.path().join(name);
        let socket = file("api.sock");
        let mut process = Command::new(built().join("weft-control-plane"))
            .arg("run")
            .arg("--state-dir")
            .arg(file("state"))
            .arg("--socket")
            .arg(&socket)
            .args(["--listen-tls", &tls.to_string(), "--listen-plaintext", &xds.to_string()])
            .args(["--monitoring", &pages.to_string(), "--log", "warn"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
        let mesh = eventually("the control plane answers", async || {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "the control plane ended: {ended:?}");
            endpoint.connect().await.map(MeshClient::new).map_err(|error| error.to_string())
        })
        .await;
        Self { process, _directory: directory, mesh, xds, pages }
    }

    async fn apply(&self, yaml: String) {
        let files = vec![SourceFile { path: "storm.yaml".to_owned(), content: yaml }];
        let request = ApplyRequest { files, ..ApplyRequest::default() };
        let mut events = self.mesh.clone().apply(request).await.unwrap().into_inner();
        let event = events.message().await.unwrap().and_then(|event| event.event);
        assert!(matches!(event, Some(Event::Accepted(_))), "{event:?}");
    }

    async fn report(&self, workload: usize, state: WorkloadState) {
        let name = format!("w{workload}");
        let request = ReportWorkloadRequest { name, state: state.into(), ..ReportWorkloadRequest::default() };
        self.mesh.clone().report_workload(request).await.unwrap();
    }

    /// A number of the metrics page.
    async fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.pages).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name}: {page}")).parse().unwrap()
    }

    async fn configuration_compiles(&self) -> u64 {
        self.metric("weft_configuration_compiles_total").await
    }

    fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }
}

/// Twenty services with ten workloads each.
fn world() -> String {
    let service = |n: usize| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{n}}}\n\
             spec: {{selector: {{app: s{n}}}, ports: [{{name: http, port: 80}}]}}\n---\n"
        )
    };
    let workload = |n: usize| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: w{n}}}\n\
             spec: {{address: 10.250.1.{n}, labels: {{app: s{}}}}}\n---\n",
            n % SERVICES
        )
    };
    (0..SERVICES).map(service).chain((0..WORKLOADS).map(workload)).collect()
}

/// Each edit of a service's policy names its number.
fn policy(service: usize, number: usize) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: s{service}}}\nspec:\n  \
         hosts: [s{service}]\n  http: [{{headers: {{response: {{set: {{x-edit: 'edit-{number}-of-it'}}}}}}, \
         route: [{{destination: {{host: s{service}}}}}]}}]\n"
    )
}

/// How one of the clients behaves during the storm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    Reads,
    /// Reads nothing until the storm is over.
    Later,
    /// Takes everything, but does not answer for routes until the storm is over.
    KeepsRoutes,
    /// Reads nothing any more.
    Never,
}

fn manner(number: usize) -> Manner {
    match number % 10 {
        7 => Manner::Later,
        8 => Manner::KeepsRoutes,
        9 => Manner::Never,
        _ => Manner::Reads,
    }
}

/// A client in one of the two classes, told apart by a label.
fn client_node(number: usize) -> Node {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let class = if number >= CLIENTS { "late" } else { ["one", "other"][number / 10 % 2] };
    let labels = Struct { fields: [("class".to_owned(), text(class))].into() };
    let labels = Value { kind: Some(Kind::StructValue(labels)) };
    let metadata = Struct { fields: [("LABELS".to_owned(), labels)].into() };
    Node { metadata: Some(metadata), ..node(&format!("client-{number}")) }
}

/// Names and versions of what a client has, by type.
type Held = BTreeMap<String, BTreeMap<String, String>>;

struct Client {
    stream: DeltaClient,
    held: Held,
    /// Responses, by type.
    responses: BTreeMap<String, usize>,
    /// Content of the routes, by name.
    routes: BTreeMap<String, Vec<u8>>,
}

impl Client {
    async fn open(control_plane: &ControlPlane, number: usize) -> Self {
        let channel = connect(control_plane.xds).await.unwrap();
        let stream = DeltaClient::open(channel, Some(client_node(number))).await.unwrap();
        Self { stream, held: Held::new(), responses: BTreeMap::new(), routes: BTreeMap::new() }
    }

    /// Asks for everything, with what it has already.
    async fn subscribe(&mut self) {
        for kind in KINDS {
            let held = self.held.get(kind).cloned().unwrap_or_default();
            let request = DeltaDiscoveryRequest {
                type_url: kind.to_owned(),
                resource_names_subscribe: vec!["*".to_owned()],
                initial_resource_versions: held.into_iter().collect(),
                ..DeltaDiscoveryRequest::default()
            };
            self.stream.send(request).await;
        }
    }

    fn note(&mut self, response: &DeltaDiscoveryResponse) {
        *self.responses.entry(response.type_url.clone()).or_default() += 1;
        let held = self.held.entry(response.type_url.clone()).or_default();
        for resource in &response.resources {
            held.insert(resource.name.clone(), resource.version.clone());
            if let (ROUTE, Some(content)) = (response.type_url.as_str(), &resource.resource) {
                self.routes.insert(resource.name.clone(), content.value.clone());
            }
        }
        for name in &response.removed_resources {
            held.remove(name);
        }
    }

    async fn take(&mut self) {
        let response = self.stream.take().await.unwrap();
        self.note(&response);
    }

    /// Until it has an answer for every type; the first of each is complete.
    async fn settle(&mut self) {
        while KINDS.iter().any(|kind| !self.held.contains_key(*kind)) {
            self.take().await;
        }
    }

    /// Follows what comes until it is told what there is in the end, and then until it has that. One that keeps its
    /// answers for routes gives them when it has all endpoints: these must not wait for them.
    async fn live(mut self, manner: Manner, mut end: watch::Receiver<Option<Arc<Held>>>) -> Self {
        self.responses.clear();
        let mut kept = Vec::new();
        let wanted = loop {
            let now = end.borrow_and_update().clone();
            if let Some(wanted) = &now
                && (self.held == **wanted || self.held[ENDPOINT] == wanted[ENDPOINT] && !kept.is_empty())
            {
                break wanted.clone();
            }
            let response = tokio::select! {
                response = self.stream.next(), if manner != Manner::Later || now.is_some() => response,
                changed = end.changed(), if now.is_none() => { changed.unwrap(); continue }
            };
            match response {
                Ok(response) => {
                    self.note(&response);
                    if manner == Manner::KeepsRoutes && response.type_url == ROUTE {
                        kept.push(response);
                    } else {
                        self.stream.answer(&response, None).await;
                    }
                }
                // Nothing came for a long time, as the storm was still going on.
                Err(status) if now.is_none() && status.code() == Code::DeadlineExceeded => {}
                Err(status) => panic!("{manner:?}: {status}; {:?}", self.responses),
            }
        };
        for response in kept {
            self.stream.answer(&response, None).await;
        }
        while self.held != *wanted {
            self.take().await;
        }
        self
    }

    /// Comes back with what it has: it must get nothing.
    async fn come_back(mut self, control_plane: &ControlPlane, number: usize) {
        let mut again = Self::open(control_plane, number).await;
        again.held = std::mem::take(&mut self.held);
        again.subscribe().await;
        for _ in KINDS {
            let answer = again.stream.take().await.unwrap();
            assert!(answer.resources.is_empty() && answer.removed_resources.is_empty(), "{answer:?}");
        }
        assert!(again.stream.is_silent().await);
    }
}

async fn connected(control_plane: &ControlPlane, number: usize) -> Client {
    let mut client = Client::open(control_plane, number).await;
    client.subscribe().await;
    client.settle().await;
    client
}

/// Fifty edits of ten policies, and two hundred endpoints that change, all at once.
async fn storm(control_plane: &ControlPlane) {
    let edits = join_all((0..10).map(|service| async move {
        for number in (service..EDITS).step_by(10) {
            control_plane.apply(policy(service, number)).await;
        }
    }));
    let endpoints = join_all((0..WORKLOADS).map(|workload| {
        let state =
            if workload.is_multiple_of(2) { WorkloadState::Draining } else { WorkloadState::NotReady };
        control_plane.report(workload, state)
    }));
    tokio::join!(edits, endpoints);
}

#[tokio::test]
async fn pain_10_a_storm_of_changes_is_merged_and_nobody_waits_for_a_client_that_does_not_read() {
    let control_plane = ControlPlane::start().await;
    control_plane.apply(world()).await;
    control_plane.apply((0..SERVICES).map(|n| policy(n, 999) + "---\n").collect()).await;
    let mut clients = join_all((0..CLIENTS).map(|number| connected(&control_plane, number))).await;

    // One edit is compiled once a class, however many proxies it has.
    let compiled = control_plane.configuration_compiles().await;
    control_plane.apply(policy(0, 1000)).await;
    let has_edit =
        |client: &Client| contains(&client.routes["s0.default.svc.cluster.local:80"], "edit-1000-of-it");
    join_all(clients.iter_mut().map(async |client| {
        while !has_edit(client) {
            client.take().await;
        }
    }))
    .await;
    assert_eq!(control_plane.configuration_compiles().await - compiled, 2, "two classes, one edit");

    let (before, compiled) = (control_plane.resident_bytes(), control_plane.configuration_compiles().await);
    let ((over, end), (wake, woken)) = (watch::channel(None), watch::channel(None));
    let (mut active, mut later, mut never) = (Vec::new(), Vec::new(), Vec::new());
    for (number, client) in clients.into_iter().enumerate() {
        match manner(number) {
            Manner::Never => never.push(client),
            Manner::Later => later.push(tokio::spawn(client.live(Manner::Later, woken.clone()))),
            manner => active.push(tokio::spawn(client.live(manner, end.clone()))),
        }
    }
    let start = std::time::Instant::now();
    storm(&control_plane).await;
    let took = start.elapsed();
    // A class of its own: compiled just now, from what the world is in the end.
    let last = connected(&control_plane, CLIENTS).await;
    for service in 0..10 {
        let routes = &last.routes[&format!("s{service}.default.svc.cluster.local:80")];
        assert!(contains(routes, &format!("edit-{}-of-it", EDITS - 10 + service)), "service {service}");
    }
    let wanted = Arc::new(last.held);
    over.send_replace(Some(wanted.clone()));
    let active = join_all(active).await;
    // Only now: all the others are served without them.
    wake.send_replace(Some(wanted));
    let later = join_all(later).await;
    let most = |clients: &[Result<Client, _>], kind: &str| {
        let of = |client: &Result<Client, _>| {
            let client: &Client = client.as_ref().expect("it has everything");
            client.responses.get(kind).copied().unwrap_or_default()
        };
        clients.iter().map(of).max().unwrap()
    };
    let counts = |clients: &[Result<Client, tokio::task::JoinError>]| KINDS.map(|kind| most(clients, kind));
    let compiled = control_plane.configuration_compiles().await - compiled;
    let grown = control_plane.resident_bytes().saturating_sub(before);
    println!(
        "most responses of one client: {:?}, {:?} of those who read later",
        counts(&active),
        counts(&later)
    );
    println!("{compiled} compiles, {} KiB more, in {took:?}", grown >> 10);
    assert!(most(&active, ROUTE) <= EDITS / 2, "{:?}", counts(&active));
    assert!(most(&active, ENDPOINT) <= WORKLOADS / 2, "{:?}", counts(&active));
    assert!(counts(&later).iter().sum::<usize>() <= 40, "{:?}", counts(&later));
    assert!(compiled <= EDITS as u64, "two classes, and merged: {compiled}");
    assert!(grown < GROWTH, "{grown} bytes more");

    // All of them come back at once with what they have.
    let compiled = control_plane.configuration_compiles().await;
    let all = active.into_iter().chain(later).map(Result::unwrap).enumerate();
    let back = all.map(|(number, client)| client.come_back(&control_plane, number));
    join_all(back).await;
    assert_eq!(control_plane.configuration_compiles().await, compiled, "nothing was compiled for them");
    drop(never);
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}
