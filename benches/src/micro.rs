//! `cargo bench -p weft-benches [-- [--instructions] [NAME]]`: what the parts of a request's way cost by themselves.
//!
//! Times are the least of many batches, in nanoseconds. `--instructions` counts user instructions instead, by running
//! itself under `valgrind --tool=callgrind` twice and subtracting: hardly moved by other work on the machine.

use std::hint::black_box;
use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::HeaderMap;
use weft_benches::mesh;
use weft_model::cluster::UpstreamHttp;
use weft_model::listener::{ConnectionFacts, FilterChain, Listener, Transport};
use weft_model::matcher::RequestFacts;
use weft_model::route::RouteTable;
use weft_model::xds::Resource;
use weft_proxy::http1::{HeadLimits, parse_request, parse_response};

const REQUEST: &[u8] = b"GET /reviews/17?page=2 HTTP/1.1\r\nHost: reviews.default.svc.cluster.local:9080\r\n\
    User-Agent: wrk/4.1\r\nAccept: application/json\r\nX-Request-Id: 7f3a63b8-0f83-4d0c-9e4e-f0b1f6c0ef42\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: demo\r\n\
    Date: Mon, 23 Nov 2026 12:00:00 GMT\r\nContent-Length: 0\r\n\r\n";
const BATCHES: u32 = 30;
const BATCH: Duration = Duration::from_millis(10);

type Benchmark = (&'static str, Box<dyn FnMut()>);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--run", name, times] => run(name, times.parse().unwrap_or(0)),
        ["--instructions"] => instructions(""),
        ["--instructions", name] => instructions(name),
        [] => times(""),
        [name] => times(name),
        _ => {
            eprintln!("usage: micro [--instructions] [NAME]");
            ExitCode::from(2)
        }
    }
}

fn benchmarks() -> Vec<Benchmark> {
    let mut all: Vec<Benchmark> =
        vec![head("parse a request's head", false), head("parse a response's head", true)];
    all.extend([1, 2_000].map(route));
    all.extend([1, 20].map(filter_chain));
    let table = match mesh::inbound_routes("inbound|80||") {
        Resource::Routes(table) => table,
        _ => return all,
    };
    all.extend(codec("routes", Resource::Routes(table)));
    let cluster =
        mesh::outbound_cluster("outbound|80||a.b", "a.b", UpstreamHttp::Http1, mesh::Encryption::MutualTls);
    all.extend(codec("cluster", Resource::Cluster(cluster.into())));
    let addresses: Vec<SocketAddr> = (1..=100).map(|n| SocketAddr::from(([10, 0, 0, n], 80))).collect();
    all.extend(codec("100 endpoints", mesh::endpoints("a", &addresses, mesh::Encryption::MutualTls)));
    all
}

fn head(name: &'static str, response: bool) -> Benchmark {
    let limits = HeadLimits::default();
    let run = move || {
        let mut buffer = BytesMut::from(if response { RESPONSE } else { REQUEST });
        if response {
            black_box(parse_response(&mut buffer, &http::Method::GET, &limits).is_ok());
        } else {
            black_box(parse_request(&mut buffer, &limits).is_ok());
        }
    };
    (name, Box::new(run))
}

/// The last of three routes, in a table of so many virtual hosts.
fn route(hosts: usize) -> Benchmark {
    let names = |number: usize| [(); 3].map(|()| format!("outbound|80||svc-{number}.ns.svc.cluster.local"));
    let all = (0..hosts).map(|number| mesh::host_of_large_mesh(number, names(number))).collect();
    let table = RouteTable::new("80", all);
    let authority = format!("svc-{}.ns.svc.cluster.local", hosts / 2);
    let headers = HeaderMap::new();
    let run = move || {
        let request = RequestFacts {
            method: "GET",
            scheme: "http",
            authority: black_box(&authority),
            path_and_query: "/reviews/17?page=2",
            headers: &headers,
            random: 0,
        };
        black_box(table.route(&request).is_some());
    };
    (if hosts == 1 { "match a route, 1 host" } else { "match a route, 2,000 hosts" }, Box::new(run))
}

/// The last of so many filter chains, told apart by port.
fn filter_chain(chains: u16) -> Benchmark {
    let address = SocketAddr::from(([127, 0, 0, 1], 15_006));
    let name = if chains == 1 { "choose a filter chain of 1" } else { "choose a filter chain of 20" };
    let Resource::Listener(listener) = mesh::inbound_http_listener(address, "r") else {
        return (name, Box::new(|| ()));
    };
    let of_port = |port: u16, chain: &FilterChain| {
        let mut chain = chain.clone();
        chain.matches.destination_port = Some(port);
        chain
    };
    let filter_chains = listener
        .filter_chains
        .iter()
        .flat_map(|chain| (1..=chains).map(|port| of_port(8_000 + port, chain)))
        .collect();
    let listener = Listener { filter_chains, ..Listener::clone(&listener) };
    let destination = SocketAddr::from(([10, 0, 0, 1], 8_000 + chains));
    let run = move || {
        let facts = ConnectionFacts {
            destination: black_box(destination),
            transport: Transport::Tls,
            application_protocols: &["istio-http/1.1", "istio", "http/1.1"],
            server_name: Some("outbound_.80_._.a.b"),
        };
        black_box(listener.filter_chain(&facts).is_some());
    };
    (name, Box::new(run))
}

fn codec(what: &'static str, resource: Resource) -> [Benchmark; 2] {
    let names = match what {
        "routes" => ["encode routes", "decode routes"],
        "cluster" => ["encode a cluster", "decode a cluster"],
        _ => ["encode 100 endpoints", "decode 100 endpoints"],
    };
    let bytes = resource.encode();
    [
        (names[0], Box::new(move || drop(black_box(resource.encode())))),
        (
            names[1],
            Box::new(move || {
                black_box(Resource::decode(&bytes).is_ok());
            }),
        ),
    ]
}

fn run(name: &str, times: u32) -> ExitCode {
    for (_, mut once) in benchmarks().into_iter().filter(|(known, _)| *known == name) {
        (0..times).for_each(|_| once());
    }
    ExitCode::SUCCESS
}

fn times(wanted: &str) -> ExitCode {
    for (name, mut once) in benchmarks().into_iter().filter(|(name, _)| name.contains(wanted)) {
        let mut batch = |times: u32| {
            let began = Instant::now();
            (0..times).for_each(|_| once());
            began.elapsed()
        };
        let mut count = 1;
        while batch(count) < BATCH && count < 1 << 24 {
            count *= 2;
        }
        let least = (0..BATCHES).map(|_| batch(count)).min().unwrap_or_default();
        println!("{name:32} {:10.1} ns", least.as_secs_f64() * 1e9 / f64::from(count));
    }
    ExitCode::SUCCESS
}

fn instructions(wanted: &str) -> ExitCode {
    for (name, _) in benchmarks().into_iter().filter(|(name, _)| name.contains(wanted)) {
        match (collected(name, 100), collected(name, 1_100)) {
            (Some(few), Some(many)) => {
                println!("{name:32} {:10} instructions", many.saturating_sub(few) / 1_000)
            }
            _ => {
                eprintln!("cannot count: is valgrind installed?");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Instructions of a whole run.
fn collected(name: &str, times: u32) -> Option<u64> {
    let this = std::env::current_exe().ok()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args(["--run", name, &times.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(':').next()?.trim().parse().ok()
}
