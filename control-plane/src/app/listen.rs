//! Addresses and sockets.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use tokio::net::{TcpListener, UnixListener};
use weft_proto::local_socket;

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;

pub(super) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let in_use =
        |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
    TcpListener::bind(address).await.map_err(in_use)
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
