//! The workload's resolver: the mesh's names from the snapshot, everything else forwarded untouched.
//!
//! A name of the mesh without an address of the family asked for gets an empty answer, not "no such name": otherwise
//! clients that ask for both families give up (RFC 8020). What is not of the mesh goes to the resolvers that the
//! workload had before, byte for byte but for the id (PAINS 20).

mod answer;
mod forward;

use std::io;
use std::net::{IpAddr, SocketAddr};
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

/// How names are resolved.
#[derive(Clone, Debug)]
pub struct DnsSettings {
    /// Where queries are taken, over UDP and TCP; Istio's is `127.0.0.1:15053`.
    pub address: SocketAddr,
    /// Who is asked for names that are not of the mesh, one after the other.
    pub upstreams: Vec<SocketAddr>,
    /// What short names are completed with.
    pub search: SearchDomains,
    /// Mark of the sockets to the upstreams, so that interception lets them pass.
    pub mark: Option<u32>,
    /// Wait for an upstream's answer.
    pub timeout: Duration,
    /// Queries under way at most; beyond them, SERVFAIL.
    pub concurrency: usize,
}

impl DnsSettings {
    /// At `address`, for a workload of the DNS domain `domain`, such as `default.svc.cluster.local`.
    #[must_use]
    pub fn new(address: SocketAddr, upstreams: Vec<SocketAddr>, domain: &str) -> Self {
        Self {
            address,
            upstreams,
            search: SearchDomains::of(domain),
            mark: None,
            timeout: Duration::from_secs(3),
            concurrency: 1024,
        }
    }
}

/// A resolver whose sockets are bound.
#[derive(Debug)]
pub struct Resolver {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: DnsSettings,
    snapshot: Arc<ArcSwap<Snapshot>>,
    under_way: Semaphore,
}

impl Resolver {
    /// Takes the address, over UDP and TCP.
    ///
    /// # Errors
    /// When it is taken already, or may not be taken.
    pub async fn bind(settings: DnsSettings, snapshot: Arc<ArcSwap<Snapshot>>) -> io::Result<Self> {
        let tcp = TcpListener::bind(settings.address).await?;
        // With port 0 both must get the same port.
        let udp = Arc::new(UdpSocket::bind(tcp.local_addr()?).await?);
        let under_way = Semaphore::new(settings.concurrency);
        Ok(Self { udp, tcp, shared: Arc::new(Shared { settings, snapshot, under_way }) })
    }

    /// Where queries are taken.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Answers, for ever.
    pub async fn run(self) {
        let mut tasks = JoinSet::new();
        let mut buffer = vec![0; 65_535];
        loop {
            tokio::select! {
                received = self.udp.recv_from(&mut buffer) => {
                    let Ok((length, client)) = received else { continue };
                    let (shared, udp, query) = (self.shared.clone(), self.udp.clone(), buffer[..length].to_vec());
                    tasks.spawn(async move {
                        if let Some(answer) = shared.resolve(&query, Over::Udp).await {
                            // A client that is gone needs no answer.
                            let _ = udp.send_to(&answer, client).await;
                        }
                    });
                }
                accepted = self.tcp.accept() => match accepted {
                    Ok((stream, _)) => {
                        let shared = self.shared.clone();
                        tasks.spawn(async move {
                            let _ = shared.serve(stream).await;
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

/// A TCP client that says nothing for so long is let go.
const SILENCE: Duration = Duration::from_secs(10);

impl Shared {
    /// The answer to a query; none to what is no query.
    async fn resolve(&self, query: &[u8], over: Over) -> Option<Vec<u8>> {
        let question = match answer::judge(query, over, &self.snapshot.load(), &self.settings.search) {
            Verdict::Answer(answer) => return Some(answer),
            Verdict::Ignore => return None,
            Verdict::Forward(question) => question,
        };
        let Ok(_permit) = self.under_way.try_acquire() else { return question.failure() };
        if self.settings.upstreams.is_empty() {
            return question.no_such_name();
        }
        match forward::forward(query, over, &self.settings).await {
            Some(answer) => Some(answer),
            None => question.failure(),
        }
    }

    /// Queries of one TCP connection, one after the other (RFC 7766).
    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let query = tokio::time::timeout(SILENCE, read_message(&mut stream)).await??;
            let Some(answer) = self.resolve(&query, Over::Tcp).await else { return Ok(()) };
            write_message(&mut stream, &answer).await?;
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
