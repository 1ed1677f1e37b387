//! A Kubernetes API server as a source of objects.
//!
//! Each kind is listed and watched by a task of its own ([`watched`]); a [`collection`] holds what they tell, parsed by the
//! same parser as files, and publishes it in two lanes: pods, and everything else. Which kinds of policies there are
//! follows the `CustomResourceDefinition`s of the cluster ([`discovery`]): they may come and go at any time. While the API
//! server is away everything stays as it was last known.

mod collection;
mod contact;
mod discovery;
mod namespaces;
mod selector;
mod trim;
mod watched;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use weft_model::provenance::ObjectRef;

use super::object::Origin;
use super::set::{Objects, Source};
use collection::{Collection, Lane};
pub use contact::Contact;
pub use namespaces::{NamespaceLabels, Namespaces};
pub use selector::NamespaceSelector;
use watched::Seen;

/// Quiet time after a change before it is published: a rollout changes many objects in a row.
const DEBOUNCE: Duration = Duration::from_millis(10);
/// A change is published after so long, however many follow.
const CEILING: Duration = Duration::from_millis(100);
/// Messages of watches that wait for the collection.
const BACKLOG: usize = 256;

/// Which objects of a cluster are read.
#[derive(Clone, Debug)]
pub struct KubernetesSettings {
    /// Only objects of namespaces that one of these selects; of all when there is none.
    pub selectors: Vec<NamespaceSelector>,
    /// This namespace is read in any case: policies for the whole mesh are in it.
    pub root_namespace: Arc<str>,
}

impl KubernetesSettings {
    /// Whether objects of a namespace are read; those without one always are.
    fn reads(&self, labels: &NamespaceLabels, namespace: &str) -> bool {
        self.selectors.is_empty()
            || namespace.is_empty()
            || *namespace == *self.root_namespace
            || labels
                .get(namespace)
                .is_some_and(|labels| self.selectors.iter().any(|selector| selector.matches(labels)))
    }
}

/// The objects of a cluster; dropping it ends the watches.
#[derive(Debug)]
pub struct Kubernetes {
    objects: watch::Receiver<Arc<Objects>>,
    pods: watch::Receiver<Arc<Objects>>,
    statuses: watch::Receiver<Arc<Statuses>>,
    namespaces: Namespaces,
    contact: Contact,
    synced: watch::Receiver<Vec<&'static str>>,
    _tasks: JoinSet<()>,
}

/// Policies as the API server has them, by name, the bad ones among them: what a writer of statuses goes by.
pub type Statuses = BTreeMap<ObjectRef, Written>;

/// A policy as the API server has it.
#[derive(Clone, PartialEq, Debug)]
pub struct Written {
    /// What the user wrote, as JSON without the status.
    pub text: Arc<str>,
    /// `status`; null when there is none.
    pub status: Arc<serde_json::Value>,
    /// The version of the API that it was read in, which the API server has; the name has the preferred one.
    pub version: &'static str,
    /// `metadata.generation`.
    pub generation: u64,
}

impl Kubernetes {
    /// Begins to watch. Must be called within a tokio runtime.
    #[must_use]
    pub fn watch_cluster(client: Client, settings: KubernetesSettings) -> Self {
        let (tell, told) = mpsc::channel(BACKLOG);
        let contact = Contact::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(contact.clone().keep(client.clone()));
        tasks.spawn(discovery::follow(client, tell, contact.clone()));
        let collection = Collection::new(settings);
        let namespaces = collection.namespaces();
        let (objects_sender, objects) = watch::channel(Arc::default());
        let (pods_sender, pods) = watch::channel(Arc::default());
        let (statuses_sender, statuses) = watch::channel(Arc::default());
        let (synced_sender, synced) = watch::channel(vec!["everything"]);
        let publisher = Publisher {
            collection,
            objects: objects_sender,
            pods: pods_sender,
            statuses: statuses_sender,
            synced: synced_sender,
        };
        tasks.spawn(publisher.run(told));
        Self { objects, pods, statuses, namespaces, contact, synced, _tasks: tasks }
    }

    /// Returns when everything has been listed once: before that a world would lack what is there.
    pub async fn synced(&self) {
        let mut synced = self.synced.clone();
        let mut patience = Duration::from_secs(5);
        loop {
            if tokio::time::timeout(patience, synced.wait_for(Vec::is_empty)).await.is_ok() {
                return;
            }
            let missing = synced.borrow().join(", ");
            let problem = self.contact.problem().unwrap_or_else(|| "no answer yet".to_owned());
            tracing::warn!(%missing, %problem, "waiting for the API server's first lists");
            patience = Duration::from_secs(30);
        }
    }

    /// Labels of namespaces, for whoever asks.
    #[must_use]
    pub fn namespaces(&self) -> Namespaces {
        self.namespaces.clone()
    }

    /// How long ago the API server was heard of.
    #[must_use]
    pub fn contact(&self) -> Contact {
        self.contact.clone()
    }

    /// The statuses of policies, now and after every change.
    #[must_use]
    pub fn statuses(&self) -> watch::Receiver<Arc<Statuses>> {
        self.statuses.clone()
    }
}

impl Source for Kubernetes {
    fn origin(&self) -> Origin {
        Origin::Kubernetes
    }

    fn watch(&self) -> watch::Receiver<Arc<Objects>> {
        self.objects.clone()
    }

    fn pods(&self) -> Option<watch::Receiver<Arc<Objects>>> {
        Some(self.pods.clone())
    }
}

/// Takes what the watches tell and publishes it.
struct Publisher {
    collection: Collection,
    objects: watch::Sender<Arc<Objects>>,
    pods: watch::Sender<Arc<Objects>>,
    statuses: watch::Sender<Arc<Statuses>>,
    synced: watch::Sender<Vec<&'static str>>,
}

impl Publisher {
    async fn run(mut self, mut told: mpsc::Receiver<Seen>) {
        while let Some(first) = told.recv().await {
            let mut changed = self.collection.take(first);
            let latest = Instant::now() + CEILING;
            loop {
                let deadline = latest.min(Instant::now() + DEBOUNCE);
                match timeout_at(deadline, told.recv()).await {
                    Ok(Some(next)) => changed |= self.collection.take(next),
                    Ok(None) | Err(_) => break,
                }
            }
            self.publish(changed);
        }
    }

    fn publish(&self, changed: Lane) {
        // Nothing is told of a part: what is not listed yet would look as if it were gone.
        let missing = self.collection.missing();
        let was_partial = !self.synced.borrow().is_empty();
        if was_partial && !missing.is_empty() {
            self.synced.send_if_modified(|known| std::mem::replace(known, missing.clone()) != missing);
            return;
        }
        if was_partial || changed.contains(Lane::CONFIGURATION) {
            self.objects.send_replace(Arc::new(self.collection.objects()));
        }
        if was_partial || changed.contains(Lane::PODS) {
            self.pods.send_replace(Arc::new(self.collection.pods()));
        }
        if was_partial || changed.contains(Lane::STATUS) {
            self.statuses.send_replace(Arc::new(self.collection.statuses()));
        }
        if was_partial {
            self.synced.send_replace(Vec::new());
        }
    }
}
