//! A certificate with its key, ready for handshakes.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use weft_model::identity::WorkloadIdentity;

use super::trust::TrustBundle;
use crate::tls::{CertificateFacts, TlsError, provider, verify_own_chain};

/// The workload's certificate, the right to use its key, and the roots it trusts. Immutable: a renewed one is a new
/// value, and connections made under the old one stay.
pub struct WorkloadCertificate {
    facts: CertificateFacts,
    key: Arc<CertifiedKey>,
    trust_bundle: TrustBundle,
}

/// Why a certificate cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertificateError {
    /// There is none.
    #[error("the chain holds no certificate")]
    Empty,
    /// It is no X.509-SVID, is not valid now, or its chain does not end at a trusted root.
    #[error("the certificate cannot be used: {0}")]
    Unusable(TlsError),
    /// The key cannot be read, or belongs to another certificate.
    #[error("the private key does not fit the certificate: {0}")]
    Key(String),
}

impl WorkloadCertificate {
    /// A certificate of its chain (leaf first, roots left out) and key.
    ///
    /// # Errors
    /// When the leaf is no X.509-SVID or the key does not fit it. Validity is not checked: see [`Self::verify`].
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        trust_bundle: TrustBundle,
    ) -> Result<Self, CertificateError> {
        let leaf = chain.first().ok_or(CertificateError::Empty)?;
        let facts = CertificateFacts::of(leaf).map_err(CertificateError::Unusable)?;
        let key = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|error| CertificateError::Key(error.to_string()))?;
        Ok(Self { facts, key: Arc::new(key), trust_bundle })
    }

    /// Whether a peer with the same trust bundle would accept it at a time.
    ///
    /// # Errors
    /// [`CertificateError::Unusable`] with what the peer would say.
    pub fn verify(&self, now: SystemTime) -> Result<(), CertificateError> {
        verify_own_chain(&self.key.cert, self.trust_bundle.store(), now).map_err(CertificateError::Unusable)
    }

    /// Who it is for.
    #[must_use]
    pub fn identity(&self) -> &WorkloadIdentity {
        &self.facts.identity
    }

    /// Begin of validity, a little before it was issued.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.facts.not_before
    }

    /// End of validity.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.facts.not_after
    }

    /// Serial number, hexadecimal.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.facts.serial
    }

    /// Leaf first, roots left out.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// The roots that peers are verified against.
    #[must_use]
    pub fn trust_bundle(&self) -> &TrustBundle {
        &self.trust_bundle
    }

    /// For rustls, on either side. Any client is shown it, whatever roots the server hints at: during an overlap of
    /// roots a server may not know yet which of ours it will accept.
    pub(crate) fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(CertifiedKey::clone(&self.key)))
    }
}

/// Never shows the key.
impl fmt::Debug for WorkloadCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadCertificate")
            .field("identity", &self.facts.identity.to_string())
            .field("serial", &self.facts.serial)
            .field("not_before", &self.facts.not_before)
            .field("not_after", &self.facts.not_after)
            .field("trust_bundle", &self.trust_bundle)
            .finish_non_exhaustive()
    }
}
