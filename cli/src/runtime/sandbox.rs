//! A workload's namespaces: network, mounts, host name. The supervisor enters them itself, so that they end with
//! the last process of the workload.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::paths::{MeshPaths, WorkloadPaths};
use super::specification::Start;
use super::{files, isolation, network, record};
use crate::command::{CommandError, FAILED};

/// Enters the mesh and makes the workload's namespaces, complete but for its processes. Gives the inode of its network
/// namespace; `None` when it has none of its own.
///
/// # Errors
/// What failed; this process is then somewhere in between and has to end.
pub fn make(start: &Start, paths: &WorkloadPaths) -> Result<Option<u64>, CommandError> {
    let Some(holder) = &start.holder else { return Ok(None) };
    let failed = |what: &'static str| {
        move |error: &dyn std::fmt::Display| CommandError::new(FAILED, format!("cannot {what}: {error}"))
    };
    let own_network =
        || File::open("/proc/self/ns/net").map_err(|error| failed("open the network namespace")(&error));

    isolation::enter_mesh(holder, start.isolation)?;
    let mesh = own_network()?;
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)
        .map_err(|error| failed("make the workload's namespaces")(&error))?;
    let own = own_network()?;
    nix::unistd::sethostname(&start.registration.name)
        .map_err(|error| failed("set the host name")(&error))?;
    // The host's later mounts appear here, ours never there.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .map_err(|error| failed("make mounts private")(&error))?;

    let far = format!("wv{:08x}", fastrand::u32(..));
    network::run(&network::cable_batch(&far, holder.pid))?;
    isolation::enter(&mesh, CloneFlags::CLONE_NEWNET)?;
    let plugged = network::run(&network::plug_batch(&far));
    isolation::enter(&own, CloneFlags::CLONE_NEWNET)?;
    plugged?;
    network::run(&network::workload_batch(&start.registration.addresses, &start.registration.gateways)?)?;
    // Nobody else is in this network, so any application may have port 80.
    network::switch("ipv4/ip_unprivileged_port_start", "0");
    etc(start, paths)?;
    if start.specification.sidecar {
        intercept(&start.proxy_program)?;
    }
    let number = own.metadata().map_err(|error| failed("see the network namespace")(&error))?.ino();
    Ok(Some(number))
}

/// The workload's own files of `/etc`.
fn etc(start: &Start, paths: &WorkloadPaths) -> Result<(), CommandError> {
    let (name, namespace) = (&start.registration.name, &start.registration.namespace);
    let others = if start.specification.sidecar {
        Vec::new()
    } else {
        record::workloads(&MeshPaths { directory: start.directory.clone() })
    };
    let present = fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    for (file, content) in [
        ("resolv.conf", files::resolv_conf(namespace)),
        ("hosts", files::hosts(name, namespace, &start.registration.plain_addresses(), &others)),
        ("nsswitch.conf", files::nsswitch(&present)),
    ] {
        let own = paths.directory.join(file);
        fs::write(&own, content)
            .map_err(|error| CommandError::new(FAILED, format!("cannot write {}: {error}", own.display())))?;
        files::cover(&format!("/etc/{file}"), &own)?;
    }
    // A name service cache of the machine would answer before any of these files is read.
    let nothing = paths.directory.join("empty");
    fs::create_dir_all(&nothing)
        .map_err(|error| CommandError::new(FAILED, format!("cannot make {}: {error}", nothing.display())))?;
    files::cover("/run/nscd", &nothing).map(drop)
}

/// Sets the interception rules, before anything of the workload runs.
fn intercept(proxy: &Path) -> Result<(), CommandError> {
    let output = Command::new(proxy)
        .args(["intercept", "apply"])
        .output()
        .map_err(|error| CommandError::new(FAILED, format!("cannot run {}: {error}", proxy.display())))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(CommandError::new(FAILED, format!("the workload's traffic cannot be intercepted: {said}")))
}
