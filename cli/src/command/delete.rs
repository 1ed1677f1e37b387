//! `weft delete`: takes objects out of the mesh.

use std::path::PathBuf;
use std::time::Duration;

use weft_control_plane::source::{Kind, parse_files};
use weft_proto::api::apply_event::Event;
use weft_proto::api::{Accepted, ApplyEvent, DeleteRequest, ObjectRef, Rejected, SourceFile};

use super::apply::{self, Told};
use super::{CommandError, CommandResult, Globals, USAGE, ask, block_on};
use crate::cluster::objects::Reference;
use crate::cluster::{Cluster, ClusterChoice, Target, target};
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
    #[command(flatten)]
    output: FormatArgs,
}

/// Runs it.
///
/// # Errors
/// When arguments do not name objects, files cannot be read or the control plane cannot be asked.
pub fn run(args: Args, globals: &Globals) -> CommandResult {
    let files = files::read(&args.files)?;
    match target(globals)? {
        Target::Local(paths) => {
            let namespace = globals.local_namespace();
            let request = DeleteRequest {
                objects: references(&args.objects, &namespace)?,
                files,
                namespace,
                wait: args.wait,
                wait_timeout_ms: args.timeout.as_millis() as u64,
                ignore_not_found: args.ignore_not_found,
            };
            ask(&paths, |mut mesh| async move {
                let events = mesh.delete(request).await?.into_inner();
                apply::follow(events, args.output.format, false).await
            })
        }
        Target::Cluster(choice) => block_on(from_cluster(&args, files, choice)),
    }
}

/// From the API server; the control planes follow it.
async fn from_cluster(args: &Args, files: Vec<SourceFile>, choice: ClusterChoice) -> CommandResult {
    let cluster = Cluster::connect(&choice).await?;
    let parsed = parse_files(files.iter().map(|it| (it.path.as_str(), it.content.as_str())), &cluster.namespace);
    let mut told = Told::new(args.output.format, false);
    let findings = parsed.findings.iter().map(Into::into).collect();
    if parsed.has_errors() {
        told.tell(ApplyEvent { event: Some(Event::Rejected(Rejected { findings })) })?;
        return told.done();
    }
    let mut named = references(&args.objects, &cluster.namespace)?;
    named.extend(parsed.objects.iter().map(|object| ObjectRef {
        api_version: object.reference.api_version.to_string(),
        kind: object.reference.kind.to_string(),
        namespace: object.namespace().to_string(),
        name: object.name().to_string(),
    }));
    let mut objects = Vec::new();
    for object in named {
        let kind = Kind::find(&object.kind).map_err(|problem| CommandError::new(USAGE, problem))?;
        let served = cluster.served(kind).await?;
        objects.push(Reference { namespace: Some(object.namespace), name: object.name, ..served });
    }
    let changes = cluster.delete_policies(&objects, args.ignore_not_found).await?;
    let accepted = Accepted { changes: changes.clone(), findings, revision: 0 };
    told.tell(ApplyEvent { event: Some(Event::Accepted(accepted)) })?;
    if args.wait {
        told.wait(&cluster, &changes, args.timeout).await?;
    }
    told.done()
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
