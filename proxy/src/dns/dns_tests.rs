//! Over real sockets: clients of the resolver, and the resolver's own upstreams.

use std::collections::HashMap;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use weft_model::cluster::{Cluster, Discovery};
use weft_model::endpoint::{Endpoint, EndpointSet, Health, Locality, LocalityEndpoints, WorkloadInfo};

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it took too long")
}

fn mesh() -> Arc<ArcSwap<Snapshot>> {
    let mut names: HashMap<Arc<str>, Vec<IpAddr>> = HashMap::new();
    names.insert(
        "reviews.default.svc.cluster.local".into(),
        vec!["10.96.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
    );
    names.insert("four.default.svc.cluster.local".into(), vec!["10.96.0.4".parse().unwrap()]);
    names.insert("api.example".into(), vec!["10.96.0.5".parse().unwrap()]);
    names.insert("many.example".into(), (0..60).map(|n| IpAddr::from([10, 1, 0, n])).collect());
    let mut snapshot = Snapshot::default();
    snapshot.names = Arc::new(names);
    Arc::new(ArcSwap::from_pointee(snapshot))
}

/// A resolver that runs until the test ends.
struct Running {
    v4: SocketAddr,
    v6: Option<SocketAddr>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn resolver(upstreams: Vec<SocketAddr>, change: impl FnOnce(&mut DnsSettings)) -> Running {
    let mut settings =
        DnsSettings::new("127.0.0.1:0".parse().unwrap(), upstreams, "default.svc.cluster.local");
    change(&mut settings);
    let resolver = Resolver::bind(settings, mesh()).await.unwrap();
    let addresses = resolver.local_addresses();
    Running { v4: addresses[0], v6: addresses.get(1).copied(), task: tokio::spawn(resolver.run()) }
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut query = Message::new(fastrand::u16(..), MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    // On the wire every name is whole.
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    query.add_query(Query::query(name, kind));
    query
}

async fn udp(at: SocketAddr, query: &[u8]) -> Vec<u8> {
    let any = if at.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(any).await.unwrap();
    socket.connect(at).await.unwrap();
    socket.send(query).await.unwrap();
    let mut buffer = vec![0; 65_535];
    let length = soon(socket.recv(&mut buffer)).await.unwrap();
    buffer.truncate(length);
    buffer
}

async fn tcp(at: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(at).await?;
    write_message(&mut stream, query).await?;
    soon(read_message(&mut stream)).await
}

async fn ask(at: SocketAddr, query: &Message) -> Message {
    let answer = Message::from_vec(&udp(at, &query.to_vec().unwrap()).await).unwrap();
    assert_eq!(answer.metadata.id, query.metadata.id);
    assert_eq!(answer.metadata.message_type, MessageType::Response);
    assert_eq!(answer.queries, query.queries);
    answer
}

fn addresses(answer: &Message) -> Vec<IpAddr> {
    let address = |data: &RData| match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(a) => Some(IpAddr::V6(a.0)),
        _ => None,
    };
    answer.answers.iter().filter_map(|record| address(&record.data)).collect()
}

/// An upstream over UDP and TCP, on one port, that answers what `answer` makes of each query; nothing when it is none.
struct Upstream {
    address: SocketAddr,
    seen: tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>,
    tasks: JoinSet<()>,
}

async fn upstream(answer: impl Fn(Vec<u8>) -> Option<Vec<u8>> + Clone + Send + Sync + 'static) -> Upstream {
    let door = doors("127.0.0.1:0".parse().unwrap()).await.unwrap().remove(0);
    let address = door.tcp.local_addr().unwrap();
    let (sender, seen) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    let (Door { udp, tcp }, answers, told) = (door, answer.clone(), sender.clone());
    tasks.spawn(async move {
        let mut buffer = vec![0; 65_535];
        while let Ok((length, client)) = udp.recv_from(&mut buffer).await {
            let query = buffer[..length].to_vec();
            let _ = told.send(query.clone());
            if let Some(answer) = answers(query) {
                let _ = udp.send_to(&answer, client).await;
            }
        }
    });
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let (answer, sender) = (answer.clone(), sender.clone());
            tokio::spawn(async move {
                while let Ok(query) = read_message(&mut stream).await {
                    let _ = sender.send(query.clone());
                    let Some(answer) = answer(query) else { std::future::pending().await };
                    let _ = write_message(&mut stream, &answer).await;
                }
            });
        }
    });
    Upstream { address, seen, tasks }
}

