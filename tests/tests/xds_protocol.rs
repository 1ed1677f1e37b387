//! The rules of xDS, each against the real server over a real connection.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's set-up fails the test")]

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Code, Request, Status};
use weft_control_plane::authority::PeerIdentity;
use weft_control_plane::push::{
    Compiler, Limits, PeerRequirement, Presence, ProxyHello, Push, PushSettings, Refused, Resource,
    ResourceSet, ResourceType, Resources, Revision, Rollout,
};
use weft_proto::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE};
use weft_proto::xds::core::Node;
use weft_tests::xds_client::{DeltaClient, SotwClient, connect, names, node};

type Contents = [BTreeMap<String, Bytes>; 5];

/// A world of plain data. Proxies of all workloads see the same, but those named `refused`, who see nothing.
#[derive(Debug)]
struct PlainWorld {
    contents: Mutex<(u64, Contents)>,
}

impl Compiler for PlainWorld {
    type Scope = ();

    fn scope(&self, hello: &ProxyHello) -> Result<(), Refused> {
        if hello.id.workload == "refused" { Err(Refused("unknown workload".to_owned())) } else { Ok(()) }
    }

    fn resources(&self, (): &()) -> Resources {
        let (revision, contents) = &*self.contents.lock().unwrap();
        Resources { revision: *revision, sets: contents.each_ref().map(set) }
    }

    fn endpoints(&self, (): &()) -> (u64, Arc<ResourceSet>) {
        let (revision, contents) = &*self.contents.lock().unwrap();
        (*revision, set(&contents[ResourceType::Endpoint as usize]))
    }
}

fn set(contents: &BTreeMap<String, Bytes>) -> Arc<ResourceSet> {
    Arc::new(
        contents.iter().map(|(name, bytes)| Arc::new(Resource::new(name.as_str(), bytes.clone()))).collect(),
    )
}

struct Mesh {
    push: Arc<Push<PlainWorld>>,
    world: Arc<PlainWorld>,
    revisions: watch::Sender<Revision>,
    address: SocketAddr,
}

impl Mesh {
    async fn start() -> Self {
        Self::with(None, Limits::default()).await
    }

    async fn with(identity: Option<&str>, limits: Limits) -> Self {
        let world = Arc::new(PlainWorld { contents: Mutex::new((1, Contents::default())) });
        let first = Revision { number: 1, configuration: 1, endpoints: 1 };
        let (revisions, receiver) = watch::channel(first);
        let push = Push::new(world.clone(), receiver, PushSettings { limits, ..PushSettings::default() });
        let running = push.clone();
        tokio::spawn(async move { running.run().await });
        let identity = identity.map(|identity| PeerIdentity(identity.parse().unwrap()));
        let identify = move |mut request: Request<()>| {
            request.extensions_mut().extend(
                identity
                    .clone()
                    .map(|identity| {
                        let mut extensions = tonic::Extensions::new();
                        extensions.insert(identity);
                        extensions
                    })
                    .unwrap_or_default(),
            );
            Ok::<_, Status>(request)
        };
        let service = InterceptedService::new(push.service(PeerRequirement::None), identify);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = weft_control_plane::push::transport(Server::builder()).add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { push, world, revisions, address }
    }

    /// Changes contents, in one revision; `None` removes. Gives the revision.
    fn change(&self, changes: &[(ResourceType, &str, Option<&str>)]) -> u64 {
        let mut contents = self.world.contents.lock().unwrap();
        contents.0 += 1;
        let number = contents.0;
        let mut endpoints_only = true;
        for (kind, name, content) in changes {
            endpoints_only &= *kind == ResourceType::Endpoint;
            let set = &mut contents.1[*kind as usize];
            match content {
                Some(content) => set.insert((*name).to_owned(), Bytes::copy_from_slice(content.as_bytes())),
                None => set.remove(*name),
            };
        }
        drop(contents);
        self.revisions.send_modify(|revision| {
            revision.number = number;
            if changes.iter().any(|(kind, ..)| *kind == ResourceType::Endpoint) {
                revision.endpoints = number;
            }
            if !endpoints_only {
                revision.configuration = number;
            }
        });
        number
    }

