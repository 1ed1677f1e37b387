//! From the sources to the state, and from one step of a change to the next.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::compile::WorldCompiler;
use crate::push::Push;
use crate::source::set::Objects;
use crate::state::MeshState;

/// How long a change of authentication waits at most for sidecars to acknowledge its first step: one that hangs must not
/// keep plain text allowed for ever.
const FIRST_STEP: Duration = Duration::from_secs(10);

/// Takes over what a source says, also what it has said before this was called.
pub(super) async fn follow_objects(mut objects: watch::Receiver<Arc<Objects>>, state: Arc<MeshState>) {
    objects.mark_changed();
    while objects.changed().await.is_ok() {
        state.reload().await;
    }
}

/// The same for pods, if the source has any.
pub(super) async fn follow_pods(pods: Option<watch::Receiver<Arc<Objects>>>, state: Arc<MeshState>) {
    let Some(mut pods) = pods else { return };
    pods.mark_changed();
    while pods.changed().await.is_ok() {
        state.follow_pods().await;
    }
}

/// Makes the second step of changes of authentication and identities, when every sidecar has acknowledged the first, and
/// not `sooner` after it: the sidecars of other replicas are not known here.
pub(super) async fn complete_changes(
    push: Arc<Push<WorldCompiler>>,
    state: Arc<MeshState>,
    sooner: Duration,
) {
    let mut steps = state.steps();
    loop {
        let Ok(Some((revision, since))) =
            steps.wait_for(|steps| steps.waiting.is_some()).await.map(|steps| steps.waiting)
        else {
            return;
        };
        let mut rollout = push.tracker().rollout(revision);
        let told = tokio::time::timeout_at(since + FIRST_STEP, rollout.wait_for(|rollout| rollout.done));
        if told.await.is_err() {
            let pending = rollout.borrow().pending.join(", ");
            tracing::warn!(revision, %pending, "not every sidecar acknowledged a change of authentication or identities in time; it comes into force all the same");
        }
        tokio::time::sleep_until(since + sooner).await;
        tracing::info!(revision, waited = ?since.elapsed(), "a change of authentication or identities takes its second step");
        state.complete(revision).await;
    }
}