/// The query as an answer with a code, and bytes that nobody understands behind it.
fn echo(code: u8) -> impl Fn(Vec<u8>) -> Option<Vec<u8>> + Clone + Send + Sync + 'static {
    move |mut query| {
        query[2] |= 0x80;
        query[3] = code;
        query.extend_from_slice(b"untouched");
        Some(query)
    }
}

#[tokio::test]
async fn names_of_the_mesh_are_answered_in_every_form_they_are_written_in() {
    let resolver = resolver(Vec::new(), |_| ()).await;
    for name in [
        "reviews.default.svc.cluster.local.",
        "reviews.default.svc.cluster.local",
        "Reviews.DEFAULT.svc.Cluster.Local.",
        "reviews.default.svc.",
        "reviews.default.",
        "reviews.",
        "reviews",
    ] {
        let answer = ask(resolver.v4, &query(name, RecordType::A)).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{name}");
        assert!(answer.metadata.authoritative && answer.metadata.recursion_available, "{name}");
        assert_eq!(addresses(&answer), ["10.96.0.1".parse::<IpAddr>().unwrap()], "{name}");
        let answer = ask(resolver.v4, &query(name, RecordType::AAAA)).await;
        assert_eq!(addresses(&answer), ["fd00::1".parse::<IpAddr>().unwrap()], "{name}");
    }
    assert_eq!(addresses(&ask(resolver.v4, &query("API.example.", RecordType::A)).await).len(), 1);
}

#[tokio::test]
async fn a_family_or_type_that_a_name_has_not_is_an_empty_answer_not_a_missing_name() {
    let resolver = resolver(Vec::new(), |_| ()).await;
    for kind in [RecordType::AAAA, RecordType::TXT, RecordType::SRV, RecordType::HTTPS] {
        let answer = ask(resolver.v4, &query("four.default.svc.cluster.local.", kind)).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{kind}");
        assert!(answer.answers.is_empty(), "{kind}");
    }
}

#[tokio::test]
async fn ipv6_resolvers_are_served_on_the_same_port() {
    let resolver = resolver(Vec::new(), |_| ()).await;
    // A machine without IPv6 has nothing to serve there.
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return;
    }
    let v6 = resolver.v6.expect("it is served");
    assert_eq!(v6.port(), resolver.v4.port());
    assert_eq!(addresses(&ask(v6, &query("reviews.", RecordType::A)).await).len(), 1);
    let bytes = query("reviews.", RecordType::A).to_vec().unwrap();
    assert_eq!(addresses(&Message::from_vec(&tcp(v6, &bytes).await.unwrap()).unwrap()).len(), 1);
}

#[tokio::test]
async fn what_does_not_fit_is_cut_and_whole_over_tcp_or_with_room() {
    let resolver = resolver(Vec::new(), |_| ()).await;
    let mut asked = query("many.example.", RecordType::A);
    let bytes = udp(resolver.v4, &asked.to_vec().unwrap()).await;
    let cut = Message::from_vec(&bytes).unwrap();
    assert!(cut.metadata.truncation && bytes.len() <= 512, "{}", bytes.len());
    let whole = Message::from_vec(&tcp(resolver.v4, &asked.to_vec().unwrap()).await.unwrap()).unwrap();
    assert!(!whole.metadata.truncation);
    assert_eq!(addresses(&whole).len(), 60);
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    asked.edns = Some(edns);
    let roomy = ask(resolver.v4, &asked).await;
    assert!(!roomy.metadata.truncation && roomy.edns.is_some());
    assert_eq!(addresses(&roomy).len(), 60);
}

