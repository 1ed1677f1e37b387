//! The newest certificate, for everyone in the process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;
use weft_model::clock::Clock;

use super::certificate::WorkloadCertificate;
use super::settings::{IdentityError, IdentitySettings};
use super::store::IdentityStore;
use super::trust::TrustBundle;

/// Shows the workload's newest certificate. Cheap to clone; reading takes no lock.
#[derive(Clone, Debug)]
pub struct Identity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    current: ArcSwapOption<WorkloadCertificate>,
    trust_bundle: ArcSwap<TrustBundle>,
    changes: watch::Sender<Option<Arc<WorkloadCertificate>>>,
    renewal: Mutex<RenewalState>,
}

/// How renewal goes, for the admin page and metrics.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct RenewalState {
    pub(super) renew_at: Option<SystemTime>,
    pub(super) renewals: u64,
    pub(super) failures: u64,
    pub(super) last_error: Option<String>,
}

/// What is known of the workload's identity at a moment.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct IdentityStatus {
    /// SPIFFE identity; `None` before the first certificate.
    pub identity: Option<String>,
    /// Serial number, hexadecimal.
    pub serial: Option<String>,
    /// Begin of validity.
    pub not_before: Option<SystemTime>,
    /// End of validity.
    pub not_after: Option<SystemTime>,
    /// When the next certificate is asked for.
    pub renew_at: Option<SystemTime>,
    /// Certificates obtained since the process began.
    pub renewals: u64,
    /// Failed attempts since the last success.
    pub failures: u64,
    /// Why the last attempt failed; `None` when it did not.
    pub last_error: Option<String>,
    /// When the first of the trusted roots ends.
    pub root_expires_at: Option<SystemTime>,
}

impl Identity {
    /// Reads the trust bundle, and the stored certificate when it is still of use; otherwise says in the log why not.
    ///
    /// # Errors
    /// When the state directory cannot be made or the trust bundle cannot be read: without it there is no telling
    /// the control plane from an impostor.
    pub fn open(settings: &IdentitySettings, clock: &Clock) -> Result<Self, IdentityError> {
        let store = IdentityStore::open(&settings.state_dir)?;
        let bundle = read_bundle(settings)?;
        match store.load(&bundle).and_then(|stored| usable(stored, settings, clock)) {
            Ok(Some(certificate)) => {
                tracing::info!(
                    identity = %certificate.identity(),
                    serial = certificate.serial(),
                    "starting with the stored certificate"
                );
                let bundle = certificate.trust_bundle().clone();
                Ok(Self::of(Some(Arc::new(certificate)), bundle, clock.clone()))
            }
            Ok(None) => Ok(Self::of(None, bundle, clock.clone())),
            Err(error) => {
                tracing::warn!(%error, "the stored certificate is not used; a new one is needed");
                Ok(Self::of(None, bundle, clock.clone()))
            }
        }
    }

    /// An identity that shows this certificate until it is replaced.
    #[must_use]
    pub fn fixed(certificate: WorkloadCertificate) -> Self {
        let bundle = certificate.trust_bundle().clone();
        Self::of(Some(Arc::new(certificate)), bundle, Clock::system())
    }

    fn of(current: Option<Arc<WorkloadCertificate>>, bundle: TrustBundle, clock: Clock) -> Self {
        Self(Arc::new(Shared {
            clock,
            current: ArcSwapOption::new(current.clone()),
            trust_bundle: ArcSwap::from_pointee(bundle),
            changes: watch::Sender::new(current),
            renewal: Mutex::default(),
        }))
    }

    /// The newest certificate; `None` before the first. It may have expired when no authority answered for long.
    #[must_use]
    pub fn current(&self) -> Option<Arc<WorkloadCertificate>> {
        self.0.current.load_full()
    }

    /// What certificates are held against.
    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The roots that peers and the control plane are verified against.
    #[must_use]
    pub fn trust_bundle(&self) -> Arc<TrustBundle> {
        self.0.trust_bundle.load_full()
    }

    /// Waits for a certificate that has not expired.
    pub async fn ready(&self) -> Arc<WorkloadCertificate> {
        let mut changes = self.subscribe();
        loop {
            let newest = changes.borrow_and_update().clone();
            if let Some(certificate) = newest
                && self.0.clock.now() < certificate.not_after()
            {
                return certificate;
            }
            // The sender lives as long as `self`, so waiting cannot fail; if it did, waiting on would be right.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Tells of every new certificate.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<WorkloadCertificate>>> {
        self.0.changes.subscribe()
    }

    /// When the newest certificate ends.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.0.current.load().as_ref().map(|certificate| certificate.not_after())
    }

    /// How things stand.
    #[must_use]
    pub fn status(&self) -> IdentityStatus {
        let renewal = self.renewal(|state| state.clone());
        let current = self.current();
        let certificate = current.as_deref();
        IdentityStatus {
            identity: certificate.map(|certificate| certificate.identity().to_string()),
            serial: certificate.map(|certificate| certificate.serial().to_owned()),
            not_before: certificate.map(WorkloadCertificate::not_before),
            not_after: certificate.map(WorkloadCertificate::not_after),
            renew_at: renewal.renew_at,
            renewals: renewal.renewals,
            failures: renewal.failures,
            last_error: renewal.last_error,
            root_expires_at: Some(self.trust_bundle().expires_at()),
        }
    }

    /// From now on new handshakes use this one; connections made under the last one stay.
    pub(crate) fn replace(&self, certificate: WorkloadCertificate) {
        self.0.trust_bundle.store(Arc::new(certificate.trust_bundle().clone()));
        let certificate = Arc::new(certificate);
        self.0.current.store(Some(Arc::clone(&certificate)));
        self.0.changes.send_replace(Some(certificate));
    }

    pub(super) fn renewal<R>(&self, change: impl FnOnce(&mut RenewalState) -> R) -> R {
        change(&mut self.0.renewal.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The trust bundle's file, as it is now.
pub(super) fn read_bundle(settings: &IdentitySettings) -> Result<TrustBundle, IdentityError> {
    let path = &settings.trust_bundle;
    let text = std::fs::read(path).map_err(IdentityError::file("read", path))?;
    TrustBundle::from_pem(&text).map_err(|source| IdentityError::TrustBundle { path: path.clone(), source })
}

fn usable(
    stored: Option<WorkloadCertificate>,
    settings: &IdentitySettings,
    clock: &Clock,
) -> Result<Option<WorkloadCertificate>, IdentityError> {
    let Some(certificate) = stored else { return Ok(None) };
    if *certificate.identity() != settings.identity {
        return Err(IdentityError::Malformed(format!(
            "it is for {}, this workload is {}",
            certificate.identity(),
            settings.identity
        )));
    }
    match certificate.verify(clock.now()) {
        // Kept: the authority renews a certificate that has expired not long ago, and no peer accepts it meanwhile.
        Err(super::CertificateError::Unusable(crate::tls::TlsError::Expired { .. })) => {
            tracing::warn!(
                identity = %certificate.identity(),
                "the stored certificate has expired; it serves only to ask for a new one"
            );
        }
        checked => checked?,
    }
    Ok(Some(certificate))
}
