//! The process around the workers: what runs beside the request path, how it starts, and how it ends.
//!
//! Whatever may block or belongs to no worker (discovery, certificates, the admin endpoint, DNS) runs on the main
//! thread's own runtime, so that it can never hold up a request.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use weft_model::clock::Clock;

use crate::admin::{Admin, AdminAddresses, AdminState, SetLogLevel};
use crate::discovery::{self, Discovery, DiscoverySettings, LastGoodError, Node};
use crate::dns::{DnsSettings, Resolver};
use crate::drain::Drain;
use crate::identity::{
    CertificateError, ControlPlane, Identity, IdentityError, IdentitySettings, IdentityStatus, TokenSource,
    TrustBundle, TrustBundleError, WorkloadCertificate, channel, renew,
};
use crate::listener::statistics::ListenerStatistics;
use crate::settings::{Mode, Settings, Source};
use crate::telemetry::access_log::{AccessLogSettings, Destination, Format};
use crate::telemetry::{Telemetry, TelemetrySettings};
use crate::tls::ServerAcceptor;
use crate::upstream::{ClusterStats, UpstreamSettings};
use crate::worker::{Inquiry, Limits, Shared, WorkerHandle};

/// Why the process cannot run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No threads, no runtime, no signals.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
    /// Of the control plane's part.
    #[error(transparent)]
    Identity(#[from] IdentityError),
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let drain = Arc::new(Drain::default());
    let workers = runtime.block_on(start_and_wait(settings, &drain, log_level))?;
    for worker in workers {
        worker.join();
    }
    Ok(())
}

async fn start_and_wait(
    settings: &Settings,
    drain: &Arc<Drain>,
    log_level: SetLogLevel,
) -> Result<Vec<WorkerHandle>, StartError> {
    // First of all, so that no signal is missed.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (discovery, identity) = match &settings.source {
        Source::File { resources, identity_dir } => {
            let identity = identity_dir.as_deref().map(identity_of_directory).transpose()?;
            (Discovery::from_file(resources)?, identity)
        }
        Source::ControlPlane { .. } => {
            let (discovery, identity) = control_plane(settings)?;
            (discovery, Some(identity))
        }
    };
    let mut telemetry = TelemetrySettings::new(settings.workload.clone());
    telemetry.access_log = settings.access_log.as_ref().map(|path| AccessLogSettings {
        destination: if path.as_os_str() == "-" {
            Destination::Stdout
        } else {
            Destination::File(path.clone())
        },
        format: Format::istio(),
    });
    let telemetry = Telemetry::new(telemetry).map_err(io::Error::other)?;
    let shared = Arc::new(shared(settings, drain, discovery, identity, telemetry));
    let workers: Result<Vec<_>, _> =
        (0..settings.concurrency).map(|number| WorkerHandle::start(shared.clone(), number)).collect();
    let workers = workers?;
    let quit = Arc::new(Notify::new());
    let inquiries = workers.iter().map(WorkerHandle::inquiry).collect();
    let mut state = admin_state(settings, &shared, drain, inquiries, quit.clone());
    state.log_level = log_level;
    let admin = Admin::bind(state, &admin_addresses(settings)).await?;
    tokio::spawn(admin.run());
    if let Some(address) = settings.dns_address {
        let mut dns = DnsSettings::new(address, resolvers(settings), &settings.node.domain);
        dns.mark = settings.mark;
        tokio::spawn(Resolver::bind(dns, shared.discovery.snapshot.clone()).await?.run());
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = quit.notified() => {}
    }
    tracing::info!(open = shared.open.count(), "draining for at most {:?}", settings.drain_time);
    let cut = tokio::select! {
        cut = drain.run(settings.drain_time) => cut,
        _ = terminate.recv() => shared.open.count(),
        _ = interrupt.recv() => shared.open.count(),
    };
    drain.end();
    if cut > 0 {
        tracing::warn!("{cut} connections were still open and are cut");
    }
    Ok(workers)
}

/// What the admin pages show and do.
fn admin_state(
    settings: &Settings,
    shared: &Arc<Shared>,
    drain: &Arc<Drain>,
    inquiries: Vec<Inquiry>,
    quit: Arc<Notify>,
) -> AdminState {
    let mut state = AdminState::new(shared.discovery.clone(), settings.node.to_string());
    state.not_ready = {
        let shared = shared.clone();
        Arc::new(move || {
            if shared.drain.is_draining() {
                return Some("draining".to_owned());
            }
            let waits = shared.identity.as_ref().is_some_and(|identity| identity.current().is_none());
            waits.then(|| "no certificate yet".to_owned())
        })
    };
    state.clusters = Arc::new(move || clusters(&inquiries));
    if let Some(identity) = shared.identity.clone() {
        state.certificates = Arc::new(move || certificates(&identity.status()));
    }
    let for_drain = drain.clone();
    state.drain = Arc::new(move || for_drain.begin());
    state.quit = Arc::new(move || quit.notify_one());
    state
}

