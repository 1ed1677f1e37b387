//! `weft proxy dns`: how a workload's sidecar answers a name, and from what.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::Value;

use crate::command::{CommandError, CommandResult, FAILED, Globals, NOT_FOUND, USAGE, block_on, down};
use crate::cluster::replicas::is_ready;
use crate::cluster::{Cluster, ClusterChoice, Target, pods, target};
use crate::output::{FormatArgs, Table, print};
use crate::runtime::{admin, record};

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;

/// Arguments of `weft proxy dns`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// WORKLOAD or WORKLOAD.NAMESPACE: whose application asks.
    workload: String,
    /// The name it asks for; with a point at its end it is not completed.
    name: String,
    #[command(flatten)]
    output: FormatArgs,
}

pub(super) fn run(args: Args, globals: &Globals) -> CommandResult {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte);
    if args.name.is_empty() || args.name.len() > 254 || !args.name.bytes().all(is_word) {
        return Err(CommandError::new(USAGE, format!("`{}` is no name that DNS knows", args.name))
            .hint("letters, digits, `-`, `_` and points, such as reviews.default"));
    }
    let path = format!("/dns?name={}", args.name);
    let (status, body) = match target(globals)? {
        Target::Local(paths) => {
            let all = record::workloads(&paths);
            let workload = down::find(&all, &args.workload)?;
            let socket = workload.admin_socket.as_ref().ok_or_else(|| without_sidecar(&args.workload))?;
            admin::page(socket, &path)?
        }
        Target::Cluster(choice) => block_on(of_pod(&args.workload, &path, &choice))?,
    };
    if status != 200 {
        return Err(CommandError::new(FAILED, body.trim().to_owned()));
    }
    let explained: Value = serde_json::from_str(&body)
        .map_err(|error| CommandError::new(FAILED, format!("the sidecar's answer is not JSON: {error}")))?;
    print(&args.output.format.render(&explained, people)?)?;
    let found = texts(&explained["addresses"]).next().is_some();
    Ok(ExitCode::from(if found { 0 } else { NOT_FOUND }))
}

fn without_sidecar(workload: &str) -> CommandError {
    CommandError::new(NOT_FOUND, format!("`{workload}` has no sidecar"))
        .hint("names are answered as its machine's resolver does")
}

/// The same page in a pod of the workload: any of them answers alike.
async fn of_pod(workload: &str, path: &str, choice: &ClusterChoice) -> Result<(u16, String), CommandError> {
    let cluster = Cluster::connect(choice).await?;
    let found = cluster.workload(workload).await?;
    let pod = found.iter().find(|pod| pods::sidecar(pod).is_some() && is_ready(pod));
    cluster.page(pod.ok_or_else(|| without_sidecar(workload))?, path).await
}

/// What the client asks, step by step, and the end of it.
fn people(explained: &Value) -> String {
    let mut table = Table::new(&["ASKED", "COMPLETED BY", "ANSWER", "FROM"]);
    for step in explained["steps"].as_array().into_iter().flatten() {
        let text = |key: &str| step[key].as_str().unwrap_or_default().to_owned();
        table.row([text("asked"), text("completedBy"), answer(step), from(step)]);
    }
    let mut text = table.render();
    let name = explained["name"].as_str().unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = match joined(&explained["addresses"]) {
        all if all.is_empty() => writeln!(text, "{name} has no address"),
        all => writeln!(text, "{name} is {all}"),
    };
    text
}

fn answer(step: &Value) -> String {
    let addresses = joined(&step["addresses"]);
    if !addresses.is_empty() {
        return addresses;
    }
    match step["code"].as_str() {
        Some("NOERROR") => "no address".to_owned(),
        Some("NXDOMAIN") => "no such name".to_owned(),
        Some(code) => code.to_owned(),
        None => String::new(),
    }
}

fn from(step: &Value) -> String {
    let resolvers = joined(&step["resolvers"]);
    match step["verdict"].as_str() {
        Some("mesh") => {
            let objects = joined(&step["objects"]);
            let unready = joined(&step["unready"]);
            let unready = if unready.is_empty() { unready } else { format!("; not ready: {unready}") };
            if objects.is_empty() { format!("the mesh{unready}") } else { format!("{objects}{unready}") }
        }
        Some("own-domain") => {
            format!("the mesh: it knows all names of {}", step["domain"].as_str().unwrap_or_default())
        }
        _ => match step["resolver"].as_str() {
            Some(resolver) => format!("forwarded to {resolver}"),
            None if resolvers.is_empty() => "nobody: the sidecar has no upstream resolver".to_owned(),
            None => format!("nobody: no answer from {resolvers}"),
        },
    }
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn joined(list: &Value) -> String {
    texts(list).collect::<Vec<_>>().join(", ")
}
