//! Puts the parts together and runs them until SIGTERM.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;
use weft_model::clock::Clock;
use weft_model::endpoint::Health;
use weft_proto::local_socket;
use weft_proto::telemetry::telemetry_service_server::TelemetryServiceServer;

use crate::admin;
use crate::api::Api;
use crate::authority::{
    AcceptorSettings, Attestor, AuthoritySettings, CertificateAuthority, CertificateService,
    ControlPlaneAcceptor, JoinTokens, RateLimit, RootSource,
};
use crate::compile::WorldCompiler;
use crate::push::{PeerRequirement, Presence, Push, PushSettings, transport};
use crate::settings::Settings;
use crate::source::directory::{Directory, DirectorySettings};
use crate::source::set::Source;
use crate::state::MeshState;
use crate::telemetry::history::keep;
use crate::telemetry::{ReportService, Statistics, StatisticsSettings};
use crate::world::{MeshSettings, WorkloadKey};

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;

/// Why the control plane cannot run; each says what to do.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A workload whose sidecar has gone, without a word of its own, gets no more requests after this: long enough for a
/// sidecar to come back from a broken connection or a restart of the control plane.
const ABSENCE_LIMIT: Duration = Duration::from_secs(30);
/// How long a change of authentication waits at most for sidecars to acknowledge its first step: one that hangs must not
/// keep plain text allowed for ever.
const FIRST_STEP: Duration = Duration::from_secs(10);

/// Runs the control plane.
///
/// # Errors
/// When a part of it cannot start: an address or a directory is taken or not allowed, the root cannot be used.
pub async fn run(settings: Settings) -> Result<(), Failure> {
    let started = Instant::now();
    let directory = match &settings.config_dir {
        Some(path) => {
            let state = settings.state_dir.join("directory");
            Some(Directory::open(DirectorySettings::new(path, &state, "default"))?)
        }
        None => None,
    };
    let mesh = MeshSettings {
        name: settings.mesh.as_str().into(),
        trust_domain: settings.trust_domain.clone(),
        ..MeshSettings::default()
    };
    let state = MeshState::open(
        &settings.state_dir,
        mesh,
        settings.networks(),
        directory.as_ref().map(Source::watch),
    )?;
    let clock = Clock::system();
    let authority = CertificateAuthority::open(authority_settings(&settings), clock.clone())?;
    let tokens = JoinTokens::open(&settings.state_dir, clock)?;
    let compiler = Arc::new(WorldCompiler::new(state.world()));
    let push = Push::new(compiler, state.revisions(), PushSettings::default());
    let statistics = Arc::new(Statistics::new(StatisticsSettings::default(), tokio::time::Instant::now));

    let history = settings.state_dir.join("statistics.jsonl");
    statistics.restore(&history, SystemTime::now());
    tokio::spawn({
        let (statistics, history) = (statistics.clone(), history.clone());
        async move { keep(statistics, &history).await }
    });

    let tls = listen(settings.listen_tls).await?;
    let discovery_address = tls.local_addr()?.to_string();
    let api = Api {
        state: state.clone(),
        push: push.clone(),
        statistics: statistics.clone(),
        authority: authority.clone(),
        tokens: tokens.clone(),
        discovery_address: discovery_address.clone(),
        started,
    };
    let (stop, stopped) = watch::channel(false);
    let ended = |mut stopped: watch::Receiver<bool>| async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    };

    let acceptor = ControlPlaneAcceptor::new(authority.clone(), AcceptorSettings::default())?;
    let certificates = CertificateService::new(authority, Attestor::JoinTokens(tokens), RateLimit::default());
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
    if let Some(address) = settings.monitoring {
        let listener = listen(address).await?;
        let pages = admin::Pages::new(state.clone(), push.clone());
        tokio::spawn(admin::serve(listener, pages, ended(stopped.clone())));
    }
    tokio::spawn({
        let push = push.clone();
        async move { push.run().await }
    });
    if let Some(directory) = directory.as_ref() {
        tokio::spawn(follow_directory(directory.watch(), state.clone()));
    }
    // Before anybody can ask how far a change is.
    let world = state.world().load_full();
    let served = world.workloads.iter().filter(|(_, workload)| workload.mutual_tls);
    push.tracker().expect_back(served.map(|((namespace, name), _)| format!("{name}.{namespace}")));
    tokio::spawn(watch_presence(push.clone(), state.clone()));
    tokio::spawn(complete_changes(push.clone(), state.clone()));

    let socket = UnixListenerStream::new(bind_socket(&settings.socket)?);
    let command_line =
        Server::builder().add_service(api.into_server()).serve_with_incoming_shutdown(socket, ended(stopped));
    let command_line = tokio::spawn(report_end("the command line's endpoint", command_line));
    tracing::info!(%discovery_address, socket = %settings.socket.display(), "the control plane is ready");

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("leaving; sidecars go on with what they have");
    let _ = stop.send(true);
    push.close();
    // Streams that clients hold open must not keep the process.
    let _ = tokio::time::timeout(Duration::from_secs(5), command_line).await;
    if let Err(error) = statistics.save(&history, SystemTime::now()) {
        tracing::warn!(%error, file = %history.display(), "the history of `weft stat` could not be written");
    }
    let _ = fs::remove_file(&settings.socket);
    Ok(())
}

