//! The control plane's own certificate, renewed in place.

use std::sync::{Arc, Mutex, TryLockError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use weft_model::identity::WorkloadIdentity;

use super::error::AuthorityError;
use super::root::CLOCK_SKEW;
use super::sign::CertificateAuthority;

/// Shows the newest certificate to each handshake and makes a new one when half of its life is over. Looking at the
/// wall clock at each handshake, and not at a timer, it is right after a sleep of the machine as well.
#[derive(Debug)]
pub(super) struct ServerCertificate {
    authority: Arc<CertificateAuthority>,
    identity: WorkloadIdentity,
    dns_names: Vec<String>,
    current: ArcSwap<Current>,
    renewing: Mutex<()>,
}

#[derive(Debug)]
struct Current {
    key: Arc<CertifiedKey>,
    /// Of the root that signed it.
    generation: u64,
    issued_at: SystemTime,
    renew_at: SystemTime,
}

impl ServerCertificate {
    pub(super) fn new(
        authority: Arc<CertificateAuthority>,
        identity: WorkloadIdentity,
        dns_names: Vec<String>,
    ) -> Result<Arc<Self>, AuthorityError> {
        let current = issue(&authority, &identity, &dns_names)?;
        let current = ArcSwap::from_pointee(current);
        Ok(Arc::new(Self { authority, identity, dns_names, current, renewing: Mutex::new(()) }))
    }

    pub(super) fn certified_key(&self) -> Arc<CertifiedKey> {
        let due = |current: &Current| {
            let now = self.authority.clock().now();
            // A clock that was ahead and was set right: what was issued by it is valid for nobody yet.
            current.generation != self.authority.generation()
                || now >= current.renew_at
                || now + CLOCK_SKEW < current.issued_at
        };
        if due(&self.current.load()) {
            // One handshake renews; the others go on with what there is.
            let renewing = match self.renewing.try_lock() {
                Ok(guard) => Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            };
            if renewing.is_some() && due(&self.current.load()) {
                match issue(&self.authority, &self.identity, &self.dns_names) {
                    Ok(current) => self.current.store(Arc::new(current)),
                    Err(error) => {
                        tracing::error!(%error, "could not renew the control plane's own certificate");
                    }
                }
            }
        }
        Arc::clone(&self.current.load().key)
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified_key())
    }
}

fn issue(
    authority: &CertificateAuthority,
    identity: &WorkloadIdentity,
    dns_names: &[String],
) -> Result<Current, AuthorityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::crypto("make a key"))?;
    let (now, generation) = (authority.clock().now(), authority.generation());
    let issued = authority.issue_with_dns_names(identity, dns_names, &key, None)?;
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = CertifiedKey::from_der(issued.chain, private, &super::provider())
        .map_err(AuthorityError::crypto("use the control plane's own certificate"))?;
    let life = issued.not_after.duration_since(now).unwrap_or_default();
    Ok(Current { key: Arc::new(key), generation, issued_at: now, renew_at: now + life / 2 })
}
