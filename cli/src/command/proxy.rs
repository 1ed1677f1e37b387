//! `weft proxy`: how far sidecars are with their configuration, and what they were sent.

mod dns;

use std::process::ExitCode;
use std::time::Duration;

use weft_proto::api::{
    ProxyResourcesRequest, ProxyResourcesResponse, ProxyStatusEntry, ProxyStatusRequest, ProxyStatusResponse,
};

use super::{CommandError, CommandResult, Globals, INCOMPLETE, NOT_FOUND, ask, block_on};
use crate::cluster::{Cluster, ClusterChoice, Target, merge, target};
use crate::output::{Colour, Format, FormatArgs, Table, coloured, print};

/// Look at sidecars.
#[derive(clap::Args)]
pub struct Args {
    /// What to look at.
    #[command(subcommand)]
    command: ProxyCommand,
}

/// What to look at.
#[derive(clap::Subcommand)]
enum ProxyCommand {
    /// How far each sidecar is with its configuration.
    #[command(after_help = "Examples:\n  weft proxy status\n  weft proxy status reviews-v1\n\nExit codes: 0 all in step; 6 some are not.")]
    Status(StatusArgs),
    /// What a sidecar was sent, resource by resource.
    #[command(after_help = "Examples:\n  weft proxy config reviews-v1\n  weft proxy config reviews-v1 routes\n  weft proxy config shop clusters --name 'outbound|9080||reviews.default.svc.cluster.local' -o yaml")]
    Config(ConfigArgs),
    /// How a workload's sidecar answers a name, and from what.
    #[command(after_help = "Examples:\n  weft proxy dns shop reviews\n  weft proxy dns shop db-0.db\n  weft proxy dns shop www.example.com. -o json\n\nThe steps are those of an application's resolver; what is not of the mesh is really asked of the upstream resolvers.\n\nExit codes: 0 the name has an address; 4 it has none.")]
    Dns(dns::Args),
}

/// Arguments of `weft proxy status`.
#[derive(clap::Args)]
struct StatusArgs {
    /// WORKLOAD or WORKLOAD.NAMESPACE; all when left out.
    proxy: Option<String>,
    #[command(flatten)]
    output: FormatArgs,
}

/// Arguments of `weft proxy config`.
#[derive(clap::Args)]
struct ConfigArgs {
    /// WORKLOAD or WORKLOAD.NAMESPACE.
    proxy: String,
    /// listeners, routes, clusters, endpoints or names; all when left out.
    #[arg(value_parser = ["listeners", "routes", "clusters", "endpoints", "names"])]
    kind: Option<String>,
    /// Only the resource of this name.
    #[arg(long)]
    name: Option<String>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value = "json")]
    output: Format,
}

/// Runs it.
///
/// # Errors
/// When the control plane cannot be asked, or knows no such sidecar.
pub fn run(args: Args, globals: &Globals) -> CommandResult {
    match args.command {
        ProxyCommand::Status(args) => status(args, globals),
        ProxyCommand::Config(args) => config(args, globals),
        ProxyCommand::Dns(args) => dns::run(args, globals),
    }
}

fn status(args: StatusArgs, globals: &Globals) -> CommandResult {
    let proxy = args.proxy.unwrap_or_default();
    let request = ProxyStatusRequest { proxy: proxy.clone() };
    let response = match target(globals)? {
        Target::Local(paths) => {
            ask(&paths, |mut mesh| async move { Ok(mesh.proxy_status(request).await?.into_inner()) })?
        }
        Target::Cluster(choice) => block_on(status_of_cluster(request, globals, &choice))?,
    };
    if response.proxies.is_empty() && !proxy.is_empty() {
        return Err(CommandError::new(NOT_FOUND, format!("no sidecar `{proxy}` has ever connected")));
    }
    print(&args.output.format.render(&response, status_table)?)?;
    let in_step = |entry: &ProxyStatusEntry| {
        entry.connected && entry.types.iter().all(|t| matches!(t.state.as_str(), "SYNCED" | "NOT_SENT"))
    };
    Ok(ExitCode::from(if response.proxies.iter().all(in_step) { 0 } else { INCOMPLETE }))
}

