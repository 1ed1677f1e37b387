//! What `weft run` is asked for, checked, and what the control plane made of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use weft_proto::api::{RegisterWorkloadRequest, RegisterWorkloadResponse, WorkloadPort};

use super::name::{label, label_value};
use super::process::ProcessRef;
use super::record::{Isolation, Port};

#[cfg(test)]
#[path = "specification_tests.rs"]
mod tests;

/// Ports of a sidecar, which an application cannot have (15053: its resolver).
pub const SIDECAR_PORTS: [u16; 7] = [15000, 15001, 15006, 15020, 15021, 15053, 15090];

/// A port of the host's loopback that leads to one of the workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Publish {
    /// On the host's 127.0.0.1.
    pub host_port: u16,
    /// In the workload.
    pub port: u16,
}

/// A workload to start.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Specification {
    /// Empty lets the control plane choose.
    pub name: String,
    /// Kubernetes' word.
    pub namespace: String,
    /// Empty for a client.
    pub service: String,
    /// May be empty.
    pub version: String,
    /// Its service has no virtual address.
    #[serde(default)]
    pub headless: bool,
    /// Who its sidecar asks for names that are not of the mesh: IP or IP:PORT.
    #[serde(default)]
    pub upstream_resolvers: Vec<String>,
    /// Whose identity it gets.
    pub service_account: String,
    /// Besides those made of service and version.
    pub labels: BTreeMap<String, String>,
    /// What it serves.
    pub ports: Vec<Port>,
    /// Additions to the environment.
    pub environment: Vec<(String, String)>,
    /// `false` for a client outside the mesh.
    pub sidecar: bool,
    /// Ports of the host.
    pub publish: Vec<Publish>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Where it runs.
    pub directory: PathBuf,
    /// Seconds between asking the application to end and ending it.
    pub grace_seconds: u64,
    /// Seconds the sidecar finishes requests after that.
    pub drain_seconds: u64,
    /// Seconds within which the application must listen on its ports.
    pub ready_seconds: u64,
}

/// All that a supervisor needs to start a workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    /// What was asked for.
    pub specification: Specification,
    /// What the control plane gave.
    pub registration: Registration,
    /// The mesh's name.
    pub mesh: String,
    /// The mesh's state directory.
    pub directory: PathBuf,
    /// How it is kept apart.
    pub isolation: Isolation,
    /// Who keeps the mesh's namespaces open.
    pub holder: Option<ProcessRef>,
    /// Whether the mesh leads to the world outside.
    pub egress: bool,
    /// Explicit mode: for each application port, where the sidecar accepts.
    pub explicit_inbound: Vec<(u16, u16)>,
    /// Explicit mode: the sidecar's HTTP proxy.
    pub explicit_outbound: u16,
    /// Explicit mode: the sidecar's admin port.
    pub explicit_admin: u16,
    /// In the background.
    pub detached: bool,
    /// The sidecar's program.
    pub proxy_program: PathBuf,
    /// Who the user is outside of the mesh's user namespace.
    pub uid: u32,
    /// His group.
    pub gid: u32,
}

/// The control plane's answer, in a form that can be handed to a supervisor.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Registration {
    /// The workload's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Whose identity it gets.
    pub service_account: String,
    /// Single use.
    pub join_token: String,
    /// With prefix length.
    pub addresses: Vec<String>,
    /// In the order of `addresses`.
    pub gateways: Vec<String>,
    /// `host:port`.
    pub discovery_address: String,
    /// PEM.
    pub trust_bundle: String,
    /// SPIFFE trust domain.
    pub trust_domain: String,
    /// xDS node id.
    pub node: String,
}

impl From<RegisterWorkloadResponse> for Registration {
    fn from(it: RegisterWorkloadResponse) -> Self {
        Self {
            name: it.name,
            namespace: it.namespace,
            service_account: it.service_account,
            join_token: it.join_token,
            addresses: it.addresses,
            gateways: it.gateways,
            discovery_address: it.discovery_address,
            trust_bundle: it.trust_bundle,
            trust_domain: it.trust_domain,
            node: it.node,
        }
    }
}

