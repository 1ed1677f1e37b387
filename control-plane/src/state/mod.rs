//! The one writer: takes changes of objects and workloads, makes them durable, builds the next world, and says so.
//!
//! A change is on disk before it is in the world, and in the world before anybody is told of it: a control plane that
//! is killed at any moment comes back with everything that it ever confirmed.

mod transition;
mod workloads;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, watch};
use weft_model::provenance::ObjectRef;

use crate::admission;
use crate::push::Revision;
use crate::registry::{StateBook, WorkloadNetworks};
use crate::source::set::{Objects, Source};
use crate::source::store::{Outcome, Store, StoreError};
use crate::source::{Finding, Object, Origin};
use crate::world::{AddressBook, AddressRanges, Input, MeshSettings, Policies, WorkloadKey, World};

pub use transition::Steps;
use transition::Transition;
pub use workloads::{Registered, RegistrationError};

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

/// Why the state could not be opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The objects are not this control plane's to change.
    #[error(
        "this mesh's objects are held by the Kubernetes API server: change them there, with `kubectl` or `weft`"
    )]
    HeldElsewhere,
    /// Another file of the state directory.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// Which.
        path: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// What a change led to.
#[derive(Debug)]
pub struct Applied {
    /// What became of each object.
    pub outcomes: Vec<Outcome>,
    /// The world that has it; of a dry run the current one.
    pub revision: u64,
    /// What is worth knowing about the objects concerned.
    pub findings: Vec<Finding>,
}

/// Everything the mesh knows, and the only way to change it.
#[derive(Debug)]
pub struct MeshState {
    world: Arc<ArcSwap<World>>,
    objects: ArcSwap<Objects>,
    findings: ArcSwap<Vec<Finding>>,
    revisions: watch::Sender<Revision>,
    steps: watch::Sender<Steps>,
    /// The mesh's DNS suffix.
    domain: Arc<str>,
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Writer {
    mesh: Arc<MeshSettings>,
    networks: WorkloadNetworks,
    // Number of the workload that got the last address; 0 until one did.
    last_address: u32,
    // Workloads of `weft run`, what was applied, and what is watched: the later wins.
    own: Option<OwnStores>,
    watched: Vec<watch::Receiver<Arc<Objects>>>,
    // Pods, which come and go without a change of configuration; with those that the world has.
    pods: Option<watch::Receiver<Arc<Objects>>>,
    known_pods: Arc<Objects>,
    addresses: AddressBook,
    states: StateBook,
    transition: Transition,
}

/// What this control plane holds itself. In a cluster that is nothing: the API server does.
#[derive(Debug)]
struct OwnStores {
    run: Store,
    api: Store,
}

impl MeshState {
    /// Opens the state in `directory` and builds the first world of it and of the sources.
    ///
    /// # Errors
    /// [`StateError`]: the directory cannot be used, or another control plane uses it.
    pub fn open(
        directory: &Path,
        mesh: MeshSettings,
        networks: WorkloadNetworks,
        sources: &[&dyn Source],
    ) -> Result<Arc<Self>, StateError> {
        let file = |name: &str| directory.join(name);
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |source| StateError::File { path, source }
        };
        let (addresses, states) = (file("addresses.json"), file("workload-states.json"));
        let stores = OwnStores {
            run: Store::open(&file("run"), Origin::Run)?,
            api: Store::open(&file("api"), Origin::Api)?,
        };
        let book = AddressBook::open(&addresses, AddressRanges::default()).map_err(unusable(&addresses))?;
        let states = StateBook::open(&states).map_err(unusable(&states))?;
        Ok(Self::with(Arc::new(mesh), networks, Some(stores), book, states, sources))
    }

    /// A state that keeps nothing: all of it is in the sources, from which every replica builds the same world.
    #[must_use]
    pub fn of_sources(mesh: MeshSettings, networks: WorkloadNetworks, sources: &[&dyn Source]) -> Arc<Self> {
        let book = AddressBook::by_hash(AddressRanges::default());
        Self::with(Arc::new(mesh), networks, None, book, StateBook::in_memory(), sources)
    }

