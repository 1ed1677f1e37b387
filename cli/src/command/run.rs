//! `weft run`.

use std::fs;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::{CommandError, CommandResult, FAILED, Globals, USAGE, block_on};
use crate::output::print;
use crate::runtime::control_plane::free_port;
use crate::runtime::interrupt::Interrupts;
use crate::runtime::paths::{MeshPaths, log_file, private_directory};
use crate::runtime::process::ProcessRef;
use crate::runtime::record::{self, Isolation, MeshRecord, Port};
use crate::runtime::specification::{Publish, Registration, Specification, Start, pair};
use crate::runtime::{client, listening, supervise, tool};

/// What `weft run` ends with when the application could not be started, as `docker run` does.
const NOT_STARTED: u8 = 125;

/// Run a process inside the mesh, in a network namespace of its own with a sidecar.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  weft run --service reviews --version v2 --port http:9080 --detach -- python3 reviews.py\n  weft run -- curl -s http://reviews:9080/            # a client inside the mesh\n  weft run --no-sidecar -- curl -s http://reviews:9080/   # a client outside of it\n  weft run --service web --port http:8000 --publish 8080:8000 -- ./web\n\nThe exit code is the application's (128 and the signal's number when it was killed), or 125 when it could not be started. The application starts after its sidecar is ready, and the sidecar leaves after the application.")]
pub struct Args {
    /// The service it is part of: the name others call. Without it, it is a client only.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Its version, for subsets (label `version`).
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// A port it serves; the name's prefix declares the protocol, as in Kubernetes: http:9080, grpc-api:9090.
    #[arg(long, value_name = "[NAME:]PORT")]
    port: Vec<Port>,
    /// Its service has no virtual address: clients choose a workload by its address or its name, WORKLOAD.SERVICE, and
    /// reach that one. Workloads are called SERVICE-0, SERVICE-1 and so on.
    #[arg(long)]
    headless: bool,
    /// The workload's name; made of service and version when absent.
    #[arg(long)]
    name: Option<String>,
    /// Its namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Whose identity it gets; the service's name, or `default`, when absent.
    #[arg(long, value_name = "NAME")]
    service_account: Option<String>,
    /// A label.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// A variable of its environment.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Run in the background; returns when its ports accept.
    #[arg(short, long)]
    detach: bool,
    /// Without interception: on the host's loopback, told of its sidecar by `http_proxy`.
    #[arg(long)]
    explicit: bool,
    /// Without a sidecar: on the mesh's network, but outside the mesh.
    #[arg(long, conflicts_with = "explicit")]
    no_sidecar: bool,
    /// A port of the host's 127.0.0.1 that leads to one of the application.
    #[arg(long, value_name = "HOST_PORT:PORT")]
    publish: Vec<Publish>,
    /// Who its sidecar asks for names that are not of the mesh; several are asked one after the other. Without it those
    /// of this machine's /etc/resolv.conf, which a mesh's network does not reach.
    #[arg(long, value_name = "IP[:PORT]", conflicts_with_all = ["explicit", "no_sidecar"])]
    upstream_resolver: Vec<String>,
    /// Seconds between asking it to end and ending it.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=60))]
    grace: u64,
    /// Seconds that the sidecar finishes requests after that.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=15))]
    drain: u64,
    /// With --detach: seconds within which its ports must accept.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    ready_timeout: u64,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// When the application could not be started.
pub fn run(args: Args, globals: &Globals) -> CommandResult {
    let paths = MeshPaths::of(&globals.mesh())?;
    let (detached, explicit) = (args.detach, args.explicit);
    let specification = specification(args)?;
    let mesh = record::running_mesh(&paths)?;
    paths.own()?;
    if explicit && mesh.isolation != Isolation::Explicit {
        return Err(CommandError::new(FAILED, format!("mesh `{}` has namespaces: nothing on loopback can join", globals.mesh()))
            .hint("start another one for it: weft up --explicit --mesh NAME"));
    }
    let start = block_on(register(&paths, &mesh, globals, specification, detached))?;
    let workload = paths.workload(&start.registration.namespace, &start.registration.name);
    let _ = fs::remove_dir_all(&workload.directory);
    private_directory(&workload.directory)?;
    if detached { block_on(background(&start, &paths)) } else { foreground(start) }
}

fn foreground(start: Start) -> CommandResult {
    supervise::supervise(start, &mut |_| {}).map_err(|error| CommandError { code: NOT_STARTED, ..error })
}

fn specification(args: Args) -> Result<Specification, CommandError> {
    let service = args.service.unwrap_or_default();
    let account = if service.is_empty() { "default" } else { &service };
    let specification = Specification {
        name: args.name.unwrap_or_default(),
        namespace: args.namespace,
        service_account: args.service_account.unwrap_or_else(|| account.to_owned()),
        service,
        version: args.version.unwrap_or_default(),
        headless: args.headless,
        upstream_resolvers: args.upstream_resolver,
        labels: args.label.into_iter().collect(),
        ports: args.port,
        environment: args.env,
        sidecar: !args.no_sidecar,
        publish: args.publish,
        directory: std::env::current_dir()
            .map_err(|error| CommandError::new(FAILED, format!("the working directory is gone: {error}")))?,
        command: args.command,
        grace_seconds: args.grace,
        drain_seconds: args.drain,
        ready_seconds: args.ready_timeout,
    };
    let mut mistakes = specification.mistakes();
    if tool::in_path(&specification.command[0]).is_none() {
        mistakes.push(format!("`{}` is not a program, nor one in PATH", specification.command[0]));
    }
    if specification.directory.to_str().is_none() {
        let directory = specification.directory.display();
        mistakes.push(format!("the working directory {directory} is not a path in UTF-8: call it from another"));
    }
    if mistakes.is_empty() { Ok(specification) } else { Err(CommandError::new(USAGE, mistakes.join("\n  "))) }
}

async fn register(
    paths: &MeshPaths,
    mesh: &MeshRecord,
    globals: &Globals,
    specification: Specification,
    detached: bool,
) -> Result<Start, CommandError> {
    let explicit = mesh.isolation == Isolation::Explicit;
    let running = record::workloads(paths).into_iter().filter(record::WorkloadRecord::alive).any(|it| {
        it.name == specification.name && it.namespace == specification.namespace
    });
    if running {
        return Err(CommandError::new(FAILED, format!("`{}` runs already", specification.name))
            .hint(format!("stop it with `weft down {}`, or choose another --name", specification.name)));
    }
    let mut explicit_inbound = Vec::new();
    if explicit {
        let taken = listening::ports();
        if let Some(port) = specification.ports.iter().find(|it| taken.contains(&it.port)) {
            return Err(CommandError::new(FAILED, format!("port {} of this machine is in use", port.port))
                .hint("without namespaces every application needs a port of its own"));
        }
        for port in &specification.ports {
            explicit_inbound.push((port.port, free_port()?));
        }
    }
    let proxy_program = tool::own_program("weft-proxy")?;
    let (explicit_outbound, explicit_admin) = if explicit { (free_port()?, free_port()?) } else { (0, 0) };
    let mut client = client::connect(&paths.control_socket()).await?;
    let request = specification.registration(mesh.isolation, &explicit_inbound);
    let ask = tokio::time::timeout(Duration::from_secs(20), client.register_workload(request));
    let response = ask
        .await
        .map_err(|_| CommandError::new(FAILED, "the control plane does not answer"))?
        .map_err(|status| client::refused(&status))?;
    Ok(Start {
        specification,
        registration: Registration::from(response.into_inner()),
        mesh: globals.mesh().to_string(),
        directory: paths.directory.clone(),
        isolation: mesh.isolation,
        holder: mesh.holder.clone(),
        egress: mesh.egress.is_some(),
        explicit_inbound,
        explicit_outbound,
        explicit_admin,
        detached,
        proxy_program,
        uid: nix::unistd::getuid().as_raw(),
        gid: nix::unistd::getgid().as_raw(),
    })
}

/// Starts a supervisor of its own and waits until it says how the start went.
async fn background(start: &Start, paths: &MeshPaths) -> CommandResult {
    let workload = paths.workload(&start.registration.namespace, &start.registration.name);
    let failed = |error: &dyn std::fmt::Display| CommandError::new(NOT_STARTED, format!("cannot start a supervisor: {error}"));
    let description = serde_json::to_vec(start).map_err(|error| failed(&error))?;
    let mut interrupts = Interrupts::listen()?;
    let mut child = tokio::process::Command::new("/proc/self/exe")
        .args(["internal", "supervise"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log_file(&workload.supervisor_log())?)
        .spawn()
        .map_err(|error| failed(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&description).await.map_err(|error| failed(&error))?;
    }
    let mut answer = String::new();
    let mut said = BufReader::new(child.stdout.take().ok_or_else(|| failed(&"it has no output"))?);
    let interrupted = tokio::select! {
        biased;
        interrupted = interrupts.next() => Some(interrupted),
        read = said.read_line(&mut answer) => read.map(|_| None).map_err(|error| failed(&error))?,
    };
    let given = &start.registration;
    if let Some(error) = interrupted {
        // A workload that nobody has been told of is not left behind.
        if let Some(supervisor) = child.id().and_then(|pid| ProcessRef::of(pid.cast_signed())) {
            supervisor.signal(Signal::SIGTERM);
        }
        let _ = child.wait().await;
        return Err(error.hint(format!("{}.{} was stopped", given.name, given.namespace)));
    }
    match serde_json::from_str::<Result<(), (String, Option<String>, u8)>>(&answer) {
        Ok(Ok(())) => {
            print(&format!("{}.{} runs: {}\n", given.name, given.namespace, whereabouts(start)))?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(Err((message, hint, _))) => {
            let _ = child.wait().await;
            Err(CommandError { message, hint, code: NOT_STARTED })
        }
        Err(_) => {
            let _ = child.wait().await;
            let said = fs::read_to_string(workload.supervisor_log()).unwrap_or_default();
            let _ = fs::remove_dir_all(&workload.directory);
            Err(failed(&format!("it ended without a word\n  {}", said.trim())))
        }
    }
}

fn whereabouts(start: &Start) -> String {
    let asked = &start.specification;
    if asked.service.is_empty() {
        return "a client, no service".to_owned();
    }
    let ports: Vec<String> = asked.ports.iter().map(|it| it.port.to_string()).collect();
    format!("service {}, port {}", asked.service, ports.join(", "))
}
