//! Prove who the peer is: chain, validity, SPIFFE identity.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use weft_model::identity::{TrustDomain, WorkloadIdentity};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::error::TlsError;
use super::peer::{ExpectedIdentities, PeerIdentity};

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;

/// The cryptography of the whole proxy: aws-lc-rs, post-quantum key exchange preferred.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// What a leaf certificate says of itself. Believe it only behind a verified chain.
#[derive(Clone, Debug)]
pub(crate) struct CertificateFacts {
    /// Its only URI subject alternative name.
    pub(crate) identity: WorkloadIdentity,
    /// Begin of validity.
    pub(crate) not_before: SystemTime,
    /// End of validity.
    pub(crate) not_after: SystemTime,
    /// Hexadecimal.
    pub(crate) serial: String,
}

impl CertificateFacts {
    /// Reads a leaf by the rules of X.509-SVID: exactly one URI name, not a CA, may sign a handshake
    /// (<https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md>, sections 2, 4 and 5).
    pub(crate) fn of(der: &CertificateDer<'_>) -> Result<Self, TlsError> {
        let refused = |reason: &str| TlsError::NotSpiffe(reason.to_owned());
        let (_, leaf) = X509Certificate::from_der(der).map_err(|_| refused("it cannot be parsed"))?;
        if leaf.is_ca() {
            return Err(refused("it is the certificate of an authority, not of a workload"));
        }
        let usage = leaf.key_usage().map_err(|_| refused("its key usage cannot be parsed"))?;
        if usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign()) {
            return Err(refused("its key may sign certificates, which a workload's may not"));
        }
        let names = leaf
            .subject_alternative_name()
            .map_err(|_| refused("its subject alternative names cannot be parsed"))?
            .ok_or_else(|| refused("it has no subject alternative name"))?;
        let mut uris = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let identity = match (uris.next(), uris.next()) {
            (Some(uri), None) => uri.parse().map_err(|error| refused(&format!("{error}")))?,
            (None, _) => return Err(refused("it has no URI among its subject alternative names")),
            _ => return Err(refused("it has more than one URI among its subject alternative names")),
        };
        let validity = leaf.validity();
        Ok(Self {
            identity,
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
            serial: leaf.tbs_certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }
}

/// Seconds since 1970 as a time; what lies before counts as 1970.
fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Checks a chain that was issued to ourselves, so that no peer is the first to find it unusable.
pub(crate) fn verify_own_chain(
    chain: &[CertificateDer<'_>],
    roots: &RootCertStore,
    now: SystemTime,
) -> Result<(), TlsError> {
    let (leaf, intermediates) = chain.split_first().ok_or(TlsError::NoPeerCertificate)?;
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let parsed = ParsedCertificate::try_from(leaf).map_err(|error| TlsError::from(&error))?;
    verify_server_cert_signed_by_trust_anchor(
        &parsed,
        roots,
        intermediates,
        UnixTime::since_unix_epoch(since_epoch),
        provider().signature_verification_algorithms.all,
    )
    .map_err(|error| TlsError::from(&error))
}

/// The identity of a connection whose handshake is done. A resumed session brings the certificate of its first
/// handshake along; that it is still valid is checked here, because rustls does not check again.
pub(super) fn peer_identity(
    connection: &rustls::CommonState,
    now: SystemTime,
) -> Result<PeerIdentity, TlsError> {
    let leaf = connection.peer_certificates().and_then(<[_]>::first).ok_or(TlsError::NoPeerCertificate)?;
    let facts = CertificateFacts::of(leaf)?;
    if now > facts.not_after {
        return Err(TlsError::Expired { presented: Some(facts.identity), at: Some(facts.not_after) });
    }
    Ok(PeerIdentity::vouched(facts.identity))
}

/// Verifies clients and servers alike.
pub(super) struct PeerVerifier {
    roots: Arc<RootCertStore>,
    trust_domain: TrustDomain,
    expected: ExpectedIdentities,
    algorithms: WebPkiSupportedAlgorithms,
    clients: Arc<dyn ClientCertVerifier>,
}

impl PeerVerifier {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        trust_domain: TrustDomain,
        expected: ExpectedIdentities,
    ) -> Result<Arc<Self>, TlsError> {
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .build()
            .map_err(|error| TlsError::Protocol(error.to_string()))?;
        let algorithms = provider().signature_verification_algorithms;
        Ok(Arc::new(Self { roots, trust_domain, expected, algorithms, clients }))
    }

    fn check_identity(&self, leaf: &CertificateDer<'_>) -> Result<(), TlsError> {
        let CertificateFacts { identity: presented, .. } = CertificateFacts::of(leaf)?;
        if presented.trust_domain != self.trust_domain {
            return Err(TlsError::ForeignTrustDomain { presented, trust_domain: self.trust_domain.clone() });
        }
        if !self.expected.accepts(&presented) {
            return Err(TlsError::WrongIdentity { presented, expected: self.expected.clone() });
        }
        Ok(())
    }
}

fn refuse(error: TlsError) -> rustls::Error {
    rustls::Error::InvalidCertificate(error.into_certificate_error())
}

impl fmt::Debug for PeerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { roots, trust_domain, expected, .. } = self;
        f.debug_struct("PeerVerifier")
            .field("roots", &roots.len())
            .field("trust_domain", trust_domain)
            .field("expected", expected)
            .finish_non_exhaustive()
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let leaf = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &leaf,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        self.check_identity(end_entity).map_err(refuse)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.clients.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.clients.verify_client_cert(end_entity, intermediates, now)?;
        self.check_identity(end_entity).map_err(refuse)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.clients.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.clients.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.clients.supported_verify_schemes()
    }
}
