//! The root of trust: made here and kept with mode 0600, or given by the user.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData as _,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use weft_model::identity::TrustDomain;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use super::error::AuthorityError;
use super::file::{create_secret, directory, pem, read_secret};
use super::given::{RootPem, chain_up};

#[cfg(test)]
#[path = "root_tests.rs"]
mod tests;

/// Ten years.
const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Clocks of other machines may be this much behind ours.
pub(super) const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// Where the root comes from.
#[derive(Clone, Debug, Default)]
pub enum RootSource {
    /// Our own, made when there is none yet.
    #[default]
    Own,
    /// The user's, as PEM files.
    Given {
        /// The certificate that signs, then intermediates up to and with the root.
        certificate: PathBuf,
        /// Its key. The owner's group may read it, as Kubernetes mounts secrets; others may not.
        key: PathBuf,
        /// Further roots that workloads are to trust while roots overlap.
        roots: Option<PathBuf>,
    },
    /// As text: in a cluster a Secret holds it.
    Text(RootPem),
}

/// What signs, and what vouches for it.
pub(super) struct Root {
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// The signing certificate first, the root last.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Roots besides the chain's.
    pub(super) more_roots: Vec<CertificateDer<'static>>,
    /// When the first certificate of the chain ends: nothing is issued beyond.
    pub(super) not_after: SystemTime,
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root")
            .field("chain", &self.chain.len())
            .field("more_roots", &self.more_roots.len())
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Root {
    pub(super) fn open(
        source: &RootSource,
        state_dir: &Path,
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        match source {
            RootSource::Own => Self::own(state_dir, trust_domain, now),
            RootSource::Given { certificate, key, roots } => {
                Self::given(certificate, key, roots.as_deref(), now)
            }
            RootSource::Text(pem) => Self::of_text(pem, now),
        }
    }

    /// One file for key and certificate: a crash cannot part them.
    fn own(state_dir: &Path, trust_domain: &TrustDomain, now: SystemTime) -> Result<Self, AuthorityError> {
        let path = directory(state_dir)?.join("root.pem");
        let stored = match read_secret(&path, 0o077)? {
            Some(stored) => stored,
            None => {
                let (key, certificate) = make(trust_domain, now)?;
                if create_secret(&path, (key + &certificate).as_bytes())? {
                    tracing::info!(path = %path.display(), %trust_domain, "made a new root of trust");
                }
                // Read back even so: another control plane may have been first.
                read_secret(&path, 0o077)?.unwrap_or_default()
            }
        };
        let place = path.display().to_string();
        Self::of(&place, certificates(&stored), &stored, Vec::new(), now)
    }

    /// From what may be a Secret of Istio's: the chain is looked for in all of its parts.
    pub(super) fn of_text(pem: &RootPem, now: SystemTime) -> Result<Self, AuthorityError> {
        let read = |text: &[u8], what: &str| {
            certificates(text).map_err(|problem| refused(&pem.place, format!("{what}: {problem}")))
        };
        let mut own = read(&pem.certificate, "ca-cert.pem")?;
        let mut others = own.split_off(1);
        if !pem.chain.is_empty() {
            others.extend(read(&pem.chain, "cert-chain.pem")?);
        }
        let roots = read(&pem.roots, "root-cert.pem")?;
        others.extend(roots.iter().cloned());
        let chain = own.pop().map(|first| chain_up(first, &others)).unwrap_or_default();
        Self::of(&pem.place, Ok(chain), &pem.key, roots, now)
    }

    fn given(
        certificate: &Path,
        key: &Path,
        roots: Option<&Path>,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let read = |path: &Path| std::fs::read(path).map_err(AuthorityError::file("read", path));
        let secret = read_secret(key, 0o027)?
            .ok_or_else(|| AuthorityError::file("read", key)(std::io::ErrorKind::NotFound.into()))?;
        let mut more_roots = Vec::new();
        if let Some(path) = roots {
            more_roots = certificates(&read(path)?)
                .map_err(|problem| refused(&path.display().to_string(), problem))?;
        }
        let place = certificate.display().to_string();
        Self::of(&place, certificates(&read(certificate)?), &secret, more_roots, now)
    }

    /// Checks everything there is to check, and says everything that is wrong.
    fn of(
        place: &str,
        chain: Result<Vec<CertificateDer<'static>>, String>,
        key_pem: &[u8],
        more_roots: Vec<CertificateDer<'static>>,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let refused = |problems| AuthorityError::Root { place: place.to_owned(), problems };
        let key = PrivateKeyDer::from_pem_slice(key_pem)
            .map_err(|error| format!("its key is not PEM: {error}"))
            .and_then(|key| {
                KeyPair::try_from(&key).map_err(|error| format!("its key cannot be used: {error}"))
            });
        let (chain, key) = match (chain, key) {
            (Ok(chain), Ok(key)) => (chain, key),
            (chain, key) => return Err(refused(chain.err().into_iter().chain(key.err()).collect())),
        };
        let mut problems = Vec::new();
        let not_after = check_chain(&chain, &key, now, &mut problems);
        for (index, root) in more_roots.iter().enumerate() {
            if !X509Certificate::from_der(root).is_ok_and(|(_, parsed)| is_root(&parsed)) {
                problems.push(format!("certificate {} of the further roots is no root", index + 1));
            }
        }
        if !problems.is_empty() {
            return Err(refused(problems));
        }
        let signing = chain.first().ok_or_else(|| refused(vec!["it holds no certificate".to_owned()]))?;
        let issuer = Issuer::from_ca_cert_der(signing, key).map_err(|error| {
            refused(vec![format!("its subject or extensions are not supported: {error}")])
        })?;
        Ok(Self { issuer, more_roots, not_after, chain })
    }

    /// Every root that workloads are to trust; the one that signs last.
    pub(super) fn roots(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        let own = self.chain.last();
        self.more_roots.iter().filter(move |root| Some(*root) != own).chain(own)
    }

    /// Whether both sign with the same certificate and trust the same roots.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.chain == other.chain && self.roots().all(|root| other.roots().any(|known| known == root))
    }

