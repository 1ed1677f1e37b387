//! A directory of YAML files that the user edits while the mesh runs.
//!
//! What was read is kept in a [`Store`] of its own, so that generations, and the last good version of an object
//! whose file is broken now, outlive a restart.

mod scan;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::object::Origin;
use super::set::{Objects, Source};
use super::store::{Store, StoreError};
use scan::Scanner;

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;

/// How a directory is watched.
#[derive(Clone, Debug)]
pub struct DirectorySettings {
    /// Where the files are. Need not exist yet.
    pub path: PathBuf,
    /// Where what was read is kept.
    pub state: PathBuf,
    /// Namespace of objects that name none.
    pub namespace: String,
    /// Quiet time after a change before files are read: editors and unpackers change several in a row.
    pub debounce: Duration,
    /// Files are read at least this long after the first change, however many follow.
    pub ceiling: Duration,
    /// Everything is looked at again after this time, for file systems that tell nothing.
    pub rescan: Duration,
}

impl DirectorySettings {
    /// The usual times: 100 ms, 1 s, 10 s.
    #[must_use]
    pub fn new(path: &Path, state: &Path, namespace: &str) -> Self {
        Self {
            path: path.to_owned(),
            state: state.to_owned(),
            namespace: namespace.to_owned(),
            debounce: Duration::from_millis(100),
            ceiling: Duration::from_secs(1),
            rescan: Duration::from_secs(10),
        }
    }
}

/// A directory that is watched; dropping it ends that.
#[derive(Debug)]
pub struct Directory {
    objects: watch::Receiver<Arc<Objects>>,
    task: JoinHandle<()>,
}

impl Directory {
    /// Reads the directory once, then watches it. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError`] when the state cannot be opened. Trouble with the directory itself is a finding.
    pub fn open(settings: DirectorySettings) -> Result<Self, StoreError> {
        let store = Store::open(&settings.state, Origin::Directory)?;
        let mut scanner = Scanner::new(&settings.path, &settings.namespace, store);
        let (sender, objects) = watch::channel(Arc::new(scanner.scan()));
        let task = tokio::spawn(run(scanner, settings, sender));
        Ok(Self { objects, task })
    }
}

impl Source for Directory {
    fn origin(&self) -> Origin {
        Origin::Directory
    }

    fn watch(&self) -> watch::Receiver<Arc<Objects>> {
        self.objects.clone()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(scanner: Scanner, settings: DirectorySettings, sender: watch::Sender<Arc<Objects>>) {
    let (wake, mut woken) = mpsc::channel(1);
    let mut watcher = None;
    let mut slot = Some(scanner);
    loop {
        if watcher.is_none() {
            watcher = watch_files(&settings.path, wake.clone());
        }
        // Looked at after the watch is there, so that no change falls between.
        let Some(mut scanner) = slot.take() else { return };
        let scanned = tokio::task::spawn_blocking(move || {
            let objects = scanner.scan();
            (scanner, objects)
        });
        let Ok((scanner, objects)) = scanned.await else {
            tracing::error!("reading the directory failed; it is watched no longer");
            return;
        };
        slot = Some(scanner);
        sender.send_if_modified(|current| {
            let changed = **current != objects;
            if changed {
                *current = Arc::new(objects);
            }
            changed
        });
        if !settings.path.exists() {
            watcher = None;
        }
        if sender.is_closed() {
            return;
        }
        quiet(&settings, &mut woken).await;
    }
}

/// Waits for a change and then for quiet; at most until it is time to look at everything again.
async fn quiet(settings: &DirectorySettings, woken: &mut mpsc::Receiver<()>) {
    let again = Instant::now() + settings.rescan;
    if timeout_at(again, woken.recv()).await.is_err() {
        return;
    }
    let latest = Instant::now() + settings.ceiling;
    loop {
        let deadline = latest.min(Instant::now() + settings.debounce);
        if timeout_at(deadline, woken.recv()).await.is_err() {
            return;
        }
    }
}

/// None when the operating system refuses; then only the periodic look remains.
fn watch_files(path: &Path, wake: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let tell = move |event: notify::Result<notify::Event>| {
        // Reading a file is an event too: heeding it would wake the reader for ever.
        if event.is_ok_and(|event| event.kind.is_access()) {
            return;
        }
        // A full channel has a wake-up waiting already.
        let _ = wake.try_send(());
    };
    let watched = notify::recommended_watcher(tell).and_then(|mut watcher| {
        watcher.watch(path, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    watched.inspect_err(|error| tracing::debug!(%error, path = %path.display(), "not watched; it is looked at now and then")).ok()
}