#[tokio::test]
async fn other_names_go_to_the_upstream_under_another_id_and_come_back_byte_for_byte() {
    let mut upstream = upstream(echo(0)).await;
    let resolver = resolver(vec![upstream.address], |_| ()).await;
    let mut ids = std::collections::HashSet::new();
    for _ in 0..8 {
        let asked = query("www.example.", RecordType::MX).to_vec().unwrap();
        let answer = udp(resolver.v4, &asked).await;
        assert_eq!(answer[..2], asked[..2], "the client's own id comes back");
        assert_eq!(answer[4..asked.len()], asked[4..]);
        assert!(answer.ends_with(b"untouched"));
        let seen = soon(upstream.seen.recv()).await.unwrap();
        assert_eq!(seen[2..], asked[2..], "the question is asked as it came");
        ids.insert(seen[..2].to_vec());
    }
    assert!(ids.len() > 1, "ids cannot be guessed");
    let asked = query("www.example.", RecordType::MX).to_vec().unwrap();
    assert!(tcp(resolver.v4, &asked).await.unwrap().ends_with(b"untouched"));
    // A name of the mesh is never asked elsewhere.
    while upstream.seen.try_recv().is_ok() {}
    ask(resolver.v4, &query("reviews.", RecordType::TXT)).await;
    assert!(upstream.seen.try_recv().is_err());
}

#[tokio::test]
async fn without_an_upstream_nobody_can_say_that_another_name_does_not_exist() {
    let resolver = resolver(Vec::new(), |_| ()).await;
    for name in ["www.example.", "nothing.default.svc.cluster.local."] {
        let answer = ask(resolver.v4, &query(name, RecordType::A)).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail, "{name}");
    }
}

#[tokio::test]
async fn names_below_the_meshs_own_domain_are_nobody_elses() {
    let mut upstream = upstream(echo(0)).await;
    let own = |settings: &mut DnsSettings| settings.own_domain = Some("cluster.local".into());
    let resolver = resolver(vec![upstream.address], own).await;
    for (name, code) in [
        ("nothing.default.svc.cluster.local.", ResponseCode::NXDomain),
        ("WWW.example.Cluster.local.", ResponseCode::NXDomain),
        ("default.svc.cluster.local.", ResponseCode::NoError),
        ("cluster.local.", ResponseCode::NoError),
        ("below.reviews.default.svc.cluster.local.", ResponseCode::NXDomain),
    ] {
        let answer = ask(resolver.v4, &query(name, RecordType::A)).await;
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (code, 0), "{name}");
    }
    assert!(upstream.seen.try_recv().is_err(), "nobody else was asked");
    udp(resolver.v4, &query("notcluster.local.", RecordType::A).to_vec().unwrap()).await;
    soon(upstream.seen.recv()).await.unwrap();
}

