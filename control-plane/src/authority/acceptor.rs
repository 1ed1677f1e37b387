//! The TLS endpoint of the control plane, 15012: every peer verifies us, and proves itself when it can.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;
use weft_model::clock::Clock;
use weft_model::identity::WorkloadIdentity;

use super::connection::ServerConnection;
use super::error::AuthorityError;
use super::server_certificate::ServerCertificate;
use super::sign::CertificateAuthority;

#[cfg(test)]
#[path = "acceptor_tests.rs"]
mod tests;

/// How the endpoint presents itself, and what it bears.
#[derive(Clone, Debug)]
pub struct AcceptorSettings {
    /// Namespace of the control plane's own identity.
    pub namespace: String,
    /// Service account of the control plane's own identity.
    pub service_account: String,
    /// DNS names in its certificate; clients check one of them.
    pub dns_names: Vec<String>,
    /// A peer that has not finished by then is disconnected.
    pub handshake_timeout: Duration,
    /// Handshakes at once; further connections wait.
    pub max_handshakes: usize,
    /// Of them from one address; further connections from it are closed.
    pub max_handshakes_per_address: usize,
}

impl Default for AcceptorSettings {
    fn default() -> Self {
        Self {
            namespace: "weft-system".to_owned(),
            service_account: "weft-control-plane".to_owned(),
            dns_names: ["weft-control-plane", "weft-control-plane.weft-system.svc", "localhost"]
                .map(str::to_owned)
                .to_vec(),
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 1024,
            max_handshakes_per_address: 512,
        }
    }
}

/// Accepts TLS connections to the control plane.
#[derive(Clone)]
pub struct ControlPlaneAcceptor {
    // With the generation of the root that clients are verified by.
    tls: Arc<ArcSwap<(u64, Arc<ServerConfig>)>>,
    certificate: Arc<ServerCertificate>,
    settings: AcceptorSettings,
    authority: Arc<CertificateAuthority>,
}

impl ControlPlaneAcceptor {
    /// Issues the control plane's own certificate.
    ///
    /// # Errors
    /// When its names make no identity or no certificate can be issued.
    pub fn new(
        authority: Arc<CertificateAuthority>,
        settings: AcceptorSettings,
    ) -> Result<Self, AuthorityError> {
        let identity = WorkloadIdentity::new(
            authority.trust_domain().clone(),
            &settings.namespace,
            &settings.service_account,
        )?;
        let certificate =
            ServerCertificate::new(Arc::clone(&authority), identity, settings.dns_names.clone())?;
        let generation = authority.generation();
        let tls = server_config(&authority, &certificate)?;
        let tls = Arc::new(ArcSwap::from_pointee((generation, tls)));
        Ok(Self { tls, certificate, settings, authority })
    }

    /// The settings of the next handshake: clients are verified by the roots of now.
    fn tls(&self) -> Arc<ServerConfig> {
        let (current, generation) = (self.tls.load(), self.authority.generation());
        if current.0 == generation {
            return Arc::clone(&current.1);
        }
        match server_config(&self.authority, &self.certificate) {
            Ok(fresh) => {
                self.tls.store(Arc::new((generation, Arc::clone(&fresh))));
                fresh
            }
            Err(error) => {
                tracing::error!(%error, "the roots of now cannot verify clients; those of before go on");
                Arc::clone(&current.1)
            }
        }
    }

