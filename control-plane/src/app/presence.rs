//! Sidecars that do not come back. Of a pod kubelet says whether it is ready, and other replicas may serve its sidecar: only
//! workloads of `weft run` are taken out of service for their sidecar's absence.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use weft_model::endpoint::Health;

use crate::compile::WorldCompiler;
use crate::push::{Presence, Push};
use crate::state::MeshState;
use crate::world::{WorkloadKey, WorldWorkload};

/// A workload whose sidecar has gone, without a word of its own, gets no more requests after this: long enough for a
/// sidecar to come back from a broken connection or a restart of the control plane.
const ABSENCE_LIMIT: Duration = Duration::from_secs(30);

/// Waits with every rollout for the sidecars of an earlier life of this process. Called before anybody can ask how far a
/// change is.
pub(super) fn expect_back(push: &Push<WorldCompiler>, state: &MeshState) {
    let world = state.world().load_full();
    let served = world.workloads.iter().filter(|(_, workload)| is_watched(workload));
    push.tracker().expect_back(served.map(|((namespace, name), _)| format!("{name}.{namespace}")));
}

/// Takes requests away from workloads whose sidecar does not come back.
pub(super) async fn watch(push: Arc<Push<WorldCompiler>>, state: Arc<MeshState>) {
    let mut presence = push.presence();
    // Sidecars of an earlier life of this process have as long to come back.
    let world = state.world().load_full();
    let earlier = world.workloads.iter().filter(|(_, workload)| workload.pod.is_none());
    for key in earlier.map(|(key, _)| key.clone()) {
        tokio::spawn(give_up_on(key, push.clone(), state.clone()));
    }
    drop(world);
    loop {
        match presence.recv().await {
            Ok(Presence::Disconnected { hello, others: 0 }) => {
                let key = (hello.id.namespace.as_str().into(), hello.id.workload.as_str().into());
                tokio::spawn(give_up_on(key, push.clone(), state.clone()));
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// A workload without a sidecar has nobody to miss.
fn is_watched(workload: &WorldWorkload) -> bool {
    workload.mutual_tls && workload.pod.is_none()
}

async fn give_up_on(key: WorkloadKey, push: Arc<Push<WorldCompiler>>, state: Arc<MeshState>) {
    let came_back =
        || push.connected().iter().any(|hello| *hello.id.namespace == *key.0 && *hello.id.workload == *key.1);
    tokio::time::sleep(ABSENCE_LIMIT).await;
    push.tracker().give_up(&format!("{}.{}", key.1, key.0));
    if !state.world().load().workloads.get(&key).is_some_and(|workload| is_watched(workload)) || came_back() {
        return;
    }
    tracing::warn!(namespace = %key.0, workload = %key.1, "its sidecar is gone: it gets no more requests");
    if let Err(error) = state.report(&key.0, &key.1, Health::Unhealthy).await {
        tracing::error!(%error, workload = %key.1, "its state could not be written");
    }
}
