//! The way out of a mesh's own network, without touching the machine's.
//!
//! The network namespaces of a standalone mesh lead nowhere. A process that was left outside ([`serve`],
//! `weft-proxy egress`) makes connections for the sidecars and hands the connected sockets over a Unix socket
//! (`SCM_RIGHTS`, unix(7)): a socket stays in the namespace in which it was made. No packet filter, no forwarding and
//! no privilege is needed, and no byte passes through the process that made the connection.
//!
//! It connects to what every user of the machine can reach but for the machine itself: not to loopback, not to
//! link-local addresses (where clouds keep their metadata), not to multicast.

mod message;
mod server;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use tokio::net::{TcpStream, UdpSocket, UnixStream};

pub use message::Request;
pub use server::{Allowed, EgressArgs, is_outside, run, serve};

#[cfg(test)]
#[path = "egress_tests.rs"]
mod tests;

/// How a sidecar gets connections to the world outside the mesh.
#[derive(Clone, Debug)]
pub struct Egress {
    socket: Arc<Path>,
    inside: Arc<[Network]>,
}

impl Egress {
    /// By the process that listens at `socket`; `inside` is reached directly.
    #[must_use]
    pub fn new(socket: PathBuf, inside: &[Network]) -> Self {
        Self { socket: socket.into(), inside: inside.into() }
    }

    /// Whether an address is reached this way.
    #[must_use]
    pub fn leads_to(&self, address: IpAddr) -> bool {
        !address.is_loopback() && !self.inside.iter().any(|network| network.contains(address))
    }

    /// A TCP connection to an address outside.
    ///
    /// # Errors
    /// Why not, in words that name the address. Bound it in time: it lasts as long as connecting does.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = std::net::TcpStream::from(self.ask(&Request::Connect(address)).await?);
        socket.set_nonblocking(true)?;
        TcpStream::from_std(socket)
    }

    /// A TCP connection to one of the machine's resolvers, the first being 0.
    ///
    /// # Errors
    /// Of the kind [`io::ErrorKind::NotFound`] when the machine has no such resolver; else why not.
    pub async fn resolver_stream(&self, number: usize) -> io::Result<TcpStream> {
        let socket = std::net::TcpStream::from(self.ask(&Request::ResolverStream(number)).await?);
        socket.set_nonblocking(true)?;
        TcpStream::from_std(socket)
    }

    /// A UDP socket that is connected to one of the machine's resolvers, the first being 0.
    ///
    /// # Errors
    /// As [`Self::resolver_stream`].
    pub async fn resolver_datagrams(&self, number: usize) -> io::Result<UdpSocket> {
        let socket = std::net::UdpSocket::from(self.ask(&Request::ResolverDatagrams(number)).await?);
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    }

    async fn ask(&self, request: &Request) -> io::Result<std::os::fd::OwnedFd> {
        let gone = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("the mesh's way out does not answer ({error}); `weft up` starts it again"),
            )
        };
        let stream = UnixStream::connect(&self.socket).await.map_err(gone)?;
        message::send_request(&stream, request).await.map_err(gone)?;
        message::receive_answer(&stream).await.map_err(gone)?
    }
}

/// An address range, as in `10.250.0.0/16`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether an address is in it. Never one of the other family.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no address range; such as 10.250.0.0/16");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if prefix > if address.is_ipv4() { 32 } else { 128 } {
            return Err(wrong());
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}
