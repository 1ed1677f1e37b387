//! Whether a pod is to have a sidecar. What stands closer to the pod wins, and Weft's own words win over Istio's.

use std::fmt;

use serde_json::Value;

use super::pod::{annotation, containers, label, text};
use super::values::InjectionValues;
use crate::source::diagnostic::code;
use crate::source::document::join;
use crate::source::words::Labels;
use crate::source::{Finding, Severity};

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

/// Namespaces that are never injected, whatever anybody says: a cluster must start without its mesh.
const NEVER: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];
/// What says whether a pod is injected, the strongest first.
pub(super) const INJECT: [&str; 2] = ["weft.mesh/inject", "sidecar.istio.io/inject"];
/// What says which control plane injects, the strongest first.
const REVISION: [&str; 2] = ["weft.mesh/rev", "istio.io/rev"];

/// On whose behalf a pod is looked at.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// The webhook's: the namespace decides where the pod says nothing.
    Namespace {
        /// Its name.
        name: &'a str,
        /// Its labels; `None` when nobody knows them, so that the webhook's own selectors are believed.
        labels: Option<&'a Labels>,
    },
    /// `weft inject`: who runs it wants the pod injected, unless the pod says otherwise.
    File {
        /// The namespace that the object names.
        namespace: &'a str,
    },
}

impl Scope<'_> {
    /// The namespace's name; empty when a file names none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        match self {
            Self::Namespace { name, .. } | Self::File { namespace: name } => name,
        }
    }
}

/// Why a pod gets no sidecar.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SkipReason {
    /// It shares the node's network: rules for it would be rules for the node.
    HostNetwork,
    /// It runs on Windows.
    Windows,
    /// Its namespace is one of the cluster's or the mesh's own.
    SystemNamespace(String),
    /// A label or annotation of its own says no: which.
    PodDeclines(String),
    /// A label of its namespace says no: which.
    NamespaceDeclines(String),
    /// Nobody asked for it.
    NotAskedFor,
    /// It is another control plane's: whose.
    OtherRevision(String),
    /// It has Istio's sidecar.
    OtherMesh,
}

impl SkipReason {
    /// One word, for metrics and annotations.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::HostNetwork => "HostNetwork",
            Self::Windows => "Windows",
            Self::SystemNamespace(_) => "SystemNamespace",
            Self::PodDeclines(_) => "PodDeclines",
            Self::NamespaceDeclines(_) => "NamespaceDeclines",
            Self::NotAskedFor => "NotAskedFor",
            Self::OtherRevision(_) => "OtherRevision",
            Self::OtherMesh => "OtherMesh",
        }
    }

    /// Whether somebody may have expected a sidecar, so that the pod and an event tell why there is none.
    #[must_use]
    pub fn is_worth_telling(&self) -> bool {
        matches!(self, Self::HostNetwork | Self::Windows | Self::PodDeclines(_) | Self::OtherMesh)
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostNetwork => f.write_str("the pod shares its node's network (hostNetwork: true)"),
            Self::Windows => f.write_str("the pod runs on Windows, for which there is no sidecar"),
            Self::SystemNamespace(name) => write!(f, "pods of the namespace {name} are never injected"),
            Self::PodDeclines(key) => write!(f, "the pod declines by {key}"),
            Self::NamespaceDeclines(key) => write!(f, "the namespace declines by {key}"),
            Self::NotAskedFor => f.write_str("neither the pod nor its namespace asks for a sidecar"),
            Self::OtherRevision(revision) => {
                write!(f, "the pod is for the control plane of revision {revision}")
            }
            Self::OtherMesh => f.write_str("the pod has Istio's sidecar"),
        }
    }
}

