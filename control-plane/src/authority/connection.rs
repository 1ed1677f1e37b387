//! What is known of a connection to the control plane, for every service that is asked over it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use weft_model::identity::WorkloadIdentity;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::root::time;

/// A certificate that ended this long ago still proves who asks, for a new certificate and nothing else: a laptop
/// that slept over the weekend need not join again. Whoever holds its key could have renewed it before, too.
const RENEWAL_GRACE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The identity that a peer has proven in its handshake, by a certificate that was valid then.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PeerIdentity(pub WorkloadIdentity);

/// In the extensions of every request; tonic has room for one type. See [`peer_identity`] and [`peer_address`].
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Where the peer connects from.
    pub address: SocketAddr,
    /// Who it is; `None` without a certificate, or with one that has expired.
    pub identity: Option<PeerIdentity>,
    /// Who it was, when its certificate ended not too long ago.
    lapsed: Option<WorkloadIdentity>,
}

/// Who asks; `None` when the peer has proven nothing.
pub fn peer_identity<T>(request: &tonic::Request<T>) -> Option<PeerIdentity> {
    let extensions = request.extensions();
    let proven = extensions.get::<ConnectionInfo>().and_then(|connection| connection.identity.clone());
    // Behind another acceptor the server's own interceptor says it. Nothing that a peer sends gets in here.
    proven.or_else(|| extensions.get::<PeerIdentity>().cloned())
}

/// Where a request comes from; `None` outside our own acceptor.
pub fn peer_address<T>(request: &tonic::Request<T>) -> Option<SocketAddr> {
    request.extensions().get::<ConnectionInfo>().map(|connection| connection.address)
}

/// Who may ask for a new certificate.
pub(super) fn renewable_identity<T>(request: &tonic::Request<T>) -> Option<WorkloadIdentity> {
    let connection = request.extensions().get::<ConnectionInfo>()?;
    let current = connection.identity.as_ref().map(|PeerIdentity(identity)| identity);
    current.or(connection.lapsed.as_ref()).cloned()
}

impl ConnectionInfo {
    /// Reads the certificate that the handshake has verified, all but its end.
    pub(super) fn of(
        address: SocketAddr,
        certificates: Option<&[CertificateDer<'_>]>,
        now: SystemTime,
    ) -> Self {
        let mut connection = Self { address, identity: None, lapsed: None };
        if let Some((identity, not_after)) = certificates.and_then(<[_]>::first).and_then(workload_of) {
            if now <= not_after {
                connection.identity = Some(PeerIdentity(identity));
            } else if now <= not_after + RENEWAL_GRACE {
                connection.lapsed = Some(identity);
            }
        }
        connection
    }
}

/// The single SPIFFE identity of a leaf, and its end.
pub(super) fn workload_of(leaf: &CertificateDer<'_>) -> Option<(WorkloadIdentity, SystemTime)> {
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    if parsed.is_ca() {
        return None;
    }
    let names = parsed.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (Some(uri), None) = (uris.next(), uris.next()) else { return None };
    Some((uri.parse().ok()?, time(parsed.validity().not_after)))
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct ServerConnection {
    stream: TlsStream<TcpStream>,
    info: ConnectionInfo,
}

impl ServerConnection {
    pub(super) fn new(stream: TlsStream<TcpStream>, address: SocketAddr, now: SystemTime) -> Self {
        let info = ConnectionInfo::of(address, stream.get_ref().1.peer_certificates(), now);
        Self { stream, info }
    }

    /// What the handshake has shown.
    #[must_use]
    pub fn info(&self) -> &ConnectionInfo {
        &self.info
    }
}

impl Connected for ServerConnection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

impl AsyncRead for ServerConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ServerConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
