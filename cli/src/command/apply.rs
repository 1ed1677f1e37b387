//! `weft apply`: brings policy and service objects into the mesh.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use weft_control_plane::source::parse_files;
use weft_proto::api::apply_event::Event;
use weft_proto::api::{
    Accepted, ApplyEvent, ApplyRequest, Change, Finding, ObjectChange, Rejected, Rollout, Severity, SourceFile,
};

use super::{CommandError, CommandResult, FAILED, Globals, INCOMPLETE, ask, block_on};
use crate::cluster::policies::ApplyChoice;
use crate::cluster::{Cluster, ClusterChoice, Target, target};
use crate::files;
use crate::output::{Colour, Format, FormatArgs, coloured, print};
use crate::runtime::interrupt::Interrupts;

/// Bring policy and service objects into the mesh.
///
/// All files are checked first; if one has a mistake, all mistakes are printed and nothing is applied.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weft apply -f canary.yaml
  weft apply -f policies/ --wait
  weft apply -f - --dry-run < route.yaml
  weft apply -f canary.yaml -n bookshop --context production --wait

Exit codes: 0 applied; 1 mistakes, nothing applied; 6 applied, but a sidecar refused it or did not answer in time.")]
pub struct Args {
    /// A file, a directory, or `-` for standard input; can be given several times.
    #[arg(short, long = "file", required = true, value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,
    /// Check only: print what would change and what is wrong.
    #[arg(long)]
    dry_run: bool,
    /// Return when every sidecar concerned has acknowledged, or name who refused what.
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration, value_name = "TIME")]
    timeout: Duration,
    /// In a cluster: take over fields that another tool owns.
    #[arg(long)]
    force_conflicts: bool,
    #[command(flatten)]
    output: FormatArgs,
}

/// Runs it.
///
/// # Errors
/// When files cannot be read or the control plane cannot be asked.
pub fn run(args: Args, globals: &Globals) -> CommandResult {
    let files = files::read(&args.files)?;
    let named: Vec<&str> = files.iter().map(|file| if file.path == "-" { "standard input" } else { &file.path }).collect();
    // A pipe whose other end failed must not look like success.
    let blank = |text: &str| text.lines().all(|line| matches!(line.trim(), "" | "---") || line.trim().starts_with('#'));
    if files.iter().all(|file| blank(&file.content)) {
        return Err(CommandError::new(FAILED, format!("no object in {}: nothing was applied", named.join(", "))));
    }
    match target(globals)? {
        Target::Local(paths) => {
            let request = ApplyRequest {
                files,
                namespace: globals.local_namespace(),
                dry_run: args.dry_run,
                wait: args.wait,
                wait_timeout_ms: args.timeout.as_millis() as u64,
            };
            ask(&paths, |mut mesh| async move {
                let events = mesh.apply(request).await?.into_inner();
                follow(events, args.output.format, args.dry_run).await
            })
        }
        Target::Cluster(choice) => block_on(to_cluster(&args, files, choice)),
    }
}

/// To the API server; the control planes follow it.
async fn to_cluster(args: &Args, files: Vec<SourceFile>, choice: ClusterChoice) -> CommandResult {
    let cluster = Cluster::connect(&choice).await?;
    let parsed = parse_files(files.iter().map(|it| (it.path.as_str(), it.content.as_str())), &cluster.namespace);
    let mut told = Told::new(args.output.format, args.dry_run);
    let findings = parsed.findings.iter().map(Into::into).collect();
    if parsed.has_errors() {
        told.tell(ApplyEvent { event: Some(Event::Rejected(Rejected { findings })) })?;
        return told.done();
    }
    let how = ApplyChoice { dry_run: args.dry_run, force: args.force_conflicts };
    let changes = cluster.apply_policies(&parsed.objects, how).await?;
    let accepted = Accepted { changes: changes.clone(), findings, revision: 0 };
    told.tell(ApplyEvent { event: Some(Event::Accepted(accepted)) })?;
    if args.wait && !args.dry_run {
        told.wait(&cluster, &changes, args.timeout).await?;
    }
    told.done()
}

/// What was told of a change, and the exit code that follows from it.
pub(super) struct Told {
    format: Format,
    dry_run: bool,
    seen: Vec<ApplyEvent>,
    code: u8,
}

impl Told {
    pub(super) fn new(format: Format, dry_run: bool) -> Self {
        Self { format, dry_run, seen: Vec::new(), code: 0 }
    }

    pub(super) fn tell(&mut self, event: ApplyEvent) -> Result<(), CommandError> {
        if self.format == Format::Table {
            print(&describe(&event, self.dry_run))?;
        }
        match &event.event {
            Some(Event::Rejected(_)) => self.code = FAILED,
            Some(Event::Rollout(rollout)) if rollout.done || rollout.timed_out => {
                self.code = if is_everywhere(rollout) { 0 } else { INCOMPLETE };
            }
            _ => {}
        }
        self.seen.push(event);
        Ok(())
    }

    /// Waits in a cluster for the sidecars.
    pub(super) async fn wait(
        &mut self,
        cluster: &Cluster,
        changes: &[ObjectChange],
        limit: Duration,
    ) -> Result<(), CommandError> {
        let mut interrupts = Interrupts::listen()?;
        let events = tokio::select! {
            biased;
            interrupted = interrupts.next() => return Err(interrupted.hint(GOES_ON)),
            events = cluster.rollout(changes, limit) => events?,
        };
        events.into_iter().try_for_each(|event| self.tell(event))
    }

