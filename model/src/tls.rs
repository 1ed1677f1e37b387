//! TLS as a user of Envoy configures it, with certificates of the user's own. In xDS: `CommonTlsContext`. The mesh's own
//! mutual TLS, whose certificates come from the control plane, is [`MeshTls`](crate::listener::MeshTls) and
//! [`UpstreamTls`](crate::cluster::UpstreamTls).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::matcher::StringMatch;

/// One side's TLS.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct TlsContext {
    /// Presented to the peer: the first that fits its algorithms. May be empty on the client's side.
    pub certificates: Vec<CertificateSource>,
    /// What the peer must present; none: anything, as in Envoy.
    pub validation: Option<Validation>,
    /// ALPN, the most wanted first.
    pub application_protocols: Vec<Arc<str>>,
    /// Which versions are spoken.
    pub versions: TlsVersions,
}

/// Versions of TLS that are spoken; 1.0 and 1.1 never are (RFC 8996).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    #[default]
    Both,
    /// 1.2 only.
    Tls12,
    /// 1.3 only.
    Tls13,
}

/// A server's side.
#[derive(Clone, PartialEq, Debug)]
pub struct ServerContext {
    /// Certificates and what is asked of clients.
    pub tls: TlsContext,
    /// Refuse clients without a certificate; else one is looked at only when it is shown.
    pub require_client_certificate: bool,
    /// Whether sessions may be resumed.
    pub resumption: bool,
}

/// A client's side.
#[derive(Clone, PartialEq, Debug)]
pub struct ClientContext {
    /// Certificates and what is asked of the server.
    pub tls: TlsContext,
    /// Server name indication; may be empty.
    pub sni: Arc<str>,
    /// Whether sessions are kept for resumption.
    pub resumption: bool,
}

/// A certificate chain with its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CertificateSource {
    /// PEM, as it is when the configuration is read.
    Pem {
        /// The leaf first.
        chain: DataSource,
        /// Of the leaf.
        key: DataSource,
    },
    /// A file with secrets, read again when another takes its place.
    Secret(SecretFile),
}

/// A named secret in a file that holds a `DiscoveryResponse` of secrets.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SecretFile {
    /// Which of the file's secrets.
    pub name: Arc<str>,
    /// The file, YAML or JSON.
    pub path: PathBuf,
}

/// Where bytes come from.
#[derive(Clone, PartialEq, Eq)]
pub enum DataSource {
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Environment(Arc<str>),
    /// The configuration itself.
    Inline(Arc<[u8]>),
}

/// What stands in the configuration may be a key.
impl fmt::Debug for DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Environment(name) => f.debug_tuple("Environment").field(name).finish(),
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
        }
    }
}

/// What a peer must present.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Validation {
    /// Who vouches for it; empty: nobody needs to.
    pub trusted: Vec<TrustSource>,
    /// One of its alternative names must match one of these; empty: any will do.
    pub names: Vec<NameMatch>,
}

/// Roots that peers' certificates may be issued under.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrustSource {
    /// PEM, as it is when the configuration is read.
    Pem(DataSource),
    /// A file with secrets, read again when another takes its place.
    Secret(SecretFile),
}

/// A subject alternative name that is accepted (RFC 5280, 4.2.1.6).
#[derive(Clone, PartialEq, Debug)]
pub struct NameMatch {
    /// Which kind of name.
    pub kind: NameKind,
    /// What it looks like; of a DNS name a leading `*.` in the certificate stands for one label, when compared exactly.
    pub value: StringMatch,
}

/// Kinds of subject alternative names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameKind {
    /// Any.
    Any,
    /// A host name.
    Dns,
    /// Such as a SPIFFE identity.
    Uri,
    /// An electronic mail address.
    Email,
    /// An address.
    Ip,
}

impl NameMatch {
    /// Whether a name of a certificate is accepted.
    #[must_use]
    pub fn accepts(&self, kind: NameKind, name: &str) -> bool {
        if self.kind != NameKind::Any && self.kind != kind {
            return false;
        }
        self.value.matches(name) || (kind == NameKind::Dns && self.covered_by(name))
    }

    /// Whether the certificate's wild card stands for the exact name that is wanted (RFC 9525, section 6.3).
    fn covered_by(&self, presented: &str) -> bool {
        let crate::matcher::StringPattern::Exact(wanted) = &self.value.pattern else { return false };
        let (Some(suffix), Some((_, rest))) = (presented.strip_prefix("*."), wanted.split_once('.')) else {
            return false;
        };
        suffix.eq_ignore_ascii_case(rest)
    }
}

impl TlsContext {
    /// The files of secrets that it reads.
    pub fn secret_files(&self) -> impl Iterator<Item = &SecretFile> {
        let own = self.certificates.iter().filter_map(|source| match source {
            CertificateSource::Secret(file) => Some(file),
            CertificateSource::Pem { .. } => None,
        });
        let trusted = self.validation.iter().flat_map(|validation| &validation.trusted);
        own.chain(trusted.filter_map(|source| match source {
            TrustSource::Secret(file) => Some(file),
            TrustSource::Pem(_) => None,
        }))
    }
}
