//! What was accepted, and the snapshots made of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weft_model::snapshot::Snapshot;
use weft_model::xds::{Names, Resource};
use weft_proto::type_url;
use weft_proto::xds::discovery::{DeltaDiscoveryResponse, Resource as Delivered};
use weft_proto::xds::protobuf::Any;

use super::status::Refusal;
use super::warming::{Warming, routes_of_listener};

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;

/// The types, in the order of [`type_url::IN_ORDER`].
const TYPES: [&str; 5] = type_url::IN_ORDER;

/// What of an answer was refused; the rest of it was accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused(pub Vec<Refusal>);

/// `NAME: MISTAKES`, one a line.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, refusal) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{}: {}", refusal.name, refusal.message)?;
        }
        Ok(())
    }
}

/// A resource that was accepted, and the bytes it came as.
#[derive(Clone, Debug)]
struct Held {
    version: String,
    bytes: Any,
    resource: Resource,
}

/// What there is to publish, and when to look again.
#[derive(Debug, Default)]
pub struct Published {
    /// None when nothing changed.
    pub snapshot: Option<Snapshot>,
    /// Something waits for what it refers to; it is served without at this time.
    pub look_again: Option<Instant>,
}

/// Accepted resources by type and name.
#[derive(Debug)]
pub struct Store {
    held: HashMap<&'static str, BTreeMap<String, Held>>,
    // Types that an answer came for.
    answered: BTreeSet<&'static str>,
    warming: Warming,
    served: Snapshot,
    changed: bool,
    // Served beside all others; of the same name as another, this one.
    fixed: Vec<Resource>,
}

impl Store {
    /// Empty. A listener or route waits at most `warming` for what it refers to.
    #[must_use]
    pub fn new(warming: Duration) -> Self {
        Self {
            held: TYPES.into_iter().map(|url| (url, BTreeMap::new())).collect(),
            answered: BTreeSet::new(),
            warming: Warming::new(warming),
            served: Snapshot::default(),
            changed: false,
            fixed: Vec::new(),
        }
    }

    /// Serves these beside all others, for good.
    pub(super) fn fix(&mut self, resources: &[Resource]) {
        self.changed |= !resources.is_empty();
        self.fixed = resources.to_vec();
    }

    /// Nothing is asked of this type, so that nothing is waited for.
    pub(super) fn expect_nothing(&mut self, url: &'static str) {
        self.answered.insert(url);
    }

    /// From now on, a listener or route waits at most so long.
    pub(super) fn set_warming(&mut self, at_most: Duration) {
        self.warming.set_at_most(at_most);
    }

    /// Takes an answer in: what is right is accepted, what is wrong is named. `wanted` are the names that were asked
    /// for, where a type is asked for by name; others are not kept.
    ///
    /// # Errors
    /// What of it was refused.
    pub fn apply(
        &mut self,
        response: &DeltaDiscoveryResponse,
        wanted: Option<&BTreeSet<String>>,
    ) -> Result<(), Refused> {
        let Some(url) = TYPES.into_iter().find(|url| *url == response.type_url) else {
            let message = format!("`{}` is no type that this proxy asked for", response.type_url);
            let name = response.type_url.clone();
            return Err(Refused(vec![Refusal { type_url: name.clone(), name, message }]));
        };
        let mut refused = Vec::new();
        let held = self.held.entry(url).or_default();
        for delivered in &response.resources {
            match accept(url, delivered) {
                Ok((name, one)) if wanted.is_none_or(|wanted| wanted.contains(&name)) => {
                    self.changed |= keep(held, name, one);
                }
                Ok(_) => {}
                Err(refusal) => refused.push(refusal),
            }
        }
        for name in &response.removed_resources {
            self.changed |= held.remove(name).is_some();
        }
        self.answered.insert(url);
        if refused.is_empty() { Ok(()) } else { Err(Refused(refused)) }
    }

    /// Forgets resources that are not asked for any more; answers their names.
    pub fn retain(&mut self, url: &str, wanted: &BTreeSet<String>) -> Vec<String> {
        let Some(held) = self.held.get_mut(url) else { return Vec::new() };
        let gone: Vec<String> = held.keys().filter(|name| !wanted.contains(*name)).cloned().collect();
        for name in &gone {
            held.remove(name);
        }
        self.changed |= !gone.is_empty();
        gone
    }

    /// Whether an answer of this type came.
    #[must_use]
    pub fn is_answered(&self, url: &str) -> bool {
        self.answered.contains(url)
    }

    /// The version in which a resource was accepted.
    #[must_use]
    pub fn version_of(&self, url: &str, name: &str) -> Option<&str> {
        self.held.get(url)?.get(name).map(|one| one.version.as_str())
    }