/// The sidecars of all control planes; of one namespace when it was named.
async fn status_of_cluster(
    mut request: ProxyStatusRequest,
    globals: &Globals,
    choice: &ClusterChoice,
) -> Result<ProxyStatusResponse, CommandError> {
    let cluster = Cluster::connect(choice).await?;
    if !request.proxy.is_empty() {
        let (name, namespace) = cluster.qualified(&request.proxy);
        request.proxy = format!("{name}.{namespace}");
    }
    let answers = cluster.ask_all(|mut mesh| {
        let request = request.clone();
        async move { mesh.proxy_status(request).await.map(tonic::Response::into_inner) }
    });
    let mut all = merge::proxies(answers.await?.into_iter().map(|(_, answer)| answer).collect());
    if let Some(namespace) = globals.named_namespace() {
        all.proxies.retain(|entry| entry.proxy.rsplit_once('.').is_some_and(|(_, own)| own == namespace));
    }
    Ok(all)
}

/// What the control plane sent that the sidecar is connected to.
async fn config_of_cluster(
    mut request: ProxyResourcesRequest,
    choice: &ClusterChoice,
) -> Result<ProxyResourcesResponse, CommandError> {
    let cluster = Cluster::connect(choice).await?;
    let (name, namespace) = cluster.qualified(&request.proxy);
    request.proxy = format!("{name}.{namespace}");
    let mut refused = None;
    for mut replica in cluster.replicas().await? {
        match replica.mesh.proxy_resources(request.clone()).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => refused = Some(replica.failed(status)),
        }
    }
    Err(refused.unwrap_or_else(|| CommandError::new(NOT_FOUND, format!("no sidecar `{}` is connected", request.proxy))))
}

fn status_table(response: &ProxyStatusResponse) -> String {
    if response.proxies.is_empty() {
        return "no sidecar is connected\n".to_owned();
    }
    let kinds = ["clusters", "endpoints", "listeners", "routes", "names"];
    let headings = ["PROXY", "ADDRESS", "CONNECTED", "CLUSTERS", "ENDPOINTS", "LISTENERS", "ROUTES", "NAMES", "MEMORY"];
    let mut table = Table::new(&headings);
    let mut errors = String::new();
    for entry in &response.proxies {
        let since = humantime::format_duration(Duration::from_secs(entry.connected_seconds)).to_string();
        let connected = if entry.connected { since } else { coloured(Colour::Red, "no") };
        let states = kinds.map(|kind| match entry.types.iter().find(|t| t.r#type == kind) {
            Some(t) if t.state == "SYNCED" => coloured(Colour::Green, &format!("{} synced", t.resources)),
            Some(t) if t.state == "REFUSED" => {
                errors.push_str(&format!("{} refused {kind}: {}\n", entry.proxy, t.error));
                coloured(Colour::Red, "refused")
            }
            Some(t) if t.state == "PENDING" => coloured(Colour::Yellow, "pending"),
            _ => coloured(Colour::Grey, "-"),
        });
        let memory = match entry.resident_bytes {
            0 => "-".to_owned(),
            bytes => format!("{:.1} MB", bytes as f64 / 1e6),
        };
        let first = [entry.proxy.clone(), entry.address.clone(), connected];
        table.row(first.into_iter().chain(states).chain([memory]));
    }
    format!("{}{}", table.render(), coloured(Colour::Red, &errors))
}

fn config(args: ConfigArgs, globals: &Globals) -> CommandResult {
    let request = ProxyResourcesRequest {
        proxy: args.proxy.clone(),
        r#type: args.kind.unwrap_or_default(),
        name: args.name.unwrap_or_default(),
    };
    let response = match target(globals)? {
        Target::Local(paths) => {
            ask(&paths, |mut mesh| async move { Ok(mesh.proxy_resources(request).await?.into_inner()) })?
        }
        Target::Cluster(choice) => block_on(config_of_cluster(request, &choice))?,
    };
    if args.output == Format::Table {
        let mut table = Table::new(&["TYPE", "NAME", "VERSION"]);
        for resource in &response.resources {
            table.row([resource.r#type.clone(), resource.name.clone(), resource.version.clone()]);
        }
        print(&table.render())?;
        return Ok(ExitCode::SUCCESS);
    }
    let resource = |r: &weft_proto::api::ProxyResource| {
        let decoded: serde_json::Value = serde_json::from_str(&r.json).unwrap_or(serde_json::Value::Null);
        serde_json::json!({"type": r.r#type, "name": r.name, "version": r.version, "resource": decoded})
    };
    let resources: Vec<serde_json::Value> = response.resources.iter().map(resource).collect();
    print(&args.output.render(&resources, |_| String::new())?)?;
    Ok(ExitCode::SUCCESS)
}
