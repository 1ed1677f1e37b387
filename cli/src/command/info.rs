//! `weft info`.

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use tonic::transport::Channel;
use weft_proto::api::mesh_client::MeshClient;
use weft_proto::api::{InfoRequest, InfoResponse};

use super::{CommandError, CommandResult, Globals, ask, block_on};
use crate::cluster::{Cluster, ClusterChoice, Target, merge, target};
use crate::output::{FormatArgs, print};

/// Show the mesh: its control plane, how much it holds, when its root certificate ends.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  weft info\n  weft info -o json")]
pub struct Args {
    #[command(flatten)]
    output: FormatArgs,
}

/// Runs it.
///
/// # Errors
/// When the control plane cannot be asked.
pub fn run(args: Args, globals: &Globals) -> CommandResult {
    match target(globals)? {
        Target::Local(paths) => {
            let info = ask(&paths, |mut mesh| async move { Ok(mesh.info(InfoRequest {}).await?.into_inner()) })?;
            print(&args.output.format.render(&info, people)?)?;
        }
        Target::Cluster(choice) => {
            let data = block_on(of_cluster(&choice))?;
            print(&args.output.format.render(&data, people_of_cluster)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The mesh of a cluster, and each of its control planes.
#[derive(Serialize)]
struct ClusterInfo {
    context: String,
    server: String,
    #[serde(flatten)]
    mesh: InfoResponse,
    replicas: Vec<ReplicaInfo>,
}

/// One control plane.
#[derive(Serialize)]
struct ReplicaInfo {
    pod: String,
    version: String,
    uptime_seconds: u64,
    proxies: u32,
}

async fn of_cluster(choice: &ClusterChoice) -> Result<ClusterInfo, CommandError> {
    let cluster = Cluster::connect(choice).await?;
    let ask = |mut mesh: MeshClient<Channel>| async move { mesh.info(InfoRequest {}).await.map(tonic::Response::into_inner) };
    let answers = cluster.ask_all(ask).await?;
    let replica = |(pod, info): &(String, InfoResponse)| ReplicaInfo {
        pod: pod.clone(),
        version: info.version.clone(),
        uptime_seconds: info.uptime_seconds,
        proxies: info.proxies,
    };
    Ok(ClusterInfo {
        mesh: merge::info(&answers),
        replicas: answers.iter().map(replica).collect(),
        context: cluster.context,
        server: cluster.server,
    })
}

fn people_of_cluster(info: &ClusterInfo) -> String {
    let InfoResponse { mesh, trust_domain, objects, proxies, root_expires, discovery_address, .. } = &info.mesh;
    let mut text = format!(
        "cluster            context {}, {}
mesh               {mesh}
trust domain       {trust_domain}
sidecars connect   {discovery_address}
holds              {objects} objects, {proxies} sidecars connected
root ends          {root_expires}
",
        info.context, info.server
    );
    for it in &info.replicas {
        let uptime = humantime::format_duration(Duration::from_secs(it.uptime_seconds));
        text.push_str(&format!("control plane      {}: {}, up {uptime}, {} sidecars\n", it.pod, it.version, it.proxies));
    }
    text
}

fn people(info: &InfoResponse) -> String {
    let uptime = humantime::format_duration(Duration::from_secs(info.uptime_seconds));
    let InfoResponse { mesh, trust_domain, version, pid, revision, objects, proxies, root_expires, .. } = info;
    format!(
        "mesh               {mesh}
trust domain       {trust_domain}
control plane      {version}, pid {pid}, up {uptime}
sidecars connect   {}
revision           {revision}, {objects} objects, {proxies} sidecars connected
root ends          {root_expires}
",
        info.discovery_address
    )
}
