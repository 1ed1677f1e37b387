//! The real `weft-proxy` from start to end, without a control plane.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weft_model::listener::{
    Codec, Direction, FilterChain, FilterChainMatch, HttpConnection, Inspection, Listener, NetworkFilter,
    RouteSource,
};
use weft_model::policy::HeaderMutations;
use weft_model::route::{DirectResponse, Route, RouteAction, RouteMatch, RouteTable, VirtualHost};
use weft_model::xds::Resource;
use weft_proto::xds::discovery::{DeltaDiscoveryResponse, Resource as Wrapped};

const DEADLINE: Duration = Duration::from_secs(20);

/// A port that was free a moment ago.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// A listener that answers everything with a greeting.
fn write_resources(file: &Path, address: SocketAddr) {
    let route = Route {
        name: "greeting".into(),
        matches: RouteMatch::any(),
        action: RouteAction::Respond(DirectResponse { status: 200, body: "served".into() }),
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
    let http = HttpConnection {
        stat_prefix: "test".into(),
        codec: Codec::Auto,
        routes: RouteSource::Inline(Arc::new(RouteTable::new("routes", vec![host]))),
        forward_client_certificate: false,
        stream_idle_timeout: None,
        upgrades: Vec::new(),
        forward_proxy: false,
        filters: weft_model::filter::HttpFilter::of_the_mesh(),
    };
    let listener = Listener {
        name: "test".into(),
        addresses: vec![address],
        bind: true,
        use_original_dst: false,
        headless: false,
        direction: Direction::Outbound,
        inspection: Inspection::default(),
        filter_chains: Vec::new(),
        default_filter_chain: Some(FilterChain::new(
            "http",
            FilterChainMatch::default(),
            None,
            NetworkFilter::Http(http),
        )),
        provenance: Vec::new(),
    };
    let any = Resource::Listener(Arc::new(listener)).encode();
    let wrapped = Wrapped {
        name: "test".into(),
        version: "1".into(),
        resource: Some(any.clone()),
        ..Wrapped::default()
    };
    let response = DeltaDiscoveryResponse {
        type_url: any.type_url,
        resources: vec![wrapped],
        ..DeltaDiscoveryResponse::default()
    };
    weft_proxy::discovery::write_resources(file, &[response]).expect("writes");
}

fn connect(address: SocketAddr) -> TcpStream {
    let begun = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_read_timeout(Some(DEADLINE)).expect("a time-out");
                return stream;
            }
            Err(error) => assert!(begun.elapsed() < DEADLINE, "nobody listens at {address}: {error}"),
        }
        std::thread::yield_now();
    }
}

fn start(arguments: &[(&str, String)]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft-proxy"));
    command.arg("run").stderr(Stdio::piped());
    for (name, value) in arguments {
        command.args([*name, value]);
    }
    command.spawn().expect("starts")
}

/// Head and body of a response with `Content-Length`.
fn response(stream: &mut BufReader<TcpStream>) -> (BTreeMap<String, String>, String) {
    let mut head = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).expect("a line");
        match line.trim_end().split_once(": ") {
            Some((name, value)) => drop(head.insert(name.to_owned(), value.to_owned())),
            None if line.trim_end().is_empty() => break,
            None => drop(head.insert("status".to_owned(), line.trim_end().to_owned())),
        }
    }
    let length = head.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
    (head, String::from_utf8(body).expect("text"))
}

#[test]
fn a_sidecar_serves_a_file_of_resources_and_leaves_on_sigterm_when_its_last_connection_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("resources");
    let (address, admin) = (free(), free());
    write_resources(&file, address);
    let mut child = start(&[
        ("--resources", file.display().to_string()),
        ("--admin-address", admin.to_string()),
        ("--concurrency", "2".to_owned()),
        ("--drain-time", "20s".to_owned()),
    ]);
    let mut client = BufReader::new(connect(address));
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.get_mut().write_all(request).expect("sends");
    let (_, body) = response(&mut client);
    assert_eq!(body, "served");
    let mut ready = BufReader::new(connect(admin));
    ready.get_mut().write_all(b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("sends");
    assert!(response(&mut ready).0["status"].contains(" 200 "));

    terminate(&child);
    // What is under way goes on, and is told to come again elsewhere.
    let told = Instant::now();
    loop {
        client.get_mut().write_all(request).expect("sends");
        let (head, body) = response(&mut client);
        assert_eq!(body, "served");
        if head.get("connection").is_some_and(|value| value == "close") {
            break;
        }
        assert!(told.elapsed() < DEADLINE, "it was never told");
    }
    drop(client);
    assert!(child.wait().expect("ends").success());
}

fn terminate(child: &Child) {
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it is there");
}

/// A sidecar that a failing test does not leave behind.
struct Running(Child);

impl Running {
    fn terminate(&self) {
        terminate(&self.0);
    }

    /// Waits for a good end that comes well before the drain time.
    fn ends(mut self) {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("its status") {
                return assert!(status.success(), "{status}");
            }
            assert!(begun.elapsed() < DEADLINE, "it goes on");
            std::thread::yield_now();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `/ready` says.
fn readiness(admin: SocketAddr) -> String {
    let mut stream = connect(admin);
    stream.write_all(b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("sends");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("an answer");
    said
}

#[test]
fn a_second_sigterm_ends_the_drain() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("resources");
    let (address, admin) = (free(), free());
    write_resources(&file, address);
    let sidecar = Running(start(&[
        ("--resources", file.display().to_string()),
        ("--admin-address", admin.to_string()),
        ("--drain-time", "600s".to_owned()),
    ]));
    let mut client = BufReader::new(connect(address));
    client.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("sends");
    assert_eq!(response(&mut client).1, "served");
    sidecar.terminate();
    let begun = Instant::now();
    while !readiness(admin).contains("draining") {
        assert!(begun.elapsed() < DEADLINE, "it does not drain");
    }
    sidecar.terminate();
    sidecar.ends();
}

#[test]
fn a_sidecar_that_waits_for_a_silent_control_plane_leaves_on_sigterm() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).display().to_string();
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&rcgen::KeyPair::generate().expect("a key")).expect("a root");
    std::fs::write(at("root.pem"), root.pem()).expect("written");
    std::fs::write(at("token"), "token").expect("written");
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let admin = free();
    let sidecar = Running(start(&[
        ("--node", "sidecar~127.0.0.1~reviews-1.shop~shop.svc.cluster.local".to_owned()),
        ("--discovery-address", silent.local_addr().expect("its address").to_string()),
        ("--trust-bundle", at("root.pem")),
        ("--join-token-file", at("token")),
        ("--state-dir", at("state")),
        ("--mode", "explicit".to_owned()),
        ("--explicit-outbound", free().to_string()),
        ("--admin-address", admin.to_string()),
        ("--drain-time", "600s".to_owned()),
    ]));
    let (_asked, _) = silent.accept().expect("the sidecar asks");
    let said = readiness(admin);
    assert!(said.contains(" 503 ") && said.contains("NOT READY"), "{said}");
    sidecar.terminate();
    sidecar.ends();
}

#[test]
fn all_mistakes_of_the_arguments_are_told_at_once() {
    let child = start(&[("--mode", "both".to_owned()), ("--drain-time", "soon".to_owned())]);
    let output = child.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for mistake in ["--mode both", "--drain-time soon", "--node is missing", "--state-dir is missing"] {
        assert!(said.contains(mistake), "{mistake}: {said}");
    }
}
