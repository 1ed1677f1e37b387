//! The modes of the load comparison (`load/bench.py`), and the resources of the one or two sidecars in each.

use std::net::SocketAddr;
use std::str::FromStr;

use weft_model::cluster::{Cluster, UpstreamHttp};
use weft_model::xds::Resource;

use crate::mesh::{self, Encryption};

/// The service that the backends stand for.
const SERVICE: &str = "server.default.svc.cluster.local";
const INBOUND: &str = "inbound|80||";
/// W6: hosts of a large mesh, and its clusters.
const HOSTS: usize = 2_000;
const CLUSTERS: usize = 5_000;

/// What the sidecars do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// One hop, HTTP/1.1 to the backend.
    Http,
    /// One hop, HTTP/2 without TLS to the backends.
    Grpc,
    /// One hop, byte by byte.
    Tcp,
    /// Mutual TLS between two sidecars, HTTP/1.1 inside.
    PairHttp1,
    /// Mutual TLS between two sidecars, HTTP/2 inside.
    PairHttp2,
    /// Mutual TLS between two sidecars, bytes inside.
    PairTcp,
    /// One hop with the routes of a large mesh.
    Routes,
    /// The same hop, with one route.
    RoutesEmpty,
}

impl Mode {
    const NAMES: [(&str, Self); 8] = [
        ("http", Self::Http),
        ("grpc", Self::Grpc),
        ("tcp", Self::Tcp),
        ("pair-h1", Self::PairHttp1),
        ("pair-h2", Self::PairHttp2),
        ("pair-tcp", Self::PairTcp),
        ("routes", Self::Routes),
        ("routes-empty", Self::RoutesEmpty),
    ];
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, mode)| *mode).ok_or_else(|| {
            let names: Vec<_> = Self::NAMES.iter().map(|(name, _)| *name).collect();
            format!("`{text}` is no mode: there are {}", names.join(", "))
        })
    }
}

/// The sidecar at whose resources one looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The client's.
    A,
    /// The server's; only in pair modes.
    B,
}

/// Where things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// Where the client connects to.
    pub entry: SocketAddr,
    /// Pair modes: the server's sidecar.
    pub middle: SocketAddr,
    /// The backends.
    pub backends: Vec<SocketAddr>,
}

/// Everything that a sidecar serves.
#[must_use]
pub fn resources(mode: Mode, role: Role, places: &Places) -> Vec<Resource> {
    match role {
        Role::A => client_side(mode, places),
        Role::B => server_side(mode, places),
    }
}

fn client_side(mode: Mode, places: &Places) -> Vec<Resource> {
    let name = format!("outbound|80||{SERVICE}");
    let (to, encryption): (&[SocketAddr], _) = match mode {
        Mode::PairHttp1 | Mode::PairHttp2 | Mode::PairTcp => {
            (std::slice::from_ref(&places.middle), Encryption::MutualTls)
        }
        _ => (&places.backends, Encryption::None),
    };
    let http = match mode {
        Mode::Grpc | Mode::PairHttp2 => UpstreamHttp::Http2,
        _ => UpstreamHttp::Http1,
    };
    if mode == Mode::Routes {
        return large_mesh(places);
    }
    let cluster = mesh::outbound_cluster(&name, SERVICE, http, encryption);
    let endpoints = mesh::endpoints(&name, to, encryption);
    let listener = match mode {
        Mode::Tcp | Mode::PairTcp => mesh::outbound_tcp_listener(places.entry, &name),
        _ => mesh::outbound_http_listener(places.entry, "80"),
    };
    let mut all = vec![of(cluster), endpoints, listener];
    if !matches!(mode, Mode::Tcp | Mode::PairTcp) {
        all.push(mesh::outbound_routes("80", vec![mesh::any_host(&name)]));
    }
    all
}

fn server_side(mode: Mode, places: &Places) -> Vec<Resource> {
    let cluster = of(mesh::inbound_cluster(INBOUND));
    let endpoints = mesh::endpoints(INBOUND, &places.backends, Encryption::None);
    match mode {
        Mode::PairTcp => vec![cluster, endpoints, mesh::inbound_tcp_listener(places.middle, INBOUND)],
        _ => vec![
            cluster,
            endpoints,
            mesh::inbound_http_listener(places.middle, INBOUND),
            mesh::inbound_routes(INBOUND),
        ],
    }
}

fn large_mesh(places: &Places) -> Vec<Resource> {
    let name = |number: usize| format!("outbound|80||svc-{number}.ns.svc.cluster.local");
    let mut all = Vec::with_capacity(2 * CLUSTERS + 2);
    for number in 0..CLUSTERS {
        let host = format!("svc-{number}.ns.svc.cluster.local");
        all.push(of(mesh::outbound_cluster(&name(number), &host, UpstreamHttp::Http1, Encryption::None)));
        all.push(mesh::endpoints(&name(number), &places.backends, Encryption::None));
    }
    let hosts = (0..HOSTS)
        .map(|number| {
            mesh::host_of_large_mesh(number, [name(number), name(number + 2_000), name(number + 3_000)])
        })
        .collect();
    all.push(mesh::outbound_http_listener(places.entry, "80"));
    all.push(mesh::outbound_routes("80", hosts));
    all
}

fn of(cluster: Cluster) -> Resource {
    Resource::Cluster(cluster.into())
}
