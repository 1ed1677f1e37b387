//! What a session knows of one type.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use super::subscription::Subscription;
use crate::push::resource::{Resource, ResourceType, Version};
use crate::push::snapshot::{Lane, Snapshot};

/// How a client stands to what it was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeldState {
    /// Sent, not answered.
    Sent,
    /// In use.
    Acknowledged,
    /// Refused; the client goes on with what it had.
    Refused,
}

/// A resource as it was sent to a proxy.
#[derive(Clone, Debug)]
pub struct SentResource {
    /// Its type.
    pub kind: ResourceType,
    /// Its name.
    pub name: Arc<str>,
    /// Its version.
    pub version: Version,
    /// The content; `None` when the proxy brought it along from an earlier stream and it was not sent on this one.
    pub resource: Option<Arc<Resource>>,
    /// How the proxy answered.
    pub state: HeldState,
}

#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) version: Version,
    pub(super) resource: Option<Arc<Resource>>,
    /// What the client had acknowledged before, while the newer is not.
    pub(super) good: Option<Arc<Resource>>,
    pub(super) state: HeldState,
}

impl Held {
    /// What the client works with.
    pub(super) fn in_use(&self) -> Option<&Arc<Resource>> {
        match self.state {
            HeldState::Acknowledged => self.resource.as_ref(),
            HeldState::Sent | HeldState::Refused => self.good.as_ref(),
        }
    }
}

/// A response that the client has not answered.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) nonce: String,
    /// The resources in it that are new to the client.
    pub(super) names: Vec<Arc<str>>,
    /// The revision it was taken from.
    pub(super) revision: u64,
    /// Whether the type was up to that revision with it.
    pub(super) completes: bool,
    pub(super) sent_at: Instant,
}

/// A resource the client would not take.
#[derive(Clone, Debug)]
pub struct RefusedResource {
    /// Of the content that was refused.
    pub version: Version,
    /// The revision that it was sent with.
    pub revision: u64,
    /// What the client said.
    pub message: String,
    /// The resource, for its provenance.
    pub resource: Option<Arc<Resource>>,
}

/// What is to be done for a due name.
pub(super) enum Task {
    /// The client has it already, or does not want it.
    Nothing,
    /// The client lacks this.
    Send(Arc<Resource>),
    /// The client has what is no more.
    Remove,
    /// The client waits for what does not exist.
    Deny,
}

#[derive(Debug)]
pub(crate) struct TypeState {
    pub(super) kind: ResourceType,
    /// Whether the client has asked for this type at all.
    pub(super) started: bool,
    /// State of the world: whether it has ever named resources, after which an empty list means none.
    pub(super) named_once: bool,
    pub(super) subscription: Subscription,
    pub(super) held: HashMap<Arc<str>, Held>,
    pub(super) due: BTreeSet<Arc<str>>,
    /// Due even if the client was already offered the same.
    pub(super) asked: HashSet<Arc<str>>,
    /// A response is due even if it is empty.
    pub(super) answer_due: bool,
    /// Parts of a refused response that are tried on their own.
    pub(super) isolating: VecDeque<Vec<Arc<str>>>,
    /// Clusters that were sent since their endpoints were: a state-of-the-world client that warms them asks again.
    pub(super) warming: HashSet<Arc<str>>,
    pub(super) outstanding: VecDeque<Outstanding>,
    pub(super) last_nonce: Option<String>,
    /// Something could be said if the client answered.
    pub(super) waits_for_room: bool,
    pub(super) refused: BTreeMap<Arc<str>, RefusedResource>,
    pub(super) lane: Lane,
    class: u64,
    /// Up to here everything is answered.
    pub(super) settled: u64,
    /// Up to here everything is acknowledged.
    pub(super) acknowledged: u64,
    pub(super) changed_at: Instant,
}

impl TypeState {
    pub(super) fn new(kind: ResourceType, snapshot: &Snapshot, now: Instant) -> Self {
        Self {
            kind,
            started: false,
            named_once: false,
            subscription: Subscription::default(),
            held: HashMap::new(),
            due: BTreeSet::new(),
            asked: HashSet::new(),
            answer_due: false,
            isolating: VecDeque::new(),
            warming: HashSet::new(),
            outstanding: VecDeque::new(),
            last_nonce: None,
            waits_for_room: false,
            refused: BTreeMap::new(),
            lane: snapshot.lane(kind).clone(),
            class: snapshot.class,
            settled: 0,
            acknowledged: 0,
            changed_at: now,
        }
    }

    /// Takes the newer lane; whether that makes anything due.
    pub(super) fn see(&mut self, snapshot: &Snapshot) -> bool {
        let old = std::mem::replace(&mut self.lane, snapshot.lane(self.kind).clone());
        let same_class = std::mem::replace(&mut self.class, snapshot.class) == snapshot.class;
        if !self.started || (same_class && old.serial == self.lane.serial) {
            return false;
        }
        let changed = if same_class && old.serial + 1 == self.lane.serial {
            self.lane.changed.clone()
        } else {
            self.lane.set.changed_since(&old.set).into()
        };
        changed.iter().fold(false, |concerned, name| self.consider(name) | concerned)
    }

