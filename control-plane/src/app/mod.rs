//! Puts the parts together and runs them until SIGTERM: [`standalone`] with files of its own, or in a [`cluster`] with
//! everything at the API server.

mod cluster;
mod lanes;
mod listen;
mod presence;
mod standalone;
mod webhooks;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;
use weft_proto::telemetry::telemetry_service_server::TelemetryServiceServer;

use crate::admin::{self, Pages};
use crate::api::Api;
use crate::authority::{
    AcceptorSettings, Attestor, AuthoritySettings, CertificateAuthority, CertificateService,
    ControlPlaneAcceptor, JoinTokens, RateLimit, RootSource,
};
use crate::compile::WorldCompiler;
use crate::push::{PeerRequirement, Push, PushSettings, transport};
use crate::settings::Settings;
use crate::source::set::Source;
use crate::state::MeshState;
use crate::telemetry::history::keep;
use crate::telemetry::{ReportService, Statistics, StatisticsSettings};
use crate::world::MeshSettings;
use listen::{bind_socket, listen, report_end};

/// Why the control plane cannot run; each says what to do.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// In this time the sidecars of other replicas have heard of a change, too: these read the same API server, and push at once.
const OTHER_REPLICAS: Duration = Duration::from_secs(2);

/// Runs the control plane.
///
/// # Errors
/// When a part of it cannot start: an address or a directory is taken or not allowed, the root cannot be used.
pub async fn run(settings: Settings) -> Result<(), Failure> {
    if settings.cluster.kubernetes {
        Box::pin(cluster::run(settings)).await
    } else {
        Box::pin(standalone::run(settings)).await
    }
}

/// What differs between a mesh of one machine and one of a cluster.
struct Mesh<'a> {
    state: Arc<MeshState>,
    sources: Vec<&'a dyn Source>,
    authority: Arc<CertificateAuthority>,
    /// Tokens that are made here, if any are.
    tokens: Option<Arc<JoinTokens>>,
    attestor: Attestor,
    /// The control plane's own names.
    acceptor: AcceptorSettings,
    /// Where sidecars find the control plane; the address that is listened on without it.
    discovery_address: Option<String>,
    /// Health and metrics, which may be served already.
    pages: Arc<Pages>,
}

/// Serves a mesh until SIGTERM.
async fn serve(settings: &Settings, mesh: Mesh<'_>) -> Result<(), Failure> {
    let started = Instant::now();
    let Mesh { state, sources, authority, tokens, attestor, acceptor, discovery_address, pages } = mesh;
    let compiler = Arc::new(WorldCompiler::new(state.world()));
    let push = Push::new(compiler, state.revisions(), PushSettings::default());
    let statistics = Arc::new(Statistics::new(StatisticsSettings::default(), tokio::time::Instant::now));
    let history = settings.state_dir.as_ref().map(|directory| directory.join("statistics.jsonl"));
    if let Some(history) = history.clone() {
        statistics.restore(&history, SystemTime::now());
        let statistics = statistics.clone();
        tokio::spawn(async move { keep(statistics, &history).await });
    }

    let tls = listen(settings.listen_tls).await?;
    let discovery_address = match discovery_address {
        Some(address) => address,
        None => tls.local_addr()?.to_string(),
    };
    let (stop, stopped) = watch::channel(false);
    let ended = |mut stopped: watch::Receiver<bool>| async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    };

    let acceptor = ControlPlaneAcceptor::new(authority.clone(), acceptor)?;
    let certificates = CertificateService::new(authority.clone(), attestor, RateLimit::default());
    let sidecars = transport(Server::builder())
        .add_service(push.service(PeerRequirement::Identity))
        .add_service(certificates.into_server())
        .add_service(TelemetryServiceServer::new(ReportService::new(statistics.clone())))
        .serve_with_incoming_shutdown(acceptor.incoming(tls), ended(stopped.clone()));
    tokio::spawn(report_end("the sidecars' endpoint", sidecars));

    if let Some(address) = settings.listen_plaintext {
        let plain = TcpListenerStream::new(listen(address).await?);
        let tools = transport(Server::builder())
            .add_service(push.service(PeerRequirement::None))
            .serve_with_incoming_shutdown(plain, ended(stopped.clone()));
        tokio::spawn(report_end("the plain-text endpoint", tools));
    }
    tokio::spawn({
        let push = push.clone();
        async move { push.run().await }
    });
    for source in sources {
        tokio::spawn(lanes::follow_objects(source.watch(), state.clone()));
        tokio::spawn(lanes::follow_pods(source.pods(), state.clone()));
    }
    presence::expect_back(&push, &state);
    tokio::spawn(presence::watch(push.clone(), state.clone()));
    let sooner = if settings.cluster.kubernetes { OTHER_REPLICAS } else { Duration::ZERO };
    tokio::spawn(lanes::complete_changes(push.clone(), state.clone(), sooner));
    pages.serve_mesh(state.clone(), push.clone());

    let api = Api {
        state: state.clone(),
        push: push.clone(),
        statistics: statistics.clone(),
        authority,
        tokens,
        discovery_address: discovery_address.clone(),
        started,
    };
    let mut command_lines = tokio::task::JoinSet::new();
    if let Some(path) = &settings.socket {
        let socket = UnixListenerStream::new(bind_socket(path)?);
        let server = Server::builder().add_service(api.clone().into_server());
        let server = server.serve_with_incoming_shutdown(socket, ended(stopped.clone()));
        command_lines.spawn(report_end("the command line's endpoint", server));
    }
    if let Some(address) = settings.listen_api {
        let incoming = TcpListenerStream::new(listen(address).await?);
        let server = Server::builder().add_service(api.into_server());
        let server = server.serve_with_incoming_shutdown(incoming, ended(stopped));
        command_lines.spawn(report_end("the command line's endpoint", server));
    }
    tracing::info!(%discovery_address, "the control plane is ready");

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("leaving; sidecars go on with what they have");
    pages.leave();
    let _ = stop.send(true);
    push.close();
    // Streams that clients hold open must not keep the process.
    let _ = tokio::time::timeout(Duration::from_secs(5), command_lines.join_all()).await;
    if let Some(history) = history
        && let Err(error) = statistics.save(&history, SystemTime::now())
    {
        tracing::warn!(%error, file = %history.display(), "the history of `weft stat` could not be written");
    }
    if let Some(path) = &settings.socket {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// Serves health and metrics, if that is asked for. What there is not yet is told as such.
async fn monitor(settings: &Settings, pages: &Arc<Pages>) -> Result<(), Failure> {
    if let Some(address) = settings.monitoring {
        tokio::spawn(admin::serve(listen(address).await?, pages.clone()));
    }
    Ok(())
}

fn mesh_settings(settings: &Settings, root_namespace: &str) -> MeshSettings {
    MeshSettings {
        name: settings.mesh.as_str().into(),
        trust_domain: settings.trust_domain.clone(),
        domain: settings.cluster_domain.as_str().into(),
        root_namespace: settings.root_namespace.as_deref().unwrap_or(root_namespace).into(),
    }
}

fn authority_settings(settings: &Settings, root: RootSource) -> AuthoritySettings {
    AuthoritySettings {
        default_lifetime: settings.certificate_lifetime,
        max_lifetime: settings.certificate_lifetime,
        root,
        ..AuthoritySettings::new(
            settings.state_dir.clone().unwrap_or_default(),
            settings.trust_domain.clone(),
        )
    }
}
