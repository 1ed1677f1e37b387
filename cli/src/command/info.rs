//! `weft info`.

use std::process::ExitCode;
use std::time::Duration;

use weft_proto::api::{InfoRequest, InfoResponse};

use super::{CommandResult, Globals, ask};
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
    let info = ask(globals, |mut mesh| async move { Ok(mesh.info(InfoRequest {}).await?.into_inner()) })?;
    print(&args.output.format.render(&info, people)?)?;
    Ok(ExitCode::SUCCESS)
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
