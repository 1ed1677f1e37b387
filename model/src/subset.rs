//! Groups of endpoints by their metadata, as Envoy's subset load balancer has them
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/subsets>).

use std::sync::Arc;

#[cfg(test)]
#[path = "subset_tests.rs"]
mod tests;

/// Values by key, in the order of keys, each key once. Of an endpoint: its metadata `envoy.lb`. Of a request: what the
/// endpoint must have.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct LbMetadata(Arc<[(Arc<str>, MetadataValue)]>);

/// One value.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum MetadataValue {
    /// A text.
    Text(Arc<str>),
    /// A number, by the bits of its binary64: there are no sums with it, only comparisons.
    Number(u64),
    /// True or false.
    Flag(bool),
}

impl LbMetadata {
    /// Brings values into order; of a key that stands twice the last value holds.
    #[must_use]
    pub fn new(values: impl IntoIterator<Item = (Arc<str>, MetadataValue)>) -> Self {
        let ordered: std::collections::BTreeMap<_, _> = values.into_iter().collect();
        Self(ordered.into_iter().collect())
    }

    /// Of texts.
    #[must_use]
    pub fn of_texts(values: &[(&str, &str)]) -> Self {
        Self::new(values.iter().map(|(key, text)| (Arc::from(*key), MetadataValue::Text(Arc::from(*text)))))
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &(Arc<str>, MetadataValue)> {
        self.0.iter()
    }

    /// The value of a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&MetadataValue> {
        let at = self.0.binary_search_by(|(other, _)| (**other).cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Whether all of `wanted` is here.
    #[must_use]
    pub fn has(&self, wanted: &Self) -> bool {
        wanted.iter().all(|(key, value)| self.value(key) == Some(value))
    }

    /// Whether the keys are exactly these, which are in order.
    #[must_use]
    pub fn has_keys(&self, keys: &[Arc<str>]) -> bool {
        self.0.len() == keys.len() && self.0.iter().zip(keys).all(|((key, _), other)| key == other)
    }

    /// The values of these keys; none when one is missing.
    #[must_use]
    pub fn only(&self, keys: &[Arc<str>]) -> Option<Self> {
        keys.iter().map(|key| Some((key.clone(), self.value(key)?.clone()))).collect::<Option<_>>().map(Self)
    }

    /// These and `more`; where both have a key, the value of `more`.
    #[must_use]
    pub fn with(&self, more: &Self) -> Self {
        match (self.is_empty(), more.is_empty()) {
            (_, true) => self.clone(),
            (true, _) => more.clone(),
            _ => Self::new(self.iter().chain(more.iter()).cloned()),
        }
    }
}

/// Which groups there are.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Subsets {
    /// What happens to a request whose group has no endpoint, where its selector does not say.
    pub fallback: SubsetFallback,
    /// For [`SubsetFallback::DefaultSubset`].
    pub default_subset: LbMetadata,
    /// A group for each combination of values of each.
    pub selectors: Vec<SubsetSelector>,
}

/// What happens to a request for whose metadata there is no endpoint.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum SubsetFallback {
    /// It fails.
    #[default]
    None,
    /// It goes to any endpoint.
    Any,
    /// It goes to an endpoint of the default group.
    DefaultSubset,
}

/// Endpoints that have all of the keys, grouped by their values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubsetSelector {
    /// In order, each once; not empty.
    pub keys: Arc<[Arc<str>]>,
    /// None: as the cluster says.
    pub fallback: Option<SelectorFallback>,
}

/// What happens to a request of a selector's keys for whose values there is no endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SelectorFallback {
    /// As a cluster may say.
    As(SubsetFallback),
    /// It is looked at again with these of its keys only; in order, fewer than the selector's.
    Keys(Arc<[Arc<str>]>),
}
