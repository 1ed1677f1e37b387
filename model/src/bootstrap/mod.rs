//! What a proxy of Envoy's configuration starts with: an Envoy v3 bootstrap, in YAML or JSON.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use prost::Message;
use weft_proto::xds::discovery::DiscoveryResponse;
use weft_proto::xds::protobuf::Struct;

use crate::cluster::Cluster;
use crate::document::{Node, Span, yaml};
use crate::endpoint::Locality;
use crate::json::{Messages, Misfit};
use crate::listener::Listener;
use crate::snapshot::Snapshot;
use crate::tls::{CertificateSource, Validation};
use crate::xds;

#[cfg(test)]
#[path = "bootstrap_tests.rs"]
mod tests;

const MESSAGE: &str = "envoy.config.bootstrap.v3.Bootstrap";

/// A bootstrap, checked.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Bootstrap {
    /// Who this proxy is, to its control plane.
    pub node: NodeInfo,
    /// Where the admin endpoint listens; none: there is none.
    pub admin: Option<SocketAddr>,
    /// What requests and connections are logged to; none: nothing is.
    pub access_log: Option<AccessLog>,
    /// In the order of the file.
    pub listeners: Vec<Arc<Listener>>,
    /// In the order of the file.
    pub clusters: Vec<Arc<Cluster>>,
    /// What comes later, and changes.
    pub dynamic: Dynamic,
}

/// Where lines of an access log go, and what they say.
#[derive(Clone, PartialEq, Debug)]
pub struct AccessLog {
    /// A file; none: standard output.
    pub path: Option<PathBuf>,
    /// What a line says.
    pub format: LogFormat,
}

/// What a line of an access log says.
#[derive(Clone, PartialEq, Debug)]
pub enum LogFormat {
    /// The proxy's own default.
    Default,
    /// Text with Envoy's operators.
    Text(String),
    /// JSON with Envoy's operators in its texts.
    Json(serde_json::Value),
}

/// Who a proxy is, to its control plane.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct NodeInfo {
    /// Unique.
    pub id: String,
    /// The service it belongs to.
    pub cluster: String,
    /// Whatever else the control plane is to know.
    pub metadata: Struct,
    /// Where it runs.
    pub locality: Locality,
}

/// Where resources come from that change.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Dynamic {
    /// The stream for everything that comes by ADS.
    pub ads: Option<Ads>,
    /// Listeners; none: only those of the file.
    pub listeners: Option<ConfigSource>,
    /// Clusters; none: only those of the file.
    pub clusters: Option<ConfigSource>,
}

/// A control plane that is asked for everything by one stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ads {
    /// The static cluster that it is reached at.
    pub cluster: Arc<str>,
    /// Only changes are sent; else the state of the world.
    pub delta: bool,
}

/// Where resources of one type come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigSource {
    /// The one stream.
    Ads,
    /// A file with a `DiscoveryResponse`, read again when another takes its place, be it by a link that changes: Envoy's
    /// `watched_directory` is not needed for that.
    File {
        /// The file.
        path: PathBuf,
    },
}

/// What a text says, and what of it has no effect.
#[derive(Clone, PartialEq, Debug)]
pub struct Read {
    /// What it says.
    pub bootstrap: Bootstrap,
    /// Each field that is set and has no effect.
    pub notes: Vec<Misfit>,
}

/// Everything that is wrong with a bootstrap; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootstrapErrors(pub Vec<Misfit>);

impl std::error::Error for BootstrapErrors {}

/// `LINE:COLUMN: field: message`, one a line.
impl fmt::Display for BootstrapErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// `LINE:COLUMN: field: message`.
impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.span.line > 0 {
            write!(f, "{}:{}: ", self.span.line, self.span.column)?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// Reads a bootstrap from YAML or JSON.
///
/// # Errors
/// Everything that is wrong with it: first what is no YAML, then what is no such message, then what is not supported or
/// does not fit together.
pub fn read(text: &str) -> Result<Read, BootstrapErrors> {
    read_by(&Messages::envoy(), text)
}

/// As [`read`], by descriptors that are there already.
///
/// # Errors
/// As [`read`].
pub fn read_by(messages: &Messages, text: &str) -> Result<Read, BootstrapErrors> {
    let (root, bytes) = message(messages, text, MESSAGE)?;
    match xds::bootstrap::decode(&bytes) {
        Ok((bootstrap, notes)) => Ok(Read { bootstrap, notes: placed(&root, &notes) }),
        Err(errors) => Err(BootstrapErrors(placed(&root, errors.mistakes()))),
    }
}

/// The tree of a text, and the bytes of the message that it describes.
fn message(messages: &Messages, text: &str, name: &str) -> Result<(Node, Vec<u8>), BootstrapErrors> {
    let (root, errors) = yaml::parse_within(text, yaml::Bounds::OWN);
    let syntax = errors.into_iter().map(|error| Misfit {
        field: String::new(),
        message: if error.hint.is_empty() {
            error.message
        } else {
            format!("{}: {}", error.message, error.hint)
        },
        span: error.span,
    });
    let syntax: Vec<_> = syntax.collect();
    if !syntax.is_empty() {
        return Err(BootstrapErrors(syntax));
    }
    let root = root.unwrap_or_default();
    let bytes = messages.read(name, &root).map_err(BootstrapErrors)?;
    Ok((root, bytes))
}

/// Each with its place, in the order of the file, which is that in which people mend it.
fn placed(root: &Node, mistakes: &[xds::Mistake]) -> Vec<Misfit> {
    let place = |mistake: &xds::Mistake| Misfit {
        field: mistake.field.clone(),
        message: mistake.message.clone(),
        span: if mistake.field.is_empty() { Span::default() } else { root.locate(&mistake.field) },
    };
    let mut misfits: Vec<Misfit> = mistakes.iter().map(place).collect();
    misfits.sort_by_key(|misfit| misfit.span.bytes.start);
    misfits
}

/// A secret of a file.
#[derive(Clone, PartialEq, Debug)]
pub enum Secret {
    /// A certificate with its key.
    Certificate(CertificateSource),
    /// What a peer must present.
    Validation(Validation),
}

/// Reads a file of resources: a `DiscoveryResponse`, in YAML or JSON.
///
/// # Errors
/// Everything in it that is no such message.
pub fn read_response(text: &str) -> Result<DiscoveryResponse, BootstrapErrors> {
    let (_, bytes) = message(&Messages::envoy(), text, "envoy.service.discovery.v3.DiscoveryResponse")?;
    DiscoveryResponse::decode(bytes.as_slice()).map_err(|error| {
        BootstrapErrors(vec![Misfit {
            field: String::new(),
            message: error.to_string(),
            span: Span::default(),
        }])
    })
}

/// Reads a file of secrets: a `DiscoveryResponse`, in YAML or JSON.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_secrets(text: &str) -> Result<HashMap<String, Secret>, BootstrapErrors> {
    let (root, bytes) = message(&Messages::envoy(), text, "envoy.service.discovery.v3.DiscoveryResponse")?;
    xds::bootstrap::decode_secrets(&bytes).map_err(|errors| BootstrapErrors(placed(&root, errors.mistakes())))
}

impl Bootstrap {
    /// What is served before anything else is known.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let listeners = self.listeners.iter().map(|listener| (listener.name.clone(), listener.clone()));
        snapshot.listeners.extend(listeners);
        snapshot.clusters.extend(self.clusters.iter().map(|it| (it.name.clone(), it.clone())));
        snapshot
    }
}