    async fn delta(&self, workload: &str) -> DeltaClient {
        DeltaClient::open(connect(self.address).await.unwrap(), Some(node(workload))).await.unwrap()
    }

    async fn sotw(&self, workload: &str) -> SotwClient {
        SotwClient::open(connect(self.address).await.unwrap(), Some(node(workload))).await.unwrap()
    }

    async fn rollout(&self, revision: u64, until: impl FnMut(&Rollout) -> bool) -> Rollout {
        let mut rollout = self.push.tracker().rollout(revision);
        timeout(Duration::from_secs(20), rollout.wait_for(until)).await.expect("in time").unwrap().clone()
    }
}

use ResourceType::{Cluster, Endpoint, Listener, Route};

#[tokio::test]
async fn a_delta_client_that_names_nothing_gets_all_and_then_only_what_changes() {
    let mesh = Mesh::start().await;
    mesh.change(&[(Cluster, "a", Some("1")), (Cluster, "b", Some("1"))]);
    let mut client = mesh.delta("reviews").await;
    client.change(CLUSTER, &[], &[]).await;
    // Connecting does not wait for the debounce of changes, so that the first answer may hold less.
    let mut seen: Vec<String> = Vec::new();
    while seen.len() < 2 {
        seen.extend(names(&client.take().await.unwrap()).into_iter().map(str::to_owned));
    }
    assert_eq!(seen, ["a", "b"]);
    mesh.change(&[(Cluster, "b", Some("2"))]);
    assert_eq!(names(&client.take().await.unwrap()), ["b"]);
    let gone = mesh.change(&[(Cluster, "a", None)]);
    let removal = client.take().await.unwrap();
    assert_eq!((removal.removed_resources, removal.resources.len()), (vec!["a".to_owned()], 0));
    let rollout = mesh.rollout(gone, |rollout| rollout.done).await;
    assert_eq!((rollout.concerned, rollout.acknowledged), (1, 1));
}

/// A mesh with these clusters, and the versions a client would hold of them.
async fn mesh_with_clusters(contents: &[(&str, &str)]) -> (Mesh, BTreeMap<String, String>) {
    let mesh = Mesh::start().await;
    let changes: Vec<_> = contents.iter().map(|(name, content)| (Cluster, *name, Some(*content))).collect();
    mesh.change(&changes);
    let versions = contents.iter().map(|(name, content)| {
        let version = Resource::new(*name, Bytes::copy_from_slice(content.as_bytes())).version;
        ((*name).to_owned(), version.to_string())
    });
    (mesh, versions.collect())
}

#[tokio::test]
async fn a_delta_client_that_comes_back_gets_only_what_it_lacks() {
    let (mesh, mut versions) = mesh_with_clusters(&[("a", "1"), ("b", "1"), ("c", "1")]).await;
    versions.insert("b".to_owned(), "of another make".to_owned());
    versions.remove("c");
    versions.insert("gone".to_owned(), "1".to_owned());
    let mut client = mesh.delta("reviews").await;
    client.resume(CLUSTER, &[], &versions).await;
    client.change(LISTENER, &[], &[]).await;
    client.change(ROUTE, &[], &[]).await;
    let answer = client.take().await.unwrap();
    assert_eq!((names(&answer), answer.removed_resources.len()), (vec!["b", "c"], 0));
    let listeners = client.take().await.unwrap();
    assert_eq!((listeners.type_url.as_str(), listeners.resources.len()), (LISTENER, 0));
    assert_eq!(client.take().await.unwrap().removed_resources, ["gone"]);
}

