//! What a client asked for, of one type.

use std::collections::HashSet;
use std::sync::Arc;

use crate::push::resource::Resource;

/// The name that asks for everything.
pub(crate) const WILDCARD: &str = "*";

/// Names and wildcard are kept apart: a client may hold both, and give up either
/// (xDS protocol, "how the client specifies what resources to return").
#[derive(Clone, Default, Debug)]
pub(crate) struct Subscription {
    /// Everything, by `*` or by an empty first request.
    pub(crate) wildcard: bool,
    /// Resources asked for by name or alias.
    pub(crate) names: HashSet<Arc<str>>,
}

impl Subscription {
    /// Whether the client wants anything at all.
    pub(crate) fn is_any(&self) -> bool {
        self.wildcard || !self.names.is_empty()
    }

    /// Whether the client wants this resource.
    pub(crate) fn covers(&self, resource: &Resource) -> bool {
        self.wildcard
            || self.names.contains(&resource.name)
            || resource.aliases.iter().any(|alias| self.names.contains(alias))
    }

    /// Whether the client would want a resource of this name.
    pub(crate) fn covers_name(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }
}
