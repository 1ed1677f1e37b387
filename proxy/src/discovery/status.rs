//! How discovery does: for readiness, metrics and the admin pages.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::Store;

/// Where the configuration that is served comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The disk, from before the start.
    LastGood,
    /// A control plane.
    ControlPlane,
    /// A file that the user gave.
    File,
}

/// A resource that was refused; its last good version is served.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// URL of its type.
    pub type_url: String,
    /// Its name.
    pub name: String,
    /// Everything that is wrong with it.
    pub message: String,
}

/// How the stream does.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct StreamStatus {
    /// Whether a stream is open.
    pub connected: bool,
    /// When the control plane was last heard; of a last good configuration, when it was written.
    pub last_contact: Option<SystemTime>,
    /// What the last trouble was; none while a stream is open.
    pub trouble: Option<String>,
    /// Where the configuration comes from; none while there is none.
    pub origin: Option<Origin>,
    /// Refused and not corrected since.
    pub refusals: Vec<Refusal>,
    /// Acknowledged answers.
    pub acks: u64,
    /// Refused answers.
    pub nacks: u64,
    /// Streams opened.
    pub connects: u64,
}

/// Written by the client, read by pages and metrics; never on a request's way.
#[derive(Default, Debug)]
pub struct Status(Mutex<Inner>);

#[derive(Default, Debug)]
struct Inner {
    stream: StreamStatus,
    versions: BTreeMap<(String, String), String>,
}

impl Status {
    /// A copy of how the stream does.
    #[must_use]
    pub fn stream(&self) -> StreamStatus {
        self.inner().stream.clone()
    }

    /// Versions of the accepted resources, by type URL and name.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<(String, String), String> {
        self.inner().versions.clone()
    }

    /// Time since the configuration was known to be the newest, in seconds; none when there is none. With an open
    /// stream it is 0: a control plane that says nothing has nothing newer.
    #[must_use]
    pub fn age_seconds(&self) -> Option<f64> {
        let stream = self.stream();
        let last = stream.last_contact?;
        if stream.connected {
            return Some(0.0);
        }
        Some(SystemTime::now().duration_since(last).unwrap_or_default().as_secs_f64())
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut StreamStatus)) {
        change(&mut self.inner().stream);
    }

    pub(super) fn configured(&self, origin: Origin) {
        self.update(|stream| stream.origin = Some(origin));
    }

    pub(super) fn set_versions(&self, store: &Store) {
        let versions = store.versions();
        self.inner().versions = versions;
    }

    pub(super) fn changed_versions(&self, type_url: &str, set: Vec<(String, String)>, removed: &[String]) {
        let mut inner = self.inner();
        for (name, version) in set {
            inner.versions.insert((type_url.to_owned(), name), version);
        }
        for name in removed {
            inner.versions.remove(&(type_url.to_owned(), name.clone()));
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
