//! What is sent: encoded once, shared by every proxy that sees it, compared by content.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use weft_model::provenance::Provenance;
use weft_proto::type_url;

#[cfg(test)]
#[path = "resource_tests.rs"]
mod tests;

/// The kinds of resources, in the order in which a change must reach a proxy so that nothing refers to what is not
/// there yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum ResourceType {
    /// CDS.
    Cluster,
    /// EDS.
    Endpoint,
    /// LDS.
    Listener,
    /// RDS.
    Route,
    /// Istio's NDS.
    NameTable,
}

impl ResourceType {
    /// All, in push order.
    pub const ALL: [Self; 5] = [Self::Cluster, Self::Endpoint, Self::Listener, Self::Route, Self::NameTable];

    /// The xDS type URL.
    #[must_use]
    pub fn url(self) -> &'static str {
        type_url::IN_ORDER[self as usize]
    }

    /// The kind of a type URL; `None` when this control plane does not serve it.
    #[must_use]
    pub fn of_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.url() == url)
    }

    /// As `weft proxy status` names it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Cluster => "clusters",
            Self::Endpoint => "endpoints",
            Self::Listener => "listeners",
            Self::Route => "routes",
            Self::NameTable => "names",
        }
    }

    /// The kind that [`label`](Self::label) names.
    #[must_use]
    pub fn of_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == label)
    }

    /// Whether a request that names nothing means "all" (xDS protocol, "how the client specifies what resources to
    /// return"; for the name table as Istio's agents expect).
    #[must_use]
    pub fn allows_legacy_wildcard(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener | Self::NameTable)
    }

    /// Whether a state-of-the-world response must hold every resource, because a missing one means "removed".
    #[must_use]
    pub fn is_full_state(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A hash of content: equal versions mean equal content. 128 bits of SHA-256, written as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Version(pub u128);

impl Version {
    /// The version of a content.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        let digest = Sha256::digest(content);
        Self(digest.iter().take(16).fold(0, |sum, byte| sum << 8 | u128::from(*byte)))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Version {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

/// One encoded resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resource {
    /// Unique within its type.
    pub name: Arc<str>,
    /// Equal exactly when the content is.
    pub version: Version,
    /// The encoded message: what goes into `Any.value`.
    pub bytes: Bytes,
    /// The user objects it was compiled from; told when a proxy refuses it.
    pub provenance: Vec<Provenance>,
    /// Other names under which a proxy may subscribe to it.
    pub aliases: Vec<Arc<str>>,
}

impl Resource {
    /// A resource whose version is the hash of its bytes. That is right only if equal content always encodes to equal
    /// bytes, which protobuf maps do not: see [`with_version_of`](Self::with_version_of).
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, bytes: Bytes) -> Self {
        let version = Version::of(&bytes);
        Self { name: name.into(), version, bytes, provenance: Vec::new(), aliases: Vec::new() }
    }

    /// Takes the version from another rendering of the content, one that is the same in every process. Messages with
    /// maps (`Struct`, `filter_metadata`, `NameTable.table`) need it: their fields are encoded in random order.
    #[must_use]
    pub fn with_version_of(mut self, content: &[u8]) -> Self {
        self.version = Version::of(content);
        self
    }

    /// Says which user objects it was compiled from.
    #[must_use]
    pub fn with_provenance(mut self, provenance: Vec<Provenance>) -> Self {
        self.provenance = provenance;
        self
    }

    /// Gives it further names.
    #[must_use]
    pub fn with_aliases(mut self, aliases: Vec<Arc<str>>) -> Self {
        self.aliases = aliases;
        self
    }

    /// Whether it goes by this name.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        &*self.name == name || self.aliases.iter().any(|alias| &**alias == name)
    }
}

/// All resources of one type for one class of proxies; immutable.
#[derive(Clone, Default, Debug)]
pub struct ResourceSet {
    by_name: BTreeMap<Arc<str>, Arc<Resource>>,
    aliases: HashMap<Arc<str>, Arc<str>>,
}

impl ResourceSet {
    /// The resource of a name or alias.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        self.by_name.get(name).or_else(|| self.by_name.get(self.aliases.get(name)?))
    }

    /// In order of name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Resource>> {
        self.by_name.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Names of the resources that one of the two has and the other has not, or with other content or aliases.
    #[must_use]
    pub fn changed_since(&self, older: &Self) -> Vec<Arc<str>> {
        let differs = |resource: &&Arc<Resource>| {
            older.by_name.get(&resource.name).is_none_or(|old| {
                !Arc::ptr_eq(old, resource)
                    && (old.version != resource.version || old.aliases != resource.aliases)
            })
        };
        let changed = self.iter().filter(differs).map(|resource| resource.name.clone());
        let removed = older.by_name.keys().filter(|name| !self.by_name.contains_key(*name)).cloned();
        changed.chain(removed).collect()
    }
}

impl FromIterator<Arc<Resource>> for ResourceSet {
    fn from_iter<I: IntoIterator<Item = Arc<Resource>>>(resources: I) -> Self {
        let mut set = Self::default();
        for resource in resources {
            for alias in &resource.aliases {
                set.aliases.insert(alias.clone(), resource.name.clone());
            }
            set.by_name.insert(resource.name.clone(), resource);
        }
        set
    }
}

/// Everything one class of proxies sees.
#[derive(Clone, Default, Debug)]
pub struct Resources {
    /// The revision of the world this was compiled from.
    pub revision: u64,
    /// Indexed by [`ResourceType`]. Keep the `Arc` of a type that did not change.
    pub sets: [Arc<ResourceSet>; 5],
}

impl Resources {
    /// The resources of one type.
    #[must_use]
    pub fn set(&self, kind: ResourceType) -> &Arc<ResourceSet> {
        &self.sets[kind as usize]
    }
}