#[tokio::test]
async fn what_does_not_exist_is_denied_at_once_and_sent_when_it_comes() {
    let mesh = Mesh::start().await;
    let mut client = mesh.delta("reviews").await;
    client.change(ROUTE, &["later"], &[]).await;
    assert_eq!(client.take().await.unwrap().removed_resources, ["later"]);
    mesh.change(&[(Route, "later", Some("1")), (Route, "other", Some("1"))]);
    assert_eq!(names(&client.take().await.unwrap()), ["later"]);
}

#[tokio::test]
async fn a_delta_client_that_subscribes_again_is_answered_again() {
    let mesh = Mesh::start().await;
    mesh.change(&[(Endpoint, "a", Some("1"))]);
    let mut client = mesh.delta("reviews").await;
    for _ in 0..2 {
        client.change(ENDPOINT, &["a"], &[]).await;
        let mut answer = client.take().await.unwrap();
        if answer.resources.is_empty() {
            answer = client.take().await.unwrap(); // Connected before the change was published.
        }
        assert_eq!(names(&answer), ["a"]);
    }
    client.change(ENDPOINT, &[], &["a"]).await;
    mesh.change(&[(Endpoint, "a", Some("2"))]);
    assert!(client.is_silent().await);
}

#[tokio::test]
async fn a_wildcard_may_be_given_up_while_names_are_kept() {
    let (mesh, _) = mesh_with_clusters(&[("a", "1"), ("b", "1")]).await;
    let mut client = mesh.delta("reviews").await;
    client.change(CLUSTER, &["*", "a"], &[]).await;
    assert_eq!(names(&client.take().await.unwrap()), ["a", "b"]);
    // Given up by name, covered still: the client must hear of it again.
    client.change(CLUSTER, &[], &["a"]).await;
    assert_eq!(names(&client.take().await.unwrap()), ["a"]);
    client.change(CLUSTER, &["a"], &["*"]).await;
    assert_eq!(names(&client.take().await.unwrap()), ["a"]);
    mesh.change(&[(Cluster, "b", Some("2")), (Cluster, "a", Some("2"))]);
    assert_eq!(names(&client.take().await.unwrap()), ["a"]);
}

#[tokio::test]
async fn a_push_goes_clusters_endpoints_listeners_routes_and_takes_away_last() {
    let mesh = Mesh::start().await;
    let mut client = mesh.delta("reviews").await;
    for (url, name) in [(ROUTE, &["*"][..]), (LISTENER, &[]), (ENDPOINT, &["*"]), (CLUSTER, &[])] {
        client.change(url, name, &[]).await;
        assert_eq!(client.take().await.unwrap().type_url, url);
    }
    let all = |content| {
        [
            (Route, "old", content),
            (Listener, "old", content),
            (Endpoint, "old", content),
            (Cluster, "old", content),
        ]
    };
    let next = |content| {
        [
            (Route, "new", content),
            (Listener, "new", content),
            (Endpoint, "new", content),
            (Cluster, "new", content),
        ]
    };
    mesh.change(&all(Some("1")));
    // Endpoints have a lane of their own: they may come first.
    let mut order = Vec::new();
    for _ in 0..4 {
        order.push(client.take().await.unwrap().type_url);
    }
    order.retain(|url| url != ENDPOINT);
    assert_eq!(order, [CLUSTER, LISTENER, ROUTE]);

    mesh.change(&[all(None), next(Some("1"))].concat());
    let (mut events, mut unanswered) = (Vec::new(), Vec::new());
    while unanswered.len() < 2 {
        let response = client.next().await.unwrap();
        events.push((response.type_url.clone(), response.resources.len(), response.removed_resources.len()));
        if response.type_url == LISTENER || response.type_url == ROUTE {
            unanswered.push(response);
        } else {
            client.answer(&response, None).await;
        }
    }
    events.retain(|(url, ..)| url != ENDPOINT);
    let expected =
        [(CLUSTER, 1, 0), (LISTENER, 1, 1), (ROUTE, 1, 1)].map(|(url, new, old)| (url.to_owned(), new, old));
    assert_eq!(events, expected, "clusters stay while listeners and routes are unanswered");
    assert!(client.is_silent().await);
    for response in &unanswered {
        client.answer(response, None).await;
    }
    for url in [CLUSTER, ENDPOINT] {
        let removal = client.take().await.unwrap();
        assert_eq!((removal.type_url.as_str(), removal.removed_resources), (url, vec!["old".to_owned()]));
    }
}