    fn with(
        mesh: Arc<MeshSettings>,
        networks: WorkloadNetworks,
        own: Option<OwnStores>,
        addresses: AddressBook,
        states: StateBook,
        sources: &[&dyn Source],
    ) -> Arc<Self> {
        let domain = mesh.domain.clone();
        let mut writer = Writer {
            mesh,
            networks,
            last_address: 0,
            own,
            watched: sources.iter().map(|source| source.watch()).collect(),
            pods: sources.iter().find_map(|source| source.pods()),
            known_pods: Arc::default(),
            addresses,
            states,
            transition: Transition::default(),
        };
        let objects = writer.objects();
        let world = writer.build(1, &objects);
        let findings = all_findings(&objects, &domain);
        Arc::new(Self {
            world: Arc::new(ArcSwap::from_pointee(world)),
            objects: ArcSwap::from_pointee(objects),
            findings: ArcSwap::from_pointee(findings),
            revisions: watch::Sender::new(Revision { number: 1, configuration: 1, endpoints: 1 }),
            steps: watch::Sender::default(),
            domain,
            writer: Mutex::new(writer),
        })
    }

    /// Whether objects can be changed here: in a cluster they are the API server's.
    pub async fn holds_objects(&self) -> bool {
        self.writer.lock().await.own.is_some()
    }

    /// The current world, for those that follow it.
    #[must_use]
    pub fn world(&self) -> Arc<ArcSwap<World>> {
        self.world.clone()
    }

    /// All objects in force.
    #[must_use]
    pub fn objects(&self) -> Arc<Objects> {
        self.objects.load_full()
    }

    /// What is wrong or worth knowing, of all objects.
    #[must_use]
    pub fn findings(&self) -> Arc<Vec<Finding>> {
        self.findings.load_full()
    }

    /// Tells of every new world.
    #[must_use]
    pub fn revisions(&self) -> watch::Receiver<Revision> {
        self.revisions.subscribe()
    }

    /// Tells how far changes of authentication are.
    #[must_use]
    pub fn steps(&self) -> watch::Receiver<Steps> {
        self.steps.subscribe()
    }

    /// Every sidecar has acknowledged a revision, or was waited for long enough: the policies that it replaced are
    /// forgotten, which makes the second step of a change of authentication.
    pub async fn complete(&self, revision: u64) {
        let mut writer = self.writer.lock().await;
        writer.transition.forget(revision);
        let current = self.world.load_full();
        let mut world = World::clone(&current);
        (world.revision, world.configuration) = (current.revision + 1, current.revision + 1);
        writer.transition.follow(&current, &mut world);
        let completed = world.revision;
        self.publish(world, true);
        self.steps.send_replace(Steps { waiting: writer.transition.waiting(), completed });
    }

    /// The policies as they would be with `fresh` objects and without the `removed`.
    #[must_use]
    pub fn policies_with(&self, fresh: &[Arc<Object>], removed: &[ObjectRef]) -> Policies {
        let mut objects = self.objects().by_name.clone();
        objects.extend(fresh.iter().map(|object| (object.reference.clone(), object.clone())));
        objects.retain(|name, _| !removed.contains(name));
        let objects: Vec<Arc<Object>> = objects.into_values().collect();
        Policies::from_objects(&objects, &self.world.load().mesh)
    }

    /// Takes all of the objects, or none; a dry run only says what would happen.
    ///
    /// # Errors
    /// [`StateError::Store`]: nothing was applied.
    pub async fn apply(&self, objects: &[Arc<Object>], dry_run: bool) -> Result<Applied, StateError> {
        let mut writer = self.writer.lock().await;
        let now = jiff::Timestamp::now();
        if dry_run {
            let outcomes = writer.own()?.api.preview(objects, now);
            let findings = reviewed_with(&self.objects(), objects, &self.domain);
            return Ok(Applied { outcomes, revision: self.world.load().revision, findings });
        }
        let outcomes = writer.own()?.api.apply(objects, now)?;
        Ok(self.applied(&mut writer, outcomes))
    }

    /// Removes the objects that are there, in one go.
    ///
    /// # Errors
    /// [`StateError::Store`]: nothing was removed.
    pub async fn delete(&self, names: &[ObjectRef]) -> Result<Applied, StateError> {
        let mut writer = self.writer.lock().await;
        let own = writer.own()?;
        let mut outcomes = own.api.delete(names)?;
        match own.run.delete(names) {
            Ok(more) => outcomes.extend(more),
            Err(error) => {
                // What is gone from one store is gone, also for those who are told now that not all is.
                self.rebuild(&mut writer);
                return Err(error.into());
            }
        }
        Ok(self.applied(&mut writer, outcomes))
    }

    /// A watched source has changed.
    pub async fn reload(&self) {
        let mut writer = self.writer.lock().await;
        self.rebuild(&mut writer);
    }

