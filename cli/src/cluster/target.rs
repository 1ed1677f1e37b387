//! Which mesh a command means: one of this machine, or that of a cluster.

use std::path::PathBuf;

use kube::config::Kubeconfig;

use crate::command::{CommandError, Globals};
use crate::runtime::paths::MeshPaths;
use crate::runtime::record;

/// A mesh to ask.
#[derive(Clone, Debug)]
pub enum Target {
    /// On this machine.
    Local(MeshPaths),
    /// In a cluster.
    Cluster(ClusterChoice),
}

/// What the user said of the cluster; the kubeconfig says the rest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClusterChoice {
    /// `--kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`.
    pub context: Option<String>,
    /// `--namespace`.
    pub namespace: Option<String>,
}

impl ClusterChoice {
    /// What was said with the arguments of every command.
    #[must_use]
    pub fn of(globals: &Globals) -> Self {
        Self {
            kubeconfig: globals.kubeconfig.clone(),
            context: globals.context.clone(),
            namespace: globals.named_namespace().map(str::to_owned),
        }
    }
}

/// The mesh that a command means: what was named; else the mesh of this machine if it is up; else the cluster of the
/// kubeconfig's current context. Where both would do, standard error says which was taken.
///
/// # Errors
/// When there is neither.
pub fn target(globals: &Globals) -> Result<Target, CommandError> {
    let cluster = || Target::Cluster(ClusterChoice::of(globals));
    if globals.context.is_some() || globals.kubeconfig.is_some() {
        return Ok(cluster());
    }
    let paths = MeshPaths::of(&globals.mesh());
    if globals.named_mesh().is_some() {
        return paths.map(Target::Local);
    }
    let current = current_context();
    let up = paths.as_ref().is_ok_and(|paths| record::running_mesh(paths).is_ok());
    match (up, current) {
        (true, Some(context)) => {
            eprintln!(
                "asking the mesh of this machine; `--context {context}` asks the cluster of the kubeconfig"
            );
            paths.map(Target::Local)
        }
        (false, Some(_)) => Ok(cluster()),
        (_, None) => paths.map(Target::Local),
    }
}

/// The current context of the user's kubeconfig, if there is one.
fn current_context() -> Option<String> {
    Kubeconfig::read().ok()?.current_context.filter(|name| !name.is_empty())
}
