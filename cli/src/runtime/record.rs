//! What runs, as written down in the state directory.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::paths::{MeshPaths, unreadable, write_private};
use super::process::ProcessRef;
use crate::command::{CommandError, FAILED};

/// How workloads are kept apart from the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Network namespaces, made by root.
    Root,
    /// Network namespaces inside a user namespace, made by an ordinary user.
    User,
    /// None: everything on the host's loopback.
    Explicit,
}

/// A mesh that is up, or was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshRecord {
    /// Its kind.
    pub isolation: Isolation,
    /// The process that keeps the namespaces open; `None` when there are none.
    pub holder: Option<ProcessRef>,
    /// Inode of the mesh's network namespace; `None` when there is none.
    pub network: Option<u64>,
    /// The process that connects it to the world outside; `None` when nothing does.
    #[serde(default)]
    pub egress: Option<ProcessRef>,
    /// Arguments of the control plane, the same each time it starts, so that sidecars find it again.
    pub control_plane_arguments: Vec<String>,
    /// `None` before it first started.
    pub control_plane: Option<ProcessRef>,
    /// The file that was run as the control plane.
    pub control_plane_program: PathBuf,
    /// `down` also removes the directory above the mesh's, when it is empty then.
    pub made_base_directory: bool,
}

/// How far a workload is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its sidecar is not ready, or its application does not accept yet.
    Starting,
    /// Its application runs.
    Running,
    /// It was asked to end.
    Stopping,
    /// Its application ended.
    Exited,
    /// Its supervisor is gone without saying why.
    Dead,
}

/// A port, as in `--port`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Port {
    /// The number.
    pub port: u16,
    /// Its name, whose prefix declares the protocol; may be empty.
    pub name: String,
}

/// A workload that was started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRecord {
    /// Unique in its namespace.
    pub name: String,
    /// Kubernetes' word.
    pub namespace: String,
    /// The service it belongs to; empty for a client.
    pub service: String,
    /// The version label; may be empty.
    pub version: String,
    /// Without prefix length.
    pub addresses: Vec<String>,
    /// What it serves.
    pub ports: Vec<Port>,
    /// How far it is.
    pub state: State,
    /// The application's exit code, when it ended.
    pub exit_code: Option<u8>,
    /// `false` for `--no-sidecar`.
    pub has_sidecar: bool,
    /// Whether it runs in the background.
    pub detached: bool,
    /// As the mesh's.
    pub isolation: Isolation,
    /// Who watches it.
    pub supervisor: Option<ProcessRef>,
    /// Its sidecar.
    pub sidecar: Option<ProcessRef>,
    /// Its application.
    pub application: Option<ProcessRef>,
    /// Inode of its network namespace.
    pub network: Option<u64>,
    /// The sidecar's admin socket.
    pub admin_socket: Option<PathBuf>,
    /// The command line.
    pub command: Vec<String>,
}

impl WorkloadRecord {
    /// Whether its supervisor runs.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.supervisor.as_ref().is_some_and(ProcessRef::alive)
    }

    /// How far it is, told from what really runs.
    #[must_use]
    pub fn state_now(&self) -> State {
        if self.state == State::Exited || self.alive() { self.state } else { State::Dead }
    }
}

/// Writes a record.
///
/// # Errors
/// Names the file.
pub fn save<T: Serialize>(path: &Path, record: &T) -> Result<(), CommandError> {
    let text = serde_json::to_vec_pretty(record)
        .map_err(|error| CommandError::new(FAILED, format!("cannot write {}: {error}", path.display())))?;
    write_private(path, &text)
}

fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, CommandError> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| CommandError::new(FAILED, format!("{} is damaged: {error}", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// The mesh's record; `None` when it never was up.
///
/// # Errors
/// When it is damaged or may not be read.
pub fn mesh(paths: &MeshPaths) -> Result<Option<MeshRecord>, CommandError> {
    load(&paths.mesh_record())
}

/// The record of a mesh whose namespaces are there.
///
/// # Errors
/// When it is not up.
pub fn running_mesh(paths: &MeshPaths) -> Result<MeshRecord, CommandError> {
    let record = mesh(paths)?.ok_or_else(|| paths.not_up())?;
    let held = record.holder.as_ref().is_none_or(ProcessRef::alive);
    if held { Ok(record) } else { Err(paths.not_up()) }
}

/// All workloads that left a record, by name. A damaged record is left out: it names nothing that could be acted on.
#[must_use]
pub fn workloads(paths: &MeshPaths) -> Vec<WorkloadRecord> {
    let Ok(entries) = fs::read_dir(paths.workloads()) else { return Vec::new() };
    let mut records: Vec<WorkloadRecord> =
        entries.filter_map(|entry| load(&entry.ok()?.path().join("workload.json")).ok()?).collect();
    records.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    records
}