    /// Whether clusters and listeners came, and nothing waits.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let came = [type_url::CLUSTER, type_url::LISTENER].iter().all(|url| self.answered.contains(url));
        came && self.warming.is_idle()
    }

    /// The names of endpoints that clusters ask for.
    #[must_use]
    pub fn endpoint_names(&self) -> BTreeSet<String> {
        self.resources(type_url::CLUSTER)
            .filter_map(|resource| match resource {
                Resource::Cluster(cluster) => cluster.discovery.endpoint_set().map(ToString::to_string),
                _ => None,
            })
            .collect()
    }

    /// The names of route tables that listeners ask for.
    #[must_use]
    pub fn route_names(&self) -> BTreeSet<String> {
        self.resources(type_url::LISTENER)
            .filter_map(|resource| match resource {
                Resource::Listener(listener) => Some(routes_of_listener(listener)),
                _ => None,
            })
            .flatten()
            .map(|name| name.to_string())
            .collect()
    }

    /// Versions of the resources of a type, by name.
    #[must_use]
    pub fn versions_of(&self, url: &str) -> HashMap<String, String> {
        let held = self.held.get(url).into_iter().flatten();
        held.map(|(name, one)| (name.clone(), one.version.clone())).collect()
    }

    /// Versions of all, by type and name.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<(String, String), String> {
        let all =
            self.held.iter().flat_map(|(url, held)| held.iter().map(move |(name, one)| (url, name, one)));
        all.map(|(url, name, one)| (((*url).to_owned(), name.clone()), one.version.clone())).collect()
    }

    /// Everything that was accepted, one answer a type, in the order in which it can be applied again.
    #[must_use]
    pub fn responses(&self) -> Vec<DeltaDiscoveryResponse> {
        let response = |url: &'static str| DeltaDiscoveryResponse {
            type_url: url.to_owned(),
            resources: self
                .held
                .get(url)
                .into_iter()
                .flatten()
                .map(|(name, one)| Delivered {
                    name: name.clone(),
                    version: one.version.clone(),
                    resource: Some(one.bytes.clone()),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        TYPES.into_iter().map(response).collect()
    }

    /// The next snapshot. Nothing is served before what it refers to, and nothing is taken away that something served
    /// refers to, within the bound of warming.
    pub fn publish(&mut self, now: Instant) -> Published {
        if !self.changed && !self.warming.is_due(now) {
            return Published { snapshot: None, look_again: self.warming.due() };
        }
        self.changed = false;
        let mut accepted = Snapshot::default();
        let held = self.held.values().flatten().map(|(_, one)| &one.resource);
        for resource in held.chain(&self.fixed) {
            match resource {
                Resource::Listener(listener) => {
                    accepted.listeners.insert(listener.name.clone(), listener.clone());
                }
                Resource::Routes(table) => {
                    accepted.routes.insert(table.name.clone(), table.clone());
                }
                Resource::Cluster(cluster) => {
                    accepted.clusters.insert(cluster.name.clone(), cluster.clone());
                }
                Resource::Endpoints(endpoints) => {
                    accepted.endpoints.insert(endpoints.cluster.clone(), endpoints.clone());
                }
                Resource::Names(names) => accepted.names = joined(&accepted.names, names),
            }
        }
        let mut next = self.warming.merge(&self.served, accepted, now);
        next.version = self.served.version + 1;
        next.index();
        self.served = next.clone();
        Published { snapshot: Some(next), look_again: self.warming.due() }
    }

    fn resources(&self, url: &str) -> impl Iterator<Item = &Resource> {
        let held = self.held.get(url).into_iter().flatten().map(|(_, one)| &one.resource);
        held.chain(self.fixed.iter().filter(move |resource| resource.type_url() == url))
    }
}

/// Whether it differs from what was held. What is sent again unchanged keeps its identity, so that nothing that was
/// built on it (pools, health, prepared chains) is built anew.
fn keep(held: &mut BTreeMap<String, Held>, name: String, one: Held) -> bool {
    match held.get_mut(&name) {
        Some(old) if old.bytes == one.bytes => {
            old.version = one.version;
            false
        }
        _ => {
            held.insert(name, one);
            true
        }
    }
}

/// There is one name table; should a control plane send several, they hold together.
fn joined(sofar: &Arc<Names>, names: &Arc<Names>) -> Arc<Names> {
    if sofar.is_empty() {
        return names.clone();
    }
    let mut all = Names::clone(sofar);
    all.extend(names.iter().map(|(name, addresses)| (name.clone(), addresses.clone())));
    Arc::new(all)
}

fn accept(url: &str, delivered: &Delivered) -> Result<(String, Held), Refusal> {
    let refusal =
        |message: String| Refusal { type_url: url.to_owned(), name: delivered.name.clone(), message };
    let Some(any) = &delivered.resource else {
        return Err(refusal("holds no resource".to_owned()));
    };
    if any.type_url != url {
        return Err(refusal(format!("is of type `{}` in an answer of type `{url}`", any.type_url)));
    }
    let resource = Resource::decode(any).map_err(|errors| refusal(errors.to_string()))?;
    // The name table goes by the name it is sent with; Istio's has none.
    if url != type_url::NAME_TABLE && resource.name() != delivered.name && !delivered.name.is_empty() {
        return Err(refusal(format!("is sent as `{}` but named `{}`", delivered.name, resource.name())));
    }
    let name = match (url, delivered.name.is_empty()) {
        (type_url::NAME_TABLE, _) | (_, false) => delivered.name.clone(),
        _ => resource.name().to_owned(),
    };
    Ok((name, Held { version: delivered.version.clone(), bytes: any.clone(), resource }))
}