    /// Accepts from a listener until the stream is dropped, which also closes the listener. To be called within a
    /// tokio runtime.
    #[must_use]
    pub fn incoming(&self, listener: TcpListener) -> TlsIncoming {
        let (ready, connections) = mpsc::channel(64);
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().accept_all(listener, ready));
        TlsIncoming { connections, _tasks: tasks }
    }

    async fn accept_all(self, listener: TcpListener, ready: mpsc::Sender<io::Result<ServerConnection>>) {
        let room = Arc::new(Semaphore::new(self.settings.max_handshakes));
        let by_address = ByAddress::default();
        let mut handshakes = JoinSet::new();
        loop {
            // Before accepting: connections that cannot be served yet wait in the kernel's queue.
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let (stream, address) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Out of file descriptors, say: others go on, and it may pass.
                        tracing::warn!(%error, "could not accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = ready.closed() => return,
            };
            while handshakes.try_join_next().is_some() {}
            let ip = address.ip().to_canonical();
            let Some(slot) = by_address.enter(ip, self.settings.max_handshakes_per_address) else {
                tracing::warn!(%address, "closed a connection: too many unfinished handshakes from its address");
                continue;
            };
            let (acceptor, ready) = (self.clone(), ready.clone());
            handshakes.spawn(async move {
                let connection = acceptor.handshake(stream, address).await;
                drop((slot, permit));
                if let Some(connection) = connection {
                    let _ = ready.send(Ok(connection)).await;
                }
            });
        }
    }

    async fn handshake(&self, stream: TcpStream, address: SocketAddr) -> Option<ServerConnection> {
        let _ = stream.set_nodelay(true);
        let handshake = TlsAcceptor::from(self.tls()).accept(stream);
        match tokio::time::timeout(self.settings.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => Some(ServerConnection::new(stream, address, self.authority.clock().now())),
            Ok(Err(error)) => {
                tracing::warn!(%address, %error, "a TLS handshake failed");
                None
            }
            Err(_) => {
                tracing::warn!(%address, "a TLS handshake was not finished in time");
                None
            }
        }
    }
}

impl fmt::Debug for ControlPlaneAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlPlaneAcceptor").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn server_config(
    authority: &CertificateAuthority,
    certificate: &Arc<ServerCertificate>,
) -> Result<Arc<ServerConfig>, AuthorityError> {
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(authority.root_store()?), super::provider())
            .allow_unauthenticated()
            .build()
            .map_err(AuthorityError::crypto("verify clients"))?;
    let mut tls =
        ServerConfig::builder_with_details(super::provider(), Arc::new(WallTime(authority.clock().clone())))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(AuthorityError::crypto("configure TLS"))?
            .with_client_cert_verifier(Arc::new(LapsedClientsToo(clients)))
            .with_cert_resolver(certificate.clone());
    tls.alpn_protocols = vec![b"h2".to_vec()];
    // Connections are few and long, and each is to prove an identity anew.
    tls.send_tls13_tickets = 0;
    tls.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(tls))
}

/// Connections whose handshake is done, in the order in which they were: one slow peer holds up nobody.
#[derive(Debug)]
pub struct TlsIncoming {
    connections: mpsc::Receiver<io::Result<ServerConnection>>,
    /// Ends accepting when dropped.
    _tasks: JoinSet<()>,
}

impl Stream for TlsIncoming {
    type Item = io::Result<ServerConnection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connections.poll_recv(cx)
    }
}

/// Our clock, as rustls asks for it.
#[derive(Debug)]
struct WallTime(Clock);

impl TimeProvider for WallTime {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.now().duration_since(SystemTime::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

/// Counts unfinished handshakes by address.
#[derive(Clone, Default)]
struct ByAddress(Arc<Mutex<HashMap<IpAddr, usize>>>);

struct Slot {
    counts: ByAddress,
    address: IpAddr,
}

impl ByAddress {
    fn enter(&self, address: IpAddr, limit: usize) -> Option<Slot> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Slot { counts: self.clone(), address })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Lets a client with an expired certificate finish its handshake, so that it can ask for a new one; everything else
/// about the certificate must hold. Whether it has expired is looked at again for each connection
/// (`ConnectionInfo`), and an expired one is no identity for anything but renewal.
#[derive(Debug)]
struct LapsedClientsToo(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for LapsedClientsToo {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match self.0.verify_client_cert(end_entity, intermediates, now) {
            Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
                not_after, ..
            })) => {
                // As it was in the last moment of its life.
                self.0.verify_client_cert(end_entity, intermediates, not_after)
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
