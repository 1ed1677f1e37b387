//! Who a workload is: SPIFFE identities as Istio writes them.
//!
//! The format `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT` is Istio's
//! (<https://istio.io/latest/docs/concepts/security/#secure-naming>); what a SPIFFE ID may contain is
//! section 2 of the SPIFFE ID standard (<https://spiffe.io/docs/latest/spiffe-specs/spiffe-id/>).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;

/// The name of a root of trust: lower-case letters, digits, `.`, `-` and `_`, at most 255 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TrustDomain(Arc<str>);

/// Why a text is no identity.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdentityError {
    /// The URI does not begin with `spiffe://`.
    #[error("`{0}` does not begin with spiffe://")]
    Scheme(String),
    /// The trust domain is empty, too long or has other than the allowed characters.
    #[error("`{0}` is no trust domain: lower-case letters, digits, `.`, `-`, `_`, at most 255 of them")]
    TrustDomain(String),
    /// The path is not `/ns/NAMESPACE/sa/SERVICE_ACCOUNT`.
    #[error("`{0}` is not of the form spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT")]
    Path(String),
}

impl TrustDomain {
    /// Istio's and Kubernetes' default.
    pub const DEFAULT: &str = "cluster.local";

    /// The domain as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TrustDomain {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl FromStr for TrustDomain {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if text.is_empty() || text.len() > 255 || !text.bytes().all(allowed) {
            return Err(IdentityError::TrustDomain(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The identity a workload holds a certificate for.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct WorkloadIdentity {
    /// The root of trust that vouches.
    pub trust_domain: TrustDomain,
    /// Kubernetes namespace, or its counterpart on other platforms.
    pub namespace: Arc<str>,
    /// Service account within the namespace.
    pub service_account: Arc<str>,
}

impl WorkloadIdentity {
    /// An identity of its parts; the two names must be valid path segments.
    ///
    /// # Errors
    /// [`IdentityError::Path`] when a name is empty or has characters that a SPIFFE path segment may not have.
    pub fn new(
        trust_domain: TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, IdentityError> {
        let identity =
            Self { trust_domain, namespace: namespace.into(), service_account: service_account.into() };
        if is_segment(namespace) && is_segment(service_account) {
            Ok(identity)
        } else {
            Err(IdentityError::Path(identity.to_string()))
        }
    }
}

/// Letters, digits, `.`, `-`, `_`; not empty, not `.` or `..` (SPIFFE ID, section 2.2).
fn is_segment(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(allowed)
}

impl FromStr for WorkloadIdentity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("spiffe://").ok_or_else(|| IdentityError::Scheme(text.to_owned()))?;
        let mut parts = rest.split('/');
        let trust_domain = parts.next().unwrap_or_default().parse()?;
        match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("ns"), Some(namespace), Some("sa"), Some(account), None) => {
                Self::new(trust_domain, namespace, account)
            }
            _ => Err(IdentityError::Path(text.to_owned())),
        }
    }
}

impl fmt::Display for WorkloadIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trust_domain, namespace, service_account } = self;
        write!(f, "spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}")
    }
}
