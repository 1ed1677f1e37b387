//! `weft logs`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::LogParams;

use super::{CommandError, CommandResult, FAILED, Globals, NOT_FOUND, block_on, down};
use crate::cluster::{Cluster, ClusterChoice, Target, pods, target};
use crate::runtime::log::LogReader;
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
    let paths = match target(globals)? {
        Target::Local(paths) => paths,
        Target::Cluster(choice) => return block_on(of_cluster(&args, choice)),
    };
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

/// Logs of pods: of the application's first container, the sidecar's, or the control planes'.
async fn of_cluster(args: &Args, choice: ClusterChoice) -> CommandResult {
    let cluster = Cluster::connect(&choice).await?;
    let (found, container): (_, fn(&Pod) -> Option<&Container>) = match &args.workload {
        None => (cluster.control_plane_pods().await?, pods::application),
        Some(workload) => {
            let found = cluster.workload(workload).await?;
            (found, if args.proxy { pods::sidecar } else { pods::application })
        }
    };
    let sources: Vec<(Pod, String)> =
        found.into_iter().filter_map(|pod| container(&pod).map(|it| it.name.clone()).map(|name| (pod, name))).collect();
    if sources.is_empty() {
        let what = args.workload.as_deref().map_or_else(|| "no control plane".to_owned(), |it| format!("no sidecar of `{it}`"));
        return Err(CommandError::new(NOT_FOUND, format!("there is {what} in the cluster")));
    }
    let tail_lines = args.tail.map(|lines| i64::try_from(lines).unwrap_or(i64::MAX));
    cluster.logs(sources, &LogParams { follow: args.follow, tail_lines, ..LogParams::default() }).await?;
    Ok(ExitCode::SUCCESS)
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
