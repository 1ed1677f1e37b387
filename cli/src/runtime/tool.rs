//! The system's tools: found, run, and named with their package when missing.

use std::env;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::command::{CommandError, FAILED, LACKING};

/// Where Debian keeps administrators' tools: often not in an ordinary user's `PATH`.
const MORE_PATHS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// The Debian package a tool comes in.
fn package(tool: &str) -> &'static str {
    match tool {
        "ip" => "iproute2",
        "nft" => "nftables",
        "iptables-restore" | "ip6tables-restore" => "iptables",
        _ => "util-linux",
    }
}

/// Whether a file can be executed by someone.
fn executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// A program as a shell finds it: by path when the name holds a slash, else in `PATH`.
#[must_use]
pub fn in_path(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| executable(path));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|directory| directory.join(name)).find(|candidate| executable(candidate))
}

/// A tool of the system.
///
/// # Errors
/// Names the package it comes in.
pub fn tool(name: &str) -> Result<PathBuf, CommandError> {
    in_path(name)
        .or_else(|| {
            MORE_PATHS.iter().map(|it| Path::new(it).join(name)).find(|candidate| executable(candidate))
        })
        .ok_or_else(|| {
            CommandError::new(LACKING, format!("the tool `{name}` is not installed"))
                .hint(format!("apt-get install {}", package(name)))
        })
}

/// Every tool that `weft up` and `weft run` need; all that are missing are named at once.
///
/// # Errors
/// See above.
pub fn check_all_for(explicit: bool) -> Result<(), CommandError> {
    let needed: &[&str] = if explicit { &["setpriv"] } else { &["ip", "setpriv"] };
    let mut missing: Vec<&str> = needed.iter().copied().filter(|name| tool(name).is_err()).collect();
    if !explicit && tool("nft").is_err() && tool("iptables-restore").is_err() {
        missing.push("nft");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|name| package(name)).collect();
    Err(CommandError::new(LACKING, format!("these tools are not installed: {}", missing.join(", ")))
        .hint(format!("apt-get install {}", packages.join(" "))))
}

/// One of Weft's programs: beside this one, else in `PATH`. Beside comes first so that versions match.
///
/// # Errors
/// When it is in neither.
pub fn own_program(name: &str) -> Result<PathBuf, CommandError> {
    let beside = env::current_exe().ok().and_then(|own| Some(own.parent()?.join(name)));
    beside.filter(|path| executable(path)).or_else(|| in_path(name)).ok_or_else(|| {
        CommandError::new(LACKING, format!("`{name}` is neither beside `weft` nor in PATH"))
            .hint("install Weft's three programs into one directory")
    })
}

/// Runs a tool with the input; gives what it wrote.
///
/// # Errors
/// What the tool wrote on its standard error, when it failed.
pub fn run(name: &str, arguments: &[&str], input: &str) -> Result<String, CommandError> {
    let failed = |error: io::Error| CommandError::new(FAILED, format!("cannot run `{name}`: {error}"));
    let mut child = Command::new(tool(name)?)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', ", ");
        return Err(CommandError::new(FAILED, format!("`{name} {}` failed: {said}", arguments.join(" "))));
    }
    written.map_err(failed)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
