//! What a proxy's configuration depends on beside the world: proxies of equal scope share one compile.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::source::words::Labels;
use crate::world::World;

/// What one proxy is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ProxyScope {
    /// Namespace of its workload.
    pub namespace: Arc<str>,
    /// Labels of its workload.
    pub labels: Labels,
    /// Ports that its application listens on, beside those of services that select it.
    pub app_ports: Vec<u16>,
    /// Numbers of its ports that services may ask for by name.
    pub named_ports: BTreeMap<Arc<str>, u16>,
    /// Its node, where that makes a difference: some service is node-local.
    pub node: Option<Arc<str>>,
    /// How traffic reaches the proxy.
    pub mode: Mode,
}

/// How traffic reaches a proxy.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// Redirected by the packet filter; nobody has to know.
    Intercept,
    /// Sent to it on purpose.
    Explicit(ExplicitAddresses),
}

/// Where a proxy in explicit mode takes connections.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct ExplicitAddresses {
    /// Requests of the application, as to a forward proxy.
    pub outbound: Option<SocketAddr>,
    /// Requests to the application, by its port.
    pub inbound: BTreeMap<u16, SocketAddr>,
}

/// What the outbound half of a configuration depends on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct OutboundScope {
    /// Namespace of the client.
    pub namespace: Arc<str>,
    /// Those of the client's labels that some policy asks for.
    pub labels: Labels,
    /// The client's node, where that makes a difference.
    pub node: Option<Arc<str>>,
    /// Listeners by address, or one forward proxy.
    pub explicit: bool,
}

impl ProxyScope {
    /// Leaves away what makes no difference to the outbound half in this world.
    #[must_use]
    pub fn outbound(&self, world: &World) -> OutboundScope {
        let asked = world.policies.client_label_keys();
        let labels = self.labels.iter().filter(|(key, _)| asked.contains(*key));
        OutboundScope {
            namespace: self.namespace.clone(),
            labels: labels.map(|(key, value)| (key.clone(), value.clone())).collect(),
            node: self.node.clone(),
            explicit: matches!(self.mode, Mode::Explicit(_)),
        }
    }
}
