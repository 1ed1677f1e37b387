//! What a class of proxies sees at one moment, and what changed since the moment before.

use std::sync::Arc;

use super::compiler::Revision;
use super::resource::{ResourceSet, ResourceType, Resources};

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;

/// The resources of one type with their place in the class's history.
#[derive(Clone, Debug)]
pub struct Lane {
    /// The resources.
    pub set: Arc<ResourceSet>,
    /// Grows by one with every change of the set.
    pub serial: u64,
    /// Names that changed from `serial - 1` to `serial`, found once for all proxies of the class.
    pub changed: Arc<[Arc<str>]>,
}

/// Immutable; shared by all proxies of a class.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Tells the histories of different classes apart.
    pub class: u64,
    /// Everything of the world up to this revision is in it.
    pub revision: u64,
    /// Configuration is as of this revision of the world.
    pub configuration: u64,
    /// Endpoints are as of this revision of the world.
    pub endpoints: u64,
    /// Whether configuration and endpoints show the same world: only then may endpoints be taken away, for otherwise
    /// a cluster that still uses them may be known.
    pub consistent: bool,
    lanes: [Lane; 5],
}

impl Snapshot {
    /// The first of a class.
    #[must_use]
    pub fn first(class: u64, resources: Resources) -> Self {
        let lanes = resources.sets.map(|set| Lane { set, serial: 1, changed: Arc::new([]) });
        let revision = resources.revision;
        Self { class, revision, configuration: revision, endpoints: revision, consistent: true, lanes }
    }

    /// The next, with everything compiled anew. Endpoints have their own lane, which may be ahead.
    #[must_use]
    pub fn with_resources(&self, resources: &Resources) -> Self {
        let mut next = self.clone();
        for kind in ResourceType::ALL {
            if kind != ResourceType::Endpoint || resources.revision >= self.endpoints {
                next.replace(kind, resources.set(kind).clone());
            }
        }
        next.configuration = self.configuration.max(resources.revision);
        next.endpoints = self.endpoints.max(resources.revision);
        next.settled()
    }

    /// The next, with endpoints read anew (and the revision they were read from), if they changed at all. A lane that
    /// `now` says has not changed since is as good as of today.
    #[must_use]
    pub fn with_endpoints(&self, fresh: Option<(u64, Arc<ResourceSet>)>, now: Revision) -> Self {
        let mut next = self.clone();
        if let Some((revision, set)) = fresh
            && revision >= self.endpoints
        {
            next.replace(ResourceType::Endpoint, set);
            next.endpoints = revision;
        }
        if next.endpoints >= now.endpoints {
            next.endpoints = next.endpoints.max(now.number);
        }
        if next.configuration >= now.configuration {
            next.configuration = next.configuration.max(now.number);
        }
        next.settled()
    }

    /// Whether a proxy could tell the two apart, or a rollout is further along.
    #[must_use]
    pub fn is_news_after(&self, older: &Self) -> bool {
        self.revision != older.revision
            || self.consistent != older.consistent
            || self.lanes.iter().zip(&older.lanes).any(|(new, old)| new.serial != old.serial)
    }

    fn settled(mut self) -> Self {
        self.revision = self.revision.max(self.configuration.min(self.endpoints));
        self.consistent = self.configuration == self.endpoints;
        self
    }

    fn replace(&mut self, kind: ResourceType, set: Arc<ResourceSet>) {
        let lane = &mut self.lanes[kind as usize];
        if Arc::ptr_eq(&lane.set, &set) {
            return;
        }
        let changed = set.changed_since(&lane.set);
        if !changed.is_empty() {
            *lane = Lane { set, serial: lane.serial + 1, changed: changed.into() };
        }
    }

    /// The resources of one type.
    #[must_use]
    pub fn lane(&self, kind: ResourceType) -> &Lane {
        &self.lanes[kind as usize]
    }
}
