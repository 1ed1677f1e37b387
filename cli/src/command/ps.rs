//! `weft ps`.

mod cluster;

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{CommandResult, Globals};
use crate::cluster::{Target, target};
use crate::output::{FormatArgs, Table, print};
use crate::runtime::record::{self, Isolation, State, WorkloadRecord};

/// List the workloads of this machine, or the pods of a cluster's namespace.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  weft ps\n  weft ps -o json")]
pub struct Args {
    #[command(flatten)]
    output: FormatArgs,
}

/// Runs it.
///
/// # Errors
/// When the mesh is not up.
pub fn run(args: Args, globals: &Globals) -> CommandResult {
    let paths = match target(globals)? {
        Target::Local(paths) => paths,
        Target::Cluster(choice) => return cluster::run(args.output.format, globals.all_namespaces, choice),
    };
    record::running_mesh(&paths)?;
    let mut workloads = record::workloads(&paths);
    workloads.retain(|it| globals.named_namespace().is_none_or(|wanted| *wanted == it.namespace));
    let data: Vec<Value> = workloads.iter().map(describe).collect();
    print(&args.output.format.render(&data, |_| people(&workloads))?)?;
    Ok(ExitCode::SUCCESS)
}

fn mode(workload: &WorkloadRecord) -> &'static str {
    match (workload.has_sidecar, workload.isolation) {
        (false, _) => "no-sidecar",
        (true, Isolation::Explicit) => "explicit",
        (true, _) => "intercept",
    }
}

fn state(workload: &WorkloadRecord) -> String {
    match (workload.state_now(), workload.exit_code) {
        (State::Starting, _) => "starting".to_owned(),
        (State::Running, _) => "running".to_owned(),
        (State::Stopping, _) => "stopping".to_owned(),
        (State::Exited, code) => format!("exited ({})", code.unwrap_or_default()),
        (State::Dead, _) => "dead".to_owned(),
    }
}

fn pid(workload: &WorkloadRecord) -> Option<i32> {
    workload.application.as_ref().filter(|it| it.alive()).map(|it| it.pid)
}

fn describe(workload: &WorkloadRecord) -> Value {
    json!({
        "name": workload.name,
        "namespace": workload.namespace,
        "service": workload.service,
        "version": workload.version,
        "addresses": workload.addresses,
        "ports": workload.ports,
        "pid": pid(workload),
        "sidecarPid": workload.sidecar.as_ref().filter(|it| it.alive()).map(|it| it.pid),
        "state": workload.state_now(),
        "exitCode": workload.exit_code,
        "mode": mode(workload),
        "detached": workload.detached,
        "adminSocket": workload.admin_socket,
        "command": workload.command,
    })
}

fn people(workloads: &[WorkloadRecord]) -> String {
    let port = |it: &record::Port| if it.name.is_empty() { it.port.to_string() } else { format!("{}:{}", it.name, it.port) };
    let mut table =
        Table::new(&["NAME", "NAMESPACE", "SERVICE", "VERSION", "ADDRESSES", "PORTS", "PID", "STATE", "MODE"]);
    for it in workloads {
        table.row([
            it.name.clone(),
            it.namespace.clone(),
            it.service.clone(),
            it.version.clone(),
            it.addresses.join(","),
            it.ports.iter().map(port).collect::<Vec<_>>().join(","),
            pid(it).map(|pid| pid.to_string()).unwrap_or_default(),
            state(it),
            mode(it).to_owned(),
        ]);
    }
    table.render()
}