/// None when the pod is to be injected; else why not.
///
/// # Errors
/// When a label or annotation that decides has a value that says nothing.
pub(super) fn decide(
    scope: Scope<'_>,
    pod: &Value,
    values: &InjectionValues,
) -> Result<Option<SkipReason>, Vec<Finding>> {
    let namespace = scope.namespace();
    if NEVER.contains(&namespace) || namespace == values.system_namespace {
        return Ok(Some(SkipReason::SystemNamespace(namespace.to_owned())));
    }
    let own = asked_by_pod(pod)?;
    let by_scope = match scope {
        Scope::File { .. } => None,
        Scope::Namespace { labels: None, .. } => None,
        Scope::Namespace { labels: Some(labels), .. } => by_namespace(labels, pod, values),
    };
    // A namespace that says no is not for its pods to overrule: Istio's webhooks do not even see them.
    if let Some(declines @ SkipReason::NamespaceDeclines(_)) = by_scope {
        return Ok(Some(declines));
    }
    let skip = match own {
        Some((key, false)) => Some(SkipReason::PodDeclines(key)),
        Some((_, true)) => by_scope.filter(|reason| matches!(reason, SkipReason::OtherRevision(_))),
        None => by_scope,
    };
    Ok(skip.or_else(|| impossible(pod)))
}

/// What keeps any sidecar from such a pod.
fn impossible(pod: &Value) -> Option<SkipReason> {
    if pod["spec"]["hostNetwork"] == Value::Bool(true) {
        return Some(SkipReason::HostNetwork);
    }
    let selector = &pod["spec"]["nodeSelector"];
    let systems =
        [&pod["spec"]["os"]["name"], &selector["kubernetes.io/os"], &selector["beta.kubernetes.io/os"]];
    if systems.iter().any(|system| system.as_str() == Some("windows")) {
        return Some(SkipReason::Windows);
    }
    let istio = annotation(pod, "sidecar.istio.io/status").is_some()
        && containers(pod).any(|(_, _, container)| text(container, "name") == "istio-proxy");
    istio.then_some(SkipReason::OtherMesh)
}

/// What the pod's own label or annotation says, and which.
fn asked_by_pod(pod: &Value) -> Result<Option<(String, bool)>, Vec<Finding>> {
    let mut findings = Vec::new();
    let mut first = None;
    for key in INJECT {
        for (kind, value) in [("labels", label(pod, key)), ("annotations", annotation(pod, key))] {
            let Some(value) = value else { continue };
            match value {
                // Istio reads the words of YAML 1.1.
                "true" | "y" | "yes" | "on" => first = first.or(Some((format!("{key}: {value}"), true))),
                "false" | "n" | "no" | "off" => first = first.or(Some((format!("{key}: {value}"), false))),
                _ => findings.push(Finding {
                    field: join(&format!("metadata.{kind}"), key),
                    ..Finding::new(
                        Severity::Error,
                        code::INVALID_VALUE,
                        format!("`{value}` is neither true nor false"),
                    )
                    .hint("write \"true\" or \"false\", in quotes")
                }),
            }
        }
    }
    if findings.is_empty() { Ok(first) } else { Err(findings) }
}

/// Why the namespace's labels leave the pod alone; none when they ask for a sidecar.
fn by_namespace(labels: &Labels, pod: &Value, values: &InjectionValues) -> Option<SkipReason> {
    let is_default = values.revision == "default";
    for key in ["weft.mesh/inject", "istio-injection"] {
        match labels.get(key).map(AsRef::as_ref) {
            Some("enabled" | "true") if is_default => return None,
            Some("enabled" | "true") => return Some(SkipReason::OtherRevision("default".to_owned())),
            Some(value @ ("disabled" | "false")) => {
                return Some(SkipReason::NamespaceDeclines(format!("{key}: {value}")));
            }
            _ => {}
        }
    }
    let of_namespace = REVISION.iter().find_map(|key| labels.get(*key).map(AsRef::as_ref));
    let revision = of_namespace.or_else(|| REVISION.iter().find_map(|key| label(pod, key)));
    match revision {
        Some(revision) if revision == values.revision => None,
        Some(revision) => Some(SkipReason::OtherRevision(revision.to_owned())),
        None if values.enable_namespaces_by_default => None,
        None => Some(SkipReason::NotAskedFor),
    }
}
