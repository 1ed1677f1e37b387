//! `weft stat`: what the mesh sees of its traffic.

use std::process::ExitCode;
use std::time::Duration;

use weft_control_plane::telemetry::query::merged;
use weft_proto::api::{StatBy, StatRequest, StatResponse, StatRow};

use super::{CommandError, CommandResult, Globals, ask, block_on};
use crate::cluster::{Cluster, ClusterChoice, Target, target};
use crate::output::{Colour, FormatArgs, Table, coloured, print};

/// Show success rate, requests a second and latency, per service, route, edge or workload.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weft stat
  weft stat --by route --service reviews
  weft stat --by edge --window 5m -o json
  weft stat --plaintext   # whom STRICT mutual TLS would refuse")]
pub struct Args {
    /// What a row stands for.
    #[arg(long, value_enum, default_value = "service")]
    by: By,
    /// Only this service: a short name or a host.
    #[arg(short, long)]
    service: Option<String>,
    /// How far to look back, an hour at most; by default 1m, with --plaintext 10m.
    #[arg(short, long, value_parser = humantime::parse_duration, value_name = "TIME")]
    window: Option<Duration>,
    /// Who called without mutual TLS, and what: STRICT would refuse it.
    #[arg(long, conflicts_with = "by")]
    plaintext: bool,
    #[command(flatten)]
    output: FormatArgs,
}

/// What a row stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum By {
    /// A service, as its servers see it.
    Service,
    /// A route rule, as clients see it.
    Route,
    /// A client and a service.
    Edge,
    /// A workload of a service.
    Workload,
}

/// Runs it.
///
/// # Errors
/// When the control plane cannot be asked.
pub fn run(args: Args, globals: &Globals) -> CommandResult {
    let by = match args.by {
        By::Service => StatBy::Service,
        By::Route => StatBy::Route,
        By::Edge => StatBy::Edge,
        By::Workload => StatBy::Workload,
    };
    let window = args.window.unwrap_or(Duration::from_secs(if args.plaintext { 600 } else { 60 }));
    let request = StatRequest {
        by: by.into(),
        service: args.service.unwrap_or_default(),
        // Of all, unless one was named: the whole of the mesh is what is asked for.
        namespace: globals.named_namespace().unwrap_or_default().to_owned(),
        window_seconds: window.as_secs().max(1),
        plaintext: args.plaintext,
    };
    let response = match target(globals)? {
        Target::Local(paths) => ask(&paths, |mut mesh| async move { Ok(mesh.stat(request).await?.into_inner()) })?,
        Target::Cluster(choice) => block_on(of_cluster(by, request, &choice))?,
    };
    let text = |response: &StatResponse| {
        if args.plaintext { plaintext_table(response) } else { table(args.by, response) }
    };
    print(&args.output.format.render(&response, text)?)?;
    Ok(ExitCode::SUCCESS)
}

/// What all control planes counted: each knows the sidecars that are connected to it.
async fn of_cluster(by: StatBy, request: StatRequest, choice: &ClusterChoice) -> Result<StatResponse, CommandError> {
    let cluster = Cluster::connect(choice).await?;
    let answers = cluster.ask_all(|mut mesh| {
        let request = request.clone();
        async move { mesh.series(request).await.map(tonic::Response::into_inner) }
    });
    let answers: Vec<_> = answers.await?.into_iter().map(|(_, answer)| answer).collect();
    Ok(merged(by, &answers))
}

/// The rows for people.
fn table(by: By, response: &StatResponse) -> String {
    let first: &[&str] = match by {
        By::Service => &["SERVICE"],
        By::Route => &["SERVICE", "ROUTE"],
        By::Edge => &["FROM", "TO"],
        By::Workload => &["SERVICE", "WORKLOAD", "VERSION"],
    };
    let measures = ["SUCCESS", "RPS", "P50", "P95", "P99", "MTLS", "RETRIES", "FLAGS"];
    let mut table = Table::new(&[first, &measures[..]].concat());
    for row in &response.rows {
        let names = match by {
            By::Service => vec![row.service.clone()],
            By::Route => vec![row.service.clone(), row.route.clone()],
            By::Edge => vec![row.source.clone(), row.service.clone()],
            By::Workload => vec![row.service.clone(), row.workload.clone(), row.version.clone()],
        };
        table.row(names.into_iter().chain(figures(row)));
    }
    if table.is_empty() {
        let seconds = response.window_seconds;
        return format!("no traffic was seen in the last {seconds} seconds\n");
    }
    let mut text = table.render();
    if response.dropped_series > 0 {
        let n = response.dropped_series;
        text.push_str(&format!("{n} series were left out: the cap on their number was reached\n"));
    }
    text
}

/// Callers without mutual TLS, for people.
fn plaintext_table(response: &StatResponse) -> String {
    if response.plaintext.is_empty() {
        let seconds = response.window_seconds;
        return format!("no call without mutual TLS was seen in the last {seconds} seconds\n");
    }
    let mut table = Table::new(&["SERVICE", "WORKLOAD", "PORT", "FROM", "CALLS", "PROTOCOL", "LAST"]);
    for row in &response.plaintext {
        let service = if row.service.is_empty() { "-" } else { &row.service };
        let from = match (row.source.is_empty(), row.address.is_empty()) {
            (_, true) => "others".to_owned(),
            (true, false) => row.address.clone(),
            (false, false) => format!("{} ({}.{})", row.address, row.source, row.source_namespace),
        };
        table.row([
            service.to_owned(),
            format!("{}.{}", row.workload, row.namespace),
            row.port.to_string(),
            from,
            row.count.to_string(),
            row.protocol.clone(),
            format!("{}s ago", row.last_seconds_ago),
        ]);
    }
    table.render()
}

fn figures(row: &StatRow) -> Vec<String> {
    if row.requests == 0 {
        let (open, share) = (row.tcp_connections, percent(row.mtls_share));
        let traffic = format!("{open} connections, {} B sent, {} B received", row.bytes_sent, row.bytes_received);
        return ["-", "-", "-", "-", "-"].map(str::to_owned).into_iter().chain([share, "-".to_owned(), traffic]).collect();
    }
    let success = percent(row.success_rate);
    let success = match row.success_rate {
        rate if rate >= 0.999 => coloured(Colour::Green, &success),
        rate if rate >= 0.95 => coloured(Colour::Yellow, &success),
        _ => coloured(Colour::Red, &success),
    };
    let mut flags: Vec<(&String, &u64)> = row.response_flags.iter().collect();
    flags.sort();
    let flags: Vec<String> = flags.iter().map(|(flag, count)| format!("{flag}:{count}")).collect();
    vec![
        success,
        format!("{:.1}", row.rps),
        milliseconds(row.p50_ms),
        milliseconds(row.p95_ms),
        milliseconds(row.p99_ms),
        percent(row.mtls_share),
        row.retries.to_string(),
        flags.join(" "),
    ]
}

fn percent(share: f64) -> String {
    // A rate just below one must not read as all.
    let percent = (share * 10_000.0).floor() / 100.0;
    if percent == percent.trunc() { format!("{percent:.0}%") } else { format!("{percent:.2}%") }
}

fn milliseconds(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.1}ms") } else { format!("{ms:.0}ms") }
}
