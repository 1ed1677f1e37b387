//! Pods that should have a sidecar and have none.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;

use super::Check;
use crate::cluster::Cluster;
use crate::cluster::pods::{self, STATUS};
use crate::cluster::replicas::name;
use crate::command::CommandError;
use crate::install::names::NEVER_INJECTED;

#[cfg(test)]
#[path = "injection_tests.rs"]
mod tests;

/// Labels by which a namespace asks for sidecars, and the value when it is not a revision's name.
const ASKING: [(&str, Option<&str>); 4] = [
    ("weft.mesh/inject", Some("enabled")),
    ("istio-injection", Some("enabled")),
    ("weft.mesh/rev", None),
    ("istio.io/rev", None),
];
/// Labels by which a pod speaks for itself.
const OWN: [&str; 2] = ["weft.mesh/inject", "sidecar.istio.io/inject"];

type Labels = BTreeMap<String, String>;

pub(super) async fn check(cluster: &Cluster) -> Result<Vec<Check>, CommandError> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let found = namespaces.list(&ListParams::default()).await;
    let found = found.map_err(|error| cluster.failed("list the namespaces", &error))?;
    let labelled: Vec<(String, Labels)> = found
        .items
        .into_iter()
        .map(|it| (it.metadata.name.unwrap_or_default(), it.metadata.labels.unwrap_or_default()))
        .filter(|(name, _)| !NEVER_INJECTED.contains(&name.as_str()))
        .collect();
    let (mut checks, mut missed, mut meshed) = (Vec::new(), Vec::new(), 0);
    for pod in cluster.pods(None).await? {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let Some((_, labels)) = labelled.iter().find(|(name, _)| *name == namespace) else { continue };
        if pods::sidecar(&pod).is_some() {
            meshed += 1;
        } else if let Some(why) = missing(&pod, labels) {
            missed.push((format!("{namespace}/{}", name(&pod)), why));
        }
    }
    for (why, hint) in [
        (Why::Before, "restart them: `kubectl rollout restart`"),
        (Why::Refused, "the reason is in the annotation weft.mesh/status and in an event"),
    ] {
        let about: Vec<String> =
            missed.iter().filter(|(_, it)| *it == why).map(|(pod, _)| pod.clone()).collect();
        if !about.is_empty() {
            checks.push(Check::warning("injection", why.words(about.len()), hint).about(about));
        }
    }
    checks.push(Check::ok("injection", format!("{meshed} pods have a sidecar")));
    Ok(checks)
}

/// Why a pod has no sidecar that should have one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Why {
    /// Nobody was asked: it is older than the label, or no control plane answered.
    Before,
    /// The injector left it out, for a reason.
    Refused,
}

impl Why {
    fn words(self, count: usize) -> String {
        let (pods, have) = if count == 1 { ("pod", "has") } else { ("pods", "have") };
        match self {
            Self::Before => format!(
                "{count} {pods} of namespaces that ask for sidecars {have} none: started before the namespace was labelled, or while no webhook was asked"
            ),
            Self::Refused => {
                format!("{count} {pods} of namespaces that ask for sidecars {have} none because they cannot")
            }
        }
    }
}

/// Whether a pod without a sidecar should have one, and why it has not.
fn missing(pod: &Pod, namespace: &Labels) -> Option<Why> {
    let empty = Labels::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&empty);
    let annotations = pod.metadata.annotations.as_ref().unwrap_or(&empty);
    let own =
        OWN.iter().find_map(|key| labels.get(*key).or_else(|| annotations.get(*key))).map(String::as_str);
    let asked = ASKING.iter().any(|(key, value)| {
        namespace.get(*key).is_some_and(|found| value.is_none_or(|value| value == found))
    });
    let ended = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .is_some_and(|phase| ["Succeeded", "Failed"].contains(&phase));
    let on_node = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    if own == Some("false") || !(asked || own == Some("true")) || ended || on_node {
        return None;
    }
    let status = annotations.get(STATUS).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let skipped = status.is_some_and(|status| status.get("skipped").is_some());
    Some(if skipped { Why::Refused } else { Why::Before })
}
