//! What the authority's tests share.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use tempfile::TempDir;
use weft_model::clock::Clock;
use weft_model::identity::TrustDomain;

use super::{AuthoritySettings, CertificateAuthority, Workload};

/// A directory that goes away with the test.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) fn authority_at(directory: &TempDir, clock: Clock) -> Arc<CertificateAuthority> {
    CertificateAuthority::open(AuthoritySettings::new(directory.path(), TrustDomain::default()), clock)
        .unwrap()
}

/// A clock that the test turns.
#[derive(Clone)]
pub(crate) struct TurnedClock(Arc<std::sync::Mutex<SystemTime>>);

impl TurnedClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(std::sync::Mutex::new(SystemTime::now())))
    }

    pub(crate) fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Clock::from_fn(move || *time.lock().unwrap())
    }

    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }

    pub(crate) fn set_back(&self, by: Duration) {
        *self.0.lock().unwrap() -= by;
    }
}

pub(crate) fn workload(service_account: &str) -> Workload {
    Workload { namespace: "bookshop".into(), service_account: service_account.into(), name: None }
}

/// A request for a URI name, signed by `key`.
pub(crate) fn csr(key: &KeyPair, uris: &[&str]) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params.serialize_request(key).unwrap().pem().unwrap()
}
