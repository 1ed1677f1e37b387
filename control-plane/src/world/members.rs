//! Which workloads stand behind which service. Looked for once when a world is built, and then kept up with the workloads
//! that come, change and go: with thousands of pods nobody walks over all of them for each service.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{EndpointSource, WorkloadKey, WorldService, WorldWorkload};
use crate::source::words::Labels;

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;

/// Workloads in the order of their names.
type List = Arc<Vec<Arc<WorldWorkload>>>;

/// By the host of each service that has a selector.
#[derive(Clone, Default, Debug)]
pub(super) struct Members(BTreeMap<Arc<str>, List>);

/// One workload before and after a change; none where it is not there.
pub(super) type Replaced = (Option<Arc<WorldWorkload>>, Option<Arc<WorldWorkload>>);

impl Members {
    pub(super) fn of<'a>(
        services: impl Iterator<Item = &'a Arc<WorldService>>,
        workloads: &'a BTreeMap<WorkloadKey, Arc<WorldWorkload>>,
    ) -> Self {
        let index = Index::of(workloads);
        let members = services.filter_map(|service| {
            let EndpointSource::Selected(labels) = &service.endpoints else { return None };
            let found = index.candidates(&service.namespace, labels).filter(|it| it.has(labels)).cloned();
            Some((service.host.clone(), Arc::new(found.collect())))
        });
        Self(members.collect())
    }

    /// Of a service that has a selector.
    pub(super) fn behind(&self, host: &str) -> Option<&List> {
        self.0.get(host)
    }

    /// Takes note of changes. The lists of services that none of them concerns stay the same piece of memory.
    pub(super) fn replace<'a>(
        &mut self,
        services: impl Iterator<Item = &'a Arc<WorldService>>,
        changes: &[Replaced],
    ) {
        for service in services {
            let EndpointSource::Selected(labels) = &service.endpoints else { continue };
            let is_member = |workload: &&Arc<WorldWorkload>| {
                workload.namespace == service.namespace && workload.has(labels)
            };
            let own = changes.iter().filter_map(|(before, after)| {
                let own = (before.as_ref().filter(is_member), after.as_ref().filter(is_member));
                (own.0.is_some() || own.1.is_some()).then_some(own)
            });
            let mut own = own.peekable();
            if own.peek().is_none() {
                continue;
            }
            let Some(list) = self.0.get_mut(&service.host) else { continue };
            let list = Arc::make_mut(list);
            for (before, after) in own {
                replace(list, before, after);
            }
        }
    }
}

/// Puts a workload into an ordered list in the place of its former self.
fn replace(
    list: &mut Vec<Arc<WorldWorkload>>,
    before: Option<&Arc<WorldWorkload>>,
    after: Option<&Arc<WorldWorkload>>,
) {
    let find = |list: &[Arc<WorldWorkload>], name: &Arc<str>| list.binary_search_by(|it| it.name.cmp(name));
    if let Some(place) = before.and_then(|before| find(list, &before.name).ok()) {
        match after {
            Some(after) => after.clone_into(&mut list[place]),
            None => drop(list.remove(place)),
        }
    } else if let Some(after) = after {
        match find(list, &after.name) {
            Ok(place) => after.clone_into(&mut list[place]),
            Err(place) => list.insert(place, after.clone()),
        }
    }
}

/// The workloads of each namespace by their labels' keys and values.
struct Index<'a>(HashMap<&'a str, ByLabel<'a>>);

type ByLabel<'a> = HashMap<&'a str, HashMap<&'a str, Vec<&'a Arc<WorldWorkload>>>>;

impl<'a> Index<'a> {
    fn of(workloads: &'a BTreeMap<WorkloadKey, Arc<WorldWorkload>>) -> Self {
        let mut index: HashMap<_, ByLabel<'a>> = HashMap::new();
        for workload in workloads.values() {
            let own = index.entry(&*workload.namespace).or_default();
            for (key, value) in &workload.labels {
                own.entry(key).or_default().entry(value).or_default().push(workload);
            }
        }
        Self(index)
    }

    /// Those that have the rarest of the labels.
    fn candidates(&self, namespace: &str, labels: &Labels) -> impl Iterator<Item = &'a Arc<WorldWorkload>> {
        let having = |(key, value): (&Arc<str>, &Arc<str>)| {
            self.0
                .get(namespace)
                .and_then(|own| own.get(&**key)?.get(&**value))
                .map_or(&[][..], Vec::as_slice)
        };
        let rarest = labels.iter().map(having).min_by_key(|list| list.len());
        rarest.unwrap_or_default().iter().copied()
    }
}
