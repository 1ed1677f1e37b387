//! The life of one workload: namespaces, then the sidecar, then the application; and the other way round.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::Instant;
use weft_proto::api::{
    CreateJoinTokenRequest, DeregisterWorkloadRequest, ReportWorkloadRequest, WorkloadState,
};

use super::log::Log;
use super::paths::{MeshPaths, WorkloadPaths, last_lines, write_private};
use super::process::{ProcessRef, end_all, in_network};
use super::record::{Isolation, State, WorkloadRecord, save};
use super::specification::Start;
use super::{application, client, files, listening, publish, sandbox, sidecar};
use crate::command::{CommandError, CommandResult, FAILED, event_loop};

#[path = "supervise/signals.rs"]
mod signals;
use signals::{Request, Signals};

/// How long a sidecar may take until it is ready.
const SIDECAR_START: Duration = Duration::from_secs(30);
/// How long others get to hear that a service's workload leaves, before its application is told to.
const FAREWELL: Duration = Duration::from_secs(5);

/// Runs a workload from its start to its end. `started` hears whether it came up; the exit code is the
/// application's.
///
/// # Errors
/// When it did not come up (`started` has then been told, too). Nothing of it is left.
pub fn supervise(start: Start, started: &mut dyn FnMut(Result<(), &CommandError>)) -> CommandResult {
    let mesh = MeshPaths { directory: start.directory.clone() };
    let paths = mesh.workload(&start.registration.namespace, &start.registration.name);
    let event_loop = event_loop()?;
    // Heard from here on, so that an interrupt while the namespaces are made leaves nothing behind.
    let signals = {
        let _context = event_loop.enter();
        Signals::new()?
    };
    // The kernel lets only a process with one thread enter namespaces, so nothing has been spawned yet.
    let prepared = publish::open(&start.specification.publish).and_then(|ports| {
        let network = sandbox::make(&start, &paths)?;
        if start.specification.sidecar {
            sidecar::write_files(&start, &paths)?;
        }
        Ok((ports, network))
    });
    event_loop.block_on(async {
        // Until it has been made, this process is in a network of others: whoever fails there has nothing to end.
        let network = prepared.as_ref().map_or(None, |(_, network)| *network);
        let mut workload = Workload::new(start, mesh, paths, network);
        let result = match prepared {
            Ok((ports, _)) => workload.live(ports, signals, started).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            workload.leave().await;
            workload.forget();
            started(Err(error));
        }
        result
    })
}

/// Why an application in the background did not come up.
enum Early {
    Ended(ExitStatus),
    Late,
    Stopped,
}

struct Workload {
    start: Start,
    mesh: MeshPaths,
    paths: WorkloadPaths,
    record: WorkloadRecord,
    admin_socket: PathBuf,
    sidecar: Option<Child>,
    /// What the sidecar writes; one after a crash goes on with it.
    sidecar_log: Option<Log>,
    /// What the application writes, when detached.
    app_log: Option<Log>,
    registered: bool,
}

impl Workload {
    fn new(start: Start, mesh: MeshPaths, paths: WorkloadPaths, network: Option<u64>) -> Self {
        let (asked, given) = (&start.specification, &start.registration);
        let admin_socket = mesh.socket(&format!("{:08x}", fastrand::u32(..)));
        let isolated = start.isolation != Isolation::Explicit;
        let record = WorkloadRecord {
            name: given.name.clone(),
            namespace: given.namespace.clone(),
            service: asked.service.clone(),
            version: asked.version.clone(),
            addresses: if isolated { given.plain_addresses() } else { vec!["127.0.0.1".to_owned()] },
            ports: asked.ports.clone(),
            state: State::Starting,
            exit_code: None,
            has_sidecar: asked.sidecar,
            detached: start.detached,
            isolation: start.isolation,
            supervisor: ProcessRef::own(),
            sidecar: None,
            application: None,
            network,
            admin_socket: asked.sidecar.then(|| admin_socket.clone()),
            command: asked.command.clone(),
        };
        let (sidecar, sidecar_log, app_log) = (None, None, None);
        Self { start, mesh, paths, record, admin_socket, sidecar, sidecar_log, app_log, registered: true }
    }

