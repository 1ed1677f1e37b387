//! Issue certificates: X.509-SVIDs for workloads, one for the control plane itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, PublicKeyData,
    SanType,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use weft_model::clock::Clock;
use weft_model::identity::{TrustDomain, WorkloadIdentity};

use super::error::AuthorityError;
use super::file::pem;
use super::given::RootPem;
use super::root::{CLOCK_SKEW, Root, RootSource, set_validity};

#[cfg(test)]
#[path = "sign_tests.rs"]
mod tests;

/// How long before the root's end its owner is warned.
const FORECAST: Duration = Duration::from_secs(90 * 24 * 3600);

/// How the authority is set up.
#[derive(Clone, Debug)]
pub struct AuthoritySettings {
    /// `authority/` within it holds the root, unless one is given, and the join tokens.
    pub state_dir: PathBuf,
    /// The mesh's name in every identity.
    pub trust_domain: TrustDomain,
    /// Where the root comes from.
    pub root: RootSource,
    /// Of a certificate whose request does not say.
    pub default_lifetime: Duration,
    /// At most this, whatever a request says.
    pub max_lifetime: Duration,
}

impl AuthoritySettings {
    /// Istio's default of a workload's certificate.
    pub const LIFETIME: Duration = Duration::from_secs(24 * 3600);

    /// An own root; certificates of a day.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>, trust_domain: TrustDomain) -> Self {
        Self {
            state_dir: state_dir.into(),
            trust_domain,
            root: RootSource::Own,
            default_lifetime: Self::LIFETIME,
            max_lifetime: Self::LIFETIME,
        }
    }
}

/// A new certificate with what vouches for it.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The leaf, then intermediates; no root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The roots to trust; the one that signs last.
    pub roots: Vec<CertificateDer<'static>>,
    /// End of validity.
    pub not_after: SystemTime,
    /// Serial number, hexadecimal.
    pub serial: String,
}

impl Issued {
    /// As Istio's protocol sends it: one PEM text per certificate, leaf first, root last.
    #[must_use]
    pub fn to_pem_chain(&self) -> Vec<String> {
        self.chain.iter().chain(&self.roots).map(|certificate| pem("CERTIFICATE", certificate)).collect()
    }
}

/// Signs. Knows nothing of who asks: that is for the caller to establish first.
#[derive(Debug)]
pub struct CertificateAuthority {
    settings: AuthoritySettings,
    root: ArcSwap<Root>,
    generation: watch::Sender<u64>,
    clock: Clock,
}

impl CertificateAuthority {
    /// Loads the root, or makes one.
    ///
    /// # Errors
    /// When a file cannot be read or written, a key can be read by others, or a given root is none; everything that
    /// is wrong with it is named.
    pub fn open(settings: AuthoritySettings, clock: Clock) -> Result<Arc<Self>, AuthorityError> {
        let root = Root::open(&settings.root, &settings.state_dir, &settings.trust_domain, clock.now())?;
        warn_of_end(&root, clock.now());
        Ok(Arc::new(Self {
            settings,
            root: ArcSwap::from_pointee(root),
            generation: watch::Sender::new(1),
            clock,
        }))
    }

    /// Signs with another root from now on. The former roots stay trusted, as certificates of theirs are about, until the
    /// process ends; says whether anything changed.
    ///
    /// # Errors
    /// When it cannot be a root; everything that is wrong with it is named, and the former one goes on.
    pub fn replace_root(&self, pem: &RootPem) -> Result<bool, AuthorityError> {
        let mut fresh = Root::of_text(pem, self.clock.now())?;
        let former = self.root.load_full();
        fresh.trust_also(&former);
        if fresh.is_same(&former) {
            return Ok(false);
        }
        warn_of_end(&fresh, self.clock.now());
        self.root.store(Arc::new(fresh));
        self.generation.send_modify(|generation| *generation += 1);
        Ok(true)
    }

