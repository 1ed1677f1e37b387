//! `weft install`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{CommandError, CommandResult, FAILED, Globals, NOT_FOUND, USAGE, block_on};
use crate::cluster::{Cluster, ClusterChoice};
use crate::files;
use crate::install::apply::{self, Step};
use crate::install::history::{self, Installed, Status};
use crate::install::values::InstallValues;
use crate::install::{objects, preflight, wait};
use crate::output::{Colour, coloured, print, say};

/// Install, upgrade or roll back the control plane in a Kubernetes cluster.
///
/// The same command does all three: it applies what differs, and takes out what an earlier version had brought.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weft install --wait
  weft install --set controlPlane.replicas=3 --set image.registry=registry.example.com/mesh
  weft install -f values.yaml --dry-run
  weft install -o yaml > weft.yaml      # for kubectl, Kustomize, GitOps; asks no cluster
  weft install --revision canary        # a second control plane beside the first
  weft install --rollback               # to what was installed before; --rollback 3 to the third

docs/install.md lists the values.
Exit codes: 0 installed; 1 refused, or it failed half-way; 2 wrong values; 5 a permission is lacking; 6 applied, but not ready in time.")]
pub struct Args {
    /// Values; can be given several times, later ones win.
    #[arg(short = 'f', long = "values", value_name = "FILE|-")]
    files: Vec<PathBuf>,
    /// One value, such as controlPlane.replicas=3; wins over files.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Name of this control plane beside others of the cluster: the value `revision`.
    #[arg(long, value_name = "NAME")]
    revision: Option<String>,
    /// Have the API server try everything, and print what would change.
    #[arg(long)]
    dry_run: bool,
    /// Print the objects instead.
    #[arg(short, long, value_enum, value_name = "FORMAT", conflicts_with_all = ["dry_run", "wait", "rollback"])]
    output: Option<Printed>,
    /// Return when the control plane is ready and its webhook answers.
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this.
    #[arg(long, default_value = "5m", value_parser = humantime::parse_duration, value_name = "TIME")]
    timeout: Duration,
    /// Go back to an earlier installation; the last one before this without a number.
    #[arg(long, value_name = "NUMBER", num_args = 0..=1, conflicts_with_all = ["files", "set"])]
    rollback: Option<Option<u32>>,
    /// Install although a check says that it would not work.
    #[arg(long)]
    skip_checks: bool,
}

/// How objects are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Printed {
    /// YAML documents.
    Yaml,
    /// A Kubernetes `List`.
    Json,
}

