//! The process around the workers: what runs beside the request path, how it starts, and how it ends.
//!
//! Whatever may block or belongs to no worker (discovery, certificates, the admin endpoint, DNS) runs on the main
//! thread's own runtime, so that it can never hold up a request.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use weft_model::clock::Clock;

use crate::admin::{Admin, Door, SetLogLevel};
use crate::discovery::{self, Discovery, DiscoverySettings, LastGoodError, Node};
use crate::dns::{DnsSettings, Resolver};
use crate::drain::Drain;
use crate::filters::trace_context::Sampling;
use crate::identity::{
    CertificateError, ControlPlane, Identity, IdentityError, IdentitySettings, TrustBundle, TrustBundleError,
    WorkloadCertificate, channel, renew,
};
use crate::listener::statistics::ListenerStatistics;
use crate::own_calls::OwnCalls;
use crate::probes::{self, ProbeServer};
use crate::settings::{Mode, Settings, Source};
use crate::telemetry::{Telemetry, TelemetryError};
use crate::tls::{ServerAcceptor, TlsContexts};
use crate::upstream::UpstreamSettings;
use crate::worker::{Limits, Shared, WorkerHandle};

mod ads;
mod pages;
mod secrets;
mod telemetry;

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;

use pages::{admin_addresses, admin_state};
use telemetry::Observed;

/// Why the process cannot run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No threads, no runtime, no signals.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
    /// Of the control plane's part.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Of the access log or the exporter of spans.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Of the file of resources.
    #[error("cannot read the resources: {0}")]
    Resources(#[from] LastGoodError),
    /// Of the directory with an identity.
    #[error("cannot use the identity in {directory}: {reason}")]
    IdentityDirectory {
        /// Which.
        directory: String,
        /// Why not.
        reason: String,
    },
}

/// Serves until SIGTERM or SIGINT, and then until what is under way is done. `log_level` is for the admin endpoint.
///
/// # Errors
/// Why it could not start; once started it does not fail.
pub fn run(settings: &Settings, log_level: SetLogLevel) -> Result<(), StartError> {
    let open_files = raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let drain = Arc::new(Drain::default());
    runtime.block_on(start_and_wait(settings, &drain, log_level, open_files))
}

/// File descriptors that are no connections: listeners, pages, logs, the control plane.
const OTHER_FILES: usize = 64;

/// The most file descriptors that are asked for.
const MOST_FILES: u64 = 1 << 20;

/// Raises the number of files that may be open as far as this process is allowed to; gives what it is then. The usual
/// limit of 1024 is for programs that use select(2), and would end at 500 connections.
fn raise_open_files() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return usize::MAX };
    let wanted = hard.min(MOST_FILES).max(soft);
    let now = match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!("no more than {soft} files can be open at a time: {error}");
            soft
        }
    };
    usize::try_from(now).unwrap_or(usize::MAX)
}

