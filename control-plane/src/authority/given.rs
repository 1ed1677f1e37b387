//! A root that comes from outside as text, as a Kubernetes Secret holds it.

use std::fmt;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use weft_model::identity::TrustDomain;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::error::AuthorityError;
use super::root::make;

#[cfg(test)]
#[path = "given_tests.rs"]
mod tests;

/// What signs, its key, and what to trust, as PEM: the files of Istio's `cacerts` Secret
/// (<https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/>).
#[derive(Clone, PartialEq, Eq)]
pub struct RootPem {
    /// Where it stands, for messages.
    pub place: String,
    /// `ca-cert.pem`: the certificate that signs.
    pub certificate: Vec<u8>,
    /// `ca-key.pem`: its key.
    pub key: Vec<u8>,
    /// `cert-chain.pem`: certificates between it and the root; may be empty, or hold both ends, too.
    pub chain: Vec<u8>,
    /// `root-cert.pem`: roots that workloads are to trust, the own one among them.
    pub roots: Vec<u8>,
}

/// Never shows the key.
impl fmt::Debug for RootPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootPem").field("place", &self.place).finish_non_exhaustive()
    }
}

impl RootPem {
    /// A new self-signed root with a key of its own.
    ///
    /// # Errors
    /// When the cryptography refuses.
    pub fn generate(
        place: &str,
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let (key, certificate) = make(trust_domain, now)?;
        Ok(Self {
            place: place.to_owned(),
            roots: certificate.clone().into_bytes(),
            chain: Vec::new(),
            certificate: certificate.into_bytes(),
            key: key.into_bytes(),
        })
    }
}

/// The certificates from `first` up to a self-signed one, as far as they are among the others.
pub(super) fn chain_up(
    first: CertificateDer<'static>,
    others: &[CertificateDer<'static>],
) -> Vec<CertificateDer<'static>> {
    let mut chain = vec![first];
    while let Some(next) = chain.last().and_then(|last| issuer_of(last, others)) {
        if chain.contains(next) {
            break;
        }
        chain.push(next.clone());
    }
    chain
}

fn issuer_of<'a>(
    certificate: &CertificateDer<'_>,
    others: &'a [CertificateDer<'static>],
) -> Option<&'a CertificateDer<'static>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    others.iter().find(|other| {
        X509Certificate::from_der(other).is_ok_and(|(_, other)| {
            other.subject().as_raw() == certificate.issuer().as_raw()
                && certificate.verify_signature(Some(other.public_key())).is_ok()
        })
    })
}
