//! Namespaces and their labels, for whoever decides by them: which are read, and where sidecars are injected.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::KubernetesSettings;
use crate::source::words::Labels;

/// Labels of all namespaces by name, at one moment.
pub type NamespaceLabels = BTreeMap<Arc<str>, Labels>;

/// A handle on what is known of namespaces; clones see the same.
#[derive(Clone, Debug)]
pub struct Namespaces {
    labels: watch::Receiver<Arc<NamespaceLabels>>,
    settings: KubernetesSettings,
}

impl Namespaces {
    pub(super) fn new(labels: watch::Receiver<Arc<NamespaceLabels>>, settings: KubernetesSettings) -> Self {
        Self { labels, settings }
    }

    /// The labels of a namespace; none when there is no such namespace, as far as is known.
    #[must_use]
    pub fn namespace_labels(&self, name: &str) -> Option<Labels> {
        self.labels.borrow().get(name).cloned()
    }

    /// Whether a namespace is of this mesh: it is there, and objects of it are read.
    #[must_use]
    pub fn is_read(&self, name: &str) -> bool {
        let labels = self.labels.borrow();
        labels.contains_key(name) && self.settings.reads(&labels, name)
    }

    /// All of them, now and after every change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<NamespaceLabels>> {
        self.labels.clone()
    }
}
