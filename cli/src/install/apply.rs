//! Brings a rendering into a cluster: in order, only what differs, and without what an earlier one had beyond it.

use kube::api::{DynamicObject, PatchParams};
use serde_json::{Value, json};

use super::history::{Installed, Status};
use super::values::InstallValues;
use super::{crds, history};
use crate::cluster::Cluster;
use crate::cluster::objects::{Outcome, Reference};
use crate::command::CommandError;

/// Who owns the fields that an installation writes.
pub const FIELD_MANAGER: &str = "weft-install";
/// Says of an object who brought it; Helm writes `Helm`.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// What becomes of one object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// It was applied.
    Applied(Reference, Outcome),
    /// It was there before, of somebody else.
    Left(Reference, String),
    /// An earlier installation had brought it.
    Pruned(Reference),
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Applied(reference, outcome) => write!(f, "{reference} {}", outcome.word()),
            Self::Left(reference, owner) => write!(f, "{reference} left as it is: it is {owner}"),
            Self::Pruned(reference) => write!(f, "{reference} deleted: this version has it no more"),
        }
    }
}

/// Applies a rendering, and takes out what earlier ones of the same revision had and this has not. The rendering is
/// kept first, so that whatever happens is known to the next command.
///
/// # Errors
/// The first thing that fails. Applying again goes on where it ended.
pub async fn apply(
    cluster: &Cluster,
    values: &InstallValues,
    objects: &[Value],
    dry_run: bool,
    mut told: impl FnMut(&Step),
) -> Result<u32, CommandError> {
    let earlier = history::list(cluster, values.revision_label()).await?;
    // The same once more is the same installation: records are for going back to something else.
    let same = earlier.last().filter(|last| last.status == Status::Deployed && last.objects == objects);
    let number = match same {
        Some(same) => same.number,
        None => earlier.last().map_or(1, |last| last.number + 1),
    };
    let params = PatchParams { dry_run, ..PatchParams::apply(FIELD_MANAGER).force() };
    // The record lives in the namespace.
    let (first, rest): (Vec<&Value>, Vec<&Value>) =
        objects.iter().partition(|object| object["kind"] == "Namespace");
    for object in first {
        told(&one(cluster, object, &params).await?);
    }
    let installed = Installed::new(number, values, objects);
    if !dry_run {
        history::write(cluster, &installed, Status::Pending).await?;
    }
    for object in rest {
        if dry_run && !can_try(cluster, object).await? {
            told(&Step::Applied(Reference::of(object)?, Outcome::Created));
        } else {
            told(&one(cluster, object, &params).await?);
        }
    }
    for reference in superfluous(&earlier, objects)? {
        if is_ours(cluster.find(&reference).await?.as_ref()) && cluster.remove(&reference, dry_run).await? {
            told(&Step::Pruned(reference));
        }
    }
    if !dry_run {
        history::write(cluster, &installed, Status::Deployed).await?;
        history::forget(cluster, number, &earlier).await?;
    }
    Ok(number)
}

async fn one(cluster: &Cluster, object: &Value, params: &PatchParams) -> Result<Step, CommandError> {
    let reference = Reference::of(object)?;
    if reference.kind == crds::KIND
        && let Some(found) = cluster.find(&reference).await?
        && !is_ours(Some(&found))
    {
        return Ok(Step::Left(reference, owner(&found)));
    }
    let (outcome, _) = cluster.apply(&reference, &marked(object), params).await?;
    Ok(Step::Applied(reference, outcome))
}

/// Whether the API server can try an object: of a namespace that is not there yet, it cannot.
async fn can_try(cluster: &Cluster, object: &Value) -> Result<bool, CommandError> {
    let reference = Reference::of(object)?;
    let Some(name) = reference.namespace else { return Ok(true) };
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    Ok(cluster.find(&Reference::of(&namespace)?).await?.is_some())
}

/// The object with the mark of who brought it.
fn marked(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"]["labels"][MANAGED_BY] = json!(FIELD_MANAGER);
    object
}

/// Whether `weft install` brought an object.
#[must_use]
pub fn is_ours(object: Option<&DynamicObject>) -> bool {
    object.and_then(|it| it.metadata.labels.as_ref()?.get(MANAGED_BY)).is_some_and(|by| by == FIELD_MANAGER)
}

/// Whose an object is that was there before, as far as it says.
fn owner(object: &DynamicObject) -> String {
    let label = |key: &str| object.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned();
    let annotated = |key: &str| object.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(key));
    if annotated("gateway.networking.k8s.io/bundle-version") {
        return "the Gateway API's".to_owned();
    }
    let by = label(MANAGED_BY).or_else(|| label("app.kubernetes.io/part-of")).or_else(|| label("app"));
    by.map_or_else(|| "not of this installation".to_owned(), |by| format!("of `{by}`"))
}

/// What earlier renderings had and this one has not, the last applied first. Kinds and the namespace stay: what is in
/// them would go with them.
fn superfluous(earlier: &[Installed], objects: &[Value]) -> Result<Vec<Reference>, CommandError> {
    let now = objects.iter().map(Reference::of).collect::<Result<Vec<_>, _>>()?;
    let mut gone: Vec<Reference> = Vec::new();
    for object in earlier.iter().rev().flat_map(|installed| installed.objects.iter().rev()) {
        let reference = Reference::of(object)?;
        let stays = [crds::KIND, "Namespace"].contains(&reference.kind.as_str());
        if !stays && !now.contains(&reference) && !gone.contains(&reference) {
            gone.push(reference);
        }
    }
    Ok(gone)
}