    /// The story.
    async fn live(
        &mut self,
        ports: Vec<(std::net::TcpListener, u16)>,
        mut signals: Signals,
        started: &mut dyn FnMut(Result<(), &CommandError>),
    ) -> CommandResult {
        self.write()?;
        tokio::select! {
            ready = self.start_sidecar() => ready?,
            () = signals.stop() => return Err(CommandError::new(FAILED, "stopped before its sidecar was ready")),
        }
        if self.start.detached {
            self.app_log = Some(Log::open(&self.paths.app_log())?);
        }
        let mut app = application::spawn(&self.start, &self.paths, self.app_log.as_ref())?;
        self.record.application = process_of(&app);
        self.write()?;
        for (listener, port) in ports {
            publish::relay(listener, port)
                .map_err(|error| CommandError::new(FAILED, format!("cannot publish port {port}: {error}")))?;
        }
        let status = match self.until_listening(&mut app, &mut signals).await {
            Ok(()) => {
                self.announce().await;
                self.record.state = State::Running;
                self.write()?;
                files::refresh_hosts(&self.mesh);
                started(Ok(()));
                self.watch(&mut app, &mut signals).await
            }
            Err(early) => return Err(self.explain(early, &mut app).await),
        };
        self.leave().await;
        self.finish(status);
        Ok(ExitCode::from(exit_code(status)))
    }

    async fn start_sidecar(&mut self) -> Result<(), CommandError> {
        if !self.start.specification.sidecar {
            return Ok(());
        }
        let log = self.sidecar_log.insert(Log::open(&self.paths.proxy_log())?);
        let mut child = sidecar::spawn(&self.start, &self.paths, &self.admin_socket, log)?;
        self.record.sidecar = process_of(&child);
        self.write()?;
        let ready = sidecar::ready(&mut child, &self.admin_socket, self.start.isolation, SIDECAR_START).await;
        self.sidecar = Some(child);
        let Err(error) = ready else { return Ok(()) };
        finish(&mut self.sidecar_log).await;
        Err(error.hint(end_of_log("its log", &self.paths.proxy_log())))
    }

    /// Waits until the application listens on its ports. In the foreground there is nobody to tell, so it is watched
    /// from the start.
    async fn until_listening(&self, app: &mut Child, signals: &mut Signals) -> Result<(), Early> {
        if !self.start.detached {
            return Ok(());
        }
        let wanted: BTreeSet<u16> = self.record.ports.iter().map(|it| it.port).collect();
        let end = Instant::now() + Duration::from_secs(self.start.specification.ready_seconds);
        loop {
            if let Ok(Some(status)) = app.try_wait() {
                return Err(Early::Ended(status));
            }
            if wanted.is_subset(&listening::ports()) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Early::Late);
            }
            tokio::select! {
                () = signals.stop() => return Err(Early::Stopped),
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    }

    async fn explain(&mut self, early: Early, app: &mut Child) -> CommandError {
        // One that has ended is not there to be killed.
        let _ = app.kill().await;
        finish(&mut self.app_log).await;
        let what = match early {
            Early::Ended(status) => format!("the application ended at once ({status})"),
            Early::Stopped => "stopped before the application was up".to_owned(),
            Early::Late => {
                let ports: Vec<String> = self.record.ports.iter().map(|it| it.port.to_string()).collect();
                let seconds = self.start.specification.ready_seconds;
                format!(
                    "the application does not listen on port {} after {seconds} s; stopped",
                    ports.join(", ")
                )
            }
        };
        CommandError::new(FAILED, what).hint(end_of_log("its log", &self.paths.app_log()))
    }

