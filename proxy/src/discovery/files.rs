//! Resources in files: each holds a `DiscoveryResponse`, in YAML or JSON, and is read again when another takes its place
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/overview/xds_api#config-overview-path-config-source>).

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use weft_model::bootstrap;
use weft_proto::xds::discovery::DeltaDiscoveryResponse;

use super::state_of_the_world::Translation;

/// What tells a file from the one that was there before, whether it was written or moved there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    length: u64,
}

impl Stamp {
    /// None: there is no such file now.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            modified: (found.mtime(), found.mtime_nsec()),
            length: found.len(),
        })
    }
}

/// One file, and what was read of it.
#[derive(Debug)]
pub(super) struct ResourceFile {
    path: PathBuf,
    type_url: &'static str,
    stamp: Option<Stamp>,
    reads: u64,
    translation: Translation,
}

/// What a file says now.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing new.
    Same,
    /// Everything it holds.
    Changed(Box<DeltaDiscoveryResponse>),
    /// It cannot be used.
    Unusable(String),
}

impl ResourceFile {
    /// A file with resources of one type.
    pub(super) fn new(path: PathBuf, type_url: &'static str) -> Self {
        Self { path, type_url, stamp: None, reads: 0, translation: Translation::default() }
    }

    /// Reads it, if it is another one than before.
    pub(super) fn look(&mut self) -> Found {
        let stamp = Stamp::of(&self.path);
        if stamp == self.stamp && self.reads > 0 {
            return Found::Same;
        }
        self.stamp = stamp;
        self.reads += 1;
        let place = self.path.display();
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) => return Found::Unusable(format!("{place}: {error}")),
        };
        let mut response = match bootstrap::read_response(&text) {
            Ok(response) => response,
            Err(errors) => return Found::Unusable(format!("{place}:{errors}")),
        };
        let strangers: BTreeSet<&str> = response
            .resources
            .iter()
            .map(|any| any.type_url.as_str())
            .filter(|found| *found != self.type_url)
            .collect();
        if !strangers.is_empty() {
            let strangers: Vec<_> = strangers.into_iter().collect();
            return Found::Unusable(format!(
                "{place}: holds {}, not {}",
                strangers.join(", "),
                self.type_url
            ));
        }
        self.type_url.clone_into(&mut response.type_url);
        if response.version_info.is_empty() {
            response.version_info = self.reads.to_string();
        }
        Found::Changed(Box::new(self.translation.response(response)))
    }
}
