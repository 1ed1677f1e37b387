//! What a sidecar in a Kubernetes pod is told by the pod itself: environment variables and files that the injector
//! asked the kubelet for (downward API, projected token, trust bundle). `weft-proxy run --from-pod` reads them once, at
//! the start; the token and the trust bundle are read again whenever they are needed, because the kubelet renews them.

pub mod wait;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use weft_model::node::ProxyId;

use crate::probes::AppProbes;

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;

/// The user and the group that the sidecar runs as in a pod, as Istio's does.
pub const PROXY_UID: u32 = 1337;

/// Where the injected volumes are mounted.
#[derive(Clone, Debug)]
pub struct Places {
    /// The service account's token, for the audience `weft-ca`.
    pub token: PathBuf,
    /// Roots that vouch for the control plane: the ConfigMap `weft-ca-root-cert`.
    pub trust_bundle: PathBuf,
    /// The pod's labels, by the downward API.
    pub labels: PathBuf,
    /// Key, certificate and last good configuration, in memory.
    pub state_dir: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            token: "/var/run/secrets/weft/tokens/token".into(),
            trust_bundle: "/var/run/secrets/weft/ca/root-cert.pem".into(),
            labels: "/etc/weft/pod/labels".into(),
            state_dir: "/var/lib/weft".into(),
        }
    }
}

/// A pod, as its sidecar sees it.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Who this proxy is.
    pub node: ProxyId,
    /// All addresses of the pod, the first being the node id's.
    pub addresses: Vec<IpAddr>,
    /// Its service account.
    pub service_account: String,
    /// What made the pod: the Deployment, StatefulSet, Job, …
    pub workload: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Ports that its containers declare.
    pub app_ports: Vec<u16>,
    /// The cluster that the pod is of, in a mesh of several; empty: not said.
    pub cluster: String,
    /// `HOST:PORT` of the control plane.
    pub discovery_address: String,
    /// Probes of the application, that the kubelet asks here.
    pub probes: AppProbes,
    /// What else the control plane is told: keys of the node's metadata.
    pub metadata: BTreeMap<&'static str, String>,
}

/// Namespace and port of the control plane, unless something else is said.
const CONTROL_PLANE: (&str, u16) = ("weft-system", 15012);
/// The revision whose control plane has no suffix.
const DEFAULT_REVISION: &str = "default";

impl Pod {
    /// Reads what the pod says. `variable` looks an environment variable up.
    ///
    /// # Errors
    /// Everything that is missing or wrong.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>, places: &Places) -> Result<Self, Vec<String>> {
        let mut read = Reader { variable, mistakes: Vec::new() };
        let name = read.needed("POD_NAME", "metadata.name");
        let namespace = read.needed("POD_NAMESPACE", "metadata.namespace");
        let service_account = read.needed("SERVICE_ACCOUNT", "spec.serviceAccountName");
        let addresses = read.addresses();
        let labels = read.labels(&places.labels);
        let app_ports = read.ports("WEFT_APP_PORTS");
        let probes = read.probes("WEFT_APP_PROBES");
        let node_name = read.optional("NODE_NAME");
        let cluster = read.optional("WEFT_MESH");
        let domain = or(read.optional("WEFT_CLUSTER_DOMAIN"), "cluster.local");
        let revision = or(read.optional("WEFT_REVISION"), DEFAULT_REVISION);
        let workload = or(read.optional("WEFT_WORKLOAD_NAME"), &name);
        let (Some(address), true) = (addresses.first().copied(), read.mistakes.is_empty()) else {
            return Err(read.mistakes);
        };
        let metadata = [
            ("WORKLOAD_NAME", &workload),
            ("NODE_NAME", &node_name),
            ("CLUSTER_ID", &cluster),
            ("REVISION", &revision),
        ];
        Ok(Self {
            node: ProxyId {
                workload: name,
                namespace: namespace.clone(),
                address,
                domain: format!("{namespace}.svc.{domain}"),
            },
            metadata: metadata
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(key, value)| (key, value.clone()))
                .collect(),
            addresses,
            service_account,
            workload,
            labels,
            app_ports,
            cluster,
            discovery_address: discovery_address(&revision),
            probes,
        })
    }

    /// The name that its metrics and its peers know it by, found as Istio finds it.
    #[must_use]
    pub fn canonical_service(&self) -> &str {
        let labels = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
        self.label(labels).unwrap_or(&self.workload)
    }

    /// As [`Self::canonical_service`], of the version.
    #[must_use]
    pub fn canonical_revision(&self) -> &str {
        let labels = ["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"];
        self.label(labels).unwrap_or("latest")
    }

    fn label(&self, keys: [&str; 3]) -> Option<&str> {
        keys.iter()
            .find_map(|key| self.labels.get(*key))
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

fn or(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}

fn discovery_address(revision: &str) -> String {
    let (namespace, port) = CONTROL_PLANE;
    let suffix = if revision == DEFAULT_REVISION { String::new() } else { format!("-{revision}") };
    format!("weft-control-plane{suffix}.{namespace}.svc:{port}")
}

struct Reader<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    mistakes: Vec<String>,
}

impl Reader<'_> {
    fn optional(&self, name: &str) -> String {
        (self.variable)(name).map(|value| value.trim().to_owned()).unwrap_or_default()
    }

    /// Empty when it is missing, which is noted.
    fn needed(&mut self, name: &str, field: &str) -> String {
        let value = self.optional(name);
        if value.is_empty() {
            self.mistakes.push(format!(
                "{name} is not set: `--from-pod` needs it from the pod's field {field} (env valueFrom fieldRef)"
            ));
        }
        value
    }

    fn addresses(&mut self) -> Vec<IpAddr> {
        let all = self.optional("POD_IPS");
        let all = if all.is_empty() { self.needed("POD_IP", "status.podIP") } else { all };
        let words = all.split(',').map(str::trim).filter(|word| !word.is_empty());
        words
            .filter_map(|word| {
                word.parse()
                    .map_err(|_| self.mistakes.push(format!("the pod's address `{word}` is no IP address")))
                    .ok()
            })
            .collect()
    }

    fn ports(&mut self, name: &str) -> Vec<u16> {
        let text = self.optional(name);
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        words
            .filter_map(|word| {
                word.parse()
                    .map_err(|error| self.mistakes.push(format!("{name}: port `{word}`: {error}")))
                    .ok()
            })
            .collect()
    }

    fn probes(&mut self, name: &str) -> AppProbes {
        let text = self.optional(name);
        if text.is_empty() {
            return AppProbes::default();
        }
        AppProbes::parse(&text).unwrap_or_else(|mistakes| {
            self.mistakes.extend(mistakes.into_iter().map(|mistake| format!("{name}: {mistake}")));
            AppProbes::default()
        })
    }

    fn labels(&mut self, path: &Path) -> BTreeMap<String, String> {
        match std::fs::read_to_string(path) {
            Ok(text) => text.lines().filter_map(label).collect(),
            Err(error) => {
                self.mistakes.push(format!(
                    "cannot read the pod's labels in {}: {error} (volume `weft-pod`, downward API)",
                    path.display()
                ));
                BTreeMap::new()
            }
        }
    }
}

/// One line of a file of the downward API: `key="value"`. A label's value holds nothing that would need escaping.
fn label(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once('=')?;
    let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
    Some((key.trim().to_owned(), value.to_owned()))
}
