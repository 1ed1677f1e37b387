//! `weft up`.

mod next_steps;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{CommandError, CommandResult, FAILED, Globals, USAGE, block_on};
use crate::runtime::control_plane::{self, Choices};
use crate::runtime::paths::MeshPaths;
use crate::runtime::process::ProcessRef;
use crate::runtime::record::{self, Isolation, MeshRecord};
use crate::output::print;
use crate::runtime::interrupt::Interrupts;
use crate::runtime::{egress, hold, stop, tool};

/// Start a mesh on this machine: its network and its control plane.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  weft up\n  weft up --config-dir ./policy\n  weft up --mesh staging --trust-domain staging.example.com\n  weft up --root-cert root.pem --root-key root.key --certificate-lifetime 1h\n  weft up --explicit      # where namespaces are forbidden")]
pub struct Args {
    /// A directory of policy and service objects (YAML) that the control plane watches.
    #[arg(long, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// The mesh's root certificate (PEM). Without it the control plane makes one.
    #[arg(long, value_name = "FILE", requires = "root_key")]
    root_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "root_cert")]
    root_key: Option<PathBuf>,
    /// How long workloads' certificates last at most; sidecars renew them well before. By default 24h.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    certificate_lifetime: Option<std::time::Duration>,
    /// SPIFFE trust domain of the mesh's identities.
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: Option<String>,
    /// Workloads reach nothing outside the mesh. Without it they reach what this machine reaches over TCP, but for the
    /// machine itself, and unknown names are asked of its resolvers.
    #[arg(long)]
    no_egress: bool,
    /// No namespaces and no interception: workloads on the host's loopback, told of their sidecar by `http_proxy`.
    #[arg(long)]
    explicit: bool,
}

/// Runs it.
///
/// # Errors
/// When the mesh does not come up.
pub fn run(args: Args, globals: &Globals) -> CommandResult {
    let paths = MeshPaths::of(&globals.mesh())?;
    tool::check_all_for(args.explicit)?;
    let choices = Choices {
        config_dir: args.config_dir.as_deref().map(existing).transpose()?,
        root: match (&args.root_cert, &args.root_key) {
            (Some(certificate), Some(key)) => Some((existing(certificate)?, existing(key)?)),
            _ => None,
        },
        trust_domain: args.trust_domain.clone(),
        certificate_lifetime: args.certificate_lifetime,
    };
    if paths.exists()? {
        paths.own()?;
    }
    let base = paths.directory.parent().map(Path::to_path_buf);
    let made_base_directory = base.is_some_and(|it| !it.exists());
    let _lock = paths.lock()?;
    paths.create()?;
    let before = record::mesh(&paths)?;
    let made = made_base_directory || before.as_ref().is_some_and(|it| it.made_base_directory);
    let said = block_on(bring_up(&paths, globals, &args, &choices, before, made))?;
    // Last, because the mesh is up whether or not anybody can be told.
    print(&said)?;
    Ok(ExitCode::SUCCESS)
}

