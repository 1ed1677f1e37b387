//! The files of `/etc` that a workload sees its own version of.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::paths::MeshPaths;
use super::record::{self, WorkloadRecord};
use crate::command::{CommandError, FAILED};

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;

/// What all names of the mesh's services end with.
pub const DOMAIN: &str = "cluster.local";

/// Where names are searched, as in a Kubernetes pod
/// (<https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/>).
#[must_use]
pub fn search(namespace: &str) -> String {
    format!("{namespace}.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}")
}

/// `/etc/resolv.conf`: the sidecar answers. Its port 53 is redirected to the sidecar's resolver.
#[must_use]
pub fn resolv_conf(namespace: &str) -> String {
    format!("nameserver 127.0.0.1\nsearch {}\noptions ndots:5\n", search(namespace))
}

/// `/etc/hosts`: the workload itself; without a sidecar, which would resolve them, also the mesh's services, by
/// the addresses of their workloads.
#[must_use]
pub fn hosts(name: &str, namespace: &str, addresses: &[String], others: &[WorkloadRecord]) -> String {
    let mut text = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n".to_owned();
    for address in addresses {
        let _ = writeln!(text, "{address} {name}");
    }
    for other in others.iter().filter(|other| !other.service.is_empty() && other.alive()) {
        let (service, home) = (&other.service, &other.namespace);
        let short = if home == namespace { format!("{service} ") } else { String::new() };
        for address in &other.addresses {
            let _ = writeln!(
                text,
                "{address} {short}{service}.{home} {service}.{home}.svc {service}.{home}.svc.cluster.local"
            );
        }
    }
    text
}

/// `/etc/nsswitch.conf` that looks for hosts in the hosts file and by DNS only: other sources, such as
/// systemd-resolved's socket, would answer for the machine and not for the mesh.
#[must_use]
pub fn nsswitch(present: &str) -> String {
    let mut text: String = present
        .lines()
        .filter(|line| !line.trim_start().starts_with("hosts:"))
        .map(|it| format!("{it}\n"))
        .collect();
    text.push_str("hosts: files dns\n");
    text
}

/// Puts a file over another one, in this process's mount namespace. `false` when there is no file to cover.
///
/// # Errors
/// When the system refuses.
pub fn cover(target: &str, source: &Path) -> Result<bool, CommandError> {
    // Through symbolic links: /etc/resolv.conf is often one, and mount follows it.
    if !Path::new(target).exists() {
        return Ok(false);
    }
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>).map(|()| true).map_err(
        |error| CommandError::new(FAILED, format!("cannot put a private {target} in place: {error}")),
    )
}

/// Tells the workloads without a sidecar what services there are now. Written in place: they have the file mounted.
pub fn refresh_hosts(paths: &MeshPaths) {
    let all = record::workloads(paths);
    for workload in all.iter().filter(|it| !it.has_sidecar && it.isolation != record::Isolation::Explicit) {
        let file = paths.workload(&workload.namespace, &workload.name).directory.join("hosts");
        if file.exists() {
            let _ = fs::write(file, hosts(&workload.name, &workload.namespace, &workload.addresses, &all));
        }
    }
}
