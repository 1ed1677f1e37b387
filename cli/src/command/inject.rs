//! `weft inject`: the sidecar in files, as the webhook puts it into pods.

mod edit;
mod objects;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use weft_control_plane::inject::{InjectionValues, Injector};
use weft_control_plane::source::Finding;

use super::{CommandError, CommandResult, FAILED, Globals, apply};
use crate::files;
use crate::output::print;
use objects::{Action, File};

/// Put the sidecar into pods of files, as the webhook does when they are created.
///
/// Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, ReplicationControllers, Jobs and CronJobs get it, in lists
/// too; everything else, comments and layout come out as they went in. Doing it twice is doing it once.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weft inject -f shop.yaml | kubectl apply -f -
  weft inject -f deploy/ --values injection.yaml -o injected.yaml
  weft inject -f injected.yaml --remove

The mesh's own values: kubectl -n weft-system get configmap weft-injection -o jsonpath='{.data.values}'

Exit codes: 0 done; 1 mistakes, nothing was written.")]
pub struct Args {
    /// A file, a directory, or `-` for standard input; can be given several times.
    #[arg(short, long = "file", required = true, value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,
    /// Settings of injection, as in the key `values` of the ConfigMap `weft-injection`; else the built-in ones.
    #[arg(long, value_name = "FILE", conflicts_with = "remove")]
    values: Option<PathBuf>,
    /// The control plane that is to serve the sidecars.
    #[arg(long, value_name = "NAME", conflicts_with = "remove")]
    revision: Option<String>,
    /// A file for the result instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Take the sidecar out again.
    #[arg(long)]
    remove: bool,
}

/// Runs it.
///
/// # Errors
/// When files cannot be read or written, or there are mistakes in them, which have been printed.
pub fn run(args: Args, _: &Globals) -> CommandResult {
    let sources = files::read(&args.files)?;
    let injector;
    let action = if args.remove {
        Action::Remove
    } else {
        injector = load(args.values.as_deref(), args.revision.as_deref())?;
        Action::Inject(&injector)
    };
    let mut findings = Vec::new();
    let mut texts = Vec::new();
    for source in &sources {
        let name = if source.path == "-" { "<stdin>" } else { &source.path };
        texts.push(File { name, text: &source.content }.change(action, &mut findings));
    }
    let mistakes = findings.iter().filter(|finding| finding.is_error()).count();
    for finding in &findings {
        eprint!("{}", apply::finding(&finding.into()));
    }
    if mistakes > 0 {
        let them = if mistakes == 1 { "1 mistake".to_owned() } else { format!("{mistakes} mistakes") };
        return Err(CommandError::new(FAILED, format!("{them}; nothing was written")));
    }
    let text = joined(&texts);
    match &args.output {
        Some(path) => fs::write(path, text)
            .map_err(|error| CommandError::new(FAILED, format!("cannot write {}: {error}", path.display())))?,
        None => print(&text)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The values of a file, or the built-in ones.
fn load(path: Option<&Path>, revision: Option<&str>) -> Result<Injector, CommandError> {
    let told = |findings: Vec<Finding>| {
        let lines: String = findings.iter().map(|finding| apply::finding(&finding.into())).collect();
        CommandError::new(FAILED, lines.trim_end().to_owned())
    };
    let mut values = match path {
        Some(path) => {
            let text = fs::read_to_string(path)
                .map_err(|error| CommandError::new(FAILED, format!("cannot read {}: {error}", path.display())))?;
            InjectionValues::parse(&path.display().to_string(), &text).map_err(told)?
        }
        None => InjectionValues::default(),
    };
    if let Some(revision) = revision {
        values = values.with_revision(revision);
    }
    Injector::new(values).map_err(told)
}

/// Several files as one stream of documents.
fn joined(texts: &[String]) -> String {
    let mut all = String::new();
    for text in texts {
        if !all.is_empty() {
            if !all.ends_with('\n') {
                all.push('\n');
            }
            if !text.starts_with("---") {
                all.push_str("---\n");
            }
        }
        all.push_str(text);
    }
    all
}
