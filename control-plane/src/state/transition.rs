//! The two steps of a change of `PeerAuthentication`, and of one after which clients accept fewer identities of a service's
//! workloads. What a server demands and what its clients do are told to different sidecars, which hear of it at different
//! moments; and a client that is told whom it accepts may still know an endpoint that is about to be taken away. So the
//! first world after a change still knows the worlds before it ([`World::superseded`]), and is compiled so that whichever of the two a sidecar obeys is right. The next
//! world forgets them, once every sidecar has acknowledged the first or the wait was long enough.

use std::sync::Arc;

use tokio::time::Instant;

use crate::world::World;

/// So many replaced worlds are kept. With more changes under way than that, the oldest takes its second step at once: a
/// sidecar that hangs while the mesh goes on changing costs no memory without end.
const MOST: usize = 32;

/// How far changes that have two steps are.
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

/// Worlds that were replaced and that some sidecar may still obey, oldest first.
#[derive(Debug, Default)]
pub(super) struct Transition(Vec<Replaced>);

#[derive(Debug)]
struct Replaced {
    world: Arc<World>,
    /// The first revision after it.
    by: u64,
    since: Instant,
}

impl Transition {
    /// Takes note that `next` follows `before`, and tells it which worlds may still be obeyed.
    pub(super) fn follow(&mut self, before: &World, next: &mut World) {
        if !next.policies.authenticates_as(&before.policies) || !next.accepts_all_of(before) {
            // Each of them stands for itself: none keeps those before it.
            let world = Arc::new(before.by_itself());
            self.0.push(Replaced { world, by: next.revision, since: Instant::now() });
            let beyond = self.0.len().saturating_sub(MOST);
            self.0.drain(..beyond);
        }
        next.superseded = self.0.iter().map(|replaced| replaced.world.clone()).collect();
    }

    /// Every sidecar knows of a revision: nobody obeys what it replaced.
    pub(super) fn forget(&mut self, revision: u64) {
        self.0.retain(|replaced| replaced.by > revision);
    }

    pub(super) fn waiting(&self) -> Option<(u64, Instant)> {
        self.0.first().map(|replaced| (replaced.by, replaced.since))
    }
}
