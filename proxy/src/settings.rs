//! Command line and environment, checked once; every mistake reported.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use weft_model::bootstrap::Bootstrap;
use weft_model::endpoint::WorkloadInfo;
use weft_model::identity::{TrustDomain, WorkloadIdentity};
use weft_model::node::ProxyId;

use crate::cni::CniArgs;
use crate::egress::{Egress, EgressArgs, Network};
use crate::identity::{ControlPlane, TokenSource};
use crate::interception::command::InterceptArgs;
use crate::pod::wait::WaitArgs;
use crate::pod::{Places, Pod};
use crate::probes::AppProbes;

mod arguments;
mod envoy;

pub use arguments::RunArgs;
pub use envoy::{EnvoyArgs, RunMode};

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;

/// Weft's sidecar: intercepts a workload's traffic and governs it.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "weft-proxy",
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
pub struct CommandLine {
    /// Serve by an Envoy bootstrap.
    #[command(flatten)]
    pub envoy: EnvoyArgs,
    /// What else to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Serve a workload until SIGTERM.
    Run(Box<RunArgs>),
    /// Set, show or remove the rules that bring traffic to the proxy.
    Intercept(Box<InterceptArgs>),
    /// Make connections to the world outside for the sidecars of a mesh whose network leads nowhere.
    Egress(EgressArgs),
    /// Interception without privileges in pods: a CNI plugin, and its agent on each node.
    Cni(CniArgs),
    /// Return when the sidecar of this pod can serve.
    Wait(WaitArgs),
}

/// What `weft-proxy run` was told, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who this is.
    pub node: ProxyId,
    /// Where the configuration comes from.
    pub source: Source,
    /// How traffic gets here.
    pub mode: Mode,
    /// Admin endpoint; none: there is none.
    pub admin_address: Option<SocketAddr>,
    /// Where the admin endpoint's address is written to.
    pub admin_address_path: Option<PathBuf>,
    /// Admin endpoint as a Unix socket.
    pub admin_socket: Option<PathBuf>,
    /// Mark of own sockets.
    pub mark: Option<u32>,
    /// The workload's resolver; none in explicit mode.
    pub dns_address: Option<SocketAddr>,
    /// Who is asked for names that are not of the mesh.
    pub upstream_resolvers: Vec<SocketAddr>,
    /// The way out of the mesh's network; none: the network leads there by itself.
    pub egress: Option<Egress>,
    /// A domain, in lower case and without dots around it, of which the mesh knows all names.
    pub dns_own_domain: Option<String>,
    /// Where access logs go; none: nowhere.
    pub access_log: Option<PathBuf>,
    /// Where spans go; none: nowhere.
    pub otlp_endpoint: Option<String>,
    /// Share of requests that begin a trace, 0 to 1.
    pub trace_share: f64,
    /// Most label sets of metrics; none: the default.
    pub max_series: Option<usize>,
    /// Ports that the workload listens on.
    pub app_ports: Vec<u16>,
    /// Who the workload is, for telemetry.
    pub workload: WorkloadInfo,
    /// Labels of the workload.
    pub labels: BTreeMap<String, String>,
    /// Threads.
    pub concurrency: usize,
    /// Bound on draining.
    pub drain_time: Duration,
    /// Draining ends when no connection has been open for so long; never more than the bound.
    pub minimum_drain_time: Duration,
    /// All addresses of the workload.
    pub own_addresses: Vec<IpAddr>,
    /// In a Kubernetes pod.
    pub pod: Option<PodSettings>,
}

/// What only a sidecar in a pod has.
#[derive(Clone, Debug)]
pub struct PodSettings {
    /// What else the control plane is told.
    pub metadata: BTreeMap<&'static str, String>,
    /// What the kubelet asks of the application.
    pub probes: AppProbes,
}

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A control plane, which this proxy trusts by its root and is known to by its identity.
    ControlPlane {
        /// `HOST:PORT`.
        address: String,
        /// In its certificate.
        server_name: String,
        /// PEM file.
        trust_bundle: PathBuf,
        /// The token for the first certificate, or for each.
        join_token: TokenSource,
        /// Who this workload is to be.
        identity: WorkloadIdentity,
        /// Key, certificate, last good configuration.
        state_dir: PathBuf,
    },
    /// A file, and a directory with the identity.
    File {
        /// In the format of `last-good`.
        resources: PathBuf,
        /// With `cert-chain.pem`, `key.pem` and `root-cert.pem`.
        identity_dir: Option<PathBuf>,
    },
    /// An Envoy bootstrap.
    Bootstrap(Arc<Bootstrap>),
}

