//! The workload's key and certificate: request, renew, never export.
//!
//! The key is made here, signs here and is written to one place only, the sidecar's own state directory, so that a
//! restarted sidecar can serve while no control plane answers. [`Identity`] is what the rest of the proxy holds: it
//! always shows the newest certificate. [`renew`] is the one task that replaces it, by the wall clock.

mod certificate;
mod channel;
mod current;
mod renewal;
mod request;
mod settings;
mod store;
mod trust;

pub use certificate::{CertificateError, WorkloadCertificate};
pub use channel::channel;
pub use current::{Identity, IdentityStatus};
pub use renewal::renew;
pub use settings::{ControlPlane, IdentityError, IdentitySettings, JoinToken, TokenSource};
pub use trust::{TrustBundle, TrustBundleError};
