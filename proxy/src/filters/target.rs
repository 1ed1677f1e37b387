//! Where a request goes by its route: drawn by weight, or named by the request itself.

use std::ops::Deref;

use http::HeaderMap;
use weft_model::route::{Forward, WeightedCluster};

/// One of the route's clusters, or one that only the request knows.
#[derive(Debug)]
pub enum Target<'a> {
    /// One of the route's.
    OfRoute(&'a WeightedCluster),
    /// Named by the request.
    Named(Box<WeightedCluster>),
}

impl Deref for Target<'_> {
    type Target = WeightedCluster;

    fn deref(&self) -> &WeightedCluster {
        match self {
            Self::OfRoute(cluster) => cluster,
            Self::Named(cluster) => cluster,
        }
    }
}

/// None when all weights are 0. A request that names no cluster goes to one without a name, which is not known.
#[must_use]
pub fn of<'a>(forward: &'a Forward, headers: &HeaderMap) -> Option<Target<'a>> {
    let Some(more) = &forward.more else { return forward.draw(fastrand::u64(..)).map(Target::OfRoute) };
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(name) = &more.cluster_header {
        let named = WeightedCluster::new(text(name).unwrap_or_default(), 1);
        return Some(Target::Named(Box::new(named)));
    }
    let asked = more.random_value_header.as_ref().and_then(|name| text(name)?.parse().ok());
    forward.draw(asked.unwrap_or_else(|| fastrand::u64(..))).map(Target::OfRoute)
}
