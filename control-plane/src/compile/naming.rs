//! Secure naming: who may answer for a service. A client takes the word of a workload of the mesh only if its identity is
//! one of those of the workloads behind the cluster
//! (<https://istio.io/latest/docs/concepts/security/#secure-naming>).
//!
//! Nothing is lost on change: who joins is accepted before he is an endpoint ([`Known`]), and who leaves is accepted
//! until every sidecar has acknowledged that he is none any more (`World::superseded`).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::clusters::{Subset, subsets};
use super::scope::OutboundScope;
use crate::world::{World, WorldService};

#[cfg(test)]
#[path = "naming_tests.rs"]
mod tests;

/// Who may answer for a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Accepted {
    /// Any workload of the trust domain: of one that has a sidecar nobody has said which identity it has.
    Anybody,
    /// These SPIFFE identities. None while there is no endpoint with a sidecar.
    These(BTreeSet<Arc<str>>),
}

impl Accepted {
    /// As the model has it: empty for anybody.
    pub(super) fn identities(&self) -> Arc<[Arc<str>]> {
        match self {
            Self::Anybody => Arc::new([]),
            Self::These(identities) => identities.iter().cloned().collect(),
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::These(one), Self::These(other)) => Self::These(one.into_iter().chain(other).collect()),
            _ => Self::Anybody,
        }
    }

    /// Whether a workload with this identity may answer.
    pub(super) fn accepts(&self, identity: Option<&Arc<str>>) -> bool {
        match self {
            Self::Anybody => true,
            Self::These(identities) => identity.is_some_and(|identity| identities.contains(identity)),
        }
    }
}

/// Who may answer for a service's subset: the identities of its workloads, ready or not, in this world and in those that
/// some sidecar may still obey, and those that a `ServiceEntry` names.
pub(super) fn accepted(
    world: &World,
    scope: &OutboundScope,
    service: &WorldService,
    subset: &Subset<'_>,
) -> Accepted {
    let former = world.superseded.iter().filter_map(|former| {
        let service = former.services.get(&service.host)?;
        let (subsets, _) = subsets(former, scope, service);
        let subset = subsets.iter().find(|known| known.name == subset.name)?;
        Some(now(former, service, subset))
    });
    former.fold(now(world, service, subset), Accepted::and)
}

fn now(world: &World, service: &WorldService, subset: &Subset<'_>) -> Accepted {
    let named = &service.subject_alt_names;
    let mut identities: BTreeSet<Arc<str>> = named.iter().cloned().collect();
    for workload in world.workloads_of(service).filter(|it| it.mutual_tls && it.has(&subset.labels)) {
        match workload.identity(&world.mesh) {
            Some(identity) => drop(identities.insert(identity)),
            None if named.is_empty() => return Accepted::Anybody,
            None => {}
        }
    }
    Accepted::These(identities)
}

/// Endpoints that clients with the clusters of an earlier world may be told of.
pub(super) struct Known<'a> {
    /// The world that the clients' clusters were compiled of.
    pub world: &'a World,
    /// What the clients see of it.
    pub scope: OutboundScope,
}

impl Known<'_> {
    /// Who is accepted already for a subset; none if the clients have no such cluster, and so no use for endpoints.
    pub(super) fn accepted(&self, host: &str, subset: &str) -> Option<Accepted> {
        let service = self.world.services.get(host)?;
        let (subsets, _) = subsets(self.world, &self.scope, service);
        let subset = subsets.iter().find(|known| known.name == subset)?;
        Some(accepted(self.world, &self.scope, service, subset))
    }

    /// Whether some identity is accepted in `world` that those clients do not accept yet.
    pub(super) fn are_news(&self, world: &World, scope: &OutboundScope) -> bool {
        world.visible_services(&scope.namespace).any(|service| {
            let (subsets, _) = subsets(world, scope, service);
            subsets.iter().any(|subset| {
                let before = self.accepted(&service.host, subset.name);
                before.is_some_and(|before| before != accepted(world, scope, service, subset))
            })
        })
    }
}
