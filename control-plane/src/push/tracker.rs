//! Who has acknowledged what: how far a revision is rolled out, and how each proxy stands.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use weft_model::node::ProxyId;
use weft_model::provenance::Provenance;
use weft_proto::api;

use super::hello::ProxyHello;
use super::resource::ResourceType;
use super::session::{SentResource, Session};

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;

/// How often a rollout that is watched is counted again, at most.
const RECOUNT: Duration = Duration::from_millis(20);
/// How long a proxy that left is shown, and how many of them.
const GONE: (Duration, usize) = (Duration::from_secs(600), 1000);

/// How far the connected proxies are with a revision.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Rollout {
    /// Of the world.
    pub revision: u64,
    /// Connected proxies for which it, or what was pushed together with it, changed something they subscribe to.
    pub concerned: usize,
    /// Of those, the ones that have taken everything.
    pub acknowledged: usize,
    /// What was not taken, and by whom.
    pub refusals: Vec<Refusal>,
    /// `WORKLOAD.NAMESPACE` of proxies that have not answered.
    pub pending: Vec<String>,
    /// Every connected proxy has been served, and all concerned have answered.
    pub done: bool,
}

/// A proxy would not take a resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// `WORKLOAD.NAMESPACE`.
    pub proxy: String,
    /// Type of the resource.
    pub kind: ResourceType,
    /// Name of the resource.
    pub resource: Arc<str>,
    /// What the proxy said.
    pub message: String,
    /// The user objects that the resource was compiled from.
    pub provenance: Vec<Provenance>,
}

impl Refusal {
    /// For the API. Of several objects, the first is named.
    #[must_use]
    pub fn to_proto(&self) -> api::Refusal {
        let origin = self.provenance.first();
        api::Refusal {
            proxy: self.proxy.clone(),
            type_url: self.kind.url().to_owned(),
            resource: self.resource.to_string(),
            message: self.message.clone(),
            object: origin.map(|origin| api::ObjectRef {
                api_version: origin.object.api_version.to_string(),
                kind: origin.object.kind.to_string(),
                namespace: origin.object.namespace.to_string(),
                name: origin.object.name.to_string(),
            }),
            field: origin.map(|origin| origin.field.to_string()).unwrap_or_default(),
        }
    }
}

impl Rollout {
    /// For the API.
    #[must_use]
    pub fn to_proto(&self) -> api::Rollout {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        api::Rollout {
            revision: self.revision,
            concerned: count(self.concerned),
            acknowledged: count(self.acknowledged),
            refusals: self.refusals.iter().map(Refusal::to_proto).collect(),
            pending: self.pending.clone(),
            done: self.done,
            timed_out: false,
            absent: Vec::new(),
        }
    }
}

/// One connected stream.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    pub(super) hello: Arc<ProxyHello>,
    since: Instant,
    pub(super) session: Mutex<Session>,
}

impl Connection {
    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Proxies {
    connected: BTreeMap<u64, Arc<Connection>>,
    gone: HashMap<ProxyId, (Instant, api::ProxyStatusEntry)>,
    // `WORKLOAD.NAMESPACE` of those that an earlier life of this process served.
    expected: BTreeSet<String>,
}

/// All proxies, by what they answered.
#[derive(Debug, Default)]
pub struct Tracker {
    proxies: Mutex<Proxies>,
    ids: AtomicU64,
    moves: watch::Sender<()>,
}

impl Tracker {
    fn proxies(&self) -> MutexGuard<'_, Proxies> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        self.proxies().connected.values().cloned().collect()
    }