async fn start_and_wait(
    settings: &Settings,
    drain: &Arc<Drain>,
    log_level: SetLogLevel,
    open_files: usize,
) -> Result<(), StartError> {
    // First of all, so that no signal is missed.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let contexts = Arc::new(TlsContexts::default());
    let (discovery, identity) = match &settings.source {
        Source::File { resources, identity_dir } => {
            let identity = identity_dir.as_deref().map(identity_of_directory).transpose()?;
            (Discovery::from_file(resources)?, identity)
        }
        Source::Bootstrap(bootstrap) => {
            contexts.prepare(bootstrap).map_err(|mistakes| io::Error::other(mistakes.join("; ")))?;
            (ads::by_bootstrap(bootstrap, &contexts)?, None)
        }
        Source::ControlPlane { .. } => {
            let (discovery, identity) = control_plane(settings)?;
            (discovery, Some(identity))
        }
    };
    let telemetry = telemetry::set_up(settings, &discovery, identity.as_ref())?;
    let mut shared = shared(settings, drain, discovery, identity, contexts, &telemetry);
    // A connection that is passed on needs two; some are needed for everything else.
    let room = open_files.saturating_sub(OTHER_FILES) / 2;
    shared.limits.max_connections = shared.limits.max_connections.min(room.max(1));
    let shared = Arc::new(shared);
    tokio::spawn(secrets::watch(shared.contexts.clone()));
    let workers: Result<Vec<_>, _> =
        (0..settings.concurrency).map(|number| WorkerHandle::start(shared.clone(), number)).collect();
    let workers = workers?;
    let quit = Arc::new(Notify::new());
    let observed = Observed { telemetry: telemetry.clone(), shared: shared.clone() };
    let mut state = admin_state(settings, &shared, drain, &workers, observed, quit.clone());
    state.log_level = log_level;
    if let Some(address) = settings.dns_address {
        let mut dns = DnsSettings::new(address, resolvers(settings), &settings.node.domain);
        dns.mark = settings.mark;
        dns.egress = settings.egress.clone();
        dns.own_domain = settings.dns_own_domain.clone();
        let resolver = Resolver::bind(dns, shared.discovery.snapshot.clone()).await?;
        state.explain_name = Some(resolver.explainer());
        tokio::spawn(resolver.run());
    }
    let admin = Admin::bind(state, &admin_addresses(settings)).await?;
    if let (Some(path), Some(address)) = (&settings.admin_address_path, admin.address(Door::Admin)) {
        std::fs::write(path, address.to_string())?;
    }
    tokio::spawn(admin.run());
    if let Some(pod) = &settings.pod {
        let quit = quit.clone();
        let probes = ProbeServer::bind(
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, probes::PORT)),
            pod.probes.clone(),
            settings.node.address,
            Arc::new(move || quit.notify_one()),
        )?;
        tokio::spawn(probes.run());
    }
    let reports = telemetry::Reporting::start(settings, &telemetry, shared.identity.as_ref());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = quit.notified() => {}
    }
    tracing::info!(open = shared.open.count(), "draining for at most {:?}", settings.drain_time);
    let cut = tokio::select! {
        cut = drain.run(settings.minimum_drain_time, settings.drain_time) => cut,
        _ = terminate.recv() => shared.open.count(),
        _ = interrupt.recv() => shared.open.count(),
    };
    drain.end();
    // Workers end on threads of their own; meanwhile this one goes on answering them.
    let ended = tokio::task::spawn_blocking(move || workers.into_iter().for_each(WorkerHandle::join));
    let _ = ended.await;
    reports.finish().await;
    telemetry.flush().await;
    if cut > 0 {
        tracing::warn!("{cut} connections were still open and are cut");
    }
    Ok(())
}

/// Those that were given, or those of the machine, but never this proxy itself.
fn resolvers(settings: &Settings) -> Vec<SocketAddr> {
    if !settings.upstream_resolvers.is_empty() {
        return settings.upstream_resolvers.clone();
    }
    if settings.egress.is_some() {
        // The file is the mesh's own; the machine's is read by whoever has the way out.
        return Vec::new();
    }
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    name_servers(&text).filter(|address| Some(*address) != settings.dns_address).collect()
}

/// The name servers of a `resolv.conf` (resolv.conf(5)).
pub(crate) fn name_servers(text: &str) -> impl Iterator<Item = SocketAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        Some(SocketAddr::new(address.parse().ok()?, 53))
    })
}

