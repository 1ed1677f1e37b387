//! `weft logs`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::{CommandError, CommandResult, FAILED, Globals, NOT_FOUND, block_on, down};
use crate::runtime::log::LogReader;
use crate::runtime::paths::MeshPaths;
use crate::runtime::record;

/// Show what a workload wrote.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  weft logs reviews-v1 -f\n  weft logs reviews-v1 --proxy --tail 20\n  weft logs --control-plane\n\n\
    A log that has grown to 10 MiB begins anew; the one before is kept and shown too. WEFT_LOG_LIMIT, in bytes, in the\n\
    environment of `weft up` and `weft run` sets another size.")]
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
    let paths = MeshPaths::of(&globals.mesh())?;
    let (path, supervisor) = match &args.workload {
        None => (paths.control_plane_log(), record::running_mesh(&paths)?.control_plane),
        Some(name) => {
            if !paths.exists()? {
                return Err(paths.not_up());
            }
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
    let mut log = LogReader::open(path)?;
    let mut out = io::stdout().lock();
    if let Some(count) = args.tail {
        let mut text = Vec::new();
        log.copy(&mut text)?;
        out.write_all(last_lines(&text, count))?;
    }
    loop {
        // Asked before reading: what was written before the end is then still read.
        let more = args.follow && alive();
        log.copy(&mut out)?;
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

/// The end of a text that has so many lines, or the whole of it.
fn last_lines(text: &[u8], count: usize) -> &[u8] {
    let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let kept = lines.split_off(lines.len().saturating_sub(count));
    &text[text.len() - kept.iter().map(|line| line.len()).sum::<usize>()..]
}