#[tokio::test]
async fn workloads_that_are_not_ready_are_not_answered() {
    let cluster = "outbound|80||db.default.svc.cluster.local";
    let endpoint = |last, health| {
        std::sync::Arc::new(Endpoint {
            address: SocketAddr::new(IpAddr::from([10, 0, 0, last]), 80),
            health,
            weight: 1,
            mutual_tls: true,
            workload: WorkloadInfo::default(),
            ..Endpoint::new(SocketAddr::from(([0, 0, 0, 0], 0)))
        })
    };
    let endpoints =
        vec![endpoint(1, Health::Healthy), endpoint(2, Health::Unhealthy), endpoint(3, Health::Draining)];
    let place = LocalityEndpoints { locality: Locality::default(), priority: 0, weight: 3, endpoints };
    let mut snapshot = Snapshot::default();
    let host: Arc<str> = "db.default.svc.cluster.local".into();
    let all = [1, 2, 3].map(|last| IpAddr::from([10, 0, 0, last])).to_vec();
    let one = ("db-1.db.default.svc.cluster.local".into(), vec![all[1]]);
    snapshot.names = Arc::new(HashMap::from([(host, all.clone()), one]));
    snapshot
        .clusters
        .insert(cluster.into(), Cluster::new(cluster, Discovery::Dialled(cluster.into())).into());
    let set = EndpointSet { cluster: cluster.into(), localities: vec![place], policy: Default::default() };
    snapshot.endpoints.insert(cluster.into(), set.into());
    snapshot.index();
    let settings = DnsSettings::new("127.0.0.1:0".parse().unwrap(), Vec::new(), "default.svc.cluster.local");
    let resolver = Resolver::bind(settings, Arc::new(ArcSwap::from_pointee(snapshot))).await.unwrap();
    let (at, explain) = (resolver.local_addresses()[0], resolver.explainer());
    let task = tokio::spawn(resolver.run());
    assert_eq!(addresses(&ask(at, &query("db.", RecordType::A)).await), all[..1]);
    let answer = ask(at, &query("db-1.db.", RecordType::A)).await;
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 0));
    let explained = soon(explain("db".into())).await;
    assert_eq!(explained["steps"][0]["unready"], serde_json::json!(["10.0.0.2", "10.0.0.3"]), "{explained}");
    task.abort();
}

#[tokio::test]
async fn the_explanation_of_a_name_takes_the_steps_of_a_client() {
    let upstream = upstream(echo(3)).await;
    let own = |settings: &mut DnsSettings| settings.own_domain = Some("cluster.local".into());
    let mut settings =
        DnsSettings::new("127.0.0.1:0".parse().unwrap(), vec![upstream.address], "default.svc.cluster.local");
    own(&mut settings);
    let explain = Resolver::bind(settings, mesh()).await.unwrap().explainer();
    let explained = soon(explain("reviews.default".into())).await;
    assert_eq!(explained["addresses"], serde_json::json!(["10.96.0.1", "fd00::1"]), "{explained}");
    let steps = explained["steps"].as_array().unwrap();
    let told: Vec<(&str, &str)> =
        steps.iter().map(|it| (it["asked"].as_str().unwrap(), it["verdict"].as_str().unwrap())).collect();
    assert_eq!(
        told,
        [
            ("reviews.default.default.svc.cluster.local", "own-domain"),
            ("reviews.default.svc.cluster.local", "mesh")
        ]
    );
    assert_eq!(steps[1]["completedBy"], "svc.cluster.local");
    let explained = soon(explain("www.example.".into())).await;
    assert_eq!(explained["steps"].as_array().unwrap().len(), 1, "{explained}");
    assert_eq!(explained["steps"][0]["resolver"], upstream.address.to_string());
    assert_eq!(explained["steps"][0]["code"], "NXDOMAIN");
}