/// Runs it.
///
/// # Errors
/// When values are wrong, a check fails, or the API server does not answer or refuses.
pub fn run(args: Args, globals: &Globals) -> CommandResult {
    let values = values(&args)?;
    if let Some(form) = args.output {
        let all = objects::render(&values);
        print(&match form {
            Printed::Yaml => objects::to_documents(&all),
            Printed::Json => format!("{:#}\n", serde_json::json!({"apiVersion": "v1", "kind": "List", "items": all})),
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    block_on(async {
        let cluster = Cluster::connect(&ClusterChoice::of(globals)).await?;
        install(&args, &cluster, values).await
    })
}

/// The values that were asked for.
fn values(args: &Args) -> Result<InstallValues, CommandError> {
    let files: Vec<(String, String)> =
        files::read(&args.files)?.into_iter().map(|file| (file.path, file.content)).collect();
    let mut settings = args.set.clone();
    settings.extend(args.revision.as_ref().map(|name| format!("revision={name}")));
    InstallValues::load(&files, &settings).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        CommandError::new(USAGE, lines.join("\n")).hint("`weft install --help` and docs/install.md have the values")
    })
}

async fn install(args: &Args, cluster: &Cluster, values: InstallValues) -> CommandResult {
    let earlier = match args.rollback {
        Some(number) => Some(chosen(cluster, &values, number).await?),
        None => None,
    };
    let (values, all) = match earlier {
        Some(earlier) => {
            say(&format!("going back to installation {} of weft {}", earlier.number, earlier.version));
            (of_record(&earlier)?, earlier.objects)
        }
        None => {
            let all = objects::render(&values);
            (values, all)
        }
    };
    check(args, cluster, &values, &all).await?;
    let progress = progress(all.len());
    let mut counts = Counts::default();
    let number = apply::apply(cluster, &values, &all, args.dry_run, |step| {
        progress.inc(1);
        progress.suspend(|| counts.tell(step, args.dry_run));
    })
    .await?;
    progress.finish_and_clear();
    if args.dry_run {
        say(&format!("nothing was changed; this would be installation {number}"));
        return Ok(ExitCode::SUCCESS);
    }
    if args.wait {
        let spinner = spinner();
        wait::ready(cluster, &values, args.timeout, |state| spinner.set_message(state.to_owned())).await?;
        spinner.finish_and_clear();
    }
    say(&counts.done(number, &values, args.wait));
    Ok(ExitCode::SUCCESS)
}

/// Says what would fail, and ends there unless the user wants it all the same.
async fn check(args: &Args, cluster: &Cluster, values: &InstallValues, all: &[Value]) -> Result<(), CommandError> {
    let found = preflight::run(cluster, values, all).await?;
    for problem in &found {
        eprintln!("{problem}");
    }
    let errors = found.iter().filter(|problem| problem.fatal).count();
    if errors == 0 || args.skip_checks {
        return Ok(());
    }
    let them = if errors == 1 { "1 check fails".to_owned() } else { format!("{errors} checks fail") };
    Err(CommandError::new(FAILED, format!("{them}; nothing was changed")).hint("--skip-checks installs all the same"))
}

/// The installation to go back to.
async fn chosen(cluster: &Cluster, values: &InstallValues, number: Option<u32>) -> Result<Installed, CommandError> {
    let all = history::list(cluster, values.revision_label()).await?;
    let current = all.last().map(|last| last.number);
    let known: Vec<String> = all.iter().map(|it| it.number.to_string()).collect();
    let found = match number {
        Some(number) => all.into_iter().find(|it| it.number == number),
        None => all.into_iter().rev().find(|it| it.status == Status::Deployed && Some(it.number) != current),
    };
    found.ok_or_else(|| {
        let list = if known.is_empty() { "none is known".to_owned() } else { format!("known are {}", known.join(", ")) };
        let what = number.map_or_else(|| "earlier installation".to_owned(), |number| format!("installation {number}"));
        CommandError::new(NOT_FOUND, format!("there is no {what} to go back to")).hint(list)
    })
}

/// The values of a record, as far as this version knows them.
fn of_record(earlier: &Installed) -> Result<InstallValues, CommandError> {
    let text = earlier.values.to_string();
    InstallValues::load(&[(format!("installation {}", earlier.number), text)], &[]).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        CommandError::new(FAILED, lines.join("\n")).hint(format!("use weft {} to go back to it", earlier.version))
    })
}

/// What was done, in numbers.
#[derive(Default)]
struct Counts {
    changed: usize,
    all: usize,
}

impl Counts {
    fn tell(&mut self, step: &Step, dry_run: bool) {
        use crate::cluster::objects::Outcome;
        self.all += 1;
        let colour = match step {
            Step::Applied(_, Outcome::Unchanged) => Colour::Grey,
            Step::Applied(..) => Colour::Green,
            Step::Left(..) | Step::Pruned(_) => Colour::Yellow,
        };
        self.changed += usize::from(colour != Colour::Grey);
        let note = if dry_run { " (dry run)" } else { "" };
        say(&format!("{}{note}", coloured(colour, &step.to_string())));
    }

    fn done(&self, number: u32, values: &InstallValues, ready: bool) -> String {
        let state = if ready { "is ready" } else { "is on its way; --wait waits for it" };
        let label = match values.revision.as_str() {
            "" => "weft.mesh/inject=enabled".to_owned(),
            revision => format!("weft.mesh/rev={revision}"),
        };
        format!(
            "installation {number}: {} of {} objects changed; the control plane {state}\n\nnext: kubectl label namespace \
             NAMESPACE {label}, restart its pods, and `weft check`",
            self.changed, self.all
        )
    }
}

fn progress(count: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(count as u64).with_style(style)
}

fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})").unwrap_or_else(|_| ProgressStyle::default_spinner());
    let spinner = ProgressBar::new_spinner().with_style(style);
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}
