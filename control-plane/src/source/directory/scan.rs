//! Reads the files of a directory and decides, object by object, what stays in force.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use weft_model::provenance::ObjectRef;

use crate::source::diagnostic::{Finding, Severity, code};
use crate::source::object::Object;
use crate::source::parse::{MAX_FILE_BYTES, Parsed, parse_documents};
use crate::source::set::Objects;
use crate::source::store::Store;

/// Deepest folder that is read.
const MAX_DEPTH: usize = 8;

/// What tells versions of a file apart without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
    /// It was changed a moment before it was looked at. Clocks of file systems tick in milliseconds: a write of the same
    /// length that follows within a tick leaves all the rest as it is. Never equal, so that the file is read again.
    is_settled: bool,
}

/// A file that was not changed for so long is not changed within the same tick any more. Also where the clocks of a file
/// server and of this machine differ a little.
const SETTLED: Duration = Duration::from_secs(2);

/// A file that was read.
#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    objects: Vec<Arc<Object>>,
    findings: Vec<Finding>,
}

/// Reads a directory again and again.
#[derive(Debug)]
pub(super) struct Scanner {
    root: PathBuf,
    namespace: String,
    store: Store,
    seen: BTreeMap<PathBuf, Seen>,
}

impl Scanner {
    pub(super) fn new(root: &Path, namespace: &str, store: Store) -> Self {
        Self { root: root.to_owned(), namespace: namespace.to_owned(), store, seen: BTreeMap::new() }
    }

    /// What is in force now.
    pub(super) fn scan(&mut self) -> Objects {
        let mut files = BTreeSet::new();
        let mut findings = Vec::new();
        if let Err((path, error)) = list(&self.root, 0, &mut files) {
            // What cannot be listed must not look like what was removed.
            let kept = self.store.objects();
            findings.push(unreadable(&path, &error.to_string(), kept.by_name.len()));
            return Objects { by_name: kept.by_name.clone(), findings };
        }
        self.seen.retain(|path, _| files.contains(path));
        for path in files {
            self.look(&path);
        }
        let wanted = self.wanted(&mut findings);
        self.keep(&wanted, &mut findings);
        Objects { by_name: self.store.objects().by_name.clone(), findings }
    }

    /// Reads a file if it changed.
    fn look(&mut self, path: &Path) {
        let previous = self.previous(path);
        let held_back = |why: &str| Seen {
            stamp: Stamp { inode: 0, length: 0, modified: (0, 0), is_settled: false },
            findings: vec![unreadable(path, why, previous.len())],
            objects: previous.clone(),
        };
        let stamp = match fs::metadata(path) {
            Ok(metadata) => Stamp {
                inode: metadata.ino(),
                length: metadata.len(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                is_settled: metadata
                    .modified()
                    .is_ok_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed > SETTLED)),
            },
            Err(error) => {
                let seen = held_back(&error.to_string());
                self.seen.insert(path.to_owned(), seen);
                return;
            }
        };
        if self.seen.get(path).is_some_and(|seen| seen.stamp.is_settled && seen.stamp == stamp) {
            return;
        }
        let seen = if stamp.length > MAX_FILE_BYTES as u64 {
            held_back("it is too large")
        } else {
            match fs::read(path)
                .map_err(|error| error.to_string())
                .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned()))
            {
                // An editor that empties a file before it writes it must not delete what it holds.
                Ok(text) if text.trim().is_empty() && !previous.is_empty() => {
                    Seen { stamp, ..held_back("it is empty") }
                }
                Ok(text) => {
                    let parsed = parse_documents(&path.display().to_string(), &text, &self.namespace);
                    let (objects, findings) = quarantine(parsed, &previous);
                    Seen { stamp, objects, findings }
                }
                Err(why) => held_back(&why),
            }
        };
        self.seen.insert(path.to_owned(), seen);
    }

    /// What the file held when it was last good: of this run, or of the one before.
    fn previous(&self, path: &Path) -> Vec<Arc<Object>> {
        let kept = self.store.objects();
        if let Some(seen) = self.seen.get(path) {
            // As the store has them, with their generation.
            return seen
                .objects
                .iter()
                .filter_map(|object| kept.by_name.get(&object.reference))
                .cloned()
                .collect();
        }
        let file = path.display().to_string();
        kept.by_name.values().filter(|object| *object.place.file == *file).cloned().collect()
    }

    /// One object a name: of two files with the same object the first in alphabetical order counts.
    fn wanted(&self, findings: &mut Vec<Finding>) -> BTreeMap<ObjectRef, Arc<Object>> {
        let mut wanted: BTreeMap<ObjectRef, Arc<Object>> = BTreeMap::new();
        for seen in self.seen.values() {
            findings.extend(seen.findings.iter().cloned());
            for object in &seen.objects {
                if let Some(first) = wanted.get(&object.reference) {
                    let (one, other) = (&first.place.file, &object.place.file);
                    let message =
                        format!("{} is in {one} and in {other}; the first counts", object.reference);
                    findings.push(object.finding(
                        Severity::Warning,
                        code::CONFLICT,
                        "",
                        message,
                        "remove one of them",
                    ));
                } else {
                    wanted.insert(object.reference.clone(), Arc::clone(object));
                }
            }
        }
        wanted
    }

    /// Puts what is wanted into the store.
    fn keep(&mut self, wanted: &BTreeMap<ObjectRef, Arc<Object>>, findings: &mut Vec<Finding>) {
        let current = self.store.objects();
        let gone: Vec<_> =
            current.by_name.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        let objects: Vec<_> = wanted.values().cloned().collect();
        if let Err(error) = self.store.change(&objects, &gone, jiff::Timestamp::now()) {
            let message = format!("the directory's change is not in force: {error}");
            let finding = Finding::new(Severity::Error, code::LAST_GOOD_KEPT, message);
            findings.push(Finding { last_good_kept: true, ..finding });
        }
    }
}