#[tokio::test]
async fn a_refused_resource_is_named_and_not_sent_again_until_it_changes() {
    let (mesh, _) = mesh_with_clusters(&[("good", "1")]).await;
    let mut client = mesh.delta("reviews").await;
    client.change(CLUSTER, &[], &[]).await;
    client.take().await.unwrap();
    let revision = mesh.change(&[(Cluster, "bad", Some("1")), (Cluster, "good", Some("2"))]);
    let response = client.next().await.unwrap();
    assert_eq!(names(&response), ["bad", "good"]);
    client.answer(&response, Some("cluster `bad`: no such filter")).await;
    assert_eq!(names(&client.take().await.unwrap()), ["good"], "what shared the response is sent alone");

    let rollout = mesh.rollout(revision, |rollout| rollout.done).await;
    let refusals: Vec<_> =
        rollout.refusals.iter().map(|r| (r.proxy.as_str(), &*r.resource, r.message.as_str())).collect();
    assert_eq!(refusals, [("reviews.default", "bad", "cluster `bad`: no such filter")]);
    assert_eq!(mesh.push.tracker().status(None)[0].types[0].state, "REFUSED");

    mesh.change(&[(Cluster, "good", Some("3"))]);
    assert_eq!(names(&client.take().await.unwrap()), ["good"]);
    let mended = mesh.change(&[(Cluster, "bad", Some("2"))]);
    assert_eq!(names(&client.take().await.unwrap()), ["bad"]);
    let rollout = mesh.rollout(mended, |rollout| rollout.done).await;
    assert_eq!((rollout.acknowledged, rollout.refusals.len()), (1, 0));
    assert_eq!(mesh.push.tracker().status(None)[0].types[0].state, "SYNCED");
}

#[tokio::test]
async fn a_rollout_concerns_those_who_subscribe_to_what_changed() {
    let mesh = Mesh::start().await;
    let (mut one, mut two) = (mesh.delta("one").await, mesh.delta("two").await);
    for (client, name) in [(&mut one, "a"), (&mut two, "b")] {
        client.change(ROUTE, &[name], &[]).await;
        client.take().await.unwrap();
    }
    let revision = mesh.change(&[(Route, "a", Some("1"))]);
    let unanswered = one.next().await.unwrap();
    let rollout =
        mesh.rollout(revision, |rollout| rollout.concerned == 1 && !rollout.pending.is_empty()).await;
    assert_eq!((rollout.pending, rollout.done), (vec!["one.default".to_owned()], false));
    one.answer(&unanswered, None).await;
    assert_eq!(mesh.rollout(revision, |rollout| rollout.done).await.acknowledged, 1);

    // A revision that nobody is concerned by is done, and so is one whose only concerned proxy left.
    let nobody = mesh.change(&[(Route, "c", Some("1"))]);
    assert_eq!(mesh.rollout(nobody, |rollout| rollout.done).await.concerned, 0);
    let left = mesh.change(&[(Route, "b", Some("1"))]);
    two.next().await.unwrap();
    mesh.rollout(left, |rollout| rollout.concerned == 1).await;
    drop(two);
    assert_eq!(mesh.rollout(left, |rollout| rollout.done).await.concerned, 0);
}

