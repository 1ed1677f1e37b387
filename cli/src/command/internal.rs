//! What `weft` runs itself as. Not for people: no promise is kept about it.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use clap::Subcommand;

use super::{CommandError, CommandResult, FAILED, Globals, block_on};
use crate::output::{Format, print};
use crate::traffic::{self, TrafficArgs};
use crate::runtime::application::{Become, become_application};
use crate::runtime::process::ProcessRef;
use crate::runtime::record::Isolation;
use crate::runtime::specification::Start;
use crate::runtime::{hold, isolation, supervise, tool};

/// Weft's own helper processes.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    process: Process,
}

#[derive(Subcommand)]
enum Process {
    /// Keep a mesh's namespaces open.
    Hold {
        #[arg(long)]
        user: bool,
        #[arg(long, conflicts_with = "user")]
        root: bool,
    },
    /// Become the control plane, in the mesh's namespaces.
    ControlPlane {
        #[arg(long)]
        holder: Option<i32>,
        #[arg(long)]
        user: bool,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Run the workload that standard input describes.
    Supervise,
    /// Become an application.
    Application(Become),
    /// Call a URL again and again and print what came back, as JSON.
    Traffic(TrafficArgs),
}

/// Runs one.
///
/// # Errors
/// What failed.
pub fn run(args: Args, _: &Globals) -> CommandResult {
    match args.process {
        Process::Hold { user, .. } => hold::hold(if user { Isolation::User } else { Isolation::Root }),
        Process::ControlPlane { holder, user, command } => control_plane(holder, user, &command),
        Process::Supervise => detached(),
        Process::Application(it) => become_application(it),
        Process::Traffic(args) => block_on(async {
            let summary = traffic::run(&args).await;
            print(&Format::Json.render(&summary, |_| String::new())?.replace('\n', " "))?;
            print("\n")?;
            Ok(ExitCode::SUCCESS)
        }),
    }
}

fn control_plane(holder: Option<i32>, user: bool, command: &[String]) -> CommandResult {
    let _ = nix::unistd::setsid();
    let mut become_ = Command::new(tool::tool("setpriv")?);
    become_.arg("--no-new-privs");
    if let Some(pid) = holder {
        let isolation = if user { Isolation::User } else { Isolation::Root };
        let holder = ProcessRef::of(pid).ok_or_else(|| CommandError::new(FAILED, "the mesh ended just now"))?;
        isolation::enter_mesh(&holder, isolation)?;
        // It needs its files and its ports, nothing more.
        become_.args(["--inh-caps=-all", "--bounding-set=-all"]);
    }
    let error = become_.arg("--").args(command).exec();
    Err(CommandError::new(FAILED, format!("cannot run the control plane: {error}")))
}

/// A supervisor in the background: says on standard output whether the workload came up.
fn detached() -> CommandResult {
    let _ = nix::unistd::setsid();
    let mut text = Vec::new();
    let start: Start = std::io::stdin()
        .read_to_end(&mut text)
        .map_err(|error| error.to_string())
        .and_then(|_| serde_json::from_slice(&text).map_err(|error| error.to_string()))
        .map_err(|error| CommandError::new(FAILED, format!("no workload was described: {error}")))?;
    let mut tell = |result: Result<(), &CommandError>| {
        let answer = result.map_err(|error| (&error.message, &error.hint, error.code));
        let mut stdout = std::io::stdout();
        // Whoever started it may be gone; the workload runs all the same.
        let _ = writeln!(stdout, "{}", serde_json::to_string(&answer).unwrap_or_default());
        let _ = stdout.flush();
    };
    supervise::supervise(start, &mut tell).or(Ok(ExitCode::FAILURE))
}
