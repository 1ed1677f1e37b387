//! Where a redirected connection was going: the kernel's connection tracking remembers (`SO_ORIGINAL_DST`).

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

/// The destination before the redirection; the socket's own address when it was not redirected.
#[must_use]
pub fn original_destination(stream: &TcpStream, local: SocketAddr) -> SocketAddr {
    let socket = SockRef::from(stream);
    // An IPv4 client of a dual-stack socket has a mapped address, and is tracked as IPv4.
    let found = if unmapped(local).is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    // The kernel answers ENOENT or EOPNOTSUPP for a connection that it does not track.
    let address = found.ok().and_then(|address| address.as_socket()).unwrap_or(local);
    unmapped(address)
}

/// An IPv4 address in IPv6 form as what it is.
#[must_use]
pub fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
