//! What pushing needs from the compile stage.

use std::hash::Hash;
use std::sync::Arc;

use super::hello::ProxyHello;
use super::resource::{ResourceSet, Resources};

/// How far the world is. Sent on a watch channel after the world itself was swapped: because it says when each lane
/// last changed, a reader that skips values loses nothing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Revision {
    /// The world's revision. Grows by one with every change.
    pub number: u64,
    /// The last revision that changed anything but endpoints.
    pub configuration: u64,
    /// The last revision that changed endpoints.
    pub endpoints: u64,
}

/// Why a proxy gets no configuration; its stream is closed with PERMISSION_DENIED and this message.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Compiles the world for classes of proxies. Reads the current world anew at each call.
pub trait Compiler: Send + Sync + 'static {
    /// Everything that the resources of a proxy depend on, beside the world. Proxies with equal scopes are one class and
    /// share one compile and one set of bytes: an input of [`resources`](Self::resources) that is missing here would give
    /// one proxy what was compiled for another.
    type Scope: Clone + Eq + Hash + Send + Sync + 'static;

    /// The class of a proxy. Asked when it connects and after each change of configuration; must be quick.
    ///
    /// # Errors
    /// When the proxy may not have any configuration.
    fn scope(&self, hello: &ProxyHello) -> Result<Self::Scope, Refused>;

    /// All resources of a class. May take long: runs on a thread that may block.
    fn resources(&self, scope: &Self::Scope) -> Resources;

    /// The endpoints of a class alone, and the revision of the world they were read from.
    fn endpoints(&self, scope: &Self::Scope) -> (u64, Arc<ResourceSet>);

    /// No proxy of the class is connected any more: what is remembered for it can go.
    fn forget(&self, _scope: &Self::Scope) {}
}
