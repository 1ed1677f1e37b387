//! Checked words that several kinds use: a value of one of these types is known to be well-formed.

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use regex::Regex;

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;

/// Path of a field within its object, such as `spec.http[0].route[1]`. What compiled rules carry as
/// [`weft_model::provenance::Provenance::field`].
pub type FieldPath = Arc<str>;

/// A TCP port, 1 to 65535.
pub type Port = NonZeroU16;

/// A host as written in a policy, in lower case: a fully qualified name, a short name, an IP address, or a
/// wildcard (`*`, `*.example.com`). Where a wildcard, a short name or an address is not allowed the parser of the
/// kind has refused it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Host(pub(super) Arc<str>);

impl Host {
    /// As written, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the host has a `*`.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// The address when the host is one.
    #[must_use]
    pub fn address(&self) -> Option<std::net::IpAddr> {
        self.0.parse().ok()
    }

    /// The fully qualified name: a name without a dot is a service in `namespace`, as Istio reads it
    /// (<https://istio.io/latest/docs/reference/config/networking/virtual-service/#Destination>); all others stand
    /// for themselves. `domain` is the mesh's DNS suffix, such as `cluster.local`.
    #[must_use]
    pub fn resolve(&self, namespace: &str, domain: &str) -> Arc<str> {
        if self.0.contains('.') || self.is_wildcard() || self.address().is_some() {
            Arc::clone(&self.0)
        } else {
            format!("{}.{namespace}.svc.{domain}", self.0).into()
        }
    }

    /// Whether this host, possibly a wildcard, covers the fully qualified name (or narrower wildcard) `name`.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        match self.0.strip_prefix('*') {
            Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix) || *self.0 == *name,
            None => *self.0 == *name,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A regular expression in RE2's syntax that must match a whole value, as Envoy, Istio and this mesh's Gateway API
/// implementation read them.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Arc<str>,
    regex: Regex,
}

impl Pattern {
    /// Compiles an expression, anchored at both ends.
    ///
    /// # Errors
    /// What is wrong with the expression, in one line.
    pub fn new(text: &str) -> Result<Self, String> {
        // The bare expression first, so that `)(` is not made valid by the group that anchors it.
        Regex::new(text).map_err(|error| one_line(&error))?;
        let regex = Regex::new(&format!("^(?:{text})$")).map_err(|error| one_line(&error))?;
        Ok(Self { text: text.into(), regex })
    }

    /// As the user wrote it, without anchors.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole value matches.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

/// The last line of a `regex` error says what is wrong, those before draw the place.
fn one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// How a text is compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StringMatch {
    /// Equal, case-sensitive unless the place says otherwise.
    Exact(Arc<str>),
    /// Begins with.
    Prefix(Arc<str>),
    /// The whole text matches.
    Regex(Pattern),
}

/// A share from 0 to 100 per cent, exact to a millionth of the whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Percentage(u32);

impl Percentage {
    /// From 0.0 to 100.0.
    #[must_use]
    pub fn new(percent: f64) -> Option<Self> {
        (0.0..=100.0).contains(&percent).then(|| Self((percent * 10_000.0).round() as u32))
    }

    /// Parts of a million, 0 to 1,000,000.
    #[must_use]
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// From 0.0 to 1.0.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 1_000_000.0
    }
}

/// Changes of a message's headers. Applied as: remove, then set, then add (Envoy's order within one list is by
/// position; Gateway API forbids one name in two of the lists, which the parser checks).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HeaderChanges {
    /// Replaces all values of the name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Appends a value.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Removes all values of the name.
    pub remove: Vec<HeaderName>,
}

impl HeaderChanges {
    /// Whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// Labels a workload must all have. Empty: every workload.
pub type Labels = std::collections::BTreeMap<Arc<str>, Arc<str>>;

/// Which namespaces see an object (`exportTo`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ExportTo {
    /// `*`, and when the field is absent.
    #[default]
    All,
    /// The named ones; `.` was replaced by the object's own. Empty: nobody (`~`).
    Namespaces(Vec<Arc<str>>),
}

impl ExportTo {
    /// Whether clients in `namespace` see the object.
    #[must_use]
    pub fn includes(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespaces(names) => names.iter().any(|name| **name == *namespace),
        }
    }
}

/// The protocol of a port, as declared by `appProtocol`, a port's name or a `protocol` field
/// (<https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/>).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Protocol {
    /// HTTP/1.1, in the clear.
    Http,
    /// HTTP/2, in the clear (`http2`, `h2c`, `kubernetes.io/h2c`).
    Http2,
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web over HTTP/1.1 or HTTP/2.
    GrpcWeb,
    /// TLS-encrypted HTTP: opaque to the mesh.
    Https,
    /// TLS: opaque to the mesh.
    Tls,
    /// Bytes.
    Tcp,
    /// A protocol where the server may speak first or that the mesh does not read: bytes.
    Mongo,
    /// MySQL: bytes, server first.
    Mysql,
    /// Redis: bytes.
    Redis,
    /// Not intercepted.
    Udp,
}

impl Protocol {
    /// By the word of a `protocol` or `appProtocol` field or the prefix of a port's name; case does not matter.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "http" | "kubernetes.io/ws" => Self::Http,
            "http2" | "h2c" | "kubernetes.io/h2c" => Self::Http2,
            "grpc" => Self::Grpc,
            "grpc-web" => Self::GrpcWeb,
            "https" | "kubernetes.io/wss" => Self::Https,
            "tls" => Self::Tls,
            "tcp" => Self::Tcp,
            "mongo" => Self::Mongo,
            "mysql" => Self::Mysql,
            "redis" => Self::Redis,
            "udp" => Self::Udp,
            _ => return None,
        })
    }

    /// By a port's name: the word before the first `-`, `grpc-web` being one word.
    #[must_use]
    pub fn of_port_name(name: &str) -> Option<Self> {
        if name == "grpc-web" || name.starts_with("grpc-web-") {
            return Some(Self::GrpcWeb);
        }
        Self::named(name.split('-').next().unwrap_or(name))
    }

    /// Whether the proxy reads requests of this protocol.
    #[must_use]
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }
}
