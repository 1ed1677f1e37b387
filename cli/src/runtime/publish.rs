//! `--publish`: a port of the host's loopback that leads into a workload, as `kubectl port-forward` does: straight
//! to the application, beside the sidecar's policies for other workloads.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

use tokio::net::TcpStream;

use super::specification::Publish;
use crate::command::{CommandError, FAILED};

/// Opens the host's ports. Done before the workload's namespaces are entered: a socket stays where it was opened.
///
/// # Errors
/// Names the port that is taken.
pub fn open(ports: &[Publish]) -> Result<Vec<(TcpListener, u16)>, CommandError> {
    let open = |it: &Publish| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, it.host_port))?;
        listener.set_nonblocking(true)?;
        Ok((listener, it.port))
    };
    let failed = |it: &Publish, error: io::Error| {
        CommandError::new(FAILED, format!("cannot publish port {} of 127.0.0.1: {error}", it.host_port))
    };
    ports.iter().map(|it| open(it).map_err(|error| failed(it, error))).collect()
}

/// Relays what arrives at `listener` to `port` of this network, until dropped.
///
/// # Errors
/// When the event queue does not take the listener.
pub fn relay(listener: TcpListener, port: u16) -> io::Result<tokio::task::JoinHandle<()>> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    Ok(tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(connect(stream, port))),
                // Out of file descriptors: connections that end give some back.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    }))
}

async fn connect(mut outside: TcpStream, port: u16) {
    let inside = match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(stream) => Ok(stream),
        Err(_) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await,
    };
    // When nobody listens, the client sees its connection closed.
    if let Ok(mut inside) = inside {
        let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
    }
}
