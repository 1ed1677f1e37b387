//! The server's side of mutual TLS.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::alpn::{ApplicationProtocol, accepted_alpn, application_protocol};
use super::error::TlsError;
use super::peer::{ExpectedIdentities, PeerIdentity};
use super::verify::{PeerVerifier, peer_identity, provider};
use crate::identity::{Identity, WorkloadCertificate};

/// The configuration that demands a certificate of our trust domain from every client.
///
/// Tickets are encrypted with keys that live and die with this configuration; nothing is held per session.
///
/// # Errors
/// [`TlsError::Protocol`] when the key or the trust bundle cannot be used.
pub fn server_config(certificate: &WorkloadCertificate) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier: Arc<dyn ClientCertVerifier> = PeerVerifier::new(
        Arc::clone(certificate.trust_bundle().store()),
        certificate.identity().trust_domain.clone(),
        ExpectedIdentities::any(),
    )?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| TlsError::from(&error))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate.resolver());
    config.alpn_protocols = accepted_alpn();
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| TlsError::from(&error))?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// A connection whose client has proven who it is.
#[derive(Debug)]
pub struct Accepted<IO> {
    /// The bytes inside.
    pub stream: TlsStream<IO>,
    /// Who called.
    pub peer: PeerIdentity,
    /// What the bytes are; `None`: to be sniffed.
    pub protocol: Option<ApplicationProtocol>,
}

/// Terminates mutual TLS with the workload's newest certificate. One for all workers.
#[derive(Debug)]
pub struct ServerAcceptor {
    identity: Identity,
    built: ArcSwapOption<(Arc<WorkloadCertificate>, Arc<ServerConfig>)>,
}

impl ServerAcceptor {
    /// Builds nothing yet.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self { identity, built: ArcSwapOption::empty() }
    }

    /// The configuration for the newest certificate.
    ///
    /// # Errors
    /// [`TlsError::NotReady`] before the first certificate; else as [`server_config`].
    pub fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let certificate = self.identity.current().ok_or(TlsError::NotReady)?;
        if let Some(built) = self.built.load().as_deref()
            && Arc::ptr_eq(&built.0, &certificate)
        {
            return Ok(Arc::clone(&built.1));
        }
        // Two workers may build at once; the later wins, and either is right.
        let config = server_config(&certificate)?;
        self.built.store(Some(Arc::new((certificate, Arc::clone(&config)))));
        Ok(config)
    }

    /// Makes the handshake. The caller bounds its time.
    ///
    /// # Errors
    /// Why there is no connection; the peer has been sent the alert.
    pub async fn accept<IO: AsyncRead + AsyncWrite + Unpin>(&self, io: IO) -> Result<Accepted<IO>, TlsError> {
        let stream = TlsAcceptor::from(self.config()?)
            .accept(io)
            .await
            .map_err(|error| TlsError::of_handshake(&error))?;
        let connection = stream.get_ref().1;
        let peer = peer_identity(connection, SystemTime::now())?;
        let protocol = application_protocol(connection.alpn_protocol());
        Ok(Accepted { stream, peer, protocol })
    }
}
