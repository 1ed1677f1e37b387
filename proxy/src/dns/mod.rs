//! The workload's resolver: the mesh's names from the snapshot, everything else forwarded untouched.
//!
//! A name of the mesh without an address of the family asked for gets an empty answer, not "no such name": otherwise
//! clients that ask for both families give up (RFC 8020). What is not of the mesh goes to the resolvers that the
//! workload had before, byte for byte but for the id (PAINS 20). When none of them answers that is a failure of the server
//! (SERVFAIL), never "no such name": nobody has said so. The mesh says so itself only of names below its own domain, and
//! only where nobody else gives names there ([`DnsSettings::own_domain`]).

mod answer;
mod explain;
mod forward;

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use weft_model::snapshot::Snapshot;

pub use answer::SearchDomains;
use answer::Verdict;
pub use explain::Explain;

/// How names are resolved.
#[derive(Clone, Debug)]
pub struct DnsSettings {
    /// Where queries are taken, over UDP and TCP; Istio's is `127.0.0.1:15053`. With `127.0.0.1` they are taken at
    /// `[::1]` of the same port too: interception sends queries to IPv6 resolvers there.
    pub address: SocketAddr,
    /// Who is asked for names that are not of the mesh, one after the other.
    pub upstreams: Vec<SocketAddr>,
    /// The way to the resolvers of the machine, who are asked where `upstreams` is empty.
    pub egress: Option<crate::egress::Egress>,
    /// What short names are completed with.
    pub search: SearchDomains,
    /// The domain, such as `cluster.local`, of which the mesh knows all names; none: others, such as Kubernetes'
    /// resolver, may know more.
    pub own_domain: Option<String>,
    /// Mark of the sockets to the upstreams, so that interception lets them pass.
    pub mark: Option<u32>,
    /// Wait for an upstream's answer.
    pub timeout: Duration,
    /// Queries under way at most; beyond them, SERVFAIL.
    pub concurrency: usize,
    /// TCP clients at most; beyond them, connections are closed.
    pub connections: usize,
}

impl DnsSettings {
    /// At `address`, for a workload of the DNS domain `domain`, such as `default.svc.cluster.local`.
    #[must_use]
    pub fn new(address: SocketAddr, upstreams: Vec<SocketAddr>, domain: &str) -> Self {
        Self {
            address,
            upstreams,
            egress: None,
            search: SearchDomains::of(domain),
            own_domain: None,
            mark: None,
            timeout: Duration::from_secs(3),
            concurrency: 1024,
            connections: 256,
        }
    }
}

/// A resolver whose sockets are bound.
#[derive(Debug)]
pub struct Resolver {
    doors: Vec<Door>,
    shared: Arc<Shared>,
}

/// One address, over both transports.
#[derive(Debug)]
struct Door {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
}

#[derive(Debug)]
struct Shared {
    settings: DnsSettings,
    snapshot: Arc<ArcSwap<Snapshot>>,
    under_way: Semaphore,
    connections: Arc<Semaphore>,
}

impl Resolver {
    /// Takes the address, over UDP and TCP.
    ///
    /// # Errors
    /// When it is taken already, or may not be taken; names the address.
    pub async fn bind(settings: DnsSettings, snapshot: Arc<ArcSwap<Snapshot>>) -> io::Result<Self> {
        let doors = doors(settings.address).await?;
        let under_way = Semaphore::new(settings.concurrency);
        let connections = Arc::new(Semaphore::new(settings.connections));
        Ok(Self { doors, shared: Arc::new(Shared { settings, snapshot, under_way, connections }) })
    }

    /// Where queries are taken: the address of the settings first.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.doors.iter().filter_map(|door| door.tcp.local_addr().ok()).collect()
    }

    /// What says how a name would be answered, and from what: for people.
    #[must_use]
    pub fn explainer(&self) -> Explain {
        let shared = self.shared.clone();
        Arc::new(move |name| {
            let shared = shared.clone();
            Box::pin(
                async move { explain::explain(&name, &shared.snapshot.load_full(), &shared.settings).await },
            )
        })
    }

    /// Answers, for ever.
    pub async fn run(self) {
        let mut doors: JoinSet<()> = JoinSet::new();
        for door in self.doors {
            doors.spawn(door.run(self.shared.clone()));
        }
        while doors.join_next().await.is_some() {}
    }
}