    /// Marks a name as due if there is something to do for it.
    pub(super) fn consider(&mut self, name: &Arc<str>) -> bool {
        let due = !matches!(self.task(name), Task::Nothing);
        if due {
            self.due.insert(name.clone());
        }
        due
    }

    /// Marks everything as due in which the client differs from the set.
    pub(super) fn consider_all(&mut self) {
        let set = self.lane.set.clone();
        for resource in set.iter() {
            self.consider(&resource.name);
        }
        let held: Vec<_> = self.held.keys().filter(|name| set.get(name).is_none()).cloned().collect();
        for name in &held {
            self.consider(name);
        }
    }

    /// A client that gave everything up and asks for it again keeps what reaches it from before, though it was forgotten
    /// here: it must hear how that stands.
    pub(super) fn remember_what_is_on_its_way(&mut self) {
        for name in self.outstanding.iter().flat_map(|sent| &sent.names) {
            // A version that is none of ours differs from every one of ours.
            let unknown =
                Held { version: Version(0), resource: None, good: None, state: HeldState::Acknowledged };
            self.held.entry(name.clone()).or_insert(unknown);
        }
    }

    /// The client waits for an answer about this name.
    pub(super) fn ask(&mut self, name: Arc<str>) {
        self.asked.insert(name.clone());
        self.due.insert(name);
    }

    pub(super) fn task(&self, name: &Arc<str>) -> Task {
        let wanted = self.lane.set.get(name).filter(|resource| self.subscription.covers(resource));
        match wanted {
            Some(resource) => match self.held.get(&resource.name) {
                Some(held) if held.version == resource.version && !self.asked.contains(name) => Task::Nothing,
                _ => Task::Send(resource.clone()),
            },
            None if self.held.contains_key(name) => Task::Remove,
            None if self.asked.contains(name) => Task::Deny,
            None => Task::Nothing,
        }
    }

    /// The client does not want it any more: it has dropped it by itself.
    pub(super) fn forget(&mut self, name: &str) {
        self.held.remove(name);
        self.refused.remove(name);
        self.due.remove(name);
        self.asked.remove(name);
        self.warming.remove(name);
    }

    /// Forgets what the subscription does not cover.
    pub(super) fn forget_uncovered(&mut self) {
        let Self { held, subscription, lane, .. } = self;
        let covered = |name: &Arc<str>| match lane.set.get(name) {
            Some(resource) => subscription.covers(resource),
            None => subscription.covers_name(name),
        };
        let uncovered: Vec<_> = held.keys().filter(|name| !covered(name)).cloned().collect();
        for name in uncovered {
            self.forget(&name);
        }
        let Self { due, asked, subscription, lane, .. } = self;
        due.retain(|name| {
            asked.contains(name)
                || lane.set.get(name).is_some_and(|resource| subscription.covers(resource))
                || subscription.covers_name(name)
        });
    }

    /// Takes note that a resource goes out.
    pub(super) fn offer(&mut self, resource: &Arc<Resource>) {
        let before = self.held.remove(&resource.name);
        let good = before.and_then(|held| held.in_use().cloned());
        let (version, state) = (resource.version, HeldState::Sent);
        self.refused.remove(&resource.name);
        self.warming.remove(&resource.name);
        self.held
            .insert(resource.name.clone(), Held { version, resource: Some(resource.clone()), good, state });
    }

    pub(super) fn is_due_empty(&self) -> bool {
        self.due.is_empty() && !self.answer_due && self.isolating.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.is_due_empty() && self.outstanding.is_empty()
    }

    pub(super) fn sent(&self) -> Vec<SentResource> {
        let kind = self.kind;
        let mut sent: Vec<_> = self
            .held
            .iter()
            .map(|(name, Held { version, resource, state, .. })| SentResource {
                kind,
                name: name.clone(),
                version: *version,
                resource: resource.clone(),
                state: *state,
            })
            .collect();
        sent.sort_by(|a, b| a.name.cmp(&b.name));
        sent
    }

    /// As [`TypeStatus.state`](weft_proto::api::TypeStatus).
    pub(crate) fn label(&self) -> &'static str {
        match self {
            _ if !self.refused.is_empty() => "REFUSED",
            _ if !self.started => "NOT_SENT",
            _ if self.is_idle() => "SYNCED",
            _ => "PENDING",
        }
    }

    /// Resources offered.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Revision last acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        if self.started { self.acknowledged } else { 0 }
    }

    /// When it was last sent or answered.
    pub(crate) fn changed_at(&self) -> Instant {
        self.changed_at
    }

    /// What the client would not take.
    pub(crate) fn refused(&self) -> &BTreeMap<Arc<str>, RefusedResource> {
        &self.refused
    }
}
