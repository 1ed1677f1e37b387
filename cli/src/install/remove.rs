//! Takes an installation out again: what `weft install` brought, the last applied first.

use serde_json::json;

use super::apply::is_ours;
use super::crds;
use super::history::{self, Installed};
use super::names::{NAMESPACE, ROOT};
use crate::cluster::Cluster;
use crate::cluster::objects::Reference;
use crate::command::CommandError;

/// What will go.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// Objects, in the order of deleting.
    pub objects: Vec<Reference>,
    /// Policies that go with their kinds: kind, and namespace and name of each.
    pub policies: Vec<(String, Vec<(String, String)>)>,
    records: Vec<Installed>,
}

impl Plan {
    /// Whether there is nothing to delete.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.records.is_empty()
    }
}

/// What would go: of one revision, or of all for an empty name. With `purge` also the kinds that were brought along, and
/// the namespace with all that is in it.
///
/// # Errors
/// When the API server does not answer or refuses.
pub async fn plan(cluster: &Cluster, revision: &str, purge: bool) -> Result<Plan, CommandError> {
    let records = history::list(cluster, revision).await?;
    let mut plan = Plan::default();
    let (mut last, mut seen) = (Vec::new(), Vec::new());
    for object in records.iter().rev().flat_map(|record| record.objects.iter().rev()) {
        let reference = Reference::of(object)?;
        if seen.contains(&reference) {
            continue;
        }
        seen.push(reference.clone());
        let lasting = [crds::KIND, "Namespace"].contains(&reference.kind.as_str());
        if (lasting && !purge) || !is_ours(cluster.find(&reference).await?.as_ref()) {
            continue;
        }
        if reference.kind == crds::KIND {
            plan.policies.extend(policies(cluster, object).await?);
        }
        if lasting { last.push(reference) } else { plan.objects.push(reference) }
    }
    if purge {
        plan.objects.extend(roots(cluster).await?);
    }
    plan.objects.append(&mut last);
    plan.records = records;
    Ok(plan)
}

/// The policies of a kind.
async fn policies(
    cluster: &Cluster,
    definition: &serde_json::Value,
) -> Result<Option<(String, Vec<(String, String)>)>, CommandError> {
    let text =
        |pointer: &str| definition.pointer(pointer).and_then(|it| it.as_str()).unwrap_or_default().to_owned();
    let kind = text("/spec/names/kind");
    let all = Reference {
        api_version: format!("{}/{}", text("/spec/group"), text("/spec/versions/0/name")),
        kind: kind.clone(),
        plural: text("/spec/names/plural"),
        namespace: None,
        name: String::new(),
    };
    let found = cluster.list(&all, "").await?;
    let named = found
        .into_iter()
        .map(|it| (it.metadata.namespace.unwrap_or_default(), it.metadata.name.unwrap_or_default()));
    let named: Vec<_> = named.collect();
    Ok((!named.is_empty()).then_some((kind, named)))
}

/// The root certificate in every namespace but ours, which goes as a whole.
async fn roots(cluster: &Cluster) -> Result<Vec<Reference>, CommandError> {
    let namespaces =
        Reference::of(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ""}}))?;
    let mut found = Vec::new();
    for namespace in cluster.list(&namespaces, "").await? {
        let name = namespace.metadata.name.unwrap_or_default();
        let root =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ROOT, "namespace": name}});
        let root = Reference::of(&root)?;
        if name != NAMESPACE && cluster.find(&root).await?.is_some() {
            found.push(root);
        }
    }
    Ok(found)
}

/// Deletes it all.
///
/// # Errors
/// The first thing that fails; the records stay until everything else is gone, so that the command can be repeated.
pub async fn carry_out(
    cluster: &Cluster,
    plan: &Plan,
    mut told: impl FnMut(&str),
) -> Result<(), CommandError> {
    // The namespace takes the records with it, so it is the last.
    let (rest, namespace): (Vec<_>, Vec<_>) = plan.objects.iter().partition(|it| it.kind != "Namespace");
    for reference in rest {
        if cluster.remove(reference, false).await? {
            told(&format!("{reference} deleted"));
        }
    }
    history::remove(cluster, &plan.records).await?;
    for reference in namespace {
        if cluster.remove(reference, false).await? {
            told(&format!("{reference} deleted"));
        }
    }
    Ok(())
}
