//! Namespaces and their labels, for whoever decides by them: which are read, and where sidecars are injected.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::source::words::Labels;

/// Labels of all namespaces by name, at one moment.
pub type NamespaceLabels = BTreeMap<Arc<str>, Labels>;

/// A handle on what is known of namespaces; clones see the same.
#[derive(Clone, Debug)]
pub struct Namespaces(watch::Receiver<Arc<NamespaceLabels>>);

impl Namespaces {
    pub(super) fn new(labels: watch::Receiver<Arc<NamespaceLabels>>) -> Self {
        Self(labels)
    }

    /// The labels of a namespace; none when there is no such namespace, as far as is known.
    #[must_use]
    pub fn namespace_labels(&self, name: &str) -> Option<Labels> {
        self.0.borrow().get(name).cloned()
    }

    /// All of them, now and after every change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<NamespaceLabels>> {
        self.0.clone()
    }
}
