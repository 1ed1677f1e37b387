//! Stops workloads and meshes, whatever state they were left in.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::paths::MeshPaths;
use super::process::{ProcessRef, end_all, has_variable, in_network, network_of};
use super::record::{MeshRecord, WorkloadRecord};
use super::{application, files};

/// Longer than a supervisor takes in any case (grace and drain time are bounded by `weft run`).
const SUPERVISOR: Duration = Duration::from_secs(90);

/// Stops a workload: its supervisor does it in order, application first; when that is gone already, or does not
/// come to an end, what is left is ended here.
pub async fn workload(paths: &MeshPaths, record: &WorkloadRecord) {
    if let Some(supervisor) = &record.supervisor {
        supervisor.signal(Signal::SIGTERM);
        if !supervisor.gone_within(SUPERVISOR).await {
            supervisor.signal(Signal::SIGKILL);
        }
    }
    for process in [&record.application, &record.sidecar].into_iter().flatten() {
        process.end(Duration::from_secs(5)).await;
    }
    let own = paths.workload(&record.namespace, &record.name);
    // The number of a namespace is used again once it is gone, so it alone proves nothing.
    if let Some(network) = record.network.filter(|it| network_of("self") != Some(*it)) {
        let marker = application::marker(&own);
        let left =
            || in_network(network, &BTreeSet::new()).into_iter().filter(|pid| has_variable(*pid, &marker));
        end_all(|| left().collect(), Duration::from_secs(2)).await;
    }
    if let Some(socket) = &record.admin_socket {
        let _ = fs::remove_file(socket);
    }
    let _ = fs::remove_dir_all(&own.directory);
    files::refresh_hosts(paths);
}

/// Stops several at once.
pub async fn workloads(paths: &MeshPaths, records: &[WorkloadRecord]) {
    futures_util::future::join_all(records.iter().map(|record| workload(paths, record))).await;
}

/// Stops the control plane and the way out, then lets go of the namespaces.
pub async fn mesh(record: &MeshRecord) {
    if let Some(process) = &record.control_plane {
        process.end(Duration::from_secs(10)).await;
    }
    if let Some(process) = &record.egress {
        process.end(Duration::from_secs(5)).await;
    }
    let Some(holder) = &record.holder else { return };
    // While the holder lives the namespace's number is certainly the mesh's.
    if let Some(network) = record.network.filter(|it| holder.alive() && network_of("self") != Some(*it)) {
        end_all(|| in_network(network, &[holder.pid].into()), Duration::from_secs(2)).await;
    }
    holder.signal(Signal::SIGKILL);
    ProcessRef::gone_within(holder, Duration::from_secs(5)).await;
}