/// A port that the system chose for one socket may be another's for the next: so many times others are tried.
const ATTEMPTS: usize = 16;

async fn doors(address: SocketAddr) -> io::Result<Vec<Door>> {
    let mut attempts = if address.port() == 0 { ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        match doors_once(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            done => return done,
        }
    }
}

async fn doors_once(address: SocketAddr) -> io::Result<Vec<Door>> {
    let first = Door::bind(address).await?;
    if address.ip() != IpAddr::V4(Ipv4Addr::LOCALHOST) {
        return Ok(vec![first]);
    }
    let port = first.tcp.local_addr()?.port();
    match Door::bind(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port)).await {
        Ok(second) => Ok(vec![first, second]),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        Err(error) => {
            // A machine without IPv6 has no IPv6 resolvers either.
            tracing::debug!(%error, "names are resolved over IPv4 only");
            Ok(vec![first])
        }
    }
}

impl Door {
    async fn bind(address: SocketAddr) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot resolve names at {address}: {error}"))
        };
        let tcp = TcpListener::bind(address).await.map_err(named)?;
        // With port 0 both must get the same port.
        let udp = UdpSocket::bind(tcp.local_addr()?).await.map_err(named)?;
        Ok(Self { udp: Arc::new(udp), tcp })
    }

    async fn run(self, shared: Arc<Shared>) {
        let mut tasks = JoinSet::new();
        let mut buffer = vec![0; 65_535];
        loop {
            tokio::select! {
                received = self.udp.recv_from(&mut buffer) => {
                    let Ok((length, client)) = received else { continue };
                    let (shared, udp) = (shared.clone(), self.udp.clone());
                    let query = buffer.get(..length).unwrap_or_default().to_vec();
                    tasks.spawn(async move {
                        if let Some(answer) = shared.resolve(&query, Over::Udp).await {
                            // A client that is gone needs no answer.
                            let _ = udp.send_to(&answer, client).await;
                        }
                    });
                }
                accepted = self.tcp.accept() => match accepted {
                    Ok((stream, _)) => {
                        // Beyond the bound, the connection is closed here: clients try again.
                        let Ok(permit) = shared.connections.clone().try_acquire_owned() else { continue };
                        let shared = shared.clone();
                        tasks.spawn(async move {
                            let _ = shared.serve(stream).await;
                            drop(permit);
                        });
                    }
                    // Out of descriptors, most likely: let those under way finish.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                },
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            }
        }
    }
}

/// How a query came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Over {
    Udp,
    Tcp,
}

/// A TCP client that says nothing, or takes no answer, for so long is let go.
const SILENCE: Duration = Duration::from_secs(10);

impl Shared {
    /// The answer to a query; none to what is no query.
    async fn resolve(&self, query: &[u8], over: Over) -> Option<Vec<u8>> {
        let question = match answer::judge(query, over, &self.snapshot.load(), &self.settings) {
            Verdict::Answer(answer) => return Some(answer),
            Verdict::Ignore => return None,
            Verdict::Forward(question) => question,
        };
        let Ok(_permit) = self.under_way.try_acquire() else { return question.failure() };
        match forward::forward(query, over, &self.settings).await {
            Some((answer, _)) => Some(answer),
            None => question.failure(),
        }
    }

    /// Queries of one TCP connection, one after the other (RFC 7766).
    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let query = tokio::time::timeout(SILENCE, read_message(&mut stream)).await??;
            let Some(answer) = self.resolve(&query, Over::Tcp).await else { return Ok(()) };
            tokio::time::timeout(SILENCE, write_message(&mut stream, &answer)).await??;
        }
    }
}

/// Reads a message behind its length (RFC 1035, section 4.2.2).
async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::Error::other("the answer is too long"))?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}

/// A socket to `upstream`, marked.
fn socket(upstream: SocketAddr, kind: Type, protocol: Protocol, mark: Option<u32>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(upstream), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    if kind == Type::DGRAM {
        let any: IpAddr = if upstream.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
        socket.bind(&SocketAddr::new(any, 0).into())?;
    }
    Ok(socket)
}
