//! The gRPC connection to the control plane: mutual TLS with the newest certificate, on a marked socket.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use weft_model::clock::Clock;

use super::current::Identity;
use super::settings::{ControlPlane, IdentityError};
use crate::tls::provider;

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;

/// For one address: TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A control plane that vanished without a word is noticed within this and the time-out that follows.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A channel that connects when first used, and again whenever the connection is lost, each time with the newest
/// certificate and trust bundle. Make it after [`Identity::ready`]: a connection that was made without a certificate
/// stays without one.
///
/// # Errors
/// [`IdentityError::Unreachable`] when the address or the server name is none.
pub fn channel(control_plane: &ControlPlane, identity: &Identity) -> Result<Channel, IdentityError> {
    let unusable =
        |reason: String| IdentityError::Unreachable { address: control_plane.address.clone(), reason };
    let server_name = ServerName::try_from(control_plane.server_name.clone())
        .map_err(|_| unusable(format!("`{}` is no DNS name", control_plane.server_name)))?;
    let endpoint = Endpoint::from_shared(format!("https://{}", control_plane.server_name))
        .map_err(|error| unusable(error.to_string()))?
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_with_connector_lazy(Connector {
        control_plane: control_plane.clone(),
        server_name,
        identity: identity.clone(),
    }))
}

/// Makes one connection per call.
struct Connector {
    control_plane: ControlPlane,
    server_name: ServerName<'static>,
    identity: Identity,
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<TlsStream<TcpStream>>>> + Send>>;

impl tower_service::Service<http::Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Connecting {
        let config = client_config(&self.identity);
        let name = self.server_name.clone();
        let ControlPlane { address, mark, .. } = self.control_plane.clone();
        Box::pin(async move {
            let connector = TlsConnector::from(Arc::new(config?));
            let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{address} has no address"));
            for target in tokio::net::lookup_host(&address).await? {
                let attempt = async {
                    let stream = connect(target, mark).await?;
                    connector.connect(name.clone(), stream).await
                };
                match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
                    Ok(Ok(stream)) => return Ok(TokioIo::new(stream)),
                    Ok(Err(error)) => last = at(target, error),
                    Err(_) => {
                        last = at(target, io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
                    }
                }
            }
            Err(last)
        })
    }
}

fn at(target: SocketAddr, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{target}: {error}"))
}

async fn connect(target: SocketAddr, mark: Option<u32>) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(mark) = mark {
        // Unmarked it would be caught by our own interception and come back to ourselves: better fail with the reason.
        socket2::SockRef::from(&socket).set_mark(mark).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot mark the socket with {mark:#x}: {error}"))
        })?;
    }
    socket.set_nodelay(true)?;
    socket.connect(target).await
}

/// Our clock, as rustls asks for it.
#[derive(Debug)]
struct WallTime(Clock);

impl TimeProvider for WallTime {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.now().duration_since(SystemTime::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

/// The control plane is verified as any server is, by chain and DNS name; we present our certificate if we have one.
fn client_config(identity: &Identity) -> io::Result<ClientConfig> {
    let bundle = identity.trust_bundle();
    let time = Arc::new(WallTime(identity.clock().clone()));
    let builder = ClientConfig::builder_with_details(provider(), time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(Arc::clone(bundle.store()));
    let mut config = match identity.current() {
        Some(certificate) => builder.with_client_cert_resolver(certificate.resolver()),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Connections are few and long; each is to prove the newest certificate.
    config.resumption = Resumption::disabled();
    Ok(config)
}
