//! `weft inject`: the sidecar in files, as the webhook puts it into pods.

mod edit;
mod objects;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use weft_control_plane::inject::{InjectionValues, Injector};
use weft_control_plane::source::Finding;

use super::{CommandError, CommandResult, FAILED, Globals, apply, block_on};
use crate::cluster::{Cluster, ClusterChoice};
use crate::files;
use crate::install::names::{INJECTION, NAMESPACE};
use crate::output::print;
use objects::{Action, File};

/// Put the sidecar into pods of files, as the webhook does when they are created.
///
/// Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, ReplicationControllers, Jobs and CronJobs get it, in lists
/// too; everything else, comments and layout come out as they went in. Doing it twice is doing it once.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weft inject -f shop.yaml | kubectl apply -f -
  weft inject -f deploy/ --from-cluster -o injected.yaml
  weft inject -f deploy/ --values injection.yaml -o injected.yaml
  weft inject -f injected.yaml --remove

Exit codes: 0 done; 1 mistakes, nothing was written.")]
pub struct Args {
    /// A file, a directory, or `-` for standard input; can be given several times.
    #[arg(short, long = "file", required = true, value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,
    /// Settings of injection, as in the key `values` of the ConfigMap `weft-injection`; else the built-in ones.
    #[arg(long, value_name = "FILE", conflicts_with = "remove")]
    values: Option<PathBuf>,
    /// Settings of the mesh in the cluster of the kubeconfig; --context and --kubeconfig mean this too.
    #[arg(long, conflicts_with_all = ["values", "remove"])]
    from_cluster: bool,
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
pub fn run(args: Args, globals: &Globals) -> CommandResult {
    let sources = files::read(&args.files)?;
    let injector;
    let action = if args.remove {
        Action::Remove
    } else {
        injector = load(&args, globals)?;
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

/// An injector by the values of a file, of a cluster, or the built-in ones.
fn load(args: &Args, globals: &Globals) -> Result<Injector, CommandError> {
    let told = |findings: Vec<Finding>| {
        let lines: String = findings.iter().map(|finding| apply::finding(&finding.into())).collect();
        CommandError::new(FAILED, lines.trim_end().to_owned())
    };
    let revision = args.revision.as_deref();
    let from_cluster = args.from_cluster || globals.context.is_some() || globals.kubeconfig.is_some();
    let mut values = match &args.values {
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|error| {
                CommandError::new(FAILED, format!("cannot read {}: {error}", path.display()))
            })?;
            InjectionValues::parse(&path.display().to_string(), &text).map_err(told)?
        }
        None if from_cluster => {
            let (name, text) = block_on(values_of_cluster(globals, revision))?;
            InjectionValues::parse(&name, &text).map_err(told)?
        }
        None => InjectionValues::default(),
    };
    if let Some(revision) = revision {
        values = values.with_revision(revision);
    }
    Injector::new(values).map_err(told)
}

/// What the mesh of a cluster injects by, and what it is called.
async fn values_of_cluster(
    globals: &Globals,
    revision: Option<&str>,
) -> Result<(String, String), CommandError> {
    let cluster = Cluster::connect(&ClusterChoice::of(globals)).await?;
    let name = match revision {
        None | Some("default") => INJECTION.to_owned(),
        Some(revision) => format!("{INJECTION}-{revision}"),
    };
    let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let what = format!("read the ConfigMap {name} of {NAMESPACE}");
    let map = api.get(&name).await.map_err(|error| cluster.failed(&what, &error))?;
    let text = map.data.and_then(|mut data| data.remove("values")).ok_or_else(|| {
        CommandError::new(FAILED, format!("the ConfigMap {name} of {NAMESPACE} has no key `values`"))
            .hint("`weft install` writes it; --values names a file instead")
    })?;
    Ok((format!("ConfigMap/{name}"), text))
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
