//! Follows findings and statuses, and writes where they differ.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use weft_model::provenance::ObjectRef;

use super::{about, wanted};
use crate::kubernetes::{FIELD_MANAGER, explain};
use crate::source::kubernetes::Statuses;
use crate::source::{Finding, Kind};
use crate::state::MeshState;

/// Quiet time before anything is written: what is being applied is still changing.
const SETTLE: Duration = Duration::from_millis(500);
/// What was written and did not stay as it was written is not written again before: two writers must not chase each other.
const AGAIN: Duration = Duration::from_secs(60);
/// Kinds whose definition has no status are tried again after this.
const WITHOUT_STATUS: Duration = Duration::from_secs(600);
/// After a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Writes what became of every policy, for ever.
pub async fn write_statuses(
    client: Client,
    mut statuses: watch::Receiver<Arc<Statuses>>,
    state: Arc<MeshState>,
) {
    let mut revisions = state.revisions();
    let mut writer = Writer { client, last: BTreeMap::new(), without: BTreeMap::new() };
    loop {
        let known = statuses.borrow_and_update().clone();
        revisions.mark_unchanged();
        let complete = writer.write_all(&known, &state.findings()).await;
        let retry = if complete { AGAIN } else { RETRY };
        tokio::select! {
            changed = statuses.changed() => if changed.is_err() { return },
            changed = revisions.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(retry) => {}
        }
        tokio::time::sleep(SETTLE).await;
    }
}

struct Writer {
    client: Client,
    /// What was written last, and when.
    last: BTreeMap<ObjectRef, (Value, Instant)>,
    /// Kinds without a status, and since when that is known.
    without: BTreeMap<Arc<str>, Instant>,
}

impl Writer {
    /// Says whether everything that was to be written is.
    async fn write_all(&mut self, statuses: &Statuses, findings: &Arc<Vec<Finding>>) -> bool {
        self.last.retain(|name, _| statuses.contains_key(name));
        self.without.retain(|_, since| since.elapsed() < WITHOUT_STATUS);
        let mut failed: BTreeSet<Arc<str>> = BTreeSet::new();
        for (name, written) in statuses {
            let Some(status) = wanted(name, written, &about(name, findings), jiff::Timestamp::now()) else {
                continue;
            };
            let is_written =
                status.as_object().into_iter().flatten().all(|(key, value)| written.status[key] == *value);
            let is_recent = self
                .last
                .get(name)
                .is_some_and(|(last, at)| last_says_same(last, &status) && at.elapsed() < AGAIN);
            if is_written || is_recent || self.without.contains_key(&name.kind) || failed.contains(&name.kind)
            {
                continue;
            }
            match self.write(name, written.version, &status).await {
                Ok(()) => {
                    self.last.insert(name.clone(), (status, Instant::now()));
                }
                // Either the object is gone, which the watch will tell, or its definition has no status.
                Err(kube::Error::Api(answer)) if answer.code == 404 => {
                    if self.exists(name, written.version).await {
                        tracing::info!(kind = %name.kind, "objects of the kind have no status to write to");
                        self.without.insert(name.kind.clone(), Instant::now());
                    }
                }
                Err(error) => {
                    tracing::warn!(object = %name, error = explain(&error), "a status cannot be written; it is tried again");
                    failed.insert(name.kind.clone());
                }
            }
        }
        failed.is_empty()
    }

    async fn write(&self, name: &ObjectRef, version: &str, status: &Value) -> Result<(), kube::Error> {
        let Some((api, api_version)) = self.api(name, version) else { return Ok(()) };
        let patch = json!({
            "apiVersion": api_version,
            "kind": name.kind,
            "metadata": {"name": name.name, "namespace": name.namespace},
            "status": status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        api.patch_status(&name.name, &params, &Patch::Apply(&patch)).await.map(drop)
    }

    async fn exists(&self, name: &ObjectRef, version: &str) -> bool {
        let Some((api, _)) = self.api(name, version) else { return false };
        matches!(api.get_metadata_opt(&name.name).await, Ok(Some(_)))
    }

    fn api(&self, name: &ObjectRef, version: &str) -> Option<(Api<DynamicObject>, String)> {
        let kind = Kind::named(&name.kind)?;
        let gvk = GroupVersionKind::gvk(kind.group, version, kind.name);
        let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural);
        let api_version = resource.api_version.clone();
        Some((Api::namespaced_with(self.client.clone(), &name.namespace, &resource), api_version))
    }
}

/// Whether both say the same, their times aside.
fn last_says_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| {
                    key == "lastTransitionTime"
                        || other.get(key).is_some_and(|known| last_says_same(value, known))
                })
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| last_says_same(one, other))
        }
        _ => one == other,
    }
}
