//! The durable store: one YAML file an object, the user's text as written, with generation, creation time and
//! origin in a first line beside it.
//!
//! Files stand in `STATE/objects/NAMESPACE/KIND/NAME.yaml`. A change of several objects is all or nothing, also
//! across `kill -9` and loss of power: see [`transaction`].

mod file;
mod transaction;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};
use tokio::sync::watch;
use weft_model::provenance::ObjectRef;

use super::diagnostic::{Finding, Severity, code};
use super::object::{Object, Origin};
use super::set::{Objects, Source};
use transaction::Transaction;

#[cfg(test)]
#[path = "../store_tests.rs"]
mod tests;

/// Objects on disk. There is one writer: a lock on the directory keeps others out.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    origin: Origin,
    objects: watch::Sender<Arc<Objects>>,
    /// A transaction is committed, but a disk error kept it from being carried out.
    unfinished: bool,
    _lock: Flock<File>,
}

/// Why the store cannot do it. Nothing of the change was applied.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("the state directory {} is in use by another control plane; stop it, or choose another directory", .0.display())]
    Locked(PathBuf),
    /// The disk.
    #[error("cannot {action} {}: {source}", .path.display())]
    Disk {
        /// Such as "write".
        action: &'static str,
        /// What it was about.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
}

/// What became of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is new.
    Created,
    /// It says something else now.
    Configured,
    /// It says the same; new comments are kept.
    Unchanged,
    /// It is gone.
    Deleted,
}

/// An object of a request, as it is in the store afterwards.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// With its generation; of a deleted one the last.
    pub object: Arc<Object>,
    /// What became of it.
    pub change: Change,
}

impl Store {
    /// Opens the store, finishes or discards what a killed process left, and reads all objects. A file that cannot
    /// be used is left where it is, and named in a finding. `origin` is that of objects without one of their own.
    ///
    /// # Errors
    /// [`StoreError`] when the directory is in use or cannot be read or written.
    pub fn open(state: &Path, origin: Origin) -> Result<Self, StoreError> {
        create_directory(state)?;
        let lock = lock(state)?;
        transaction::recover(state)?;
        let objects = file::read_all(&state.join(file::OBJECTS))?;
        Ok(Self {
            directory: state.to_owned(),
            origin,
            objects: watch::Sender::new(Arc::new(objects)),
            unfinished: false,
            _lock: lock,
        })
    }

    /// All objects.
    #[must_use]
    pub fn objects(&self) -> Arc<Objects> {
        Arc::clone(&self.objects.borrow())
    }

    /// What applying would do, without doing it.
    #[must_use]
    pub fn preview(&self, objects: &[Arc<Object>], now: jiff::Timestamp) -> Vec<Outcome> {
        let current = self.objects.borrow();
        objects
            .iter()
            .map(|object| outcome(current.by_name.get(&object.reference), object, self.origin, now))
            .collect()
    }

    /// Takes all of the objects, or none.
    ///
    /// # Errors
    /// [`StoreError::Disk`]: nothing was applied.
    pub fn apply(
        &mut self,
        objects: &[Arc<Object>],
        now: jiff::Timestamp,
    ) -> Result<Vec<Outcome>, StoreError> {
        self.change(objects, &[], now)
    }

    /// Removes all of the objects that are there, in one go. Those that are not there are left out of the answer.
    ///
    /// # Errors
    /// [`StoreError::Disk`]: nothing was removed.
    pub fn delete(&mut self, names: &[ObjectRef]) -> Result<Vec<Outcome>, StoreError> {
        self.change(&[], names, jiff::Timestamp::UNIX_EPOCH)
    }

    /// Takes and removes objects, all or nothing.
    ///
    /// # Errors
    /// [`StoreError::Disk`]: nothing was changed.
    pub fn change(
        &mut self,
        apply: &[Arc<Object>],
        delete: &[ObjectRef],
        now: jiff::Timestamp,
    ) -> Result<Vec<Outcome>, StoreError> {
        if self.unfinished {
            transaction::recover(&self.directory)?;
            self.unfinished = false;
        }
        let mut outcomes = self.preview(apply, now);
        let current = self.objects();
        let gone = delete.iter().filter_map(|name| current.by_name.get(name));
        outcomes.extend(gone.map(|object| Outcome { object: Arc::clone(object), change: Change::Deleted }));

        let mut transaction = Transaction::default();
        let mut by_name = current.by_name.clone();
        for Outcome { object, change } in &outcomes {
            let path = file::path(&object.reference);
            if *change == Change::Deleted {
                transaction.delete(path);
                by_name.remove(&object.reference);
            } else if by_name.get(&object.reference).is_none_or(|old| !Arc::ptr_eq(old, object)) {
                transaction.put(path, file::render(object));
                by_name.insert(object.reference.clone(), Arc::clone(object));
            }
        }
        if transaction.is_empty() {
            return Ok(outcomes);
        }
        self.unfinished = !transaction.run(&self.directory)?;
        self.publish(by_name, &outcomes);
        Ok(outcomes)
    }

    fn publish(&self, by_name: BTreeMap<ObjectRef, Arc<Object>>, outcomes: &[Outcome]) {
        self.objects.send_modify(|objects| {
            let touched = |finding: &Finding| {
                finding
                    .object
                    .as_ref()
                    .is_some_and(|name| outcomes.iter().any(|o| o.object.reference == *name))
            };
            let findings = objects.findings.iter().filter(|finding| !touched(finding)).cloned().collect();
            *objects = Arc::new(Objects { by_name, findings });
        });
    }
}

impl Source for Store {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn watch(&self) -> watch::Receiver<Arc<Objects>> {
        self.objects.subscribe()
    }
}

/// The object as it will be, beside what is there now. Of one that is the same to the letter, what is there.
fn outcome(
    current: Option<&Arc<Object>>,
    object: &Arc<Object>,
    origin: Origin,
    now: jiff::Timestamp,
) -> Outcome {
    let Some(old) = current else {
        return Outcome { object: taken(object, 1, origin, Some(now)), change: Change::Created };
    };
    if !old.same_content(object) {
        let object = taken(object, old.generation + 1, origin, old.metadata.created);
        return Outcome { object, change: Change::Configured };
    }
    let change = Change::Unchanged;
    if old.text == object.text && old.place == object.place && old.origin == origin {
        return Outcome { object: Arc::clone(old), change };
    }
    Outcome { object: taken(object, old.generation, origin, old.metadata.created), change }
}

fn taken(object: &Object, generation: u64, origin: Origin, created: Option<jiff::Timestamp>) -> Arc<Object> {
    let mut object = object.clone();
    object.generation = generation;
    object.origin = origin;
    object.metadata.created = created;
    Arc::new(object)
}

fn lock(state: &Path) -> Result<Flock<File>, StoreError> {
    let path = state.join("lock");
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(disk("open", &path))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::errno::Errno::EWOULDBLOCK => StoreError::Locked(state.to_owned()),
        other => disk("lock", &path)(other.into()),
    })
}

fn create_directory(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(disk("create", path))
}

/// Names what an error was about.
fn disk(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Disk { action, path, source }
}

/// A file of the store that cannot be used.
fn unusable(path: &Path, why: &str) -> Finding {
    let message = format!("the stored object {} cannot be used: {why}", path.display());
    Finding::new(Severity::Error, code::UNREADABLE, message)
        .hint("apply the object again, or remove the file; the file is left as it is")
}
