//! The mesh's way to the world outside: `weft-proxy egress`, left in the network that `weft up` was called in.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::Instant;

use super::network::{NETWORK_V4, NETWORK_V6};
use super::paths::{MeshPaths, last_lines, log_file};
use super::process::{ProcessRef, Starting};
use super::record::Isolation;
use super::tool;
use crate::command::{CommandError, FAILED};

/// How long it may take to answer.
const START: Duration = Duration::from_secs(10);

/// Starts it in a session of its own, with no power at all, and waits until it answers.
///
/// # Errors
/// When it cannot be started: with the end of its log.
pub async fn start(paths: &MeshPaths, isolation: Isolation) -> Result<ProcessRef, CommandError> {
    let failed = |error: &dyn std::fmt::Display| {
        CommandError::new(FAILED, format!("cannot start the mesh's way out: {error}"))
    };
    let (program, socket) = (tool::own_program("weft-proxy")?, paths.egress_socket());
    // A socket of an earlier one that was killed would be taken for its successor's.
    let _ = std::fs::remove_file(&socket);
    let log = log_file(&paths.egress_log())?;
    let again = log.try_clone().map_err(|error| failed(&error))?;
    let mut command = Command::new(tool::tool("setsid")?);
    command.arg(tool::tool("setpriv")?).arg("--no-new-privs");
    if isolation == Isolation::Root {
        command.args(["--inh-caps=-all", "--bounding-set=-all"]);
    }
    command.arg("--").arg(program).arg("egress").arg("--socket").arg(&socket);
    command.stdin(Stdio::null()).stdout(log).stderr(again).current_dir("/");
    let mut starting = Starting::new(command.spawn().map_err(|error| failed(&error))?);
    let end = Instant::now() + START;
    while UnixStream::connect(&socket).await.is_err() {
        let ended = starting.ended().map_err(|error| failed(&error))?;
        if ended.is_some() || Instant::now() > end {
            let tail = last_lines(&paths.egress_log(), 12).join("\n  ");
            let why = ended.map_or_else(|| "it does not answer".to_owned(), |status| status.to_string());
            return Err(failed(&why).hint(format!("the end of its log:\n  {tail}")));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    starting.up().ok_or_else(|| failed(&"it ended at once"))
}

/// What a sidecar is told of it.
#[must_use]
pub fn sidecar_arguments(socket: &Path) -> Vec<String> {
    let mut arguments = vec!["--egress-socket".to_owned(), socket.display().to_string()];
    for network in [NETWORK_V4, NETWORK_V6] {
        arguments.extend(["--inside".to_owned(), network.to_owned()]);
    }
    arguments
}