    pub(super) fn connect(&self, hello: Arc<ProxyHello>, session: Mutex<Session>) -> Arc<Connection> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection { id, hello, since: Instant::now(), session });
        let mut proxies = self.proxies();
        proxies.gone.remove(&connection.hello.id);
        proxies.expected.remove(&connection.hello.id.short());
        proxies.connected.insert(id, connection.clone());
        drop(proxies);
        self.moved();
        connection
    }

    /// Proxies, `WORKLOAD.NAMESPACE`, that were served before this process started and are about to come back: until
    /// they do, or are given up, no rollout is done without them.
    pub fn expect_back(&self, proxies: impl IntoIterator<Item = String>) {
        let mut all = self.proxies();
        let connected: BTreeSet<String> = all.connected.values().map(|it| it.hello.id.short()).collect();
        all.expected.extend(proxies.into_iter().filter(|proxy| !connected.contains(proxy)));
    }

    /// A proxy that was expected does not come back.
    pub fn give_up(&self, proxy: &str) {
        let was_expected = self.proxies().expected.remove(proxy);
        if was_expected {
            self.moved();
        }
    }

    /// Gives the number of streams that the same proxy still has.
    pub(super) fn disconnect(&self, connection: &Connection) -> usize {
        let mut proxies = self.proxies();
        proxies.connected.remove(&connection.id);
        let same = |other: &&Arc<Connection>| other.hello.id == connection.hello.id;
        let others = proxies.connected.values().filter(same).count();
        if others == 0 {
            let now = Instant::now();
            proxies.gone.retain(|_, (at, _)| now - *at < GONE.0);
            if proxies.gone.len() < GONE.1 {
                let entry = api::ProxyStatusEntry { connected: false, ..status_of(connection) };
                proxies.gone.insert(connection.hello.id.clone(), (now, entry));
            }
        }
        drop(proxies);
        self.moved();
        others
    }

    /// A session moved on: watched rollouts are counted again.
    pub(super) fn moved(&self) {
        self.moves.send_replace(());
    }

    /// The proxies that are connected now, each once.
    #[must_use]
    pub fn connected(&self) -> Vec<Arc<ProxyHello>> {
        let mut seen = std::collections::HashSet::new();
        let connections = self.connections();
        connections.iter().map(|c| c.hello.clone()).filter(|hello| seen.insert(hello.id.clone())).collect()
    }

    /// How far a revision is, now.
    #[must_use]
    pub fn count(&self, revision: u64) -> Rollout {
        self.count_all(&(revision..=revision))
    }

    /// How far the last of some revisions is, and who was concerned by any of them or refused what one of them brought.
    fn count_all(&self, revisions: &RangeInclusive<u64>) -> Rollout {
        let (first, revision) = (*revisions.start(), *revisions.end());
        let pending: Vec<String> = self.proxies().expected.iter().cloned().collect();
        let mut rollout =
            Rollout { revision, done: true, concerned: pending.len(), pending, ..Rollout::default() };
        for connection in self.connections() {
            let (session, proxy) = (connection.session(), connection.hello.id.short());
            if session.revision() < revision {
                // Whether it is concerned will be known when it has been served.
                rollout.pending.push(proxy);
                continue;
            }
            if !session.is_concerned_by(revisions) {
                continue;
            }
            rollout.concerned += 1;
            let refusals = refusals(&session, &proxy, first);
            if !refusals.is_empty() {
                rollout.refusals.extend(refusals);
            } else if session.settled() >= revision {
                rollout.acknowledged += 1;
            } else {
                rollout.pending.push(proxy);
            }
        }
        rollout.done &= rollout.pending.is_empty();
        rollout
    }

    /// Follows a revision until it is done or nobody looks. Ask for it after the world was changed.
    #[must_use]
    pub fn rollout(self: &Arc<Self>, revision: u64) -> watch::Receiver<Rollout> {
        self.rollout_of(revision..=revision)
    }

    /// As [`rollout`](Self::rollout), of a change that took more than one revision.
    #[must_use]
    pub fn rollout_of(self: &Arc<Self>, revisions: RangeInclusive<u64>) -> watch::Receiver<Rollout> {
        let mut moves = self.moves.subscribe();
        let (sender, receiver) = watch::channel(self.count_all(&revisions));
        let tracker = self.clone();
        tokio::spawn(async move {
            while !sender.borrow().done {
                tokio::select! {
                    () = sender.closed() => return,
                    moved = moves.changed() => if moved.is_err() { return },
                }
                moves.borrow_and_update();
                let count = tracker.count_all(&revisions);
                sender.send_if_modified(|current| {
                    let changed = *current != count;
                    *current = count;
                    changed
                });
                sleep(RECOUNT).await;
            }
        });
        receiver
    }

    /// How each proxy stands: connected ones first, then those that left lately. `proxy` is `WORKLOAD.NAMESPACE` or a
    /// whole node id. The memory and certificate of a proxy are for others to fill in.
    #[must_use]
    pub fn status(&self, proxy: Option<&str>) -> Vec<api::ProxyStatusEntry> {
        let mut entries: Vec<_> = self.connections().iter().map(|connection| status_of(connection)).collect();
        entries.sort_by(|a, b| a.node.cmp(&b.node));
        let now = Instant::now();
        let mut proxies = self.proxies();
        proxies.gone.retain(|_, (at, _)| now - *at < GONE.0);
        let mut gone: Vec<_> = proxies.gone.values().map(|(_, entry)| entry.clone()).collect();
        let expected = proxies.expected.iter();
        gone.extend(
            expected.map(|proxy| api::ProxyStatusEntry {
                proxy: proxy.clone(),
                ..api::ProxyStatusEntry::default()
            }),
        );
        drop(proxies);
        // Under another address, perhaps; it is there.
        gone.retain(|entry| entries.iter().all(|connected| connected.proxy != entry.proxy));
        gone.sort_by(|a, b| (&a.node, &a.proxy).cmp(&(&b.node, &b.proxy)));
        entries.append(&mut gone);
        entries.retain(|entry| proxy.is_none_or(|wanted| entry.proxy == wanted || entry.node == wanted));
        entries
    }

    /// What a proxy was sent; `None` when no such proxy is connected. Of several streams of a proxy, the newest.
    #[must_use]
    pub fn resources(
        &self,
        proxy: &str,
        kind: Option<ResourceType>,
        name: Option<&str>,
    ) -> Option<Vec<SentResource>> {
        let is_it = |hello: &ProxyHello| hello.id.short() == proxy || hello.id.to_string() == proxy;
        let connection = self.connections().into_iter().rev().find(|connection| is_it(&connection.hello))?;
        let mut sent = connection.session().sent();
        sent.retain(|sent| {
            kind.is_none_or(|kind| sent.kind == kind) && name.is_none_or(|name| *sent.name == *name)
        });
        Some(sent)
    }
}

