//! Changes of several files, all or nothing.
//!
//! The whole change is written to `journal.new`, which is then renamed to `journal`: that rename is the moment of
//! commitment. Then the files are written one by one (a file beside, `fsync`, rename, `fsync` of the directory) and
//! the journal is removed. Whoever opens the store next carries out a `journal` that is there, which does no harm
//! when it has been done before, and discards a `journal.new`. A change of a single file needs no journal: its own
//! rename is atomic.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{StoreError, create_directory, disk};

const JOURNAL: &str = "journal";
const NEW: &str = "new";

/// A change of files, named by paths within the state directory.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Transaction {
    puts: Vec<(PathBuf, String)>,
    deletes: Vec<PathBuf>,
}

/// One change of the disk: what a power cut can fall between.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Creates a directory with its parents.
    CreateDirectory(PathBuf),
    /// Writes a file through to the disk.
    Write(PathBuf, String),
    /// Renames a file over another.
    Rename(PathBuf, PathBuf),
    /// Removes a file if it is there.
    Remove(PathBuf),
    /// Writes a directory's entries through to the disk.
    Sync(PathBuf),
}

impl Transaction {
    pub(super) fn put(&mut self, path: PathBuf, content: String) {
        self.puts.push((path, content));
    }

    pub(super) fn delete(&mut self, path: PathBuf) {
        self.deletes.push(path);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }

    /// Carries it out. False when it is committed, but an error of the disk kept it from being finished: the
    /// journal is still there.
    ///
    /// # Errors
    /// [`StoreError::Disk`]: nothing was changed.
    pub(super) fn run(&self, state: &Path) -> Result<bool, StoreError> {
        let (commit, rest) = self.steps()?;
        for step in &commit {
            if let Err(error) = step.run(state) {
                let _ = fs::remove_file(state.join(JOURNAL).with_extension(NEW));
                return Err(error);
            }
        }
        for step in &rest {
            if let Err(error) = step.run(state) {
                if commit.is_empty() {
                    return Err(error);
                }
                tracing::error!(%error, "a committed change is not finished; it will be tried again");
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Those up to the commitment, and those after it.
    pub(super) fn steps(&self) -> Result<(Vec<Step>, Vec<Step>), StoreError> {
        let mut commit = Vec::new();
        let mut rest = Vec::new();
        let several = self.puts.len() + self.deletes.len() > 1;
        let journal = PathBuf::from(JOURNAL);
        if several {
            let text = serde_json::to_string(self).map_err(|e| disk("write", &journal)(e.into()))?;
            let new = journal.with_extension(NEW);
            commit.push(Step::Write(new.clone(), text));
            commit.push(Step::Rename(new, journal.clone()));
            commit.push(Step::Sync(PathBuf::new()));
        }
        for (path, content) in &self.puts {
            let directory = path.parent().unwrap_or(Path::new("")).to_owned();
            let beside = PathBuf::from(format!("{}.{NEW}", path.display()));
            rest.push(Step::CreateDirectory(directory.clone()));
            rest.push(Step::Write(beside.clone(), content.clone()));
            rest.push(Step::Rename(beside, path.clone()));
            rest.push(Step::Sync(directory));
        }
        for path in &self.deletes {
            rest.push(Step::Remove(path.clone()));
            rest.push(Step::Sync(path.parent().unwrap_or(Path::new("")).to_owned()));
        }
        if several {
            rest.push(Step::Remove(journal));
            rest.push(Step::Sync(PathBuf::new()));
        }
        Ok((commit, rest))
    }
}

impl Step {
    /// Does it below the state directory.
    pub(super) fn run(&self, state: &Path) -> Result<(), StoreError> {
        match self {
            Self::CreateDirectory(path) => create_synced(&state.join(path)),
            Self::Write(path, content) => {
                let path = state.join(path);
                write(&path, content).map_err(disk("write", &path))
            }
            Self::Rename(from, to) => {
                let to = state.join(to);
                fs::rename(state.join(from), &to).map_err(disk("write", &to))
            }
            Self::Remove(path) => {
                let path = state.join(path);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        Err(disk("remove", &path)(error))
                    }
                    _ => Ok(()),
                }
            }
            Self::Sync(path) => {
                let path = state.join(path);
                match File::open(&path).and_then(|directory| directory.sync_all()) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(disk("sync", &path)(error)),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// Only the mesh's owner reads what was applied.
fn write(path: &Path, content: &str) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

/// Creates a directory and writes the entries of those above it through to the disk.
fn create_synced(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    create_directory(path)?;
    for above in path.ancestors().skip(1).take(3) {
        File::open(above).and_then(|directory| directory.sync_all()).map_err(disk("sync", above))?;
    }
    Ok(())
}

/// Finishes a committed transaction and discards the beginnings of others.
pub(super) fn recover(state: &Path) -> Result<(), StoreError> {
    let journal = state.join(JOURNAL);
    match fs::read_to_string(&journal) {
        Ok(text) => {
            let transaction: Transaction =
                serde_json::from_str(&text).map_err(|error| disk("read", &journal)(error.into()))?;
            for step in transaction.steps()?.1 {
                step.run(state)?;
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(disk("read", &journal)(error)),
    }
    discard_new(state, 0)
}

/// Removes files that were written beside and never renamed.
fn discard_new(directory: &Path, depth: usize) -> Result<(), StoreError> {
    for entry in fs::read_dir(directory).map_err(disk("read", directory))? {
        let path = entry.map_err(disk("read", directory))?.path();
        if path.is_dir() && depth < 4 {
            discard_new(&path, depth + 1)?;
        } else if path.extension().is_some_and(|extension| extension == NEW) {
            fs::remove_file(&path).map_err(disk("remove", &path))?;
        }
    }
    Ok(())
}