/// How traffic gets to the proxy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Redirected.
    Intercept,
    /// Sent here on purpose.
    Explicit {
        /// Forward proxy for the workload.
        outbound: Option<SocketAddr>,
        /// By port of the workload.
        inbound: BTreeMap<u16, SocketAddr>,
    },
}

/// Everything that is wrong with the arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.join("\n"))
    }
}

impl std::error::Error for Mistakes {}

/// Where nobody asks who this is.
const UNKNOWN_NODE: &str = "sidecar~127.0.0.1~alone.default~default.svc.cluster.local";

#[derive(Default)]
struct Checker(Vec<String>);

impl Checker {
    fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, argument: &str, text: &str) -> Option<T> {
        text.parse().map_err(|error| self.0.push(format!("{argument} {text}: {error}"))).ok()
    }

    fn given<T>(&mut self, argument: &str, why: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.0.push(format!("{argument} is missing: {why}"));
        }
        value
    }

    fn duration(&mut self, argument: &str, text: &str) -> Option<Duration> {
        humantime::parse_duration(text)
            .map_err(|error| self.0.push(format!("{argument} {text}: {error}; such as 5s")))
            .ok()
    }

    fn pair<'a>(&mut self, argument: &str, text: &'a str, form: &str) -> Option<(&'a str, &'a str)> {
        let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
        if pair.is_none() {
            self.0.push(format!("{argument} {text}: write it as {form}"));
        }
        pair
    }
}

