//! The xDS client: what a control plane says becomes the [`Snapshot`] that workers serve by.
//!
//! Two events are kept apart: *a resource changed* (a new snapshot is published) and *the stream has trouble* (the
//! last good configuration stays, [`Status`] says what is the matter). A resource that is wrong is refused (NACK) with
//! all its mistakes; the last good of it, and everything else of the same answer, is served.
//!
//! What was accepted is kept on disk, so that a proxy that starts while no control plane answers serves as before.

mod client;
mod files;
mod last_good;
mod node;
mod status;
mod state_of_the_world;
mod store;
mod warming;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use weft_model::snapshot::Snapshot;
use weft_model::xds::Resource;
use weft_proto::type_url;
use weft_proto::xds::core;

pub use client::Client;
pub(crate) use files::Stamp;
pub use last_good::{LastGoodError, write as write_resources};
pub use node::Node;
pub use status::{Origin, Refusal, Status, StreamStatus};
pub use store::{Refused, Store};

/// The forms of ADS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// What changed is sent.
    Delta,
    /// The state of the world is sent, each time.
    StateOfTheWorld,
}

/// What the client needs to know.
#[derive(Clone, Debug)]
pub struct DiscoverySettings {
    /// Who asks.
    pub node: core::Node,
    /// How a control plane is asked.
    pub protocol: Protocol,
    /// Types whose resources are all asked for at a control plane.
    pub asked: Vec<&'static str>,
    /// Files with all resources of a type.
    pub files: Vec<(&'static str, PathBuf)>,
    /// Resources that never change, and are served beside all others.
    pub fixed: Vec<Resource>,
    /// The accepted resources are kept at `last-good` in it; none: nowhere.
    pub state_dir: Option<PathBuf>,
    /// How long a listener or route waits for what it refers to before it is served without.
    pub warming: Duration,
    /// Wait before the first attempt to reconnect; doubles with each, with full jitter.
    pub backoff_base: Duration,
    /// Longest wait.
    pub backoff_max: Duration,
    /// The accepted resources are written so long after a change, together with what changed meanwhile.
    pub write_after: Duration,
}

impl DiscoverySettings {
    /// Of a sidecar of a mesh.
    #[must_use]
    pub fn new(node: Node, state_dir: Option<PathBuf>) -> Self {
        Self {
            node: node.to_proto(),
            asked: vec![type_url::CLUSTER, type_url::LISTENER, type_url::NAME_TABLE],
            state_dir,
            ..Self::default()
        }
    }
}

impl Default for DiscoverySettings {
    /// Asks for nothing, with the usual times.
    fn default() -> Self {
        Self {
            node: core::Node::default(),
            protocol: Protocol::Delta,
            asked: Vec::new(),
            files: Vec::new(),
            fixed: Vec::new(),
            state_dir: None,
            warming: Duration::from_secs(3),
            backoff_base: Duration::from_millis(200),
            backoff_max: Duration::from_secs(10),
            write_after: Duration::from_secs(1),
        }
    }
}

/// What is known now, for everybody who uses it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// Loaded once by a request, at its start.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// The version of the newest snapshot; 0 while there is none.
    pub changed: watch::Receiver<u64>,
    /// How the stream does, and what was refused.
    pub status: Arc<Status>,
}

impl Discovery {
    /// A configuration that never changes: `--resources`, and tests.
    #[must_use]
    pub fn fixed(mut snapshot: Snapshot) -> Self {
        snapshot.version = snapshot.version.max(1);
        snapshot.index();
        let version = snapshot.version;
        let status = Arc::new(Status::default());
        status.configured(Origin::File);
        // The channel's value outlives its sender.
        let (_, changed) = watch::channel(version);
        Self { snapshot: Arc::new(ArcSwap::from_pointee(snapshot)), changed, status }
    }

    /// As [`Discovery::fixed`], from a file in the format of `last-good`.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or holds a resource that is wrong.
    pub fn from_file(path: &Path) -> Result<Self, LastGoodError> {
        let mut store = Store::new(Duration::ZERO);
        for response in last_good::read(path)? {
            store.apply(&response, None).map_err(LastGoodError::Refused)?;
        }
        let snapshot = store.publish(tokio::time::Instant::now()).snapshot.unwrap_or_default();
        let discovery = Self::fixed(snapshot);
        discovery.status.set_versions(&store);
        Ok(discovery)
    }

    /// Whether a full configuration is there: the control plane's first, or the last good one.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.status.stream().origin.is_some()
    }
}

/// Loads the last good configuration, if there is one, and makes the client that keeps it fresh once it is run.
///
/// # Errors
/// When the state directory cannot be made. A last good configuration that cannot be read is logged and ignored.
pub fn start(settings: DiscoverySettings) -> io::Result<(Discovery, Client)> {
    if let Some(directory) = &settings.state_dir {
        std::fs::create_dir_all(directory)?;
    }
    Ok(Client::new(settings))
}
