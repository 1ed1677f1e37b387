//! Why there is no mutual TLS with a peer, told apart so that one knows which side to mend.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::{AlertDescription, CertificateError};
use weft_model::identity::{TrustDomain, WorkloadIdentity};

use super::peer::ExpectedIdentities;

/// A handshake that failed. `Display` is one sentence for logs and for the body of a 503.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TlsError {
    /// We hold no certificate yet.
    #[error("this sidecar has no certificate yet: it waits for the certificate authority")]
    NotReady,
    /// The peer presented none.
    #[error(
        "the peer presented no certificate: it is outside the mesh, or its sidecar does not speak mutual TLS"
    )]
    NoPeerCertificate,
    /// The peer's certificate has ended.
    #[error("the certificate of {} expired at {}: its sidecar could not renew it, or a clock is wrong",
        named(.presented), time(.at))]
    Expired {
        /// Who it was for, where known.
        presented: Option<WorkloadIdentity>,
        /// When it ended.
        at: Option<SystemTime>,
    },
    /// The peer's certificate has not begun.
    #[error("the certificate of {} is valid only from {}: a clock is wrong", named(.presented), time(.at))]
    NotYetValid {
        /// Who it is for, where known.
        presented: Option<WorkloadIdentity>,
        /// When it begins.
        at: Option<SystemTime>,
    },
    /// No root of our trust bundle vouches for the peer.
    #[error("the peer's certificate was not issued under a root of this mesh's trust bundle")]
    UnknownRoot,
    /// The certificate is no X.509-SVID of a workload.
    #[error("the peer's certificate names no workload: {0}")]
    NotSpiffe(String),
    /// The peer belongs to another mesh.
    #[error("the peer is {presented}, but this mesh is trust domain {trust_domain}")]
    ForeignTrustDomain {
        /// Who the peer is.
        presented: WorkloadIdentity,
        /// Ours.
        trust_domain: TrustDomain,
    },
    /// The peer is a workload of the mesh, but not the one that was called.
    #[error("the peer is {presented}, expected {expected}")]
    WrongIdentity {
        /// Who the peer is.
        presented: WorkloadIdentity,
        /// Who it may be.
        expected: ExpectedIdentities,
    },
    /// The peer has none of the names that the user accepts.
    #[error("the peer's names are not accepted: {}", list(.presented))]
    WrongName {
        /// Its alternative names.
        presented: Vec<String>,
    },
    /// A certificate, key or root that the user gave cannot be used.
    #[error("{place}: {why}")]
    Unusable {
        /// The file, or where else it stands.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// The peer would not have us, or our certificate.
    #[error("the peer ended the handshake with the TLS alert {0:?}")]
    Refused(AlertDescription),
    /// What came is no TLS, or broken TLS.
    #[error("TLS failed: {0}")]
    Protocol(String),
    /// The connection broke.
    #[error("the connection broke during the TLS handshake: {0}")]
    Connection(String),
}

impl TlsError {
    /// What an error of a TLS stream means; `None` when it is none of TLS.
    #[must_use]
    pub fn from_io(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<rustls::Error>().map(Self::from)
    }

    /// The same, for an error during the handshake.
    pub(super) fn of_handshake(error: &io::Error) -> Self {
        Self::from_io(error).unwrap_or_else(|| Self::Connection(error.to_string()))
    }

    /// The error in rustls' own terms. Those that have an alert of their own keep it, so that the peer's log tells
    /// its owner what to mend.
    pub(super) fn into_certificate_error(self) -> CertificateError {
        CertificateError::Other(rustls::OtherError(Arc::new(self)))
    }
}

impl From<&rustls::Error> for TlsError {
    fn from(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(refusal) => certificate(refusal),
            rustls::Error::NoCertificatesPresented => Self::NoPeerCertificate,
            rustls::Error::AlertReceived(alert) => Self::Refused(*alert),
            other => Self::Protocol(other.to_string()),
        }
    }
}

fn certificate(refusal: &CertificateError) -> TlsError {
    use CertificateError as E;
    let at = |time: &rustls::pki_types::UnixTime| {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()))
    };
    match refusal {
        E::Other(rustls::OtherError(inner)) => inner
            .downcast_ref::<TlsError>()
            .cloned()
            .unwrap_or_else(|| TlsError::Protocol(refusal.to_string())),
        E::Expired => TlsError::Expired { presented: None, at: None },
        E::ExpiredContext { not_after, .. } => TlsError::Expired { presented: None, at: at(not_after) },
        E::NotValidYet => TlsError::NotYetValid { presented: None, at: None },
        E::NotValidYetContext { not_before, .. } => {
            TlsError::NotYetValid { presented: None, at: at(not_before) }
        }
        E::UnknownIssuer => TlsError::UnknownRoot,
        // A root of the same name but with another key: the mesh was made anew, the peer holds an old certificate.
        E::BadSignature => TlsError::UnknownRoot,
        other => TlsError::Protocol(other.to_string()),
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "it has none".to_owned() } else { names.join(", ") }
}

fn named(identity: &Option<WorkloadIdentity>) -> String {
    identity.as_ref().map_or_else(|| "the peer".to_owned(), ToString::to_string)
}

fn time(at: &Option<SystemTime>) -> String {
    at.and_then(|at| jiff::Timestamp::try_from(at).ok())
        .map_or_else(|| "an unknown time".to_owned(), |at| at.to_string())
}
