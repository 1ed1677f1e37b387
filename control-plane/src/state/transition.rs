//! The two steps of a change of `PeerAuthentication`. What a server demands and what its clients do are told to
//! different sidecars, which hear of it at different moments. So the first world after a change still knows the policies
//! before it ([`World::superseded`]), and is compiled so that whichever of the two a sidecar obeys is right. The next
//! world forgets them, once every sidecar has acknowledged the first or the wait was long enough.

use tokio::time::Instant;

use crate::world::{Policies, World};

/// How far changes of authentication are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Steps {
    /// The oldest revision whose second step is still to come, and since when it waits.
    pub waiting: Option<(u64, Instant)>,
    /// The revision of the last second step; 0 when there was none.
    pub completed: u64,
}

impl Steps {
    /// Whether all of a revision is in force, as far as the control plane can say.
    #[must_use]
    pub fn are_done(&self, revision: u64) -> bool {
        self.waiting.is_none_or(|(oldest, _)| oldest > revision)
    }
}

/// Policies that were replaced and that some sidecar may still obey, oldest first.
#[derive(Debug, Default)]
pub(super) struct Transition(Vec<Replaced>);

#[derive(Debug)]
struct Replaced {
    policies: Policies,
    /// The first revision without them.
    by: u64,
    since: Instant,
}

impl Transition {
    /// Takes note that `next` follows `before`, and tells it which policies may still be obeyed.
    pub(super) fn follow(&mut self, before: &World, next: &mut World) {
        if !next.policies.authenticates_as(&before.policies) {
            let (policies, by) = (before.policies.clone(), next.revision);
            self.0.push(Replaced { policies, by, since: Instant::now() });
        }
        next.superseded = self.0.iter().map(|replaced| replaced.policies.clone()).collect();
    }

    /// Every sidecar knows of a revision: nobody obeys what it replaced.
    pub(super) fn forget(&mut self, revision: u64) {
        self.0.retain(|replaced| replaced.by > revision);
    }

    pub(super) fn waiting(&self) -> Option<(u64, Instant)> {
        self.0.first().map(|replaced| (replaced.by, replaced.since))
    }
}
