//! The client's side of mutual TLS.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::alpn::{ApplicationProtocol, application_protocol, offered_alpn};
use super::error::TlsError;
use super::peer::{ExpectedIdentities, PeerIdentity};
use super::verify::{PeerVerifier, peer_identity, provider};
use crate::identity::{Identity, WorkloadCertificate};

/// Endpoints whose sessions are kept for resumption, per destination.
const RESUMABLE_SERVERS: usize = 64;

/// The configuration that presents our certificate and demands one of the expected identities.
///
/// Sessions are kept within it, so that what was verified for one destination is never resumed for another.
///
/// # Errors
/// [`TlsError::Protocol`] when the key or the trust bundle cannot be used.
pub fn client_config(
    certificate: &WorkloadCertificate,
    expected: &ExpectedIdentities,
    protocol: ApplicationProtocol,
) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier = PeerVerifier::new(
        Arc::clone(certificate.trust_bundle().store()),
        certificate.identity().trust_domain.clone(),
        expected.clone(),
    )?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| TlsError::from(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(certificate.resolver());
    config.alpn_protocols = offered_alpn(protocol);
    config.resumption = Resumption::in_memory_sessions(RESUMABLE_SERVERS);
    Ok(Arc::new(config))
}

/// The name a handshake is made under: the SNI where a policy sets a valid one, else the endpoint's address, which
/// is not sent and keeps the sessions of endpoints apart.
#[must_use]
pub fn server_name(sni: Option<&str>, address: IpAddr) -> ServerName<'static> {
    sni.and_then(|sni| ServerName::try_from(sni.to_owned()).ok())
        .unwrap_or_else(|| ServerName::IpAddress(address.into()))
}

/// A connection whose server has proven who it is.
#[derive(Debug)]
pub struct Connected<IO> {
    /// The bytes inside.
    pub stream: TlsStream<IO>,
    /// Who answered.
    pub peer: PeerIdentity,
    /// What the server agreed to speak.
    pub protocol: Option<ApplicationProtocol>,
}

/// Originates mutual TLS to one destination with the workload's newest certificate. One for all workers.
#[derive(Debug)]
pub struct ClientConnector {
    identity: Identity,
    expected: ExpectedIdentities,
    protocol: ApplicationProtocol,
    built: ArcSwapOption<(Arc<WorkloadCertificate>, Arc<ClientConfig>)>,
}

impl ClientConnector {
    /// Builds nothing yet.
    #[must_use]
    pub fn new(identity: Identity, expected: ExpectedIdentities, protocol: ApplicationProtocol) -> Self {
        Self { identity, expected, protocol, built: ArcSwapOption::empty() }
    }

    /// The configuration for the newest certificate.
    ///
    /// # Errors
    /// [`TlsError::NotReady`] before the first certificate; else as [`client_config`].
    pub fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let certificate = self.identity.current().ok_or(TlsError::NotReady)?;
        if let Some(built) = self.built.load().as_deref()
            && Arc::ptr_eq(&built.0, &certificate)
        {
            return Ok(Arc::clone(&built.1));
        }
        // Two workers may build at once; the later wins, and either is right.
        let config = client_config(&certificate, &self.expected, self.protocol)?;
        self.built.store(Some(Arc::new((certificate, Arc::clone(&config)))));
        Ok(config)
    }

    /// Makes the handshake; `name` comes from [`server_name`]. The caller bounds its time.
    ///
    /// # Errors
    /// Why there is no connection; nothing of a request has been sent, so trying again is safe.
    pub async fn connect<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: IO,
        name: ServerName<'static>,
    ) -> Result<Connected<IO>, TlsError> {
        let stream = TlsConnector::from(self.config()?)
            .connect(name, io)
            .await
            .map_err(|error| TlsError::of_handshake(&error))?;
        let connection = stream.get_ref().1;
        let peer = peer_identity(connection, SystemTime::now())?;
        let protocol = application_protocol(connection.alpn_protocol());
        Ok(Connected { stream, peer, protocol })
    }
}
