//! Files of secrets are read again when they change.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::tls::TlsContexts;

/// How often it is looked whether a file is another one. Whoever rotates a certificate leaves the old one valid for
/// longer.
const LOOK: Duration = Duration::from_secs(1);

/// What tells a file from the one that was there before, whether it was written or moved there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    length: u64,
}

impl Stamp {
    /// None: there is no such file now.
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            modified: (found.mtime(), found.mtime_nsec()),
            length: found.len(),
        })
    }
}

/// Looks for ever. A link that leads elsewhere, as Kubernetes' mounts change, is another file.
pub(super) async fn watch(contexts: Arc<TlsContexts>) {
    let mut known: HashMap<PathBuf, Option<Stamp>> = HashMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let mut now = HashMap::new();
        for file in contexts.secret_files() {
            now.entry(file.path.clone()).or_insert_with(|| Stamp::of(&file.path));
        }
        // One that is new here was read just now; one that is gone may come back.
        let changed = |path: &PathBuf| match (known.get(path), now.get(path)) {
            (Some(before), Some(after)) => after.is_some() && before != after,
            _ => false,
        };
        if now.keys().any(&changed) {
            contexts.reload(|file| changed(&file.path));
        }
        known = now;
    }
}