    pub(super) fn done(self) -> CommandResult {
        if self.format != Format::Table {
            print(&self.format.render(&self.seen, |_| String::new())?)?;
        }
        Ok(ExitCode::from(self.code))
    }
}

const GOES_ON: &str = "the change is made, and goes on to the sidecars: `weft proxy status` shows how far they are";

/// Prints what a change led to, as it goes on; the same for `apply` and `delete`.
pub(super) async fn follow(
    mut events: tonic::Streaming<ApplyEvent>,
    format: Format,
    dry_run: bool,
) -> CommandResult {
    let mut told = Told::new(format, dry_run);
    let mut interrupts = Interrupts::listen()?;
    loop {
        let next = tokio::select! {
            biased;
            interrupted = interrupts.next() => return Err(interrupted.hint(if told.seen.is_empty() {
                "`weft get` shows whether the change was made"
            } else {
                GOES_ON
            })),
            next = events.message() => next?,
        };
        let Some(event) = next else { break };
        told.tell(event)?;
    }
    told.done()
}

fn describe(event: &ApplyEvent, dry_run: bool) -> String {
    match &event.event {
        Some(Event::Accepted(accepted)) => describe_accepted(accepted, dry_run),
        Some(Event::Rejected(rejected)) => {
            let findings: String = rejected.findings.iter().map(finding).collect();
            let errors = rejected.findings.iter().filter(|f| f.severity() == Severity::Error).count();
            let them = if errors == 1 { "1 mistake".to_owned() } else { format!("{errors} mistakes") };
            format!("{findings}{}\n", coloured(Colour::Red, &format!("{them}; nothing was applied")))
        }
        Some(Event::Rollout(rollout)) => describe_rollout(rollout),
        None => String::new(),
    }
}

fn describe_accepted(accepted: &Accepted, dry_run: bool) -> String {
    let mut text: String = accepted.findings.iter().map(finding).collect();
    for change in &accepted.changes {
        let word = match change.change() {
            Change::Created => coloured(Colour::Green, "created"),
            Change::Configured => coloured(Colour::Green, "configured"),
            Change::Deleted => coloured(Colour::Yellow, "deleted"),
            Change::Unchanged | Change::Unspecified => coloured(Colour::Grey, "unchanged"),
        };
        let object = change.object.clone().unwrap_or_default();
        let note = if dry_run { " (dry run)" } else { "" };
        text.push_str(&format!("{}/{} {word} in {}{note}\n", object.kind, object.name, object.namespace));
    }
    text
}

fn describe_rollout(rollout: &Rollout) -> String {
    if !rollout.done && !rollout.timed_out {
        return String::new();
    }
    let mut text = String::new();
    for refusal in &rollout.refusals {
        let object = refusal.object.clone().unwrap_or_default();
        let from = if object.kind.is_empty() {
            String::new()
        } else {
            format!(", from {}/{}/{} {}", object.kind, object.namespace, object.name, refusal.field)
        };
        let (proxy, resource) = (&refusal.proxy, &refusal.resource);
        let line = format!("{proxy} refused {resource}{from}: {}", refusal.message);
        text.push_str(&format!("{}\n", coloured(Colour::Red, &line)));
    }
    if !rollout.pending.is_empty() {
        let line = format!("no answer yet from {}", rollout.pending.join(", "));
        text.push_str(&format!("{}\n", coloured(Colour::Yellow, &line)));
    }
    let (acknowledged, concerned) = (rollout.acknowledged, rollout.concerned);
    let line = format!("{acknowledged} of {concerned} sidecars concerned have acknowledged");
    if !rollout.absent.is_empty() {
        let line = format!("not connected to any control plane: {}", rollout.absent.join(", "));
        text.push_str(&format!("{}\n", coloured(Colour::Yellow, &line)));
    }
    let all = is_everywhere(rollout);
    text.push_str(&format!("{}\n", coloured(if all { Colour::Green } else { Colour::Red }, &line)));
    text
}

/// Whether a change is in force at all sidecars that it concerns.
fn is_everywhere(rollout: &Rollout) -> bool {
    rollout.refusals.is_empty() && !rollout.timed_out && rollout.absent.is_empty()
}

/// One finding, with the place in the user's file when it has one.
pub(super) fn finding(finding: &Finding) -> String {
    let (word, colour) = match finding.severity() {
        Severity::Error => ("error", Colour::Red),
        Severity::Warning => ("warning", Colour::Yellow),
        Severity::Info | Severity::Unspecified => ("note", Colour::Grey),
    };
    let mut place = String::new();
    if !finding.file.is_empty() {
        place = format!("{}:{}:{}: ", finding.file, finding.line, finding.column);
    }
    let object = finding.object.clone().unwrap_or_default();
    let named = if object.kind.is_empty() { String::new() } else { format!("{}/{}: ", object.kind, object.name) };
    let field = if finding.field.is_empty() { String::new() } else { format!("{}: ", finding.field) };
    let mut text = format!("{place}{}: {named}{field}{}\n", coloured(colour, word), finding.message);
    for line in finding.excerpt.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    if !finding.hint.is_empty() {
        text.push_str(&format!("  hint: {}\n", finding.hint));
    }
    text
}