/// Begins to ask for a certificate, and with it for the configuration.
fn control_plane(settings: &Settings) -> Result<(Discovery, Identity), StartError> {
    let Source::ControlPlane { address, server_name, trust_bundle, join_token, identity: own, state_dir } =
        &settings.source
    else {
        return Err(io::Error::other("there is no control plane").into());
    };
    let control_plane =
        ControlPlane { address: address.clone(), server_name: server_name.clone(), mark: settings.mark };
    let identity_settings = IdentitySettings {
        identity: own.clone(),
        workload: Some(settings.node.workload.clone()),
        control_plane: control_plane.clone(),
        state_dir: state_dir.clone(),
        trust_bundle: trust_bundle.clone(),
        token: join_token.clone(),
        lifetime: None,
    };
    let clock = Clock::system();
    let identity = Identity::open(&identity_settings, &clock)?;
    tokio::spawn(renew(identity.clone(), identity_settings, clock));
    let discovery_settings =
        DiscoverySettings::new(node(settings, &own.service_account), Some(state_dir.clone()));
    let (discovery, client) = discovery::start(discovery_settings)?;
    let of_client = identity.clone();
    tokio::spawn(async move {
        of_client.ready().await;
        match channel(&control_plane, &of_client) {
            Ok(channel) => client.run(channel).await,
            Err(error) => tracing::error!("no configuration can be asked for: {error}"),
        }
    });
    Ok((discovery, identity))
}

fn node(settings: &Settings, service_account: &str) -> Node {
    Node {
        id: settings.node.clone(),
        cluster: format!("{}.{}", settings.workload.service, settings.workload.namespace),
        labels: settings.labels.clone(),
        service_account: service_account.to_owned(),
        metadata: settings.pod.as_ref().map(|pod| pod.metadata.clone()).unwrap_or_default(),
        ports: settings.app_ports.clone(),
        interception_mode: match settings.mode {
            Mode::Intercept => "REDIRECT",
            Mode::Explicit { .. } => "NONE",
        }
        .to_owned(),
        explicit: match &settings.mode {
            Mode::Intercept => None,
            Mode::Explicit { outbound, inbound } => Some((*outbound, inbound.clone())),
        },
    }
}

fn shared(
    settings: &Settings,
    drain: &Drain,
    discovery: Discovery,
    identity: Option<Identity>,
    contexts: Arc<TlsContexts>,
    telemetry: &Telemetry,
) -> Shared {
    let telemetry = telemetry.clone();
    Shared {
        discovery,
        acceptor: identity.clone().map(ServerAcceptor::new),
        identity: identity.clone(),
        contexts: contexts.clone(),
        drain: drain.signal(),
        listening: drain.listening(),
        open: drain.open_connections(),
        limits: Limits::new(settings.drain_time),
        sampling: settings.otlp_endpoint.as_ref().map(|_| Sampling { share: settings.trace_share }),
        statistics: ListenerStatistics::default(),
        upstream: UpstreamSettings {
            mark: settings.mark,
            own: settings.own_addresses.clone(),
            own_calls: OwnCalls::default(),
            workers: u32::try_from(settings.concurrency).unwrap_or(u32::MAX),
            identity,
            // Who serves by a bootstrap of its own is no part of a mesh that it would introduce itself to.
            workload: (!matches!(settings.source, Source::Bootstrap(_))).then(|| settings.workload.clone()),
            source: None,
            egress: settings.egress.clone(),
            contexts,
            health: Default::default(),
        },
        recorder: Box::new(move || telemetry.recorder()),
    }
}

/// For runs without a control plane: files as Istio names them.
fn identity_of_directory(directory: &Path) -> Result<Identity, StartError> {
    let failed =
        |reason: String| StartError::IdentityDirectory { directory: directory.display().to_string(), reason };
    let read =
        |name: &str| std::fs::read(directory.join(name)).map_err(|error| failed(format!("{name}: {error}")));
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read("cert-chain.pem")?)
        .collect::<Result<_, _>>()
        .map_err(|error| failed(format!("cert-chain.pem: {error}")))?;
    let key = PrivateKeyDer::from_pem_slice(&read("key.pem")?)
        .map_err(|error| failed(format!("key.pem: {error}")))?;
    let bundle = TrustBundle::from_pem(&read("root-cert.pem")?)
        .map_err(|error: TrustBundleError| failed(format!("root-cert.pem: {error}")))?;
    let certificate = WorkloadCertificate::new(chain, key, bundle)
        .map_err(|error: CertificateError| failed(error.to_string()))?;
    Ok(Identity::fixed(certificate))
}
