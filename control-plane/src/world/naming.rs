//! What makes a change one after which fewer identities are accepted: it has a second step.

use std::sync::Arc;

use super::{EndpointSource, World, WorldWorkload};

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
            && !before.workloads.iter().any(|(key, was)| {
                let stays = self.workloads.get(key).is_some_and(|now| stands_for(now, was));
                was.mutual_tls && !stays && !self.has_another(was) && before.is_behind_a_service(was)
            })
    }

    fn has_another(&self, gone: &WorldWorkload) -> bool {
        self.workloads.values().any(|workload| stands_for(workload, gone))
    }

    fn is_behind_a_service(&self, workload: &Arc<WorldWorkload>) -> bool {
        self.services.values().any(|service| match &service.endpoints {
            EndpointSource::Selected(labels) => {
                workload.namespace == service.namespace && workload.has(labels)
            }
            _ => false,
        })
    }
}

/// Whether one is behind the same services and subsets as the other, with the same identity.
fn stands_for(one: &WorldWorkload, other: &WorldWorkload) -> bool {
    one.mutual_tls
        && one.namespace == other.namespace
        && one.service_account == other.service_account
        && one.labels == other.labels
}