/// What all workers say of their clusters, by name.
fn clusters(inquiries: &[Inquiry]) -> Value {
    let mut sums: BTreeMap<String, ClusterStats> = BTreeMap::new();
    for stats in inquiries.iter().filter_map(Inquiry::upstream_stats).flatten() {
        match sums.get_mut(&*stats.cluster) {
            Some(sum) => {
                // Every worker knows all endpoints; each ejects for itself.
                sum.endpoints = sum.endpoints.max(stats.endpoints);
                sum.ejected = sum.ejected.max(stats.ejected);
                sum.connections += stats.connections;
                sum.requests += stats.requests;
                sum.retries += stats.retries;
                sum.overflows += stats.overflows;
            }
            None => drop(sums.insert(stats.cluster.to_string(), stats)),
        }
    }
    let shown = sums.into_values().map(|sum| {
        json!({
            "name": &*sum.cluster, "endpoints": sum.endpoints, "ejected": sum.ejected,
            "connections": sum.connections, "requests": sum.requests, "retries": sum.retries,
            "overflows": sum.overflows,
        })
    });
    Value::Array(shown.collect())
}

fn certificates(status: &IdentityStatus) -> Value {
    let time =
        |time: Option<SystemTime>| time.map(|time| humantime::format_rfc3339_seconds(time).to_string());
    json!({
        "identity": status.identity, "serial": status.serial, "notBefore": time(status.not_before),
        "notAfter": time(status.not_after), "renewAt": time(status.renew_at), "renewals": status.renewals,
        "failures": status.failures, "lastError": status.last_error,
    })
}

/// In a workload's own network the well-known ports are this proxy's; elsewhere they may be another's.
fn admin_addresses(settings: &Settings) -> AdminAddresses {
    let own_network =
        settings.mode == Mode::Intercept && matches!(settings.source, Source::ControlPlane { .. });
    AdminAddresses {
        admin: Some(settings.admin_address),
        socket: settings.admin_socket.clone(),
        readiness: own_network.then(|| SocketAddr::from(([127, 0, 0, 1], 15021))),
        metrics: own_network.then(|| SocketAddr::from(([0, 0, 0, 0], 15090))),
    }
}

/// Those that were given, or those of the machine, but never this proxy itself.
fn resolvers(settings: &Settings) -> Vec<SocketAddr> {
    if !settings.upstream_resolvers.is_empty() {
        return settings.upstream_resolvers.clone();
    }
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let addresses = text.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok());
    addresses
        .map(|ip| SocketAddr::new(ip, 53))
        .filter(|address| Some(*address) != settings.dns_address)
        .collect()
}

/// Begins to ask for a certificate, and with it for the configuration.
fn control_plane(settings: &Settings) -> Result<(Discovery, Identity), StartError> {
    let Source::ControlPlane { address, trust_bundle, join_token, identity: own, state_dir } =
        &settings.source
    else {
        return Err(io::Error::other("there is no control plane").into());
    };
    let control_plane = ControlPlane {
        address: address.clone(),
        server_name: ControlPlane::SERVER_NAME.to_owned(),
        mark: settings.mark,
    };
    let identity_settings = IdentitySettings {
        identity: own.clone(),
        workload: Some(settings.node.workload.clone()),
        control_plane: control_plane.clone(),
        state_dir: state_dir.clone(),
        trust_bundle: trust_bundle.clone(),
        token: join_token.clone().map_or(TokenSource::None, TokenSource::File),
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
        ports: settings.app_ports.clone(),
        interception_mode: match settings.mode {
            Mode::Intercept => "REDIRECT",
            Mode::Explicit { .. } => "NONE",
        }
        .to_owned(),
    }
}

fn shared(
    settings: &Settings,
    drain: &Drain,
    discovery: Discovery,
    identity: Option<Identity>,
    telemetry: Telemetry,
) -> Shared {
    Shared {
        discovery,
        acceptor: identity.clone().map(ServerAcceptor::new),
        identity: identity.clone(),
        drain: drain.signal(),
        open: drain.open_connections(),
        limits: Limits::new(settings.drain_time),
        sampling: None,
        statistics: ListenerStatistics::default(),
        upstream: UpstreamSettings {
            mark: settings.mark,
            workers: u32::try_from(settings.concurrency).unwrap_or(u32::MAX),
            identity,
            workload: Some(settings.workload.clone()),
            source: None,
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
