//! The command line of `weft-control-plane`, checked once; every mistake is reported.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use weft_model::identity::TrustDomain;

use crate::registry::{Network, WorkloadNetworks};
use crate::source::kubernetes::NamespaceSelector;

/// The control plane of a Weft mesh.
#[derive(clap::Parser, Debug)]
#[command(name = "weft-control-plane", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Serve a mesh until SIGTERM.
    Run(Settings),
}

/// Settings of a running control plane.
#[derive(clap::Args, Debug, Clone)]
pub struct Settings {
    /// Where everything durable is kept; created with mode 0700. With --kubernetes only the history of telemetry is.
    #[arg(long, value_name = "DIR", required_unless_present = "kubernetes")]
    pub state_dir: Option<PathBuf>,
    /// Unix socket for `weft`; created with mode 0600.
    #[arg(long, value_name = "PATH", required_unless_present = "listen_api")]
    pub socket: Option<PathBuf>,
    /// The same for `weft` at a distance, in plain text; a loopback address only: in a pod the API server's port-forward
    /// leads there, and guards it.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = loopback)]
    pub listen_api: Option<SocketAddr>,
    /// Name of the mesh, in telemetry's `cluster` labels.
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub mesh: String,
    /// A directory of YAML that is watched beside what is applied.
    #[arg(long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    /// Where sidecars connect: xDS, certificates and reports over TLS.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen_tls: SocketAddr,
    /// xDS in plain text, for tools; a loopback address only.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = loopback)]
    pub listen_plaintext: Option<SocketAddr>,
    /// Health, metrics and debug pages. Who is not on this machine sees /live, /ready and /metrics only.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub monitoring: Option<SocketAddr>,
    /// Range of the workloads' IPv4 addresses.
    #[arg(long, default_value = "10.250.0.0/16", value_name = "RANGE")]
    pub workload_network: Network,
    /// Range of the workloads' IPv6 addresses; none without it.
    #[arg(long, value_name = "RANGE")]
    pub workload_network_v6: Option<Network>,
    /// Root of all identities.
    #[arg(long, default_value = TrustDomain::DEFAULT, value_name = "DOMAIN")]
    pub trust_domain: TrustDomain,
    /// A root certificate of your own, PEM; needs --root-key.
    #[arg(long, value_name = "FILE", requires = "root_key")]
    pub root_cert: Option<PathBuf>,
    /// Its private key, PEM, readable by nobody else; needs --root-cert.
    #[arg(long, value_name = "FILE", requires = "root_cert")]
    pub root_key: Option<PathBuf>,
    /// How long workloads' certificates last at most; sidecars renew them well before.
    #[arg(
        long,
        default_value = "24h",
        env = "WEFT_CERTIFICATE_LIFETIME",
        value_parser = certificate_lifetime,
        value_name = "TIME"
    )]
    pub certificate_lifetime: Duration,
    /// Workloads live on the loopback address, without interception.
    #[arg(long)]
    pub explicit: bool,
    /// DNS suffix of services' names.
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN")]
    pub cluster_domain: String,
    /// Policies without a selector in this namespace hold for the whole mesh; the control plane's own with --kubernetes, else
    /// `istio-system`.
    #[arg(long, value_name = "NAMESPACE")]
    pub root_namespace: Option<String>,
    /// In a Kubernetes cluster.
    #[command(flatten)]
    pub cluster: ClusterSettings,
    /// What is logged, such as `info` or `weft_control_plane=debug`.
    #[arg(long, default_value = "info", env = "WEFT_LOG", value_name = "FILTER")]
    pub log: String,
    /// A file for the log instead of standard error. When it is large it is put aside as FILE.1, and begins anew.
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Bytes that the log file may grow to.
    #[arg(
        long,
        default_value_t = 10 << 20,
        env = "WEFT_LOG_LIMIT",
        value_parser = clap::value_parser!(u64).range(1..),
        value_name = "BYTES"
    )]
    pub log_limit: u64,
}

impl Settings {
    /// The ranges of workloads' addresses.
    #[must_use]
    pub fn networks(&self) -> WorkloadNetworks {
        WorkloadNetworks { v4: self.workload_network, v6: self.workload_network_v6 }
    }
}

/// Settings of a control plane in a Kubernetes cluster.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Kubernetes")]
pub struct ClusterSettings {
    /// Serve a Kubernetes cluster: services, pods and policies are read from its API server.
    #[arg(long)]
    pub kubernetes: bool,
    /// How to reach the API server; without it as the pod that this is.
    #[arg(long, requires = "kubernetes", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig instead of its current one.
    #[arg(long, requires = "kubeconfig", value_name = "NAME")]
    pub context: Option<String>,
    /// Serve the webhooks here, over HTTPS.
    #[arg(long, requires = "kubernetes", value_name = "ADDRESS:PORT")]
    pub webhook: Option<SocketAddr>,
    /// Which of several control planes of one cluster this is.
    #[arg(long, default_value = Self::DEFAULT_REVISION, value_name = "NAME", value_parser = revision)]
    pub revision: String,
    /// Read only namespaces that this label selector selects, such as `mesh=yes`; of several any one.
    #[arg(long = "discovery-selector", requires = "kubernetes", value_name = "SELECTOR")]
    pub discovery_selectors: Vec<NamespaceSelector>,
    /// The namespace that this control plane is in.
    #[arg(long, env = "POD_NAMESPACE", default_value = "weft-system", value_name = "NAME")]
    pub namespace: String,
    /// The pod that this control plane is, for the election of a leader; the host's name without it.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,
}

impl ClusterSettings {
    /// The revision of a control plane that nobody named.
    pub const DEFAULT_REVISION: &'static str = "default";

    /// A name of ours in this cluster: another revision's has that behind it.
    #[must_use]
    pub fn named(&self, base: &str) -> String {
        if self.revision == Self::DEFAULT_REVISION {
            base.to_owned()
        } else {
            format!("{base}-{}", self.revision)
        }
    }
}

fn revision(text: &str) -> Result<String, String> {
    let is_short = text.len() <= 40;
    match crate::source::checks::dns_label(text) {
        Ok(_) if is_short => Ok(text.to_owned()),
        Ok(_) => Err(format!("`{text}` is too long for a part of names: at most 40 characters")),
        Err(problem) => Err(problem.message),
    }
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| format!("`{text}` is no ADDRESS:PORT"))?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(format!("`{text}` is no loopback address: what is served there has no authentication"))
}

fn certificate_lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = humantime::parse_duration(text).map_err(|error| format!("{error}; such as 24h"))?;
    if lifetime < Duration::from_secs(5) {
        return Err(format!("`{text}` is too short to renew anything in time: at least 5s"));
    }
    Ok(lifetime)
}
