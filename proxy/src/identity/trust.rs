//! The roots that vouch for the mesh.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer, X509Certificate};

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;

/// One or more root certificates. More than one while roots overlap: what either vouches for is trusted, so that a
/// root can be replaced without a moment in which two workloads do not trust each other. Cheap to clone.
#[derive(Clone)]
pub struct TrustBundle {
    roots: Arc<[CertificateDer<'static>]>,
    store: Arc<RootCertStore>,
    expires_at: SystemTime,
}

/// Why a text is no trust bundle.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TrustBundleError {
    /// The PEM cannot be read.
    #[error("the trust bundle is not PEM: {0}")]
    Pem(String),
    /// There is no certificate in it.
    #[error("the trust bundle holds no certificate")]
    Empty,
    /// One of them is no root.
    #[error("certificate {index} of the trust bundle {reason}")]
    Root {
        /// Counts from 1.
        index: usize,
        /// What is wrong.
        reason: String,
    },
}

impl TrustBundle {
    /// Reads concatenated PEM certificates.
    ///
    /// # Errors
    /// When it is not PEM, is empty, or holds what is not an authority's certificate.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TrustBundleError> {
        let roots: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| TrustBundleError::Pem(error.to_string()))?;
        Self::of(roots)
    }

    /// A bundle of these certificates; the same one twice counts once.
    ///
    /// # Errors
    /// When there is none, or one is not an authority's certificate.
    pub fn of(roots: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, TrustBundleError> {
        let mut distinct: Vec<CertificateDer<'static>> = Vec::new();
        let mut store = RootCertStore::empty();
        let mut ends = Vec::new();
        for (index, root) in roots.into_iter().enumerate() {
            let refused =
                |reason: &str| TrustBundleError::Root { index: index + 1, reason: reason.to_owned() };
            let (_, parsed) = X509Certificate::from_der(&root).map_err(|_| refused("cannot be parsed"))?;
            if !parsed.is_ca() {
                return Err(refused("is not an authority's (basic constraints do not say CA)"));
            }
            let end = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
            if distinct.contains(&root) {
                continue;
            }
            store.add(root.clone()).map_err(|error| refused(&format!("cannot be used: {error}")))?;
            ends.push(SystemTime::UNIX_EPOCH + Duration::from_secs(end));
            distinct.push(root);
        }
        let expires_at = ends.into_iter().min().ok_or(TrustBundleError::Empty)?;
        Ok(Self { roots: distinct.into(), store: Arc::new(store), expires_at })
    }

    /// This bundle and more roots.
    ///
    /// # Errors
    /// When one of them is not an authority's certificate.
    pub fn with(
        &self,
        more: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, TrustBundleError> {
        Self::of(self.roots.iter().cloned().chain(more))
    }

    /// The certificates.
    #[must_use]
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The roots as rustls takes them; never empty.
    #[must_use]
    pub fn store(&self) -> &Arc<RootCertStore> {
        &self.store
    }

    /// When the first of the roots ends: the forecast to watch.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.expires_at
    }

    /// As [`Self::from_pem`] reads it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.roots.iter().map(|root| pem("CERTIFICATE", root)).collect()
    }
}

impl PartialEq for TrustBundle {
    fn eq(&self, other: &Self) -> bool {
        self.roots == other.roots
    }
}

impl Eq for TrustBundle {}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustBundle")
            .field("roots", &self.roots.len())
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// Textual encoding of RFC 7468: lines of 64 characters.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