    /// Grows with every change of the root.
    #[must_use]
    pub fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// Tells of every change of the root, and so of [`trust_bundle_pem`](Self::trust_bundle_pem).
    #[must_use]
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// The mesh's name.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.settings.trust_domain
    }

    /// What workloads are to trust: concatenated PEM certificates.
    #[must_use]
    pub fn trust_bundle_pem(&self) -> String {
        self.root.load().roots().map(|root| pem("CERTIFICATE", root)).collect()
    }

    /// When the first certificate above the workloads' ends: the forecast to watch.
    #[must_use]
    pub fn root_expires_at(&self) -> SystemTime {
        self.root.load().not_after
    }

    /// The roots as rustls takes them.
    pub(super) fn root_store(&self) -> Result<RootCertStore, AuthorityError> {
        let mut store = RootCertStore::empty();
        for root in self.root.load().roots() {
            store.add(root.clone()).map_err(AuthorityError::crypto("use a root certificate"))?;
        }
        Ok(store)
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// An X.509-SVID for an *attested* identity
    /// (<https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md>): one URI name, no subject, not a CA.
    ///
    /// # Errors
    /// When the root has ended, or signing fails.
    pub fn issue(
        &self,
        identity: &WorkloadIdentity,
        key: &impl PublicKeyData,
        asked: Option<Duration>,
    ) -> Result<Issued, AuthorityError> {
        self.issue_with_dns_names(identity, &[], key, asked)
    }

    /// The same with DNS names besides: for the control plane itself, whose clients check a name.
    pub(super) fn issue_with_dns_names(
        &self,
        identity: &WorkloadIdentity,
        dns_names: &[String],
        key: &impl PublicKeyData,
        asked: Option<Duration>,
    ) -> Result<Issued, AuthorityError> {
        const ACTION: &str = "sign a certificate";
        let failed = AuthorityError::crypto::<rcgen::Error>;
        let now = self.clock.now();
        let root = self.root.load_full();
        if now >= root.not_after {
            let reason = "the root of trust has expired; give the control plane a new one".to_owned();
            return Err(AuthorityError::Crypto { action: ACTION, reason });
        }
        let lifetime = asked.unwrap_or(self.settings.default_lifetime).min(self.settings.max_lifetime);
        let not_after = (now + lifetime).min(root.not_after);

        let mut params = CertificateParams::default();
        // Without a subject the names are critical, as RFC 5280 section 4.2.1.6 demands.
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names =
            vec![SanType::URI(identity.to_string().try_into().map_err(failed(ACTION))?)];
        for name in dns_names {
            params
                .subject_alt_names
                .push(SanType::DnsName(name.as_str().try_into().map_err(failed(ACTION))?));
        }
        params.is_ca = IsCa::ExplicitNoCa;
        // As Istio's; key encipherment is for RSA keys in TLS 1.2.
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let serial = serial()?;
        params.serial_number = Some(serial.to_vec().into());
        set_validity(&mut params, now - CLOCK_SKEW, not_after)?;
        let leaf = params.signed_by(key, &root.issuer).map_err(failed(ACTION))?;

        let intermediates = root.chain.split_last().map_or(&[][..], |(_, below)| below);
        Ok(Issued {
            chain: std::iter::once(leaf.der().clone()).chain(intermediates.iter().cloned()).collect(),
            roots: root.roots().cloned().collect(),
            not_after,
            serial: serial.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }
}

fn warn_of_end(root: &Root, now: SystemTime) {
    let left = root.not_after.duration_since(now).unwrap_or_default();
    if left < FORECAST {
        tracing::warn!(
            days = left.as_secs() / (24 * 3600),
            "the root of trust ends soon, and with it every certificate: give the control plane a new root, \
             and both in its roots while they overlap"
        );
    }
}

/// 126 random bits, positive and without leading zero bytes: unique without a counter on disk
/// (RFC 5280, section 4.1.2.2: at most 20 bytes).
pub(super) fn serial() -> Result<[u8; 16], AuthorityError> {
    let mut serial = [0_u8; 16];
    super::provider()
        .secure_random
        .fill(&mut serial)
        .map_err(|_| AuthorityError::crypto("draw a serial number")("no randomness"))?;
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(serial)
}
