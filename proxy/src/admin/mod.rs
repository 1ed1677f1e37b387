//! What a person or a probe asks a running proxy: readiness, configuration, statistics, draining.
//!
//! Paths, methods and shapes are Envoy's (<https://www.envoyproxy.io/docs/envoy/latest/operations/admin>): what changes
//! something is a POST. Three doors lead in: the administration address (loopback) and its Unix socket, with
//! everything; the readiness port 15021; and the Prometheus port 15090. The last two show nothing else.

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;
mod clusters;
mod dump;
mod pages;
mod server;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;

use crate::discovery::Discovery;
use crate::upstream::ClusterStats;

pub use pages::{Content, Door, Page, page};
pub(crate) use server::listen;
pub use server::{Admin, AdminAddresses};

/// Why a proxy that drains takes no traffic.
pub const DRAINING: &str = "draining";

/// Answers with a text or a value.
pub type Show<T> = Arc<dyn Fn() -> T + Send + Sync>;
/// A text that is made while it is sent, part by part.
pub type Parts = Box<dyn Iterator<Item = String> + Send>;
/// Answers with a text that takes a while to gather.
pub type Gather = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Parts> + Send>> + Send + Sync>;
/// Sets the log filter, when one is given; answers with the one that holds.
pub type SetLogLevel = Arc<dyn Fn(Option<&str>) -> Result<String, String> + Send + Sync>;

/// What the pages show and do. Other parts of the proxy put their own in.
#[derive(Clone)]
pub struct AdminState {
    /// Configuration and how its stream does.
    pub discovery: Discovery,
    /// The node's id.
    pub node: String,
    /// When the process began.
    pub started: SystemTime,
    /// Why the proxy is not ready, beside having no configuration: no identity yet, draining.
    pub not_ready: Show<Option<String>>,
    /// Prometheus' text format.
    pub metrics: Gather,
    /// What is known of upstream clusters at run time: endpoints, connections, ejections.
    pub clusters: Show<Vec<ClusterStats>>,
    /// Certificates and trust bundle: names, serials and times, no secrets.
    pub certificates: Show<Value>,
    /// How the workload's resolver would answer a name; none: it has no resolver of ours.
    pub explain_name: Option<crate::dns::Explain>,
    /// Sets the log level.
    pub log_level: SetLogLevel,
    /// Begins to drain.
    pub drain: Show<()>,
    /// Ends the process.
    pub quit: Show<()>,
}

impl AdminState {
    /// With nothing put in yet: always ready once configured, no metrics, and no way to drain or quit.
    #[must_use]
    pub fn new(discovery: Discovery, node: String) -> Self {
        Self {
            discovery,
            node,
            started: SystemTime::now(),
            not_ready: Arc::new(|| None),
            metrics: Arc::new(|| Box::pin(std::future::ready(Box::new(std::iter::empty()) as Parts))),
            clusters: Arc::new(Vec::new),
            certificates: Arc::new(|| Value::Null),
            explain_name: None,
            log_level: Arc::new(|_| Err("the log level cannot be changed".to_owned())),
            drain: Arc::new(|| ()),
            quit: Arc::new(|| ()),
        }
    }

    /// Why the proxy takes no traffic; none when it does.
    #[must_use]
    pub fn unready_reason(&self) -> Option<String> {
        if !self.discovery.is_configured() {
            let stream = self.discovery.status.stream();
            let trouble = stream.trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
            return Some(format!("no configuration from a control plane or the disk yet{trouble}"));
        }
        (self.not_ready)()
    }
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").field("node", &self.node).finish_non_exhaustive()
    }
}