fn authority_settings(settings: &Settings) -> AuthoritySettings {
    let own = AuthoritySettings {
        default_lifetime: settings.certificate_lifetime,
        max_lifetime: settings.certificate_lifetime,
        ..AuthoritySettings::new(settings.state_dir.clone(), settings.trust_domain.clone())
    };
    match (&settings.root_cert, &settings.root_key) {
        (Some(certificate), Some(key)) => AuthoritySettings {
            root: RootSource::Given { certificate: certificate.clone(), key: key.clone(), roots: None },
            ..own
        },
        _ => own,
    }
}

async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let in_use =
        |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
    TcpListener::bind(address).await.map_err(in_use)
}

/// Binds the socket for `weft`.
fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    UnixListener::from_std(local_socket::bind(path, "another control plane")?)
}

async fn report_end(name: &'static str, server: impl Future<Output = Result<(), tonic::transport::Error>>) {
    if let Err(error) = server.await {
        tracing::error!(%error, "{name} has failed");
    }
}

async fn follow_directory(
    mut objects: watch::Receiver<Arc<crate::source::set::Objects>>,
    state: Arc<MeshState>,
) {
    while objects.changed().await.is_ok() {
        state.reload().await;
    }
}

/// Makes the second step of changes of authentication and identities, when every sidecar has acknowledged the first.
async fn complete_changes(push: Arc<Push<WorldCompiler>>, state: Arc<MeshState>) {
    let mut steps = state.steps();
    loop {
        let Ok(Some((revision, since))) =
            steps.wait_for(|steps| steps.waiting.is_some()).await.map(|steps| steps.waiting)
        else {
            return;
        };
        let mut rollout = push.tracker().rollout(revision);
        let told = tokio::time::timeout_at(since + FIRST_STEP, rollout.wait_for(|rollout| rollout.done));
        if told.await.is_err() {
            let pending = rollout.borrow().pending.join(", ");
            tracing::warn!(revision, %pending, "not every sidecar acknowledged a change of authentication or identities in time; it comes into force all the same");
        }
        tracing::info!(revision, waited = ?since.elapsed(), "a change of authentication or identities takes its second step");
        state.complete(revision).await;
    }
}

/// Takes requests away from workloads whose sidecar does not come back.
async fn watch_presence(push: Arc<Push<WorldCompiler>>, state: Arc<MeshState>) {
    let mut presence = push.presence();
    // Sidecars of an earlier life of this process have as long to come back.
    for key in state.world().load().workloads.keys().cloned().collect::<Vec<_>>() {
        tokio::spawn(give_up_on(key, push.clone(), state.clone()));
    }
    loop {
        match presence.recv().await {
            Ok(Presence::Disconnected { hello, others: 0 }) => {
                let key = (hello.id.namespace.as_str().into(), hello.id.workload.as_str().into());
                tokio::spawn(give_up_on(key, push.clone(), state.clone()));
            }
            Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
            Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
        }
    }
}

async fn give_up_on(key: WorkloadKey, push: Arc<Push<WorldCompiler>>, state: Arc<MeshState>) {
    let came_back =
        || push.connected().iter().any(|hello| *hello.id.namespace == *key.0 && *hello.id.workload == *key.1);
    tokio::time::sleep(ABSENCE_LIMIT).await;
    push.tracker().give_up(&format!("{}.{}", key.1, key.0));
    // A workload without a sidecar has nobody to miss.
    let has_sidecar = state.world().load().workloads.get(&key).is_some_and(|workload| workload.mutual_tls);
    if !has_sidecar || came_back() {
        return;
    }
    tracing::warn!(namespace = %key.0, workload = %key.1, "its sidecar is gone: it gets no more requests");
    if let Err(error) = state.report(&key.0, &key.1, Health::Unhealthy).await {
        tracing::error!(%error, workload = %key.1, "its state could not be written");
    }
}
