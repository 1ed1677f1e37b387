//! Who asks for configuration: the xDS node id, in Istio's form `TYPE~IP~NAME.NAMESPACE~DOMAIN`
//! (<https://istio.io/latest/docs/ops/diagnostic-tools/proxy-cmd/>).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;

/// Names one proxy of the mesh.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ProxyId {
    /// The workload's name, unique in its namespace.
    pub workload: String,
    /// The workload's namespace.
    pub namespace: String,
    /// The workload's own address.
    pub address: IpAddr,
    /// DNS suffix of the namespace, such as `default.svc.cluster.local`.
    pub domain: String,
}

/// A node id that is not of Istio's form.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("node id `{0}` is not of the form sidecar~IP~NAME.NAMESPACE~DOMAIN")]
pub struct ProxyIdError(pub String);

impl ProxyId {
    /// `WORKLOAD.NAMESPACE`, as people name a proxy.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{}.{}", self.workload, self.namespace)
    }
}

impl FromStr for ProxyId {
    type Err = ProxyIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ProxyIdError(text.to_owned());
        let parts: Vec<&str> = text.split('~').collect();
        let ["sidecar", address, name, domain] = parts[..] else { return Err(refused()) };
        let (workload, namespace) = name.rsplit_once('.').ok_or_else(refused)?;
        if workload.is_empty() || namespace.is_empty() {
            return Err(refused());
        }
        Ok(Self {
            workload: workload.to_owned(),
            namespace: namespace.to_owned(),
            address: address.parse().map_err(|_| refused())?,
            domain: domain.to_owned(),
        })
    }
}

impl fmt::Display for ProxyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workload, namespace, address, domain } = self;
        write!(f, "sidecar~{address}~{workload}.{namespace}~{domain}")
    }
}