#[tokio::test]
async fn a_proxy_that_does_not_answer_gets_the_newest_and_nothing_between() {
    let mesh = Mesh::start().await;
    let mut client = mesh.sotw("reviews").await;
    client.ask(LISTENER, &[], "").await;
    client.take().await.unwrap();
    mesh.change(&[(Listener, "a", Some("0"))]);
    let unanswered = client.next().await.unwrap();
    let mut last = 0;
    for n in 1..=20 {
        last = mesh.change(&[(Listener, "a", Some(&n.to_string()))]);
        mesh.rollout(last, |rollout| rollout.pending == ["reviews.default"]).await;
    }
    client.answer(&unanswered, None).await;
    let newest = client.take().await.unwrap();
    assert_eq!(&newest.resources[0].value[..], b"20");
    assert!(mesh.rollout(last, |rollout| rollout.done).await.refusals.is_empty());
    assert!(client.is_silent().await);
}

#[tokio::test]
async fn a_push_larger_than_a_message_is_split() {
    let mesh = Mesh::start().await;
    let content = "x".repeat(700_000);
    let many: Vec<String> = (0..12).map(|n| format!("cluster-{n}")).collect();
    mesh.change(
        &many.iter().map(|name| (Cluster, name.as_str(), Some(content.as_str()))).collect::<Vec<_>>(),
    );
    let mut client = mesh.delta("reviews").await;
    client.change(CLUSTER, &[], &[]).await;
    let (mut seen, mut responses) = (0, 0);
    while seen < many.len() {
        // A response above the client's limit of 4 MiB would be an error here.
        seen += client.take().await.unwrap().resources.len();
        responses += 1;
    }
    assert!(responses >= 4, "{responses}");
}

#[tokio::test]
async fn a_state_of_the_world_client_gets_full_states_and_stale_answers_are_ignored() {
    let (mesh, _) = mesh_with_clusters(&[("a", "1"), ("b", "1")]).await;
    let mut client = mesh.sotw("reviews").await;
    client.ask(CLUSTER, &[], "").await;
    let first = client.take().await.unwrap();
    assert_eq!(first.resources.len(), 2);
    mesh.change(&[(Cluster, "b", Some("2"))]);
    let second = client.next().await.unwrap();
    assert_eq!(second.resources.len(), 2, "the unchanged belongs to a full state");
    assert_ne!(second.version_info, first.version_info);
    client.answer(&first, Some("stale, and so of no account")).await;
    assert!(client.is_silent().await);
    client.ask(CLUSTER, &[], &second.nonce).await;
    let gone = mesh.change(&[(Cluster, "a", None)]);
    client.ask(LISTENER, &[], "").await;
    client.ask(ROUTE, &[], "").await;
    let mut last = client.take().await.unwrap();
    while last.type_url != CLUSTER {
        last = client.take().await.unwrap();
    }
    assert_eq!(last.resources.len(), 1);
    mesh.rollout(gone, |rollout| rollout.done).await;

    let mut back = mesh.sotw("reviews").await;
    back.remember(CLUSTER, &last.version_info);
    back.ask(CLUSTER, &[], "").await;
    assert!(back.is_silent().await, "it has all of it");
}

#[tokio::test]
async fn state_of_the_world_routes_and_endpoints_come_as_they_are_asked_for() {
    let mesh = Mesh::start().await;
    mesh.change(&[(Route, "a", Some("1")), (Route, "b", Some("1")), (Route, "c", Some("1"))]);
    let mut client = mesh.sotw("reviews").await;
    client.ask(ROUTE, &["a"], "").await;
    let first = client.take().await.unwrap();
    assert_eq!(&first.resources[0].value[..], b"1");
    client.ask(ROUTE, &["a", "b"], &first.nonce).await;
    let second = client.take().await.unwrap();
    assert_eq!(second.resources.len(), 1, "only what is new");
    client.ask(ROUTE, &["b"], &second.nonce).await;
    mesh.change(&[(Route, "a", Some("2")), (Route, "c", Some("2"))]);
    mesh.change(&[(Route, "b", Some("2"))]);
    let third = client.take().await.unwrap();
    assert_eq!((third.resources.len(), &third.resources[0].value[..]), (1, &b"2"[..]));
}