impl Registration {
    /// Addresses without prefix length.
    #[must_use]
    pub fn plain_addresses(&self) -> Vec<String> {
        let plain = |address: &String| address.split('/').next().unwrap_or_default().to_owned();
        self.addresses.iter().map(plain).collect()
    }
}

/// `8080:9080`.
impl FromStr for Publish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not of the form HOST_PORT:PORT, such as 8080:9080");
        let (host, port) = text.split_once(':').ok_or_else(wrong)?;
        let number = |text: &str| text.parse().ok().filter(|port| *port != 0).ok_or_else(wrong);
        Ok(Self { host_port: number(host)?, port: number(port)? })
    }
}

/// `9080`, or with a name whose prefix declares the protocol: `http:9080`, `grpc-api:9090`.
impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, port) = text.rsplit_once(':').unwrap_or(("", text));
        let port = port.parse().ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| format!("`{text}` is not a port such as 9080 or http:9080"))?;
        if !name.is_empty() {
            label(name)?;
        }
        Ok(Self { port, name: name.to_owned() })
    }
}

/// `KEY=VALUE`, for `--env` and `--label`.
///
/// # Errors
/// When there is no `=` or no key.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not of the form KEY=VALUE")),
    }
}

impl Specification {
    /// Everything that is wrong with it.
    #[must_use]
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        for (flag, value, required) in [
            ("--name", &self.name, false),
            ("--namespace", &self.namespace, true),
            ("--service", &self.service, false),
            ("--service-account", &self.service_account, true),
        ] {
            if required || !value.is_empty() {
                mistakes.extend(label(value).err().map(|why| format!("{flag}: {why}")));
            }
        }
        mistakes.extend(label_value(&self.version).err().map(|why| format!("--version: {why}")));
        for (key, value) in &self.labels {
            mistakes.extend(label_value(value).err().map(|why| format!("--label {key}: {why}")));
        }
        if self.service.is_empty() && !self.ports.is_empty() {
            mistakes.push("--port needs --service: the name others reach it by".to_owned());
        }
        if !self.service.is_empty() && self.ports.is_empty() {
            mistakes.push(format!("--service {} needs at least one --port that it serves", self.service));
        }
        for text in &self.upstream_resolvers {
            if text.parse::<std::net::IpAddr>().is_err() && text.parse::<std::net::SocketAddr>().is_err() {
                mistakes
                    .push(format!("--upstream-resolver {text}: it is no IP address, nor one with a port"));
            }
        }
        if self.headless && self.service.is_empty() {
            mistakes.push("--headless needs --service: it says how that is called".to_owned());
        }
        for (index, port) in self.ports.iter().enumerate() {
            let earlier = &self.ports[..index];
            if earlier.iter().any(|it| it.port == port.port) {
                mistakes.push(format!("--port {}: it is given twice", port.port));
            }
            if !port.name.is_empty() && earlier.iter().any(|it| it.name == port.name) {
                mistakes.push(format!("--port {}: two ports have this name", port.name));
            }
            if SIDECAR_PORTS.contains(&port.port) {
                mistakes.push(format!("--port {}: the sidecar has this port", port.port));
            }
        }
        mistakes
    }

    /// What the control plane is asked. `explicit_inbound` is empty but in explicit mode.
    #[must_use]
    pub fn registration(
        &self,
        isolation: Isolation,
        explicit_inbound: &[(u16, u16)],
    ) -> RegisterWorkloadRequest {
        let inbound =
            |port: u16| explicit_inbound.iter().find(|it| it.0 == port).map_or(0, |it| u32::from(it.1));
        RegisterWorkloadRequest {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            service: self.service.clone(),
            version: self.version.clone(),
            service_account: self.service_account.clone(),
            labels: self.labels.clone().into_iter().collect(),
            ports: self
                .ports
                .iter()
                .map(|it| WorkloadPort {
                    port: it.port.into(),
                    name: it.name.clone(),
                    app_protocol: String::new(),
                    inbound_port: inbound(it.port),
                })
                .collect(),
            explicit: isolation == Isolation::Explicit,
            no_sidecar: !self.sidecar,
            headless: self.headless,
        }
    }
}
