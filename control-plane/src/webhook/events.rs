//! Kubernetes Events about pods and the settings of injection: what became of them, where `kubectl describe` shows it.
//! Best effort: an API server that does not take them holds nothing up.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::mpsc;

use super::inject::named;
use super::review::Review;

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;

const COMPONENT: &str = "weft-control-plane";
/// Events that wait to be sent; further ones are dropped.
const WAITING: usize = 256;
/// The same event again within this time is not told again: a ReplicaSet tries many times a minute.
const QUIET: Duration = Duration::from_secs(60);
/// Most events that are remembered for that.
const REMEMBERED: usize = 4096;
/// Kubernetes' own limit of an event's message.
const MAX_MESSAGE: usize = 1024;

/// Where events go.
#[derive(Clone, Debug)]
pub struct Events(Option<mpsc::Sender<Event>>);

impl Events {
    /// Nowhere.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// To an API server, by a task that ends when the last clone is dropped. To be called within a tokio runtime.
    #[must_use]
    pub fn to(client: Client) -> Self {
        let (sender, events) = mpsc::channel(WAITING);
        tokio::spawn(send(client, events));
        Self(Some(sender))
    }

    /// Tells what became of the reviewed object: of its owner, when it has one, since what was denied never is.
    pub(super) fn tell(&self, review: &Review, kind: &str, reason: &str, message: &str) {
        if !review.dry_run {
            self.tell_of(involved(review), kind, reason, message);
        }
    }

    /// Tells what became of an object; `kind` is `Normal` or `Warning`, `reason` one word.
    pub fn tell_of(&self, object: ObjectReference, kind: &str, reason: &str, message: &str) {
        let Some(sender) = self.0.as_ref() else { return };
        if sender.try_send(event(object, kind, reason, message)).is_err() {
            tracing::debug!(reason, "an event was dropped: too many wait");
        }
    }
}

fn event(involved: ObjectReference, kind: &str, reason: &str, message: &str) -> Event {
    let now = Timestamp::now();
    let mut message = message.to_owned();
    let end = (0..=MAX_MESSAGE.min(message.len())).rev().find(|&end| message.is_char_boundary(end));
    message.truncate(end.unwrap_or(0));
    // As client-go names its events: unique by time.
    let name = format!("{}.{:x}", involved.name.as_deref().unwrap_or("pod"), now.as_nanosecond());
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: involved.namespace.clone(),
            ..ObjectMeta::default()
        },
        involved_object: involved,
        type_: Some(kind.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        reporting_component: Some(COMPONENT.to_owned()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}

fn involved(review: &Review) -> ObjectReference {
    let metadata = &review.object["metadata"];
    let owners = metadata["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
    let owner = owners.iter().find(|owner| owner["controller"] == Value::Bool(true)).or(owners.first());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (api_version, kind, name, uid) = match owner {
        Some(owner) => {
            (text(&owner["apiVersion"]), text(&owner["kind"]), text(&owner["name"]), text(&owner["uid"]))
        }
        None => {
            let name = named(review).trim_end_matches(['-', '.']).to_owned();
            (text(&review.object["apiVersion"]), Some(review.kind.clone()), Some(name), None)
        }
    };
    ObjectReference {
        api_version,
        kind,
        name,
        uid,
        namespace: Some(review.namespace.clone()),
        ..ObjectReference::default()
    }
}

async fn send(client: Client, mut events: mpsc::Receiver<Event>) {
    let mut told: HashMap<[Option<String>; 3], Instant> = HashMap::new();
    while let Some(event) = events.recv().await {
        let key = [event.involved_object.name.clone(), event.reason.clone(), event.message.clone()];
        told.retain(|_, at| at.elapsed() < QUIET);
        if told.contains_key(&key) {
            continue;
        }
        if told.len() < REMEMBERED {
            told.insert(key, Instant::now());
        }
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            tracing::debug!(%namespace, %error, "an event could not be written");
        }
    }
}
