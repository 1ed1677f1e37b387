//! Files of secrets are read again when they change.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::discovery::Stamp;
use crate::tls::TlsContexts;

/// How often it is looked whether a file is another one. Whoever rotates a certificate leaves the old one valid for
/// longer.
const LOOK: Duration = Duration::from_secs(1);

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
