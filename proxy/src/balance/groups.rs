//! Endpoints by groups: all of a cluster, and the subsets of its metadata. Each group has its rotation, which is built
//! when it is asked for and something has changed since.

use std::collections::HashMap;

use weft_model::endpoint::EndpointSet;
use weft_model::subset::{LbMetadata, SelectorFallback, SubsetFallback, SubsetSelector, Subsets};

use super::rotation::{Rotation, Rules};

/// The groups of one cluster.
#[derive(Debug, Default)]
pub(super) struct Groups {
    all: Group,
    /// By the values of a selector's keys.
    subsets: HashMap<LbMetadata, Group>,
    default_subset: Group,
    /// Counts changes.
    generation: u64,
}

/// One group.
#[derive(Debug, Default)]
struct Group {
    rotation: Rotation,
    /// The change that it was built after; 0: never.
    generation: u64,
}

/// Which group a request goes to.
enum Which<'a> {
    All,
    DefaultSubset,
    Subset(std::borrow::Cow<'a, LbMetadata>),
}

impl Groups {
    /// Something changed: every rotation is built anew before it is used.
    pub(super) fn change(&mut self) {
        self.generation += 1;
    }

    /// Other endpoints or other selectors.
    pub(super) fn regroup(&mut self, set: Option<&EndpointSet>, subsets: Option<&Subsets>) {
        self.change();
        self.subsets.clear();
        let Some((set, subsets)) = set.zip(subsets) else { return };
        for selector in &subsets.selectors {
            let keys = set.endpoints().filter_map(|endpoint| endpoint.metadata.only(&selector.keys));
            self.subsets.extend(keys.map(|key| (key, Group::default())));
        }
    }

    /// The rotation that was used last for requests that want nothing in particular.
    pub(super) fn all(&self) -> &Rotation {
        &self.all.rotation
    }

    /// The rotation for a request; none where its fallback is to fail.
    pub(super) fn rotation(
        &mut self,
        set: Option<&EndpointSet>,
        rules: &Rules<'_>,
        wanted: Option<&LbMetadata>,
    ) -> Option<&mut Rotation> {
        let subsets = rules.balancing.subsets.as_ref();
        let which = match subsets {
            None => Which::All,
            Some(subsets) => self.which(subsets, wanted)?,
        };
        let generation = self.generation;
        let group = match &which {
            Which::All => &mut self.all,
            Which::DefaultSubset => &mut self.default_subset,
            Which::Subset(key) => self.subsets.get_mut(key.as_ref())?,
        };
        let outdated = group.rotation.until.is_some_and(|until| until <= rules.now);
        if group.generation != generation || outdated {
            let none = LbMetadata::default();
            let key = match &which {
                Which::All => &none,
                Which::DefaultSubset => subsets.map_or(&none, |subsets| &subsets.default_subset),
                Which::Subset(key) => key,
            };
            group.rotation = Rotation::build(set, rules, &|endpoint| endpoint.metadata.has(key));
            group.generation = generation;
        }
        Some(&mut group.rotation)
    }

    fn which<'a>(&self, subsets: &Subsets, wanted: Option<&'a LbMetadata>) -> Option<Which<'a>> {
        let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return fall(&subsets.fallback) };
        let Some(selector) = selector_of(subsets, wanted) else { return fall(&subsets.fallback) };
        if self.subsets.contains_key(wanted) {
            return Some(Which::Subset(std::borrow::Cow::Borrowed(wanted)));
        }
        match &selector.fallback {
            None => fall(&subsets.fallback),
            Some(SelectorFallback::As(fallback)) => fall(fallback),
            Some(SelectorFallback::Keys(keys)) => {
                // Fewer keys each time: this ends.
                let fewer = wanted.only(keys)?;
                match self.which(subsets, Some(&fewer))? {
                    Which::All => Some(Which::All),
                    Which::DefaultSubset => Some(Which::DefaultSubset),
                    Which::Subset(key) => Some(Which::Subset(std::borrow::Cow::Owned(key.into_owned()))),
                }
            }
        }
    }
}

fn selector_of<'a>(subsets: &'a Subsets, wanted: &LbMetadata) -> Option<&'a SubsetSelector> {
    subsets.selectors.iter().find(|selector| wanted.has_keys(&selector.keys))
}

fn fall<'a>(fallback: &SubsetFallback) -> Option<Which<'a>> {
    match fallback {
        SubsetFallback::None => None,
        SubsetFallback::Any => Some(Which::All),
        SubsetFallback::DefaultSubset => Some(Which::DefaultSubset),
    }
}
