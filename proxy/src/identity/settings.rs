//! What a sidecar must be told to obtain its certificate.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weft_model::identity::WorkloadIdentity;

use super::certificate::CertificateError;
use super::trust::TrustBundleError;

/// Where the control plane is, and how its certificate is checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlPlane {
    /// `HOST:PORT` of the TLS endpoint; every address of the host is tried.
    pub address: String,
    /// The DNS name its certificate must carry. No workload's certificate carries a DNS name, so that no workload
    /// can pass for the control plane.
    pub server_name: String,
    /// `SO_MARK` for the socket, so that interception lets it pass. Needs `CAP_NET_ADMIN`.
    pub mark: Option<u32>,
}

impl ControlPlane {
    /// The name in our own control plane's certificate; Istio's is `istiod.istio-system.svc`.
    pub const SERVER_NAME: &str = "weft-control-plane";

    /// Our own control plane, at an address.
    #[must_use]
    pub fn at(address: impl Into<String>) -> Self {
        Self { address: address.into(), server_name: Self::SERVER_NAME.to_owned(), mark: None }
    }
}

/// A secret that stands for a workload once.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken(String);

impl JoinToken {
    /// A token as the user was given it; surrounding white space is dropped. `None` when nothing is left, or when it
    /// could not travel in a header.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }

    /// The secret itself, for the one request that shows it to the authority.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

/// Never shows the token.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(…)")
    }
}

/// Where the join token comes from.
#[derive(Clone, Debug)]
pub enum TokenSource {
    /// There is none: the stored certificate must do.
    None,
    /// Given.
    Token(JoinToken),
    /// Read anew at each attempt, so that an expired token can be replaced without a restart. Kubernetes replaces
    /// projected tokens in this way.
    File(PathBuf),
    /// As [`TokenSource::File`], and shown with every request: a service account's token, which says each time that
    /// the account is still there.
    Projected(PathBuf),
}

/// What is needed to hold an identity.
#[derive(Clone, Debug)]
pub struct IdentitySettings {
    /// Who this workload is to be.
    pub identity: WorkloadIdentity,
    /// Its own name, told to the authority with a token; tokens may be bound to it.
    pub workload: Option<String>,
    /// The authority.
    pub control_plane: ControlPlane,
    /// `identity/` within it holds key and certificate.
    pub state_dir: PathBuf,
    /// PEM file with the roots that vouch for the control plane.
    pub trust_bundle: PathBuf,
    /// For the first certificate, and after the last has expired; or for each.
    pub token: TokenSource,
    /// Asked for; the authority may grant less. Its default when absent.
    pub lifetime: Option<Duration>,
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file or directory.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried, such as `read`.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than the owner may read the key.
    #[error("{} can be read by others (mode {mode:o}): its key is not used; remove the file, or `chmod 600` it if nobody has read it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The trust bundle.
    #[error("{}: {source}", path.display())]
    TrustBundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TrustBundleError,
    },
    /// What is stored, or what the authority sent.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The stored or received file is not what it should be.
    #[error("{0}")]
    Malformed(String),
    /// There is neither a certificate nor a token to get one with.
    #[error(
        "there is no valid certificate and no join token to obtain one with; make a token with `weft` and pass it to the sidecar"
    )]
    NoCredential,
    /// No connection to the authority.
    #[error("cannot reach the certificate authority at {address}: {reason}")]
    Unreachable {
        /// `HOST:PORT`.
        address: String,
        /// Why.
        reason: String,
    },
    /// The authority answered and refused.
    #[error("the certificate authority at {address} refused: {reason}")]
    Refused {
        /// `HOST:PORT`.
        address: String,
        /// Its words.
        reason: String,
    },
    /// Making a key or a request failed.
    #[error("cannot make a certificate request: {0}")]
    Request(String),
}

impl IdentityError {
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}