    /// Until the application has ended. Asked to stop: out of the mesh's endpoints first, then the application;
    /// asked again, or after the grace time, it is ended.
    async fn watch(&mut self, app: &mut Child, signals: &mut Signals) -> ExitStatus {
        let mut stopping = false;
        let far = Duration::from_secs(365 * 24 * 3600);
        let deadline = tokio::time::sleep(far);
        tokio::pin!(deadline);
        let mut failures = 0_u32;
        loop {
            tokio::select! {
                status = app.wait() => return status.unwrap_or_default(),
                request = signals.next() => match request {
                    Request::Pass(signal) => send(app, signal),
                    Request::Stop { .. } if stopping => send(app, Signal::SIGKILL),
                    Request::Stop { signal, application_has_it } => {
                        stopping = true;
                        self.record.state = State::Stopping;
                        let _ = self.write();
                        let grace = Duration::from_secs(self.start.specification.grace_seconds);
                        deadline.as_mut().reset(Instant::now() + grace);
                        if application_has_it {
                            self.report(WorkloadState::Draining, Duration::ZERO).await;
                        } else {
                            self.report(WorkloadState::Draining, FAREWELL).await;
                            send(app, signal);
                        }
                    }
                },
                () = ended(&mut self.sidecar) => {
                    // It keeps its certificate and configuration on disk: it comes back as it was.
                    self.sidecar = None;
                    failures += 1;
                    tokio::time::sleep(Duration::from_millis(100 << failures.min(6))).await;
                    self.restart_sidecar().await;
                }
                () = &mut deadline => {
                    send(app, Signal::SIGKILL);
                    deadline.as_mut().reset(Instant::now() + far);
                }
            }
        }
    }

    /// After a crash. Its join token was used up, so it gets another; while it is away its traffic is refused.
    async fn restart_sidecar(&mut self) {
        let token = async {
            let mut client = client::connect(&self.mesh.control_socket()).await?;
            let request = CreateJoinTokenRequest {
                namespace: self.record.namespace.clone(),
                service_account: self.start.registration.service_account.clone(),
                ttl_seconds: 0,
            };
            let response = client.create_join_token(request).await.map_err(|it| client::refused(&it))?;
            write_private(&self.paths.directory.join("join-token"), response.into_inner().token.as_bytes())
        };
        // Without a control plane it starts from what it has.
        let _ = tokio::time::timeout(Duration::from_secs(2), token).await;
        let Some(log) = &self.sidecar_log else { return };
        if let Ok(child) = sidecar::spawn(&self.start, &self.paths, &self.admin_socket, log) {
            self.record.sidecar = process_of(&child);
            self.sidecar = Some(child);
            let _ = self.write();
        }
    }