/// Leaves a mesh that is up, or none: also when it fails or is interrupted half-way. Gives what the user is to know.
async fn bring_up(
    paths: &MeshPaths,
    globals: &Globals,
    args: &Args,
    choices: &Choices,
    before: Option<MeshRecord>,
    made_base_directory: bool,
) -> Result<String, CommandError> {
    let mut interrupts = Interrupts::listen()?;
    let held = |it: &MeshRecord| it.holder.as_ref().is_none_or(ProcessRef::alive);
    let mut mesh = match before {
        Some(mesh) if held(&mesh) && (mesh.isolation == Isolation::Explicit) == args.explicit => {
            let mut unlike = choices.unlike(&mesh.control_plane_arguments);
            unlike.extend((args.no_egress && mesh.egress.is_some()).then_some("--no-egress"));
            if !unlike.is_empty() {
                let message = format!("mesh `{}` is up with another choice of {}", globals.mesh(), unlike.join(", "));
                return Err(CommandError::new(FAILED, message)
                    .hint("`weft down --keep-state` first: its workloads end, objects and root certificate stay"));
            }
            mesh
        }
        Some(mesh) if held(&mesh) && mesh.control_plane.as_ref().is_some_and(ProcessRef::alive) => {
            let other = if args.explicit { "with namespaces" } else { "in explicit mode" };
            return Err(CommandError::new(FAILED, format!("mesh `{}` is up {other}", globals.mesh()))
                .hint("`weft down` first, or choose another with --mesh"));
        }
        before => {
            if let Some(left) = &before {
                stop::workloads(paths, &record::workloads(paths)).await;
                stop::mesh(left).await;
            }
            fresh(paths, globals, args, choices, made_base_directory).await?
        }
    };
    let result = tokio::select! {
        biased;
        interrupted = interrupts.next() => Err(interrupted),
        result = answering(paths, &mut mesh, globals) => result,
    };
    if result.is_err() && record::workloads(paths).is_empty() {
        // Nothing depends on the network yet: a failed start leaves no process.
        stop::mesh(&mesh).await;
        return result.map_err(|error| match error.hint {
            None => error.hint("no process of the mesh is left"),
            Some(_) => error,
        });
    }
    result
}

/// The first start: makes the network.
async fn fresh(
    paths: &MeshPaths,
    globals: &Globals,
    args: &Args,
    choices: &Choices,
    made_base_directory: bool,
) -> Result<MeshRecord, CommandError> {
    let explicit = args.explicit;
    let isolation = match (explicit, nix::unistd::geteuid().is_root()) {
        (true, _) => Isolation::Explicit,
        (false, true) => Isolation::Root,
        (false, false) => Isolation::User,
    };
    let control_plane_program = control_plane::program()?;
    let control_plane_arguments = control_plane::arguments(paths, &globals.mesh(), isolation, choices)?;
    let egress = if explicit || args.no_egress { None } else { Some(egress::start(paths, isolation).await?) };
    let held = if explicit { Ok(None) } else { hold::start(isolation).map(Some) };
    let held = held.inspect_err(|_| {
        if let Some(process) = &egress {
            process.signal(nix::sys::signal::Signal::SIGTERM);
        }
    });
    let (holder, network) = held?.unzip();
    Ok(MeshRecord {
        isolation,
        holder,
        network,
        egress,
        control_plane_arguments,
        control_plane: None,
        control_plane_program,
        made_base_directory,
    })
}

/// Makes sure that a control plane answers; gives the good news.
async fn answering(
    paths: &MeshPaths,
    mesh: &mut MeshRecord,
    globals: &Globals,
) -> Result<String, CommandError> {
    record::save(&paths.mesh_record(), mesh)?;
    if let Some(process) = mesh.egress.as_mut().filter(|process| !process.alive()) {
        *process = egress::start(paths, mesh.isolation).await?;
        record::save(&paths.mesh_record(), mesh)?;
    }
    let first = mesh.control_plane.is_none();
    if mesh.control_plane.as_ref().is_some_and(ProcessRef::alive) {
        if let Ok(info) = control_plane::info(paths).await {
            let (version, pid) = (info.version, info.pid);
            return Ok(format!("mesh `{}` is already up: control plane {version} (pid {pid})\n", globals.mesh()));
        }
        if let Some(stuck) = &mesh.control_plane {
            stuck.end(std::time::Duration::from_secs(5)).await;
        }
    }
    let (process, info) = control_plane::start(paths, mesh).await?;
    mesh.control_plane = Some(process);
    record::save(&paths.mesh_record(), mesh)?;
    let again = if first { "is up" } else { "has its control plane back" };
    let (name, domain, place) = (globals.mesh(), info.trust_domain, paths.directory.display());
    let news = format!("mesh `{name}` {again}: trust domain {domain}, state in {place}\n");
    Ok(if first { news + &next_steps::here(&name, mesh.isolation) } else { news })
}

/// An absolute path, because the control plane runs elsewhere.
fn existing(path: &Path) -> Result<PathBuf, CommandError> {
    path.canonicalize().map_err(|error| CommandError::new(USAGE, format!("{}: {error}", path.display())))
}
