//! A small authority for tests of both TLS and identity.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::ASN1Time;

use crate::identity::{Identity, TrustBundle, WorkloadCertificate};

pub(crate) const REVIEWS: &str = "spiffe://cluster.local/ns/bookshop/sa/reviews";
pub(crate) const RATINGS: &str = "spiffe://cluster.local/ns/bookshop/sa/ratings";
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Signs whatever a test wants.
pub(crate) struct TestAuthority {
    pub(crate) root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A leaf and its key as files for OpenSSL, and as parts.
pub(crate) struct Leaf {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) certificate_pem: String,
    pub(crate) key: KeyPair,
}

impl TestAuthority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { root, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn bundle(&self) -> TrustBundle {
        TrustBundle::of([self.root.clone()]).unwrap()
    }

    /// A leaf with these URI names, valid from `begin` to `end`.
    pub(crate) fn leaf(&self, uris: &[&str], begin: SystemTime, end: SystemTime) -> Leaf {
        let date = |at: SystemTime| {
            let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            ASN1Time::from_timestamp(i64::try_from(seconds).unwrap()).unwrap().to_datetime()
        };
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = (date(begin), date(end));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { certificate_pem: certificate.pem(), certificate: certificate.der().clone(), key }
    }

    pub(crate) fn valid_leaf(&self, uri: &str) -> Leaf {
        self.leaf(&[uri], SystemTime::now() - HOUR, SystemTime::now() + HOUR)
    }

    pub(crate) fn expired_leaf(&self, uri: &str) -> Leaf {
        self.leaf(&[uri], SystemTime::now() - 2 * HOUR, SystemTime::now() - HOUR)
    }

    pub(crate) fn certificate(&self, leaf: &Leaf) -> WorkloadCertificate {
        WorkloadCertificate::new(vec![leaf.certificate.clone()], leaf.private_key(), self.bundle()).unwrap()
    }

    /// The identity of a workload with a valid certificate.
    pub(crate) fn identity(&self, uri: &str) -> Identity {
        Identity::fixed(self.certificate(&self.valid_leaf(uri)))
    }
}

impl Leaf {
    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }
}
