//! Asks those who were asked before there was a mesh.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use socket2::{Protocol, Type};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::{DnsSettings, Over, read_message, socket, write_message};
use crate::egress::Egress;

/// Resolvers of the machine that are asked: as many as C libraries ask (`MAXNS`, resolv.conf(5)).
const MACHINES: usize = 3;

/// Someone who is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Upstream {
    /// At an address that this network leads to.
    At(SocketAddr),
    /// The machine's resolver of this number, from 0, which the way out of the mesh's network leads to.
    Machine(usize),
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Machine(number) => write!(f, "resolver {} of the machine", number + 1),
        }
    }
}

/// Who is asked, in this order. The machine's resolvers only where nobody was named instead of them.
fn upstreams(settings: &DnsSettings) -> impl Iterator<Item = Upstream> {
    let machines = if settings.egress.is_some() && settings.upstreams.is_empty() { MACHINES } else { 0 };
    settings.upstreams.iter().copied().map(Upstream::At).chain((0..machines).map(Upstream::Machine))
}

/// The answer of the first upstream that gives one in time, under the query's own id, and which one that is. An
/// upstream that failed or will not answer leaves the word to the next, as resolvers of C libraries do; if none knows
/// better, that is the answer.
pub(super) async fn forward(query: &[u8], over: Over, settings: &DnsSettings) -> Option<(Vec<u8>, Upstream)> {
    let mut failure = None;
    for upstream in upstreams(settings) {
        let asked = async {
            match over {
                Over::Udp => ask_udp(query, datagrams(upstream, settings).await?).await,
                Over::Tcp => ask_tcp(query, stream(upstream, settings).await?).await,
            }
        };
        match tokio::time::timeout(settings.timeout, asked).await {
            Ok(Ok(answer)) if is_failure(&answer) => failure = Some((answer, upstream)),
            Ok(Ok(answer)) => return Some((answer, upstream)),
            // The machine has no further one.
            Ok(Err(error)) if upstream != Upstream::Machine(0) && error.kind() == io::ErrorKind::NotFound => {
                break;
            }
            Ok(Err(error)) => tracing::debug!(%upstream, %error, "an upstream resolver failed"),
            Err(_) => tracing::debug!(%upstream, "an upstream resolver gave no answer in time"),
        }
    }
    failure
}

/// SERVFAIL or REFUSED (RFC 1035, section 4.1.1).
fn is_failure(answer: &[u8]) -> bool {
    answer.get(3).is_some_and(|flags| matches!(flags & 0x0f, 2 | 5))
}

/// Connected: only the upstream's packets arrive, and a port that nobody listens on is an error at once.
async fn datagrams(upstream: Upstream, settings: &DnsSettings) -> io::Result<UdpSocket> {
    match upstream {
        Upstream::At(address) => {
            let socket = socket(address, Type::DGRAM, Protocol::UDP, settings.mark)?;
            let socket = UdpSocket::from_std(socket.into())?;
            socket.connect(address).await?;
            Ok(socket)
        }
        Upstream::Machine(number) => way_out(settings)?.resolver_datagrams(number).await,
    }
}

async fn stream(upstream: Upstream, settings: &DnsSettings) -> io::Result<TcpStream> {
    match upstream {
        Upstream::At(address) => {
            let socket = socket(address, Type::STREAM, Protocol::TCP, settings.mark)?;
            TcpSocket::from_std_stream(socket.into()).connect(address).await
        }
        Upstream::Machine(number) => way_out(settings)?.resolver_stream(number).await,
    }
}

fn way_out(settings: &DnsSettings) -> io::Result<&Egress> {
    settings.egress.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// From a port and with an id of its own, so that nobody can guess them (RFC 5452).
async fn ask_udp(query: &[u8], socket: UdpSocket) -> io::Result<Vec<u8>> {
    let mut asked = query.to_vec();
    let id = fastrand::u16(..);
    set_id(&mut asked, id.to_be_bytes());
    socket.send(&asked).await?;
    let mut buffer = vec![0; 65_535];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if buffer.get(..length).is_some_and(|answer| answer.starts_with(&id.to_be_bytes()) && length >= 12) {
            buffer.truncate(length);
            restore_id(&mut buffer, query);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(query: &[u8], mut stream: TcpStream) -> io::Result<Vec<u8>> {
    write_message(&mut stream, query).await?;
    read_message(&mut stream).await
}

fn set_id(message: &mut [u8], id: [u8; 2]) {
    if let Some(first) = message.get_mut(..2) {
        first.copy_from_slice(&id);
    }
}

fn restore_id(answer: &mut [u8], query: &[u8]) {
    if let [high, low, ..] = query {
        set_id(answer, [*high, *low]);
    }
}
