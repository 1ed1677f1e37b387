//! Which kinds the API server has, followed as `CustomResourceDefinition`s come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::contact::Contact;
use super::watched::{self, Seen};
use crate::kubernetes::Waits;
use crate::source::{CLUSTER_KINDS, KINDS, Kind};

/// A definition is served only a moment after it was made: it is looked for again after these times.
const LOOK_AGAIN: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(60),
];

/// Watches every kind that the API server has, until nobody listens.
pub(super) async fn follow(client: Client, tell: mpsc::Sender<Seen>, contact: Contact) {
    let mut follower = Follower { client, tell, contact, running: BTreeMap::new(), tasks: JoinSet::new() };
    let built_in = CLUSTER_KINDS.iter().chain(KINDS.iter().filter(|kind| kind.group.is_empty()));
    for kind in built_in {
        follower.start(kind, kind.versions[0]);
    }
    let api: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(follower.client.clone());
    let mut definitions = Definitions::default();
    let events = watcher(api, watcher::Config::default().page_size(500)).backoff(Waits::default());
    let mut events = std::pin::pin!(events);
    let mut tries = 0;
    let mut is_failing = false;
    loop {
        let wait = LOOK_AGAIN[tries.min(LOOK_AGAIN.len() - 1)];
        let event = tokio::select! {
            event = events.next() => event,
            () = tokio::time::sleep(wait), if definitions.listed => {
                tries += 1;
                follower.reconcile(&definitions.present).await;
                continue;
            }
            () = follower.tell.closed() => return,
        };
        match event {
            Some(Ok(event)) => {
                is_failing = false;
                if definitions.take(event) {
                    tries = 0;
                    follower.reconcile(&definitions.present).await;
                }
            }
            Some(Err(error)) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "the watch of CustomResourceDefinitions has failed; it is tried again");
                }
            }
            None => return,
        }
    }
}

/// Names of the definitions of our kinds that are there.
#[derive(Default)]
struct Definitions {
    present: BTreeSet<String>,
    fresh: BTreeSet<String>,
    listed: bool,
}

impl Definitions {
    /// Says whether it is worth looking at what is served.
    fn take(&mut self, event: Event<PartialObjectMeta<CustomResourceDefinition>>) -> bool {
        let ours = |object: &PartialObjectMeta<CustomResourceDefinition>| {
            object.metadata.name.clone().filter(|name| KINDS.iter().any(|kind| definition(kind) == *name))
        };
        match event {
            Event::Init => self.fresh.clear(),
            Event::InitApply(object) => self.fresh.extend(ours(&object)),
            Event::InitDone => {
                self.present = std::mem::take(&mut self.fresh);
                self.listed = true;
                return true;
            }
            Event::Apply(object) => {
                let name = ours(&object);
                let is_ours = name.is_some();
                self.present.extend(name);
                return is_ours;
            }
            Event::Delete(object) => return ours(&object).is_some_and(|name| self.present.remove(&name)),
        }
        false
    }
}

/// Name of a kind's definition, which the API server dictates.
fn definition(kind: &Kind) -> String {
    format!("{}.{}", kind.plural, kind.group)
}

struct Follower {
    client: Client,
    tell: mpsc::Sender<Seen>,
    contact: Contact,
    /// By name of the kind, with the version that is asked for.
    running: BTreeMap<&'static str, (&'static str, AbortHandle)>,
    tasks: JoinSet<()>,
}

impl Follower {
    fn start(&mut self, kind: &'static Kind, version: &'static str) {
        let task =
            watched::follow(self.client.clone(), kind, version, self.tell.clone(), self.contact.clone());
        let task = self.tasks.spawn(task);
        if let Some((_, former)) = self.running.insert(kind.name, (version, task)) {
            former.abort();
        }
    }

    /// Watches what is defined and served, and nothing else.
    async fn reconcile(&mut self, present: &BTreeSet<String>) {
        while self.tasks.try_join_next().is_some() {}
        let served = match self.served().await {
            Ok(served) => served,
            Err(error) => {
                // It is asked again; until then everything stays.
                tracing::warn!(
                    error = crate::kubernetes::explain(&error),
                    "cannot ask which kinds the API server has"
                );
                return;
            }
        };
        for kind in KINDS.iter().filter(|kind| !kind.group.is_empty()) {
            if !present.contains(&definition(kind)) {
                if let Some((_, task)) = self.running.remove(kind.name) {
                    task.abort();
                    // What it still had to say comes before the end, not after.
                    while !task.is_finished() {
                        tokio::task::yield_now().await;
                    }
                    tracing::info!(kind = kind.name, "the API server no longer has the kind");
                    let _ = self.tell.send(Seen::Dropped(kind)).await;
                }
                continue;
            }
            let is_served = |version: &&&'static str| {
                let wanted = ((**version).to_owned(), kind.plural.to_owned());
                served.get(kind.group).is_some_and(|served| served.contains(&wanted))
            };
            let Some(version) = kind.versions.iter().find(is_served) else { continue };
            if self.running.get(kind.name).is_none_or(|(running, _)| running != version) {
                tracing::info!(kind = kind.name, version, "watching");
                self.start(kind, version);
            }
        }
        let known: Vec<&'static Kind> =
            CLUSTER_KINDS.iter().chain(KINDS).filter(|kind| self.running.contains_key(kind.name)).collect();
        let _ = self.tell.send(Seen::Kinds(known)).await;
    }

    /// Versions and plurals that each group has; none when it cannot be told.
    async fn served(&self) -> Result<Served, kube::Error> {
        let ours = |group: &str| KINDS.iter().any(|kind| kind.group == group && !group.is_empty());
        let mut served = Served::new();
        for group in self.client.list_api_groups().await?.groups.into_iter().filter(|group| ours(&group.name))
        {
            for version in group.versions {
                let list = self.client.list_api_group_resources(&version.group_version).await?;
                let kinds = list.resources.into_iter().map(|it| (version.version.clone(), it.name));
                served.entry(group.name.clone()).or_default().extend(kinds);
            }
        }
        Ok(served)
    }
}

/// By group: versions with the plurals of their kinds.
type Served = BTreeMap<String, BTreeSet<(String, String)>>;