    /// Pods have changed. As long as they are behind the same names with the same identities, only endpoints change.
    pub async fn follow_pods(&self) {
        let mut writer = self.writer.lock().await;
        let pods = writer.pods.as_mut().map(|pods| pods.borrow_and_update().clone());
        let Some(pods) = pods else { return };
        let current = self.world.load_full();
        let changes = current.pods_changed(&pods.changes_since(&writer.known_pods));
        writer.known_pods = pods;
        if changes.is_empty() {
            return;
        }
        let revision = current.revision + 1;
        let changed: Vec<WorkloadKey> = changes.iter().map(|(key, _)| key.clone()).collect();
        let mut world = current.with_workloads(revision, changes);
        let reconfigured = current.is_reconfigured_by(&world, &changed);
        if reconfigured {
            world.configuration = revision;
            writer.transition.follow(&current, &mut world);
        }
        self.publish(world, reconfigured);
        self.tell_steps(&writer);
    }

    fn tell_steps(&self, writer: &Writer) {
        let waiting = writer.transition.waiting();
        self.steps.send_if_modified(|steps| std::mem::replace(&mut steps.waiting, waiting) != waiting);
    }

    fn applied(&self, writer: &mut Writer, outcomes: Vec<Outcome>) -> Applied {
        let revision = self.rebuild(writer);
        let of_these = |finding: &&Finding| {
            finding.object.as_ref().is_some_and(|name| outcomes.iter().any(|o| o.object.reference == *name))
        };
        let findings = self.findings.load().iter().filter(of_these).cloned().collect();
        Applied { outcomes, revision, findings }
    }

    /// Builds the next world if objects changed. Answers the revision that has them.
    fn rebuild(&self, writer: &mut Writer) -> u64 {
        let objects = writer.objects();
        let current = self.world.load().revision;
        let before = self.objects.load();
        if objects.changes_since(&before).is_empty() && objects.findings == before.findings {
            return current;
        }
        let revision = current + 1;
        let mut world = writer.build(revision, &objects);
        writer.transition.follow(&self.world.load(), &mut world);
        self.publish(world, true);
        self.tell_steps(writer);
        let findings = all_findings(&objects, &self.domain);
        // What a user applies is answered at once; a mistake in a watched file has nobody to answer.
        let known = self.findings.load();
        for finding in findings.iter().filter(|finding| finding.is_error() && !known.contains(finding)) {
            tracing::warn!(%finding, "an object is held back");
        }
        self.findings.store(Arc::new(findings));
        self.objects.store(Arc::new(objects));
        revision
    }

    fn publish(&self, world: World, configuration: bool) {
        let number = world.revision;
        self.world.store(Arc::new(world));
        self.revisions.send_modify(|revision| {
            revision.number = number;
            revision.endpoints = number;
            if configuration {
                revision.configuration = number;
            }
        });
    }
}

impl Writer {
    fn own(&mut self) -> Result<&mut OwnStores, StateError> {
        self.own.as_mut().ok_or(StateError::HeldElsewhere)
    }

    fn objects(&self) -> Objects {
        let own = self.own.as_ref().map(|own| [own.run.objects(), own.api.objects()]);
        let watched = self.watched.iter().map(|watched| watched.borrow().clone());
        let sets: Vec<Arc<Objects>> = own.into_iter().flatten().chain(watched).collect();
        Objects::merge(sets.iter().map(AsRef::as_ref))
    }

    fn build(&mut self, revision: u64, objects: &Objects) -> World {
        let list = objects.to_vec();
        if let Some(pods) = &mut self.pods {
            self.known_pods = pods.borrow_and_update().clone();
        }
        let input = Input { objects: &list, pods: &self.known_pods, states: self.states.states() };
        let world = World::of(revision, self.mesh.clone(), input, &mut self.addresses);
        if let Err(error) = self.addresses.save() {
            // The addresses hold for this process; the next change tries again to write them.
            tracing::error!(%error, "virtual addresses could not be written; a restart may choose others");
        }
        world
    }
}

/// Findings of the sources, and of all objects seen together.
fn all_findings(objects: &Objects, domain: &str) -> Vec<Finding> {
    let mut findings = objects.findings.clone();
    findings.extend(admission::review(&objects.to_vec(), domain));
    findings
}

/// What would be found about `fresh` objects beside those in force.
fn reviewed_with(objects: &Objects, fresh: &[Arc<Object>], domain: &str) -> Vec<Finding> {
    let mut together = objects.by_name.clone();
    together.extend(fresh.iter().map(|object| (object.reference.clone(), object.clone())));
    let list: Vec<Arc<Object>> = together.into_values().collect();
    let concerned = |finding: &Finding| {
        finding.object.as_ref().is_some_and(|name| fresh.iter().any(|object| object.reference == *name))
    };
    admission::review(&list, domain).into_iter().filter(concerned).collect()
}
