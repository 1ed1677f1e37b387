//! `weft logs`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::{CommandError, CommandResult, FAILED, Globals, NOT_FOUND, block_on, down};
use crate::runtime::paths::{MeshPaths, last_lines};
use crate::runtime::record;

/// Show what a workload wrote.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  weft logs reviews-v1 -f\n  weft logs reviews-v1 --proxy --tail 20\n  weft logs --control-plane")]
pub struct Args {
    /// NAME, or NAME.NAMESPACE.
    #[arg(value_name = "WORKLOAD", required_unless_present = "control_plane")]
    workload: Option<String>,
    /// The sidecar's log: access log and messages.
    #[arg(long)]
    proxy: bool,
    /// The control plane's log.
    #[arg(long, conflicts_with_all = ["workload", "proxy"])]
    control_plane: bool,
    /// Go on as it grows, until the workload ends.
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines.
    #[arg(long, value_name = "LINES")]
    tail: Option<usize>,
}

/// Runs it.
///
/// # Errors
/// When there is no such workload or log.
pub fn run(args: Args, globals: &Globals) -> CommandResult {
    let paths = MeshPaths::of(&globals.mesh)?;
    let (path, supervisor) = match &args.workload {
        None => (paths.control_plane_log(), record::running_mesh(&paths)?.control_plane),
        Some(name) => {
            let all = record::workloads(&paths);
            let workload = down::find(&all, name)?;
            let own = paths.workload(&workload.namespace, &workload.name);
            if !args.proxy && !workload.detached {
                return Err(CommandError::new(NOT_FOUND, format!("`{name}` runs in the foreground"))
                    .hint("what it writes is on its terminal; --proxy shows its sidecar's log"));
            }
            if args.proxy && !workload.has_sidecar {
                return Err(CommandError::new(NOT_FOUND, format!("`{name}` has no sidecar")));
            }
            (if args.proxy { own.proxy_log() } else { own.app_log() }, workload.supervisor.clone())
        }
    };
    match show(&path, &args, || supervisor.as_ref().is_some_and(|it| it.alive())) {
        // `weft logs | head`: enough was read.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(CommandError::new(FAILED, format!("{}: {error}", path.display()))),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

fn show(path: &Path, args: &Args, alive: impl Fn() -> bool) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut out = io::stdout().lock();
    if let Some(count) = args.tail {
        let end = file.seek(SeekFrom::End(0))?;
        for line in last_lines(path, count) {
            writeln!(out, "{line}")?;
        }
        file.seek(SeekFrom::Start(end))?;
    }
    loop {
        // Asked before reading: what was written before the end is then still read.
        let more = args.follow && alive();
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        out.write_all(&text)?;
        out.flush()?;
        if !more {
            return Ok(());
        }
        let pause = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(())
        };
        block_on(pause).map_err(io::Error::other)?;
    }
}
