//! The mesh's workloads in a cluster: its pods.

use std::io::Write as _;

use futures_util::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::Api;
use kube::api::{ListParams, LogParams};

use super::Cluster;
use super::replicas::name;
use crate::command::{CommandError, FAILED, NOT_FOUND};

/// The sidecar's container.
pub const SIDECAR: &str = "weft-proxy";
/// Says of a pod what was injected, or why not.
pub const STATUS: &str = "weft.mesh/status";

impl Cluster {
    /// Pods of one namespace, or of all.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn pods(&self, namespace: Option<&str>) -> Result<Vec<Pod>, CommandError> {
        let api: Api<Pod> = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let params = ListParams { continue_token: next, ..ListParams::default().limit(500) };
            let page = api.list(&params).await.map_err(|error| self.failed("list the pods", &error))?;
            all.extend(page.items);
            next = page.metadata.continue_.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(all);
            }
        }
    }

    /// The pods that a word means: POD or POD.NAMESPACE, or the Deployment, StatefulSet … that they are of.
    ///
    /// # Errors
    /// When there is none.
    pub async fn workload(&self, word: &str) -> Result<Vec<Pod>, CommandError> {
        let (workload, namespace) = self.qualified(word);
        let pods = self.pods(Some(&namespace)).await?;
        let (exact, others): (Vec<Pod>, Vec<Pod>) = pods.into_iter().partition(|pod| name(pod) == workload);
        let found = if exact.is_empty() {
            others.into_iter().filter(|pod| owner(pod).is_some_and(|owner| owner == workload)).collect()
        } else {
            exact
        };
        if found.is_empty() {
            return Err(CommandError::new(
                NOT_FOUND,
                format!("there is no pod or workload `{workload}` in {namespace}"),
            )
            .hint("`weft ps` lists them; -n names another namespace"));
        }
        Ok(found)
    }

    /// A workload's name and namespace. A pod's name may hold points, so the last part is a namespace only when none was
    /// named otherwise.
    #[must_use]
    pub fn qualified(&self, word: &str) -> (String, String) {
        match word.rsplit_once('.') {
            Some((name, namespace)) => (name.to_owned(), namespace.to_owned()),
            None => (word.to_owned(), self.namespace.clone()),
        }
    }

    /// Writes logs to standard output; of several, each line behind its pod's name, as they come.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn logs(&self, sources: Vec<(Pod, String)>, params: &LogParams) -> Result<(), CommandError> {
        let several = sources.len() > 1;
        let mut streams = Vec::new();
        for (pod, container) in sources {
            let api: Api<Pod> =
                Api::namespaced(self.client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default());
            let params = LogParams { container: Some(container), ..params.clone() };
            let what = format!("read the log of {}", name(&pod));
            let lines = api
                .log_stream(name(&pod), &params)
                .await
                .map_err(|error| self.failed(&what, &error))?
                .lines();
            let head = if several { format!("[{}] ", name(&pod)) } else { String::new() };
            streams.push(lines.map_ok(move |line| format!("{head}{line}\n")).boxed());
        }
        let mut lines = futures_util::stream::select_all(streams);
        while let Some(line) = lines.next().await {
            let line =
                line.map_err(|error| CommandError::new(FAILED, format!("the log broke off: {error}")))?;
            let mut out = std::io::stdout().lock();
            match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
                Ok(()) => {}
                // `weft logs | head`: enough was read.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => {
                    return Err(CommandError::new(
                        FAILED,
                        format!("cannot write to standard output: {error}"),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// All containers, the native sidecars among the init containers too.
pub fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()))
}

/// The sidecar's container, if the pod has one.
#[must_use]
pub fn sidecar(pod: &Pod) -> Option<&Container> {
    containers(pod).find(|container| container.name == SIDECAR)
}

/// The application's first container.
#[must_use]
pub fn application(pod: &Pod) -> Option<&Container> {
    pod.spec.iter().flat_map(|spec| &spec.containers).find(|container| container.name != SIDECAR)
}

/// What a pod is of: the Deployment rather than its ReplicaSet.
#[must_use]
pub fn owner(pod: &Pod) -> Option<String> {
    let owner =
        pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    let hash = pod.metadata.labels.as_ref().and_then(|labels| labels.get("pod-template-hash"));
    let deployment = hash
        .filter(|_| owner.kind == "ReplicaSet")
        .and_then(|hash| owner.name.strip_suffix(&format!("-{hash}")));
    Some(deployment.unwrap_or(&owner.name).to_owned())
}