#[tokio::test]
async fn a_silent_upstream_is_a_failure_of_the_server_not_of_the_name() {
    let upstream = upstream(|_| None).await;
    let resolver = resolver(vec![upstream.address], |s| s.timeout = Duration::from_millis(50)).await;
    let asked = query("www.example.", RecordType::A);
    assert_eq!(ask(resolver.v4, &asked).await.metadata.response_code, ResponseCode::ServFail);
    let answer = Message::from_vec(&tcp(resolver.v4, &asked.to_vec().unwrap()).await.unwrap()).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn the_next_upstream_is_asked_when_one_is_gone_silent_or_will_not_answer() {
    let gone = doors("127.0.0.1:0".parse().unwrap()).await.unwrap()[0].tcp.local_addr().unwrap();
    let (silent, refusing, good) =
        (upstream(|_| None).await, upstream(echo(5)).await, upstream(echo(3)).await);
    let all = vec![gone, silent.address, refusing.address, good.address];
    let resolver = resolver(all, |s| s.timeout = Duration::from_millis(50)).await;
    let answer = udp(resolver.v4, &query("www.example.", RecordType::A).to_vec().unwrap()).await;
    assert_eq!(answer[3] & 0x0f, 3, "the last one's word: no such name");
}

#[tokio::test]
async fn answers_under_a_wrong_id_are_not_believed() {
    let upstream = upstream(|mut query| {
        query[0] ^= 0xff;
        query[2] |= 0x80;
        Some(query)
    })
    .await;
    let resolver = resolver(vec![upstream.address], |s| s.timeout = Duration::from_millis(50)).await;
    let answer = ask(resolver.v4, &query("www.example.", RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn garbage_is_ignored_and_the_next_query_answered() {
    let resolver = resolver(Vec::new(), |_| ()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(resolver.v4).await.unwrap();
    let mut answer = query("reviews.", RecordType::A);
    answer.metadata.message_type = MessageType::Response;
    for garbage in [&b""[..], b"\0", b"GET / HTTP/1.1", &answer.to_vec().unwrap()] {
        socket.send(garbage).await.unwrap();
    }
    let good = query("reviews.", RecordType::A);
    socket.send(&good.to_vec().unwrap()).await.unwrap();
    let mut buffer = [0; 512];
    loop {
        let length = soon(socket.recv(&mut buffer)).await.unwrap();
        let heard = Message::from_vec(&buffer[..length]).unwrap();
        // What could be a query may be told that it is malformed; nothing else is answered.
        if heard.metadata.response_code == ResponseCode::FormErr {
            continue;
        }
        assert_eq!((heard.metadata.id, addresses(&heard).len()), (good.metadata.id, 1));
        break;
    }
}

#[tokio::test]
async fn another_class_is_not_the_meshs() {
    let resolver = resolver(Vec::new(), |_| ()).await;
    let mut asked = query("reviews.", RecordType::A);
    asked.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(ask(resolver.v4, &asked).await.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn beyond_the_bound_queries_fail_at_once_while_the_mesh_still_answers() {
    let mut upstream = upstream(|_| None).await;
    let resolver = resolver(vec![upstream.address], |s| s.concurrency = 2).await;
    let asked = query("www.example.", RecordType::A).to_vec().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for _ in 0..2 {
        socket.send_to(&asked, resolver.v4).await.unwrap();
        soon(upstream.seen.recv()).await.unwrap();
    }
    let answer = ask(resolver.v4, &query("www.example.", RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(addresses(&ask(resolver.v4, &query("reviews.", RecordType::A)).await).len(), 1);
    assert!(upstream.seen.try_recv().is_err(), "the third was not asked");
    upstream.tasks.abort_all();
}

#[tokio::test]
async fn tcp_clients_are_bounded_and_a_place_is_free_when_one_leaves() {
    let resolver = resolver(Vec::new(), |s| s.connections = 1).await;
    let asked = query("reviews.", RecordType::A).to_vec().unwrap();
    let mut first = TcpStream::connect(resolver.v4).await.unwrap();
    write_message(&mut first, &asked).await.unwrap();
    soon(read_message(&mut first)).await.unwrap();
    assert!(tcp(resolver.v4, &asked).await.is_err(), "there is no place for a second");
    drop(first);
    soon(async { while tcp(resolver.v4, &asked).await.is_err() {} }).await;
}

#[tokio::test]
async fn a_tcp_client_may_ask_several_times() {
    let resolver = resolver(Vec::new(), |_| ()).await;
    let mut stream = TcpStream::connect(resolver.v4).await.unwrap();
    let queries = ["reviews.", "four.", "nothing."].map(|name| query(name, RecordType::A));
    for query in &queries {
        write_message(&mut stream, &query.to_vec().unwrap()).await.unwrap();
    }
    for query in &queries {
        let answer = Message::from_vec(&soon(read_message(&mut stream)).await.unwrap()).unwrap();
        assert_eq!(answer.metadata.id, query.metadata.id);
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let settings = DnsSettings::new(address, Vec::new(), "default.svc.cluster.local");
    let error = Resolver::bind(settings, mesh()).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()), "{error}");
}
