//! Addresses and sockets.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use tokio::net::{TcpListener, UnixListener};
use weft_proto::local_socket;

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;

pub(super) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let in_use =
        |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
    match TcpListener::bind(address).await {
        // "Every address" of a machine that has no IPv6.
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && is_without_ipv6(&error) => {
            let every = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            TcpListener::bind(every).await.map_err(in_use)
        }
        bound => bound.map_err(in_use),
    }
}

fn is_without_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32)
}

/// Binds the socket for `weft`.
pub(super) fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    UnixListener::from_std(local_socket::bind(path, "another control plane")?)
}

pub(super) async fn report_end(
    name: &'static str,
    server: impl Future<Output = Result<(), tonic::transport::Error>>,
) {
    if let Err(error) = server.await {
        tracing::error!(%error, "{name} has failed");
    }
}
