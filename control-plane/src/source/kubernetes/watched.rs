//! One kind of objects, listed and watched.

use std::fmt::Debug;

use futures_util::StreamExt;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;
use tokio::sync::mpsc;

use super::contact::Contact;
use super::trim::{Trimmed, trim};
use crate::kubernetes::Waits;
use crate::source::Kind;

/// Objects of one page of a list.
const PAGE: u32 = 500;

/// What a watch tells.
pub(super) enum Seen {
    /// The kinds that will be told of; those of policies that were not among them before are new.
    Kinds(Vec<&'static Kind>),
    /// All objects of a kind: whatever else was known of it is gone.
    Listed(&'static Kind, Vec<Trimmed>),
    /// New, or another version.
    Applied(&'static Kind, Box<Trimmed>),
    /// Gone; namespace and name.
    Deleted(&'static Kind, String, String),
    /// The kind itself is gone.
    Dropped(&'static Kind),
}

impl Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (what, kind) = match self {
            Self::Kinds(kinds) => return f.debug_tuple("Kinds").field(&kinds.len()).finish(),
            Self::Listed(kind, _) => ("Listed", kind),
            Self::Applied(kind, _) => ("Applied", kind),
            Self::Deleted(kind, ..) => ("Deleted", kind),
            Self::Dropped(kind) => ("Dropped", kind),
        };
        f.debug_tuple(what).field(&kind.name).finish()
    }
}

/// Tells of a kind, in a version that the API server has, until nobody listens.
pub(super) async fn follow(
    client: Client,
    kind: &'static Kind,
    version: &'static str,
    tell: mpsc::Sender<Seen>,
    contact: Contact,
) {
    let resource = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk(kind.group, version, kind.name),
        kind.plural,
    );
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let mut config = watcher::Config::default().page_size(PAGE);
    if kind.name == "EndpointSlice" {
        // Those of services with a selector follow from the pods, which tell sooner.
        config = config.labels("endpointslice.kubernetes.io/managed-by!=endpointslice-controller.k8s.io");
    }
    let mut events = std::pin::pin!(watcher(api, config).backoff(Waits::default()));
    let mut listed = Vec::new();
    let mut is_failing = false;
    while let Some(event) = events.next().await {
        let seen = match event {
            Ok(event) => {
                contact.heard();
                if std::mem::take(&mut is_failing) {
                    tracing::info!(kind = kind.name, "the watch goes on");
                }
                match event {
                    Event::Init => {
                        listed.clear();
                        None
                    }
                    Event::InitApply(object) => {
                        listed.push(trim(kind, version, object));
                        None
                    }
                    Event::InitDone => Some(Seen::Listed(kind, std::mem::take(&mut listed))),
                    Event::Apply(object) => Some(Seen::Applied(kind, Box::new(trim(kind, version, object)))),
                    Event::Delete(object) => {
                        let metadata = object.metadata;
                        let name = metadata.name.unwrap_or_default();
                        Some(Seen::Deleted(kind, metadata.namespace.unwrap_or_default(), name))
                    }
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(kind = kind.name, error = %explain(&error), "a watch has failed; what was last known stays in force while it is tried again");
                }
                None
            }
        };
        if let Some(seen) = seen
            && tell.send(seen).await.is_err()
        {
            return;
        }
    }
}

fn explain(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => crate::kubernetes::explain(error),
        other => other.to_string(),
    }
}

/// Names an object as the API server sent it.
pub(super) fn name_of(object: &Value) -> (String, String) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}
