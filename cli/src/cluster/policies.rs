//! Policies at the API server: found by kind, tried, applied, deleted.

use std::sync::Arc;

use kube::api::{DynamicObject, PatchParams};
use serde_json::Value;
use weft_control_plane::crds;
use weft_control_plane::source::{Kind, Object};
use weft_proto::api::{Change, ObjectChange, ObjectGeneration, ObjectRef};

use super::Cluster;
use super::objects::{Outcome, Reference};
use crate::command::{CommandError, FAILED, NOT_FOUND};

/// Who owns the fields that `weft apply` writes.
const FIELD_MANAGER: &str = "weft";

/// How objects are applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApplyChoice {
    /// The API server only tries.
    pub dry_run: bool,
    /// Fields of other owners are taken over.
    pub force: bool,
}

impl Cluster {
    /// A kind as the cluster serves it: in the first of our versions that it has.
    ///
    /// # Errors
    /// When the cluster does not have it, or the API server does not answer or refuses.
    pub async fn served(&self, kind: &Kind) -> Result<Reference, CommandError> {
        for version in kind.served() {
            let listed = if kind.group.is_empty() {
                self.client.list_core_api_resources(&version).await
            } else {
                self.client.list_api_group_resources(&version).await
            };
            match listed {
                Ok(list) if list.resources.iter().any(|it| it.name == kind.plural) => {
                    return Ok(Reference {
                        api_version: version,
                        kind: kind.name.to_owned(),
                        plural: kind.plural.to_owned(),
                        namespace: None,
                        name: String::new(),
                    });
                }
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(self.failed(&format!("ask for the kinds of {version}"), &error)),
            }
        }
        Err(CommandError::new(
            NOT_FOUND,
            format!("the cluster of context `{}` has no kind {}", self.context, kind.name),
        )
        .hint("`weft install` brings the kinds of policies"))
    }

    /// Objects of a kind, of one namespace or all, or the one of a name.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn policies(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Result<Vec<DynamicObject>, CommandError> {
        let mut reference = self.served(kind).await?;
        reference.namespace = namespace.map(str::to_owned);
        let all = self.list(&reference, "").await?;
        let wanted = |it: &DynamicObject| name.is_none_or(|name| it.metadata.name.as_deref() == Some(name));
        Ok(all.into_iter().filter(wanted).collect())
    }

    /// Applies checked objects. All are tried before any is applied, so that one that the API server refuses keeps the
    /// others from being applied as well.
    ///
    /// # Errors
    /// Everything that the API server refuses.
    pub async fn apply_policies(
        &self,
        objects: &[Arc<Object>],
        choice: ApplyChoice,
    ) -> Result<Vec<ObjectChange>, CommandError> {
        let tried = self.apply_each(objects, ApplyChoice { dry_run: true, ..choice }).await?;
        if choice.dry_run { Ok(tried) } else { self.apply_each(objects, choice).await }
    }

    async fn apply_each(
        &self,
        objects: &[Arc<Object>],
        choice: ApplyChoice,
    ) -> Result<Vec<ObjectChange>, CommandError> {
        let params =
            PatchParams { dry_run: choice.dry_run, force: choice.force, ..PatchParams::apply(FIELD_MANAGER) };
        let (mut changes, mut errors) = (Vec::new(), Vec::new());
        for object in objects {
            match self.apply_one(object, &params).await {
                Ok(change) => changes.push(change),
                // What only this object is refused for; anything else would be the same for all.
                Err(error) if error.code == FAILED => errors.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        if errors.is_empty() {
            return Ok(changes);
        }
        let outcome = if choice.dry_run { "nothing was applied" } else { "the others were applied" };
        Err(CommandError::new(FAILED, format!("{}\n{outcome}", errors.join("\n"))))
    }

    async fn apply_one(&self, object: &Object, params: &PatchParams) -> Result<ObjectChange, CommandError> {
        let mut body = object.to_json();
        body["metadata"]["namespace"] = Value::from(&**object.namespace());
        let kind = Kind::named(&object.reference.kind).ok_or_else(|| {
            CommandError::new(FAILED, format!("there is no kind {}", object.reference.kind))
        })?;
        let reference = Reference {
            api_version: body["apiVersion"].as_str().unwrap_or_default().to_owned(),
            kind: kind.name.to_owned(),
            plural: kind.plural.to_owned(),
            namespace: Some(object.namespace().to_string()),
            name: object.name().to_string(),
        };
        let (outcome, after) = self.apply(&reference, &body, params).await.map_err(|error| {
            if error.message.contains("conflict") {
                error.hint("another tool owns these fields; --force-conflicts takes them over")
            } else {
                error.within(format!("{}:{}", object.place.file, object.place.line + 1))
            }
        })?;
        let change = match outcome {
            Outcome::Created => Change::Created,
            Outcome::Configured => Change::Configured,
            Outcome::Unchanged => Change::Unchanged,
        };
        Ok(ObjectChange {
            object: Some(named(&reference)),
            change: change.into(),
            generation: after.metadata.generation.unwrap_or_default().unsigned_abs(),
        })
    }

    /// Deletes objects. One that is missing keeps the others, unless that does not matter.
    ///
    /// # Errors
    /// When one is not there, or the API server does not answer or refuses.
    pub async fn delete_policies(
        &self,
        objects: &[Reference],
        ignore_missing: bool,
    ) -> Result<Vec<ObjectChange>, CommandError> {
        let mut missing = Vec::new();
        for reference in objects {
            if self.find(reference).await?.is_none() {
                missing.push(reference.to_string());
            }
        }
        if !missing.is_empty() && !ignore_missing {
            return Err(CommandError::new(
                NOT_FOUND,
                format!("not found: {}; nothing was deleted", missing.join(", ")),
            ));
        }
        let mut changes = Vec::new();
        for reference in objects {
            if self.remove(reference, false).await? {
                changes.push(ObjectChange {
                    object: Some(named(reference)),
                    change: Change::Deleted.into(),
                    generation: 0,
                });
            }
        }
        Ok(changes)
    }
}

/// The kinds that `weft get` shows when none was named.
pub fn kinds() -> impl Iterator<Item = &'static Kind> {
    crds::policies()
}

/// What has to arrive at the control planes after changes.
#[must_use]
pub fn awaited(changes: &[ObjectChange]) -> Vec<ObjectGeneration> {
    let one = |change: &ObjectChange| ObjectGeneration {
        object: change.object.clone(),
        generation: change.generation,
        deleted: change.change() == Change::Deleted,
    };
    changes.iter().map(one).collect()
}

/// A reference as the mesh's API has it.
fn named(reference: &Reference) -> ObjectRef {
    ObjectRef {
        api_version: reference.api_version.clone(),
        kind: reference.kind.clone(),
        namespace: reference.namespace.clone().unwrap_or_default(),
        name: reference.name.clone(),
    }
}