impl RunArgs {
    /// Checks everything.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn check(self) -> Result<Settings, Mistakes> {
        let places = Places { labels: self.pod_info_dir.join("labels"), ..Places::default() };
        self.check_in(&|name| std::env::var(name).ok(), &places)
    }

    /// As [`RunArgs::check`], with the environment and the files of a pod.
    fn check_in(
        mut self,
        variable: &dyn Fn(&str) -> Option<String>,
        places: &Places,
    ) -> Result<Settings, Mistakes> {
        let mut check = Checker::default();
        let pod = self.pod(&mut check, variable, places);
        let metadata = self.metadata(&mut check);
        let node = self.checked_node(&mut check);
        let source = self.source(&mut check, node.as_ref(), &metadata);
        let mode = self.mode(&mut check);
        let mark = self.mark(&mut check, mode.as_ref());
        let admin_address = check.parsed("--admin-address", &self.admin_address);
        let dns: Option<SocketAddr> = check.parsed("--dns-address", &self.dns_address);
        let inside: Vec<Network> =
            self.inside.iter().filter_map(|range| check.parsed("--inside", range)).collect();
        let resolvers = self.upstream_resolver.iter().filter_map(|text| match text.parse::<SocketAddr>() {
            Ok(address) => Some(address),
            Err(_) => check.parsed("--upstream-resolver", text).map(|ip: IpAddr| SocketAddr::new(ip, 53)),
        });
        let upstream_resolvers: Vec<SocketAddr> = resolvers.collect();
        let own_domain = self.dns_own_domain.map(|domain| domain.trim_matches('.').to_ascii_lowercase());
        let app_ports = self.app_port.iter().filter_map(|port| check.parsed("--app-port", port)).collect();
        let concurrency = match &self.concurrency {
            Some(text) => match check.parsed::<std::num::NonZeroUsize>("--concurrency", text) {
                Some(number) => number.get(),
                None => 1,
            },
            None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        };
        let max_series = self.max_series.as_deref();
        let max_series =
            max_series.and_then(|text| check.parsed::<std::num::NonZeroUsize>("--max-series", text));
        let drain_time = check.duration("--drain-time", &self.drain_time);
        let minimum_drain_time = check.duration("--minimum-drain-time", &self.minimum_drain_time);
        let trace_share = match self.trace_share.parse::<f64>() {
            Ok(share) if (0.0..=1.0).contains(&share) => share,
            _ => {
                check.0.push(format!("--trace-share {}: not a share from 0 to 1", self.trace_share));
                0.0
            }
        };
        match (node, source, mode, mark, admin_address, dns, drain_time) {
            (
                Some(node),
                Some(source),
                Some(mode),
                Ok(mark),
                Some(admin_address),
                Some(dns),
                Some(drain_time),
            ) if check.0.is_empty() => Ok(Settings {
                workload: workload(&node, &metadata),
                labels: pod.as_ref().map_or_else(|| labels(metadata), |pod| pod.labels.clone()),
                own_addresses: pod.as_ref().map_or_else(|| vec![node.address], |pod| pod.addresses.clone()),
                minimum_drain_time: minimum_drain_time.unwrap_or_default().min(drain_time),
                pod: pod.map(|pod| PodSettings { metadata: pod.metadata, probes: pod.probes }),
                dns_address: (mode == Mode::Intercept && matches!(source, Source::ControlPlane { .. }))
                    .then_some(dns),
                node,
                source,
                mode,
                admin_address: Some(admin_address),
                admin_address_path: None,
                admin_socket: self.admin_socket,
                mark,
                egress: self.egress_socket.map(|socket| Egress::new(socket, &inside)),
                upstream_resolvers,
                dns_own_domain: own_domain.filter(|domain| !domain.is_empty()),
                access_log: self.access_log,
                otlp_endpoint: self.otlp_endpoint.filter(|endpoint| !endpoint.is_empty()),
                trace_share,
                max_series: max_series.map(std::num::NonZeroUsize::get),
                app_ports,
                concurrency,
                drain_time,
            }),
            _ => Err(Mistakes(check.0)),
        }
    }

    /// Lets the pod say what was not given.
    fn pod(
        &mut self,
        check: &mut Checker,
        variable: &dyn Fn(&str) -> Option<String>,
        places: &Places,
    ) -> Option<Pod> {
        if !self.from_pod {
            return None;
        }
        let pod = Pod::read(variable, places).map_err(|mistakes| check.0.extend(mistakes)).ok();
        self.trust_bundle.get_or_insert_with(|| places.trust_bundle.clone());
        self.join_token_file.get_or_insert_with(|| places.token.clone());
        self.state_dir.get_or_insert_with(|| places.state_dir.clone());
        let Some(pod) = pod else {
            // It was said what is missing in the pod; not again what follows from that.
            self.node.get_or_insert_with(|| UNKNOWN_NODE.to_owned());
            self.discovery_address.get_or_insert_with(|| "control-plane:1".to_owned());
            return None;
        };
        self.node.get_or_insert_with(|| pod.node.to_string());
        self.discovery_address.get_or_insert_with(|| pod.discovery_address.clone());
        if self.app_port.is_empty() {
            self.app_port = pod.app_ports.iter().map(ToString::to_string).collect();
        }
        let said = [
            ("workload", pod.workload.as_str()),
            ("service", pod.canonical_service()),
            ("version", pod.canonical_revision()),
            ("service_account", &pod.service_account),
            ("cluster", &pod.cluster),
        ];
        // What was given comes later, and wins.
        let said = said.into_iter().map(|(key, value)| format!("{key}={value}"));
        self.metadata = said.chain(std::mem::take(&mut self.metadata)).collect();
        Some(pod)
    }

    fn checked_node(&self, check: &mut Checker) -> Option<ProxyId> {
        // Without a control plane nobody asks who this is.
        let alone = self.resources.as_ref().map(|_| UNKNOWN_NODE);
        let node = check.given("--node", "who is this proxy?", self.node.as_deref().or(alone))?;
        check.parsed("--node", node)
    }

    fn metadata(&self, check: &mut Checker) -> BTreeMap<String, String> {
        let pairs = self.metadata.iter().filter_map(|text| check.pair("--metadata", text, "KEY=VALUE"));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn source(
        &self,
        check: &mut Checker,
        node: Option<&ProxyId>,
        metadata: &BTreeMap<String, String>,
    ) -> Option<Source> {
        if let Some(resources) = &self.resources {
            return Some(Source::File {
                resources: resources.clone(),
                identity_dir: self.identity_dir.clone(),
            });
        }
        let address =
            check.given("--discovery-address", "where is the control plane?", self.discovery_address.clone());
        if let Some(address) = &address
            && address
                .rsplit_once(':')
                .is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
        {
            check.0.push(format!("--discovery-address {address}: write it as HOST:PORT"));
        }
        let bundle = "without it there is no telling the control plane from an impostor";
        let trust_bundle = check.given("--trust-bundle", bundle, self.trust_bundle.clone());
        let state_dir =
            check.given("--state-dir", "where may key and configuration be kept?", self.state_dir.clone());
        let domain: Option<TrustDomain> = check.parsed("--trust-domain", &self.trust_domain);
        let account = metadata.get("service_account").map_or("default", String::as_str);
        let identity = WorkloadIdentity::new(domain?, &node?.namespace, account)
            .map_err(|error| check.0.push(format!("--node, --metadata service_account={account}: {error}")));
        Some(Source::ControlPlane {
            server_name: self.server_name(address.as_deref()?),
            address: address?,
            trust_bundle: trust_bundle?,
            join_token: match (&self.join_token_file, self.from_pod) {
                (None, _) => TokenSource::None,
                (Some(file), false) => TokenSource::File(file.clone()),
                (Some(file), true) => TokenSource::Projected(file.clone()),
            },
            identity: identity.ok()?,
            state_dir: state_dir?,
        })
    }

    fn server_name(&self, address: &str) -> String {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        match &self.discovery_server_name {
            Some(name) => name.clone(),
            None if self.from_pod && host.parse::<IpAddr>().is_err() => host.to_owned(),
            None => ControlPlane::SERVER_NAME.to_owned(),
        }
    }

    fn mode(&self, check: &mut Checker) -> Option<Mode> {
        let outbound =
            self.explicit_outbound.as_ref().and_then(|text| check.parsed("--explicit-outbound", text));
        let mut inbound = BTreeMap::new();
        for text in &self.explicit_inbound {
            let argument = "--explicit-inbound";
            if let Some((port, address)) = check.pair(argument, text, "PORT=IP:PORT")
                && let (Some(port), Some(address)) =
                    (check.parsed(argument, port), check.parsed(argument, address))
            {
                inbound.insert(port, address);
            }
        }
        match self.mode.as_str() {
            "explicit" => Some(Mode::Explicit { outbound, inbound }),
            "intercept" => {
                if self.explicit_outbound.is_some() || !self.explicit_inbound.is_empty() {
                    let text = "--explicit-outbound and --explicit-inbound are for --mode explicit";
                    check.0.push(text.to_owned());
                }
                Some(Mode::Intercept)
            }
            other => {
                check.0.push(format!("--mode {other}: there are `intercept` and `explicit`"));
                None
            }
        }
    }

    fn mark(&self, check: &mut Checker, mode: Option<&Mode>) -> Result<Option<u32>, ()> {
        let Some(text) = &self.mark else {
            let by_mark = mode == Some(&Mode::Intercept) && self.resources.is_none() && !self.from_pod;
            return Ok(by_mark.then_some(crate::interception::setting::MARK));
        };
        let number = match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => text.parse(),
        };
        number
            .map(|mark| (mark != 0).then_some(mark))
            .map_err(|error| check.0.push(format!("--mark {text}: {error}; such as 0x539, or 0 for none")))
    }
}

fn workload(node: &ProxyId, metadata: &BTreeMap<String, String>) -> WorkloadInfo {
    let text = |key: &str| metadata.get(key).map(String::as_str);
    WorkloadInfo {
        name: text("workload").unwrap_or(&node.workload).into(),
        namespace: node.namespace.as_str().into(),
        service: text("service").unwrap_or(&node.workload).into(),
        version: text("version").unwrap_or("latest").into(),
        cluster: text("cluster").unwrap_or_default().into(),
    }
}

/// Labels as Kubernetes users know them: `app` and `version`, and whatever else was said.
fn labels(metadata: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let known = ["workload", "namespace", "service_account", "cluster"];
    let renamed = |key: String| if key == "service" { "app".to_owned() } else { key };
    metadata
        .into_iter()
        .filter(|(key, _)| !known.contains(&key.as_str()))
        .map(|(key, value)| (renamed(key), value))
        .collect()
}
