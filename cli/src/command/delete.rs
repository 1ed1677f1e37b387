//! `weft delete`: takes objects out of the mesh.

use std::path::PathBuf;
use std::time::Duration;

use weft_proto::api::{DeleteRequest, ObjectRef};

use super::{CommandError, CommandResult, Globals, USAGE, apply, ask};
use crate::files;
use crate::output::FormatArgs;

/// Take objects out of the mesh.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weft delete virtualservice reviews
  weft delete vs/reviews dr/reviews -n bookshop
  weft delete -f canary.yaml --wait

Exit codes: 0 deleted; 1 not allowed, 4 not found: nothing deleted; 6 a sidecar did not acknowledge in time.")]
pub struct Args {
    /// A kind and names, or KIND/NAME pairs.
    #[arg(value_name = "KIND NAME… | KIND/NAME…", required_unless_present = "files")]
    objects: Vec<String>,
    /// Delete what these files name; `-` is standard input.
    #[arg(short, long = "file", value_name = "FILE|DIR|-", conflicts_with = "objects")]
    files: Vec<PathBuf>,
    /// Do not fail when an object is not there.
    #[arg(long)]
    ignore_not_found: bool,
    /// Return when every sidecar concerned has acknowledged.
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration, value_name = "TIME")]
    timeout: Duration,
    /// Namespace of the objects.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    output: FormatArgs,
}

/// Runs it.
///
/// # Errors
/// When arguments do not name objects, files cannot be read or the control plane cannot be asked.
pub fn run(args: Args, globals: &Globals) -> CommandResult {
    let request = DeleteRequest {
        objects: references(&args.objects, &args.namespace)?,
        files: files::read(&args.files)?,
        namespace: args.namespace,
        wait: args.wait,
        wait_timeout_ms: args.timeout.as_millis() as u64,
        ignore_not_found: args.ignore_not_found,
    };
    ask(globals, |mut mesh| async move {
        let events = mesh.delete(request).await?.into_inner();
        apply::follow(events, args.output.format, false).await
    })
}

/// `KIND NAME…` or `KIND/NAME…`; the control plane knows the kinds.
fn references(words: &[String], namespace: &str) -> Result<Vec<ObjectRef>, CommandError> {
    let reference = |kind: &str, name: &str| ObjectRef {
        api_version: String::new(),
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let Some((first, rest)) = words.split_first() else { return Ok(Vec::new()) };
    if first.contains('/') {
        let pairs = words.iter().map(|word| match word.split_once('/') {
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok(reference(kind, name)),
            _ => Err(CommandError::new(USAGE, format!("`{word}` is not of the form KIND/NAME"))),
        });
        return pairs.collect();
    }
    if rest.is_empty() {
        return Err(CommandError::new(USAGE, format!("name the {first} to delete: weft delete {first} NAME")));
    }
    Ok(rest.iter().map(|name| reference(first, name)).collect())
}
