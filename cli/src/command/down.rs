//! `weft down`.

use std::fs;
use std::process::ExitCode;

use super::{CommandError, CommandResult, FAILED, Globals, NOT_FOUND, block_on};
use crate::output::print;
use crate::runtime::paths::MeshPaths;
use crate::runtime::record::{self, WorkloadRecord};
use crate::runtime::stop;

/// Stop workloads, or the whole mesh, and remove every trace of it.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  weft down\n  weft down reviews-v2          # this workload only\n  weft down --keep-state        # the next `weft up` has the same objects and root")]
pub struct Args {
    /// Only these workloads (NAME, or NAME.NAMESPACE).
    #[arg(value_name = "WORKLOAD", conflicts_with = "keep_state")]
    workloads: Vec<String>,
    /// Keep the control plane's objects and root certificate.
    #[arg(long)]
    keep_state: bool,
}

/// Runs it.
///
/// # Errors
/// When a workload is not known, or a file cannot be removed.
pub fn run(args: Args, globals: &Globals) -> CommandResult {
    let paths = MeshPaths::of(&globals.mesh())?;
    if !paths.exists()? {
        if !args.workloads.is_empty() {
            return Err(paths.not_up());
        }
        print(&format!("mesh `{}` is not up\n", globals.mesh()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let _lock = paths.lock()?;
    let workloads = record::workloads(&paths);
    if !args.workloads.is_empty() {
        return some(&paths, &workloads, &args.workloads);
    }
    // A damaged record must not keep anybody from cleaning up what the others name.
    let mesh = record::mesh(&paths);
    block_on(async {
        stop::workloads(&paths, &workloads).await;
        // Workloads that were being started meanwhile.
        stop::workloads(&paths, &record::workloads(&paths)).await;
        if let Ok(Some(mesh)) = &mesh {
            stop::mesh(mesh).await;
        }
        Ok(())
    })?;
    let made_base = matches!(&mesh, Ok(Some(mesh)) if mesh.made_base_directory);
    remove(&paths, args.keep_state, made_base)?;
    print(&format!("mesh `{}` is down\n", globals.mesh()))?;
    mesh.map(|_| ExitCode::SUCCESS)
}

fn some(paths: &MeshPaths, all: &[WorkloadRecord], names: &[String]) -> CommandResult {
    let mut chosen = Vec::new();
    for name in names {
        chosen.push(find(all, name)?.clone());
    }
    block_on(async {
        stop::workloads(paths, &chosen).await;
        Ok(())
    })?;
    for workload in chosen {
        print(&format!("{}.{} is down\n", workload.name, workload.namespace))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The workload that a user names as NAME or NAME.NAMESPACE.
///
/// # Errors
/// When there is none, or several.
pub fn find<'a>(all: &'a [WorkloadRecord], name: &str) -> Result<&'a WorkloadRecord, CommandError> {
    let matches: Vec<&WorkloadRecord> =
        all.iter().filter(|it| it.name == name || format!("{}.{}", it.name, it.namespace) == name).collect();
    match matches[..] {
        [one] => Ok(one),
        [] => {
            let names: Vec<&str> = all.iter().map(|it| it.name.as_str()).collect();
            let there = if names.is_empty() { "there are none".to_owned() } else { format!("there are {}", names.join(", ")) };
            Err(CommandError::new(NOT_FOUND, format!("no workload is called `{name}`")).hint(there))
        }
        _ => Err(CommandError::new(FAILED, format!("several namespaces have a workload `{name}`"))
            .hint(format!("name one as {name}.NAMESPACE"))),
    }
}

fn remove(paths: &MeshPaths, keep_state: bool, made_base: bool) -> Result<(), CommandError> {
    let failed = |error: std::io::Error| {
        CommandError::new(FAILED, format!("cannot remove {}: {error}", paths.directory.display()))
    };
    if keep_state {
        for entry in fs::read_dir(&paths.directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path == paths.control_plane() {
                continue;
            }
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.map_err(failed)?;
        }
        return Ok(());
    }
    fs::remove_dir_all(&paths.directory).map_err(failed)?;
    if let Some(base) = paths.directory.parent().filter(|_| made_base) {
        // Stays when another mesh is in it.
        let _ = fs::remove_dir(base);
    }
    Ok(())
}