    /// Tells the mesh that requests are welcome, as soon as the application listens.
    async fn announce(&self) {
        if !self.serves() {
            return;
        }
        if self.start.detached {
            self.report(WorkloadState::Ready, Duration::ZERO).await;
            return;
        }
        let wanted: BTreeSet<u16> = self.record.ports.iter().map(|it| it.port).collect();
        let report = Report::of(self, WorkloadState::Ready, Duration::ZERO);
        tokio::spawn(async move {
            while !wanted.is_subset(&listening::ports()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            report.send().await;
        });
    }

    /// Tells the mesh what the application can take, and waits until all concerned know, `wait` at most.
    async fn report(&self, state: WorkloadState, wait: Duration) {
        if self.serves() {
            Report::of(self, state, wait).send().await;
        }
    }

    fn serves(&self) -> bool {
        !self.record.service.is_empty() && !self.record.ports.is_empty()
    }

    async fn deregister(&mut self) {
        if !std::mem::take(&mut self.registered) {
            return;
        }
        let ask = async {
            let mut client = client::connect(&self.mesh.control_socket()).await?;
            let request = DeregisterWorkloadRequest {
                name: self.record.name.clone(),
                namespace: self.record.namespace.clone(),
            };
            client.deregister_workload(request).await.map_err(|it| client::refused(&it))
        };
        // A control plane that is away finds out by itself: the sidecar's stream ends.
        let _ = tokio::time::timeout(Duration::from_secs(5), ask).await;
    }

    /// After the application: whatever it left behind, then the sidecar, which finishes its requests within bounds.
    async fn leave(&mut self) {
        self.deregister().await;
        let own = nix::unistd::getpid().as_raw();
        if let Some(network) = self.record.network {
            let sidecar = self.sidecar.as_ref().and_then(Child::id).map(u32::cast_signed);
            let except: BTreeSet<i32> = [Some(own), sidecar].into_iter().flatten().collect();
            end_all(|| in_network(network, &except), Duration::from_secs(1)).await;
        } else if let (true, Some(app)) = (self.start.detached, &self.record.application) {
            // Its process group, which is its own.
            let _ = nix::sys::signal::killpg(Pid::from_raw(app.pid), Signal::SIGKILL);
        }
        if let Some(mut child) = self.sidecar.take() {
            send(&child, Signal::SIGTERM);
            let most = Duration::from_secs(self.start.specification.drain_seconds + 5);
            if tokio::time::timeout(most, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
        finish(&mut self.app_log).await;
        finish(&mut self.sidecar_log).await;
        let _ = fs::remove_file(&self.admin_socket);
    }

    /// A detached workload leaves its logs, for `weft logs`; one in the foreground leaves nothing.
    fn finish(&mut self, status: ExitStatus) {
        if self.start.detached && self.record.state != State::Stopping {
            self.record.state = State::Exited;
            self.record.exit_code = Some(exit_code(status));
            let _ = self.write();
            files::refresh_hosts(&self.mesh);
        } else {
            self.forget();
        }
    }

    fn forget(&self) {
        let _ = fs::remove_dir_all(&self.paths.directory);
        files::refresh_hosts(&self.mesh);
    }

    fn write(&self) -> Result<(), CommandError> {
        save(&self.paths.record(), &self.record)
    }
}

/// A word to the control plane about a workload.
struct Report {
    socket: PathBuf,
    request: ReportWorkloadRequest,
}

impl Report {
    fn of(workload: &Workload, state: WorkloadState, wait: Duration) -> Self {
        let request = ReportWorkloadRequest {
            name: workload.record.name.clone(),
            namespace: workload.record.namespace.clone(),
            state: state.into(),
            wait_ms: wait.as_millis() as u64,
        };
        Self { socket: workload.mesh.control_socket(), request }
    }

    /// A control plane that is away is asked again, for as long as a restart may take.
    async fn send(self) {
        let end = Instant::now() + Duration::from_millis(self.request.wait_ms) + Duration::from_secs(10);
        let draining = self.request.state() == WorkloadState::Draining;
        loop {
            let asked = async {
                let mut client = client::connect(&self.socket).await?;
                client.report_workload(self.request.clone()).await.map_err(|it| client::refused(&it))
            };
            let done = matches!(tokio::time::timeout_at(end, asked).await, Ok(Ok(_)));
            // Nobody is told by a control plane that is away: the application need not wait for it.
            if done || draining || Instant::now() > end {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Ends when the process does; never when there is none.
async fn ended(child: &mut Option<Child>) {
    match child {
        Some(child) => drop(child.wait().await),
        None => std::future::pending().await,
    }
}

/// Everything that was written to a log is in its file.
async fn finish(log: &mut Option<Log>) {
    if let Some(log) = log.take() {
        log.finish().await;
    }
}

fn process_of(child: &Child) -> Option<ProcessRef> {
    ProcessRef::of(child.id()?.cast_signed())
}

/// Only while it has not been waited for, so that the id is still its own.
fn send(child: &Child, signal: Signal) {
    if let Some(pid) = child.id() {
        let _ = nix::sys::signal::kill(Pid::from_raw(pid.cast_signed()), signal);
    }
}

/// As a shell gives it: 128 and the signal's number for one that was killed.
fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

fn end_of_log(what: &str, path: &std::path::Path) -> String {
    let lines = last_lines(path, 12);
    if lines.is_empty() {
        format!("{what} is empty")
    } else {
        format!("the end of {what}:\n  {}", lines.join("\n  "))
    }
}