#[tokio::test]
async fn endpoints_are_sent_again_when_their_cluster_was() {
    let mesh = Mesh::start().await;
    mesh.change(&[(Cluster, "a", Some("1")), (Endpoint, "a", Some("1"))]);
    let mut client = mesh.sotw("reviews").await;
    client.ask(CLUSTER, &[], "").await;
    client.take().await.unwrap();
    client.ask(ENDPOINT, &["a"], "").await;
    let endpoints = client.take().await.unwrap();
    client.ask(ENDPOINT, &["a"], &endpoints.nonce).await;
    assert!(client.is_silent().await, "nothing changed");
    mesh.change(&[(Cluster, "a", Some("2"))]);
    assert_eq!(client.take().await.unwrap().type_url, CLUSTER);
    client.ask(ENDPOINT, &["a"], &endpoints.nonce).await;
    let again = client.take().await.unwrap();
    assert_eq!((again.type_url.as_str(), again.resources.len()), (ENDPOINT, 1));
    assert!(client.is_silent().await);
}

#[tokio::test]
async fn a_type_that_is_not_served_is_answered_and_left_alone() {
    let mesh = Mesh::start().await;
    let mut client = mesh.delta("reviews").await;
    client.change("type.googleapis.com/some.Thing", &["x"], &[]).await;
    let answer = client.take().await.unwrap();
    assert_eq!((answer.removed_resources, answer.resources.len()), (vec!["x".to_owned()], 0));
    client.change(CLUSTER, &[], &[]).await;
    assert_eq!(client.take().await.unwrap().type_url, CLUSTER, "the stream lives");
}

#[tokio::test]
async fn bad_peers_are_shown_out_and_nobody_else_notices() {
    let mesh = Mesh::with(
        Some("spiffe://cluster.local/ns/default/sa/reviews"),
        Limits { names: 3, name_bytes: 10, ..Limits::default() },
    )
    .await;
    let mut good = mesh.delta("reviews").await;
    good.change(CLUSTER, &[], &[]).await;
    good.take().await.unwrap();

    let of = |id: &str| Some(Node { id: id.to_owned(), ..Node::default() });
    let long = "x".repeat(11);
    let cases: [(Option<Node>, &[&str], Code, &str); 6] = [
        (None, &[], Code::InvalidArgument, "must carry a node"),
        (of("nonsense"), &[], Code::InvalidArgument, "is not of the form"),
        (of("sidecar~10.0.0.1~x.bank~d"), &[], Code::PermissionDenied, "namespace `bank`"),
        (of("sidecar~10.0.0.1~refused.default~d"), &[], Code::PermissionDenied, "unknown workload"),
        (Some(node("x")), &["a", "b", "c", "d"], Code::ResourceExhausted, "at most 3"),
        (Some(node("x")), &[&long], Code::ResourceExhausted, "at most 10 bytes"),
    ];
    for (node, names, code, message) in cases {
        let mut bad = DeltaClient::open(connect(mesh.address).await.unwrap(), node.clone()).await.unwrap();
        bad.change(CLUSTER, names, &[]).await;
        let status = bad.next().await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(message), "{status:?}");
    }
    assert_eq!(garbage(mesh.address).await.code(), Code::InvalidArgument);

    mesh.change(&[(Cluster, "a", Some("1"))]);
    assert_eq!(names(&good.take().await.unwrap()), ["a"]);
}

