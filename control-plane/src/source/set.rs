//! What a source holds, and how several sources become one.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use weft_model::provenance::ObjectRef;

use super::diagnostic::{Finding, Severity, code};
use super::object::{Object, Origin};

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;

/// Something that objects come from. Every object stands for itself: a bad one is held back while its last good
/// version stays in the set, with a finding that says so.
pub trait Source {
    /// Whose objects they are.
    fn origin(&self) -> Origin;

    /// All objects, now and after every change. A receiver sees the latest set and may miss those between.
    fn watch(&self) -> watch::Receiver<Arc<Objects>>;

    /// Pods, of a source that has them: apart, because they come and go without a change of anything else.
    fn pods(&self) -> Option<watch::Receiver<Arc<Objects>>> {
        None
    }
}

/// The objects in force, each of which is free of errors, and what was found about those that are not.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Objects {
    /// By name.
    pub by_name: BTreeMap<ObjectRef, Arc<Object>>,
    /// Of files and objects that were held back, and warnings of those in force.
    pub findings: Vec<Finding>,
}

/// One difference between two sets.
#[derive(Clone, PartialEq, Debug)]
pub enum SourceEvent {
    /// New, or another version.
    Applied(Arc<Object>),
    /// Gone.
    Deleted(ObjectRef),
}

impl Objects {
    /// In the order of their names.
    #[must_use]
    pub fn to_vec(&self) -> Vec<Arc<Object>> {
        self.by_name.values().cloned().collect()
    }

    /// What changed since `before`; versions are told apart by identity, so it costs one walk over both.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> Vec<SourceEvent> {
        let gone = before.by_name.keys().filter(|name| !self.by_name.contains_key(*name));
        let deleted = gone.map(|name| SourceEvent::Deleted(name.clone()));
        let changed = self
            .by_name
            .iter()
            .filter(|(name, object)| before.by_name.get(*name).is_none_or(|old| !Arc::ptr_eq(old, object)));
        deleted.chain(changed.map(|(_, object)| SourceEvent::Applied(Arc::clone(object)))).collect()
    }

    /// One set of several; where two have the same object the later set wins, with a warning. The directory comes
    /// after the API's store: what an operator wrote into a file is the more deliberate.
    #[must_use]
    pub fn merge<'a>(sets: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut merged = Self::default();
        for set in sets {
            merged.findings.extend(set.findings.iter().cloned());
            for (name, object) in &set.by_name {
                if let Some(hidden) = merged.by_name.insert(name.clone(), Arc::clone(object)) {
                    merged.findings.push(hides(object, &hidden));
                }
            }
        }
        merged
    }
}

fn hides(object: &Object, hidden: &Object) -> Finding {
    let from = if object.place.file.is_empty() { String::new() } else { format!(" ({})", object.place.file) };
    let message = format!(
        "{} is in the {} and in the {}{from}; the {} wins",
        object.reference,
        place(hidden.origin),
        place(object.origin),
        place(object.origin),
    );
    Finding::new(Severity::Warning, code::CONFLICT, message)
        .hint("delete one of them: `weft delete`, or remove it from the file")
        .of(&object.reference, "")
}

fn place(origin: Origin) -> &'static str {
    match origin {
        Origin::Api => "API's store",
        Origin::Directory => "directory",
        Origin::Run => "registry of started workloads",
        Origin::Kubernetes => "Kubernetes API",
    }
}
