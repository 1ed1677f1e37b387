//! What is in the cluster already: other meshes, kinds of policies in other versions, a newer Weft.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::Problem;
use crate::cluster::Cluster;
use crate::cluster::objects::Reference;
use crate::command::CommandError;
use crate::install::names::{INJECTOR, NAMESPACE};
use crate::install::values::InstallValues;
use crate::install::{crds, history};

#[cfg(test)]
#[path = "neighbours_tests.rs"]
mod tests;

/// Labels of namespaces that Istio's injector goes by as well.
const SHARED_LABELS: [&str; 2] = ["istio-injection", "istio.io/rev"];

pub(super) async fn check(
    cluster: &Cluster,
    values: &InstallValues,
    objects: &[Value],
) -> Result<Vec<Problem>, CommandError> {
    let mut problems = Vec::new();
    if values.injection.enabled && values.injection.istio_labels {
        problems.extend(injectors(
            &cluster
                .list(&of("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration")?, "")
                .await?,
        ));
    }
    for object in objects.iter().filter(|object| object["kind"] == crds::KIND) {
        let reference = Reference::of(object)?;
        if let Some(found) = cluster.find(&reference).await? {
            problems.extend(versions(object, &found));
        }
    }
    let namespace =
        Reference::of(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))?;
    match cluster.find(&namespace).await? {
        Some(found) if !values.namespace.create || values.cni.enabled => {
            problems.extend(standard(&found, values))
        }
        None if !values.namespace.create => {
            problems.push(Problem::error(
                format!("there is no namespace {NAMESPACE}"),
                "make it, or leave namespace.create true",
            ));
        }
        _ => {}
    }
    let installed = history::list(cluster, values.revision_label()).await?;
    problems.extend(installed.last().and_then(|last| newer(&last.version, env!("CARGO_PKG_VERSION"))));
    Ok(problems)
}

/// An empty object of a kind, to list by.
fn of(api_version: &str, kind: &str) -> Result<Reference, CommandError> {
    Reference::of(
        &json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "", "namespace": ""}}),
    )
}

/// Other meshes' injectors that go by labels which ours goes by as well: a pod would get two sidecars.
fn injectors(configurations: &[DynamicObject]) -> Vec<Problem> {
    let theirs = configurations.iter().filter(|it| {
        let name = it.metadata.name.as_deref().unwrap_or_default();
        !name.starts_with(INJECTOR) && asks_by_shared_label(&it.data)
    });
    theirs
        .map(|it| {
            let name = it.metadata.name.as_deref().unwrap_or_default();
            Problem::error(
                format!("MutatingWebhookConfiguration/{name} injects by the labels istio-injection and istio.io/rev too: pods would get two sidecars"),
                "--set injection.istioLabels=false leaves Istio's labels to it; `weft.mesh/inject=enabled` asks for Weft's",
            )
        })
        .collect()
}

fn asks_by_shared_label(configuration: &Value) -> bool {
    let webhooks = configuration["webhooks"].as_array().into_iter().flatten();
    webhooks
        .filter(|webhook| {
            let rules = webhook["rules"].as_array().into_iter().flatten();
            rules.into_iter().any(|rule| {
                rule["resources"].as_array().is_some_and(|all| all.iter().any(|it| it == "pods" || it == "*"))
            })
        })
        .any(|webhook| {
            let selector = &webhook["namespaceSelector"];
            let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
            let asked = |key: &str, operator: &str| {
                SHARED_LABELS.contains(&key) && matches!(operator, "In" | "Exists")
            };
            expressions.into_iter().any(|it| {
                asked(it["key"].as_str().unwrap_or_default(), it["operator"].as_str().unwrap_or_default())
            }) || selector["matchLabels"]
                .as_object()
                .is_some_and(|labels| labels.keys().any(|key| SHARED_LABELS.contains(&key.as_str())))
        })
}

/// Whether a kind that is there is served in a version that we read.
fn versions(wanted: &Value, found: &DynamicObject) -> Option<Problem> {
    let served = |definition: &Value| -> Vec<String> {
        let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
        versions
            .filter(|it| it["served"] != false)
            .filter_map(|it| it["name"].as_str())
            .map(str::to_owned)
            .collect()
    };
    let (ours, theirs) = (served(wanted), served(&found.data));
    if ours.iter().any(|version| theirs.contains(version)) {
        return None;
    }
    let name = found.metadata.name.as_deref().unwrap_or_default();
    Some(Problem::error(
        format!("{name} is served as {} only", theirs.join(", ")),
        format!("Weft reads {}: update that kind", ours.join(", ")),
    ))
}

/// Whether the namespace's pod security standard leaves room for what will run there.
fn standard(namespace: &DynamicObject, values: &InstallValues) -> Option<Problem> {
    let labels = namespace.metadata.labels.as_ref()?;
    let level = labels.get("pod-security.kubernetes.io/enforce")?;
    (values.cni.enabled && !values.namespace.create && level != "privileged").then(|| {
        Problem::error(
            format!("the namespace {NAMESPACE} enforces the pod security standard `{level}`, which refuses the CNI agent"),
            "label it pod-security.kubernetes.io/enforce=privileged, or leave cni.enabled false",
        )
    })
}

/// Whether what is installed is of a later version than this program.
fn newer(installed: &str, own: &str) -> Option<Problem> {
    let parts = |version: &str| -> Vec<u64> {
        version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
    };
    (parts(installed) > parts(own)).then(|| {
        Problem::error(
            format!("weft {installed} is installed, this is {own}"),
            "use that or a later one; --rollback goes back to an earlier installation",
        )
    })
}