    /// Goes on trusting the roots of a former one: its certificates are still about.
    pub(super) fn trust_also(&mut self, former: &Self) {
        let forgotten: Vec<_> =
            former.roots().filter(|root| !self.roots().any(|own| own == *root)).cloned().collect();
        self.more_roots.extend(forgotten);
    }
}

fn refused(place: &str, problem: String) -> AuthorityError {
    AuthorityError::Root { place: place.to_owned(), problems: vec![problem] }
}

/// A key and a self-signed certificate, as PEM.
pub(super) fn make(trust_domain: &TrustDomain, now: SystemTime) -> Result<(String, String), AuthorityError> {
    let failed = AuthorityError::crypto::<rcgen::Error>;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed("make a key"))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, trust_domain.as_str());
    params.distinguished_name.push(DnType::CommonName, "Weft root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now - CLOCK_SKEW, now + ROOT_LIFETIME)?;
    params.serial_number = Some(super::sign::serial()?.to_vec().into());
    let certificate = params.self_signed(&key).map_err(failed("sign the root certificate"))?;
    Ok((pem("PRIVATE KEY", key.serialized_der()), pem("CERTIFICATE", certificate.der())))
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("it is not PEM: {error}"))?;
    if found.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(found) }
}

/// Adds to `problems` what speaks against a chain; the end of its first certificate to end.
fn check_chain(
    chain: &[CertificateDer<'static>],
    key: &KeyPair,
    now: SystemTime,
    problems: &mut Vec<String>,
) -> SystemTime {
    let mut parsed = Vec::new();
    for (index, der) in chain.iter().enumerate() {
        match X509Certificate::from_der(der) {
            Ok((_, certificate)) => parsed.push(certificate),
            Err(_) => problems.push(format!("certificate {} cannot be parsed", index + 1)),
        }
    }
    if let Some(signing) = parsed.first()
        && signing.public_key().subject_public_key.data.as_ref() != key.der_bytes()
    {
        problems.push("its key belongs to another certificate".to_owned());
    }
    let mut end = now + ROOT_LIFETIME;
    for (index, certificate) in parsed.iter().enumerate() {
        let name = format!("certificate {} ({})", index + 1, certificate.subject());
        let usage = certificate.key_usage().ok().flatten();
        if !certificate.is_ca() || usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
            problems.push(format!("{name} is no authority's: it may not sign certificates"));
        }
        let (begins, ends) =
            (time(certificate.validity().not_before), time(certificate.validity().not_after));
        if now > ends {
            problems.push(format!("{name} expired at {}", certificate.validity().not_after));
        }
        if now < begins {
            problems.push(format!("{name} is valid only from {}", certificate.validity().not_before));
        }
        end = end.min(ends);
        let above = parsed.get(index + 1);
        let issuer = above.unwrap_or(certificate);
        if certificate.issuer().as_raw() != issuer.subject().as_raw()
            || certificate.verify_signature(Some(issuer.public_key())).is_err()
        {
            problems.push(match above {
                Some(above) => format!("{name} is not signed by the next, {}", above.subject()),
                None => format!(
                    "{name} is the last and not self-signed: append the certificates up to the root, {}",
                    certificate.issuer()
                ),
            });
        }
    }
    end
}

fn is_root(certificate: &X509Certificate<'_>) -> bool {
    certificate.is_ca() && certificate.subject().as_raw() == certificate.issuer().as_raw()
}

/// Seconds since 1970 as a time; what lies before counts as 1970.
pub(super) fn time(time: ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

/// Sets both ends, to the second.
pub(super) fn set_validity(
    params: &mut CertificateParams,
    not_before: SystemTime,
    not_after: SystemTime,
) -> Result<(), AuthorityError> {
    let date = |at: SystemTime| {
        let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        i64::try_from(seconds).ok().and_then(|seconds| ASN1Time::from_timestamp(seconds).ok()).ok_or(
            AuthorityError::Crypto {
                action: "date a certificate",
                reason: "the year is beyond 9999".to_owned(),
            },
        )
    };
    params.not_before = date(not_before)?.to_datetime();
    params.not_after = date(not_after)?.to_datetime();
    Ok(())
}
