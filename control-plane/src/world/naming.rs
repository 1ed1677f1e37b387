//! What makes a change one of configuration rather than of endpoints alone, and one after which fewer identities are
//! accepted, which has a second step.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::{EndpointSource, WorkloadKey, World, WorldService, WorldWorkload};

#[cfg(test)]
#[path = "naming_tests.rs"]
mod tests;

/// Who a workload is to its clients: namespace, service account, and those of its labels that some selector or subset
/// asks for. Workloads of one signature are behind the same services and subsets with the same identity.
type Signature<'a> = (&'a str, Option<&'a str>, Vec<(&'a str, &'a str)>);

fn signature<'a>(workload: &'a WorldWorkload, asked: &BTreeSet<Arc<str>>) -> Signature<'a> {
    let labels = workload.labels.iter().filter(|(key, _)| asked.contains(*key));
    (
        &workload.namespace,
        workload.service_account.as_deref(),
        labels.map(|(key, value)| (&**key, &**value)).collect(),
    )
}

impl World {
    /// Whether whoever was accepted in a world before, as an answer for some service, is accepted in this one, too. Says no
    /// in doubt, which costs a step and nothing else.
    #[must_use]
    pub fn accepts_all_of(&self, before: &Self) -> bool {
        self.policies.has_subsets_of(&before.policies)
            && !before.services.iter().any(|(host, was)| {
                let now = self.services.get(host);
                now.is_some_and(|now| {
                    now.endpoints != was.endpoints || now.subject_alt_names != was.subject_alt_names
                })
            })
            && {
                let asked = before.asked_labels();
                let present = self.signatures(&asked);
                !before.workloads.values().any(|was| {
                    was.mutual_tls
                        && !present.contains(&signature(was, &asked))
                        && before.services_behind(was).next().is_some()
                })
            }
    }

    /// Whether a world that differs from this one in the workloads `changed` alone differs in more than endpoints: in who
    /// is accepted, in the addresses of a headless service, or in what a workload's own sidecar is told.
    #[must_use]
    pub fn is_reconfigured_by(&self, next: &Self, changed: &[WorkloadKey]) -> bool {
        let node_local = self.services.values().any(|service| service.node_local);
        let (mut joined, mut left) = (Vec::new(), Vec::new());
        for key in changed {
            let (was, now) = (self.workload(key), next.workload(key));
            if let (Some(was), Some(now)) = (was, now)
                && !is_same_to_itself(was, now, node_local)
            {
                return true;
            }
            let (was, now) = (self.workloads.get(key), next.workloads.get(key));
            let moved = was.map(|it| it.address) != now.map(|it| it.address);
            if moved && was.into_iter().chain(now).any(|it| self.services_behind(it).any(|s| s.is_headless()))
            {
                return true;
            }
            let has_identity = |workload: &&Arc<WorldWorkload>| {
                workload.mutual_tls && self.services_behind(workload).next().is_some()
            };
            match (was, now) {
                (None, Some(now)) => joined.extend(Some(now).filter(has_identity)),
                (Some(was), None) => left.extend(Some(was).filter(has_identity)),
                _ => {}
            }
        }
        let asked = self.asked_labels();
        let is_missing = |world: &Self, workloads: &[&Arc<WorldWorkload>]| {
            if workloads.is_empty() {
                return false;
            }
            let present = world.signatures(&asked);
            workloads.iter().any(|workload| !present.contains(&signature(workload, &asked)))
        };
        is_missing(self, &joined) || is_missing(next, &left)
    }

    fn signatures(&self, asked: &BTreeSet<Arc<str>>) -> HashSet<Signature<'_>> {
        self.workloads.values().filter(|it| it.mutual_tls).map(|it| signature(it, asked)).collect()
    }

    /// Keys of labels that some service or subset asks for.
    fn asked_labels(&self) -> BTreeSet<Arc<str>> {
        let mut asked: BTreeSet<Arc<str>> = self.policies.subset_label_keys().collect();
        for service in self.services.values() {
            if let EndpointSource::Selected(labels) = &service.endpoints {
                asked.extend(labels.keys().cloned());
            }
        }
        asked
    }

    fn services_behind<'a>(
        &'a self,
        workload: &'a WorldWorkload,
    ) -> impl Iterator<Item = &'a Arc<WorldService>> {
        self.services_of(&workload.namespace, &workload.labels)
    }
}

/// Whether a workload's own sidecar is told the same, and others the same of who it is.
fn is_same_to_itself(was: &WorldWorkload, now: &WorldWorkload, node_local: bool) -> bool {
    let ports = |workload: &WorldWorkload| workload.pod.as_ref().map(|pod| pod.ports.clone());
    was.labels == now.labels
        && was.service_account == now.service_account
        && was.mutual_tls == now.mutual_tls
        && was.ports == now.ports
        && ports(was) == ports(now)
        && (!node_local || was.node() == now.node())
        && was.pod.as_ref().map(|pod| &pod.host_name) == now.pod.as_ref().map(|pod| &pod.host_name)
}