/// Sends what is no message at all, on a stream of its own; gives the server's answer.
async fn garbage(address: SocketAddr) -> Status {
    #[derive(Default)]
    struct Raw;
    impl Codec for Raw {
        type Encode = Bytes;
        type Decode = Bytes;
        type Encoder = Self;
        type Decoder = Self;
        fn encoder(&mut self) -> Self {
            Self
        }
        fn decoder(&mut self) -> Self {
            Self
        }
    }
    impl Encoder for Raw {
        type Item = Bytes;
        type Error = Status;
        fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
            buffer.put(item);
            Ok(())
        }
    }
    impl Decoder for Raw {
        type Item = Bytes;
        type Error = Status;
        fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
            Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
        }
    }
    let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
    let mut grpc = tonic::client::Grpc::new(connect(address).await.unwrap());
    grpc.ready().await.unwrap();
    let messages = tokio_stream::iter([Bytes::from_static(b"\xff\xff\xff garbage")]);
    let response = grpc.streaming(Request::new(messages), path.parse().unwrap(), Raw).await;
    match response {
        Ok(response) => response.into_inner().message().await.unwrap_err(),
        Err(status) => status,
    }
}

#[tokio::test]
async fn coming_and_going_is_announced() {
    let mesh = Mesh::start().await;
    let mut presence = mesh.push.presence();
    let mut client = mesh.delta("reviews").await;
    client.change(CLUSTER, &[], &[]).await;
    let next = |presence: Presence| match presence {
        Presence::Connected(hello) => (hello.id.short(), None),
        Presence::Disconnected { hello, others } => (hello.id.short(), Some(others)),
    };
    assert_eq!(next(presence.recv().await.unwrap()), ("reviews.default".to_owned(), None));
    assert_eq!(mesh.push.connected().len(), 1);
    drop(client);
    assert_eq!(next(presence.recv().await.unwrap()), ("reviews.default".to_owned(), Some(0)));
    let status = mesh.push.tracker().status(Some("reviews.default"));
    assert_eq!(status.iter().map(|entry| entry.connected).collect::<Vec<_>>(), [false]);
}

#[tokio::test]
async fn what_a_proxy_was_sent_can_be_read_back() {
    let (mesh, versions) = mesh_with_clusters(&[("a", "1"), ("b", "1")]).await;
    let mut client = mesh.delta("reviews").await;
    client.change(CLUSTER, &["a"], &[]).await;
    client.take().await.unwrap();
    let sent = mesh.push.tracker().resources("reviews.default", Some(Cluster), None).unwrap();
    let sent: HashMap<_, _> =
        sent.iter().map(|sent| (sent.name.to_string(), sent.version.to_string())).collect();
    assert_eq!(sent, HashMap::from([("a".to_owned(), versions["a"].clone())]));
    assert!(mesh.push.tracker().resources("nobody.default", None, None).is_none());
}

#[tokio::test]
async fn closing_ends_every_stream_with_unavailable() {
    let mesh = Mesh::start().await;
    let mut client = mesh.delta("reviews").await;
    client.change(CLUSTER, &[], &[]).await;
    client.take().await.unwrap();
    mesh.push.close();
    assert_eq!(client.next().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn an_endpoint_that_changes_together_with_the_configuration_is_waited_for() {
    let mesh = Mesh::start().await;
    let both =
        |content| [(ResourceType::Endpoint, "a", Some(content)), (ResourceType::Cluster, "a", Some(content))];
    mesh.change(&both("one"));
    let mut client = mesh.delta("w").await;
    client.change(ENDPOINT, &["a"], &[]).await;
    client.take().await.unwrap();
    // Its lane is ahead of the configuration's.
    let revision = mesh.change(&both("two"));
    let response = client.next().await.unwrap();
    let rollout = mesh.rollout(revision, |rollout| rollout.done || !rollout.pending.is_empty()).await;
    assert_eq!((rollout.done, &rollout.pending[..]), (false, &["w.default".to_owned()][..]));
    client.answer(&response, None).await;
    let rollout = mesh.rollout(revision, |rollout| rollout.done).await;
    assert_eq!((rollout.concerned, rollout.acknowledged), (1, 1));
}
