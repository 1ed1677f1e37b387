//! The application: its environment, and how it loses the power to switch interception off.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::prctl;
use nix::sys::signal::Signal;

use super::log::Log;
use super::paths::WorkloadPaths;
use super::record::Isolation;
use super::specification::Start;
use super::{files, isolation, tool};
use crate::command::{CommandError, CommandResult, FAILED};

/// What an application of root keeps: what Docker gives a container, without raw sockets (which could mark packets
/// as the proxy's) and without making device files.
const KEPT: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,\
                    +sys_chroot,+setfcap,+audit_write";

/// Names the workload a process belongs to, in its environment.
#[must_use]
pub fn marker(paths: &WorkloadPaths) -> String {
    format!("WEFT_WORKLOAD_DIRECTORY={}", paths.directory.display())
}

/// Variables that are set, and those that are taken out of the environment.
#[must_use]
pub fn environment(start: &Start, paths: &WorkloadPaths) -> (Vec<(String, String)>, Vec<String>) {
    let (asked, given) = (&start.specification, &start.registration);
    let mut set: Vec<(String, String)> = [
        ("WEFT_MESH", start.mesh.clone()),
        ("WEFT_WORKLOAD", given.name.clone()),
        ("WEFT_NAMESPACE", given.namespace.clone()),
        ("WEFT_SERVICE", asked.service.clone()),
        ("WEFT_SERVICE_VERSION", asked.version.clone()),
        ("WEFT_WORKLOAD_DIRECTORY", paths.directory.display().to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    let mut proxies = Vec::new();
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        proxies.extend([name.to_owned(), name.to_uppercase()]);
    }
    if start.isolation == Isolation::Explicit {
        // Without a sidecar, a proxy of the machine stays what it is.
        if asked.sidecar {
            let proxy = format!("http://127.0.0.1:{}", start.explicit_outbound);
            for name in &proxies[..4] {
                set.push((name.clone(), proxy.clone()));
            }
            for name in ["no_proxy", "NO_PROXY"] {
                set.push((name.to_owned(), "localhost,127.0.0.1,::1".to_owned()));
            }
        }
        proxies.clear();
    } else {
        set.push(("HOSTNAME".to_owned(), given.name.clone()));
        if !Path::new("/etc/resolv.conf").exists() {
            // Without the file, the C library asks 127.0.0.1 too, and takes the rest from here.
            set.push(("LOCALDOMAIN".to_owned(), files::search(&given.namespace)));
            set.push(("RES_OPTIONS".to_owned(), "ndots:5".to_owned()));
        }
    }
    set.extend(asked.environment.iter().cloned());
    // The machine's HTTP proxies cannot be reached from the workload's network.
    (set, proxies)
}

/// Starts it. In the foreground, without a log, it has the terminal.
///
/// # Errors
/// When the system refuses.
pub fn spawn(
    start: &Start,
    paths: &WorkloadPaths,
    log: Option<&Log>,
) -> Result<tokio::process::Child, CommandError> {
    let failed = |error: &dyn std::fmt::Display| {
        CommandError::new(FAILED, format!("cannot start the application: {error}"))
    };
    let mut command = Command::new("/proc/self/exe");
    command.args(["internal", "application"]);
    match start.isolation {
        Isolation::Root => command.arg("--drop-capabilities"),
        Isolation::User => command.args(["--uid", &start.uid.to_string(), "--gid", &start.gid.to_string()]),
        Isolation::Explicit => &mut command,
    };
    command.arg("--").args(&start.specification.command).current_dir(&start.specification.directory);
    let (set, unset) = environment(start, paths);
    for name in unset {
        command.env_remove(name);
    }
    command.envs(set);
    if let Some(log) = log {
        let (output, error) = log.outputs().map_err(|error| failed(&error))?;
        command.stdin(Stdio::null()).stdout(output).stderr(error).process_group(0);
    }
    tokio::process::Command::from(command).spawn().map_err(|error| failed(&error))
}

/// What the child does before it becomes the application.
#[derive(clap::Args, Clone, Debug)]
pub struct Become {
    /// Give up what could change the network.
    #[arg(long)]
    drop_capabilities: bool,
    /// Be this user again.
    #[arg(long, requires = "gid")]
    uid: Option<u32>,
    /// And this group.
    #[arg(long)]
    gid: Option<u32>,
    /// The application.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Becomes the application: returns only when that fails, with a shell's exit codes (127 not found, 126 refused).
///
/// # Errors
/// What the system said.
pub fn become_application(become_: Become) -> CommandResult {
    if let (Some(uid), Some(gid)) = (become_.uid, become_.gid) {
        isolation::become_ordinary(uid, gid)?;
    }
    let failed =
        |error: nix::Error| CommandError::new(126, format!("cannot prepare the application: {error}"));
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed)?;
    prctl::set_no_new_privs().map_err(failed)?;
    let mut command = if become_.drop_capabilities {
        let mut command = Command::new(tool::tool("setpriv")?);
        command.args(["--inh-caps=-all", &format!("--bounding-set={KEPT}"), "--"]).args(&become_.command);
        command
    } else {
        let mut command = Command::new(&become_.command[0]);
        command.args(&become_.command[1..]);
        command
    };
    let error = command.exec();
    let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
    Err(CommandError::new(code, format!("cannot run `{}`: {error}", become_.command[0])))
}
