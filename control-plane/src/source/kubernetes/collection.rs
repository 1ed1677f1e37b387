//! What is known of a cluster's objects: the good ones, the last good version of those that are bad now, and what is wrong
//! with them. One bad object harms no other.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{BitOr, BitOrAssign};
use std::sync::Arc;

use tokio::sync::watch;
use weft_model::provenance::ObjectRef;

use super::namespaces::{NamespaceLabels, Namespaces};
use super::trim::{Trimmed, is_foreign};
use super::watched::{Seen, name_of};
use super::{KubernetesSettings, Statuses, Written};
use crate::source::diagnostic::code;
use crate::source::{
    CLUSTER_KINDS, Finding, KINDS, Kind, Object, Objects, Origin, Severity, Spec, parse_watched,
};

#[cfg(test)]
#[path = "collection_tests.rs"]
mod tests;

/// What a change concerns.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Lane(u8);

impl Lane {
    pub(super) const NONE: Self = Self(0);
    pub(super) const CONFIGURATION: Self = Self(1);
    pub(super) const PODS: Self = Self(2);
    pub(super) const STATUS: Self = Self(4);

    pub(super) fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Lane {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Lane {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// Namespace (empty for kinds without) and name.
type Name = (String, String);

/// One object as it was seen last.
#[derive(Debug, Default)]
struct Entry {
    /// What was parsed, to see whether it is the same.
    text: Arc<str>,
    generation: u64,
    version: &'static str,
    /// The last good version.
    object: Option<Arc<Object>>,
    findings: Vec<Finding>,
    status: Arc<serde_json::Value>,
}

/// All objects of a cluster that are read.
#[derive(Debug)]
pub(super) struct Collection {
    settings: KubernetesSettings,
    kinds: BTreeMap<&'static str, BTreeMap<Name, Entry>>,
    /// Kinds that are watched, once that is known.
    expected: Option<Vec<&'static Kind>>,
    /// Those of them that have been listed.
    listed: BTreeSet<&'static str>,
    labels: watch::Sender<Arc<NamespaceLabels>>,
}

impl Collection {
    pub(super) fn new(settings: KubernetesSettings) -> Self {
        Self {
            settings,
            kinds: BTreeMap::new(),
            expected: None,
            listed: BTreeSet::new(),
            labels: watch::Sender::default(),
        }
    }

    pub(super) fn namespaces(&self) -> Namespaces {
        Namespaces::new(self.labels.subscribe(), self.settings.clone())
    }

    /// What has not been listed yet, by name.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        match &self.expected {
            None => vec!["the kinds that there are"],
            Some(kinds) => {
                kinds.iter().map(|kind| kind.name).filter(|name| !self.listed.contains(name)).collect()
            }
        }
    }

    /// Takes in what a watch tells; says what it changed.
    pub(super) fn take(&mut self, seen: Seen) -> Lane {
        match seen {
            Seen::Kinds(kinds) => {
                self.expected = Some(kinds);
                Lane::NONE
            }
            Seen::Dropped(kind) => {
                self.listed.remove(kind.name);
                match self.kinds.remove(kind.name) {
                    Some(gone) if !gone.is_empty() => lane(kind) | Lane::STATUS,
                    _ => Lane::NONE,
                }
            }
            Seen::Listed(kind, objects) => {
                self.listed.insert(kind.name);
                self.listed(kind, objects)
            }
            Seen::Applied(kind, object) => self.applied(kind, *object),
            Seen::Deleted(kind, namespace, name) => {
                let gone = self.kinds.get_mut(kind.name).and_then(|all| all.remove(&(namespace, name)));
                if gone.is_some() { self.changed(kind) | Lane::STATUS } else { Lane::NONE }
            }
        }
    }

    fn listed(&mut self, kind: &'static Kind, objects: Vec<Trimmed>) -> Lane {
        let names: BTreeSet<Name> = objects.iter().map(|object| name_of(&object.object)).collect();
        let mut changed = Lane::NONE;
        let known = self.kinds.entry(kind.name).or_default();
        let before = known.len();
        known.retain(|name, _| names.contains(name));
        if known.len() != before {
            changed |= lane(kind) | Lane::STATUS;
        }
        for object in objects {
            changed |= self.put(kind, object);
        }
        if changed.contains(lane(kind)) { changed | self.changed(kind) } else { changed }
    }

    fn applied(&mut self, kind: &'static Kind, object: Trimmed) -> Lane {
        let changed = self.put(kind, object);
        if changed.contains(lane(kind)) { changed | self.changed(kind) } else { changed }
    }

    /// What follows from a change of a kind.
    fn changed(&mut self, kind: &'static Kind) -> Lane {
        if kind.name != "Namespace" {
            return lane(kind);
        }
        let namespaces = self.kinds.get(kind.name).into_iter().flatten();
        let objects = namespaces.filter_map(|(_, entry)| entry.object.as_ref());
        let labels = objects.map(|object| (object.name().clone(), object.metadata.labels.clone()));
        self.labels.send_replace(Arc::new(labels.collect()));
        // Which namespaces are read may be another now.
        if self.settings.selectors.is_empty() { Lane::NONE } else { Lane::CONFIGURATION | Lane::PODS }
    }

    fn put(&mut self, kind: &'static Kind, trimmed: Trimmed) -> Lane {
        let Trimmed { object, status, version, generation } = trimmed;
        if is_foreign(&object) {
            let ours = self.kinds.get_mut(kind.name).and_then(|all| all.remove(&name_of(&object)));
            return if ours.is_some() { lane(kind) | Lane::STATUS } else { Lane::NONE };
        }
        let entry = self.kinds.entry(kind.name).or_default().entry(name_of(&object)).or_default();
        entry.version = version;
        let mut changed = Lane::NONE;
        if has_status(kind) && *entry.status != status {
            entry.status = Arc::new(status);
            changed |= Lane::STATUS;
        }
        let text = object.to_string();
        if *entry.text == *text && entry.generation == generation {
            return changed;
        }
        let parsed = parse_watched(&object);
        (entry.text, entry.generation, entry.findings) = (text.into(), generation, parsed.findings);
        match parsed.objects.into_iter().next() {
            Some(fresh) => {
                let text = entry.text.clone();
                let fresh = Object { origin: Origin::Kubernetes, generation, text, ..Object::clone(&fresh) };
                let is_same = entry
                    .object
                    .as_ref()
                    .is_some_and(|known| known.generation == generation && known.same_content(&fresh));
                if !is_same {
                    entry.object = Some(Arc::new(fresh));
                }
            }
            None => {
                if kind.name == "Pod" {
                    tracing::warn!(findings = ?entry.findings, "a pod cannot be read");
                }
                keep_last_good(entry);
            }
        }
        let status = if has_status(kind) { Lane::STATUS } else { Lane::NONE };
        changed | lane(kind) | status
    }

    /// All objects but pods, of namespaces that are read.
    pub(super) fn objects(&self) -> Objects {
        let mut objects = Objects::default();
        for kind in KINDS.iter().chain(CLUSTER_KINDS).filter(|kind| lane(kind) == Lane::CONFIGURATION) {
            self.collect(kind, &mut objects);
        }
        objects
    }

    /// All pods, of namespaces that are read.
    pub(super) fn pods(&self) -> Objects {
        let mut pods = Objects::default();
        CLUSTER_KINDS
            .iter()
            .filter(|kind| lane(kind) == Lane::PODS)
            .for_each(|kind| self.collect(kind, &mut pods));
        pods
    }

    /// Policies with their statuses, the bad ones among them, of namespaces that are read.
    pub(super) fn statuses(&self) -> Statuses {
        let labels = self.labels.borrow();
        let mut statuses = Statuses::new();
        for kind in KINDS.iter().filter(|kind| has_status(kind)) {
            for ((namespace, name), entry) in self.kinds.get(kind.name).into_iter().flatten() {
                if self.settings.reads(&labels, namespace) {
                    let reference = ObjectRef::new(&kind.api_version(), kind.name, namespace, name);
                    let (text, status) = (entry.text.clone(), entry.status.clone());
                    statuses.insert(
                        reference,
                        Written { text, status, version: entry.version, generation: entry.generation },
                    );
                }
            }
        }
        statuses
    }

    fn collect(&self, kind: &Kind, objects: &mut Objects) {
        let labels = self.labels.borrow();
        for ((namespace, _), entry) in self.kinds.get(kind.name).into_iter().flatten() {
            if !self.settings.reads(&labels, namespace) {
                continue;
            }
            objects.findings.extend(entry.findings.iter().cloned());
            // Namespaces have said all there is: which objects are read.
            if let Some(object) = entry.object.as_ref().filter(|object| object.spec != Spec::Namespace) {
                objects.by_name.insert(object.reference.clone(), object.clone());
            }
        }
    }
}

/// Says of a bad object that its last good version stays in force, if there is one.
fn keep_last_good(entry: &mut Entry) {
    let Some(object) = &entry.object else { return };
    for finding in entry.findings.iter_mut().filter(|finding| finding.is_error()) {
        finding.last_good_kept = true;
    }
    let message = format!("{} of generation {} stays in force", object.reference, object.generation);
    let kept = Finding::new(Severity::Warning, code::LAST_GOOD_KEPT, message)
        .hint("mend the object, or delete it")
        .of(&object.reference, "");
    entry.findings.push(kept);
}

/// Whether the control plane writes a status for objects of a kind.
fn has_status(kind: &Kind) -> bool {
    !kind.group.is_empty() && KINDS.iter().any(|known| known.name == kind.name)
}

fn lane(kind: &Kind) -> Lane {
    if kind.name == "Pod" { Lane::PODS } else { Lane::CONFIGURATION }
}
