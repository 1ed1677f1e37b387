//! Keeps a mesh's namespaces open: a process that makes them, says so, and then does nothing.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::process::{ProcessRef, network_of};
use super::record::Isolation;
use super::{isolation, network};
use crate::command::{CommandError, CommandResult, FAILED, LACKING};

/// What the holder says when all is set up. Anything else is why it failed.
const READY: &str = "ready";

/// Starts the holder; returns when the mesh's network is there.
///
/// # Errors
/// What forbids it.
pub fn start(isolation: Isolation) -> Result<(ProcessRef, u64), CommandError> {
    let failed =
        |error: std::io::Error| CommandError::new(FAILED, format!("cannot start the mesh's holder: {error}"));
    let mut child = Command::new("/proc/self/exe")
        .args(["internal", "hold"])
        .arg(if isolation == Isolation::User { "--user" } else { "--root" })
        .current_dir(Path::new("/"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let pid = child.id().cast_signed();
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        // Ends by itself when the holder does.
        BufReader::new(stdout).read_line(&mut said).map_err(failed)?;
    }
    if said.trim_end() != READY {
        let _ = child.wait();
        let (message, hint) = serde_json::from_str::<(String, Option<String>)>(&said)
            .unwrap_or_else(|_| ("the mesh's holder ended without a word".to_owned(), None));
        return Err(CommandError { message, hint, code: LACKING });
    }
    let process = ProcessRef::of(pid);
    let network = network_of(&pid.to_string());
    process.zip(network).ok_or_else(|| CommandError::new(FAILED, "the mesh's holder ended at once"))
}

/// The holder itself: never returns when all is well.
///
/// # Errors
/// None: whoever started it is told.
pub fn hold(isolation: Isolation) -> CommandResult {
    let answer = match prepare(isolation) {
        Ok(()) => READY.to_owned(),
        Err(error) => serde_json::to_string(&(error.message, error.hint)).unwrap_or_default(),
    };
    let mut stdout = std::io::stdout();
    let told = writeln!(stdout, "{answer}").and_then(|()| stdout.flush());
    if told.is_err() || answer != READY {
        return Ok(FAILED.into());
    }
    loop {
        nix::unistd::pause();
    }
}

fn prepare(isolation: Isolation) -> Result<(), CommandError> {
    // Out of the terminal's session: closing the terminal must not end the mesh.
    let _ = nix::unistd::setsid();
    if isolation == Isolation::User {
        isolation::new_user_namespace()?;
    }
    isolation::new_network(isolation)?;
    let ipv6 = network::has_ipv6();
    network::switch("ipv4/ip_forward", "1");
    network::switch("ipv6/conf/all/forwarding", "1");
    network::run(&network::bridge_batch(ipv6)).map_err(|error| isolation::explain(isolation, error))
}