fn refusals(session: &Session, proxy: &str, revision: u64) -> Vec<Refusal> {
    let of_kind = |kind| {
        session.state(kind).refused().iter().filter(|(_, refused)| refused.revision >= revision).map(
            move |(name, refused)| Refusal {
                proxy: proxy.to_owned(),
                kind,
                resource: name.clone(),
                message: refused.message.clone(),
                provenance: refused.resource.as_ref().map(|r| r.provenance.clone()).unwrap_or_default(),
            },
        )
    };
    ResourceType::ALL.into_iter().flat_map(of_kind).collect()
}

fn status_of(connection: &Connection) -> api::ProxyStatusEntry {
    let (hello, session, now) = (&connection.hello, connection.session(), Instant::now());
    let millis = |since: Instant| u64::try_from((now - since).as_millis()).unwrap_or(u64::MAX);
    let of_kind = |kind: ResourceType| {
        let state = session.state(kind);
        let errors: Vec<_> =
            state.refused().iter().map(|(name, refused)| format!("{name}: {}", refused.message)).collect();
        api::TypeStatus {
            r#type: kind.label().to_owned(),
            type_url: kind.url().to_owned(),
            resources: u32::try_from(state.len()).unwrap_or(u32::MAX),
            state: state.label().to_owned(),
            revision: state.acknowledged(),
            error: errors.join("; "),
            age_ms: millis(state.changed_at()),
        }
    };
    api::ProxyStatusEntry {
        proxy: hello.id.short(),
        node: hello.id.to_string(),
        version: hello.version.clone(),
        address: hello.peer.map_or_else(|| hello.id.address.to_string(), |peer| peer.to_string()),
        identity: hello.identity.as_ref().map(ToString::to_string).unwrap_or_default(),
        connected: true,
        connected_seconds: millis(connection.since) / 1000,
        protocol: session.protocol().label().to_owned(),
        types: ResourceType::ALL.into_iter().map(of_kind).collect(),
        ..api::ProxyStatusEntry::default()
    }
}