/// What of a file is in force: the good objects, and of those that are bad now the last good version.
fn quarantine(parsed: Parsed, previous: &[Arc<Object>]) -> (Vec<Arc<Object>>, Vec<Finding>) {
    let Parsed { mut objects, mut findings } = parsed;
    // A mistake in a document whose name cannot be read could be any object's.
    let anonymous = findings.iter().any(|finding| finding.is_error() && finding.object.is_none());
    let mut kept = Vec::new();
    for old in previous {
        if objects.iter().any(|object| object.reference == old.reference) {
            continue;
        }
        let bad = findings
            .iter()
            .any(|finding| finding.is_error() && finding.object.as_ref() == Some(&old.reference));
        if bad || anonymous {
            let message = format!("{} of generation {} stays in force", old.reference, old.generation);
            let finding = Finding::new(Severity::Warning, code::LAST_GOOD_KEPT, message)
                .hint("mend the file, or remove the object from it")
                .of(&old.reference, "");
            kept.push(Finding { file: Arc::clone(&old.place.file), ..finding });
            objects.push(Arc::clone(old));
        }
    }
    for finding in findings.iter_mut().filter(|finding| finding.is_error()) {
        let any = finding.object.is_none() && !kept.is_empty();
        finding.last_good_kept = any || kept.iter().any(|other| other.object == finding.object);
    }
    findings.extend(kept);
    (objects, findings)
}

fn unreadable(path: &Path, why: &str, kept: usize) -> Finding {
    let message = format!("{} cannot be read: {why}", path.display());
    let hint = match kept {
        0 => "nothing of it is in force".to_owned(),
        1 => "the object that it held stays in force; remove the file to delete it".to_owned(),
        _ => format!("the {kept} objects that it held stay in force; remove the file to delete them"),
    };
    Finding {
        file: path.display().to_string().into(),
        last_good_kept: kept > 0,
        ..Finding::new(Severity::Error, code::UNREADABLE, message).hint(hint)
    }
}

/// All YAML and JSON files, links followed; hidden ones are not looked at, so that of a Kubernetes ConfigMap
/// (`file.yaml` → `..data/file.yaml`, `..data` → `..TIMESTAMP`) each is seen once.
fn list(folder: &Path, depth: usize, files: &mut BTreeSet<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
    let failed = |error| (folder.to_owned(), error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            if depth < MAX_DEPTH {
                list(&path, depth + 1, files)?;
            }
        } else if path
            .extension()
            .is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known))
        {
            files.insert(path);
        }
    }
    Ok(())
}
