//! The mesh's network: a bridge, and a cable from it into each workload. Made by `ip`, in batches.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use super::tool;
use crate::command::{CommandError, FAILED};

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;

/// The bridge's name in the mesh's namespace.
pub const BRIDGE: &str = "weft0";
/// The workloads' IPv4 network. Nobody outside the mesh's namespace sees it, so it collides with nothing.
pub const NETWORK_V4: &str = "10.250.0.0/16";
/// The workloads' IPv6 network (unique local addresses, RFC 4193).
pub const NETWORK_V6: &str = "fd57:6566:7400::/64";
/// Where the control plane accepts sidecars.
pub const DISCOVERY_PORT: u16 = 15012;

/// Whether this kernel speaks IPv6.
#[must_use]
pub fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

/// The first address of a network with its prefix length: what the bridge has, and every workload's gateway.
fn first_address(network: &str) -> Option<(IpAddr, &str)> {
    let (address, prefix) = network.split_once('/')?;
    let first = match address.parse().ok()? {
        IpAddr::V4(address) => IpAddr::V4((address.to_bits() + 1).into()),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() + 1).into()),
    };
    Some((first, prefix))
}

/// The bridge's IPv4 address.
#[must_use]
pub fn bridge_address() -> String {
    first_address(NETWORK_V4).map_or_else(String::new, |(address, _)| address.to_string())
}

/// What makes the bridge. Unknown destinations are refused at once instead of timing out: this network leads nowhere.
#[must_use]
pub fn bridge_batch(ipv6: bool) -> String {
    let mut batch = format!(
        "link set lo up\nlink add name {BRIDGE} type bridge forward_delay 0 mcast_snooping 0\nlink set {BRIDGE} up\n"
    );
    for network in [NETWORK_V4, NETWORK_V6].into_iter().take(if ipv6 { 2 } else { 1 }) {
        if let Some((address, prefix)) = first_address(network) {
            let _ = writeln!(batch, "address add {address}/{prefix} dev {BRIDGE}{}", nodad(address));
            let _ = writeln!(batch, "route add unreachable {} metric 4278198272", everything(address));
        }
    }
    batch
}

/// All addresses of a family: in a batch, `default` would always mean IPv4.
fn everything(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "::/0" } else { "0.0.0.0/0" }
}

/// Duplicate detection would keep an IPv6 address unusable for a second.
fn nodad(address: IpAddr) -> &'static str {
    if address.is_ipv6() { " nodad" } else { "" }
}

/// Run in the workload's namespace: a cable whose far end is in the namespace that process `holder` is in.
#[must_use]
pub fn cable_batch(far: &str, holder: i32) -> String {
    format!("link add name eth0 type veth peer name {far} netns {holder}\n")
}

/// Run in the mesh's namespace: plugs the cable's far end in.
#[must_use]
pub fn plug_batch(far: &str) -> String {
    format!("link set {far} master {BRIDGE}\nlink set {far} up\n")
}

/// Run in the workload's namespace: addresses (with prefix length) and default routes.
///
/// # Errors
/// When the control plane gave something that is no address.
pub fn workload_batch(addresses: &[String], gateways: &[String]) -> Result<String, CommandError> {
    let mut batch = "link set lo up\nlink set eth0 up\n".to_owned();
    let refused = |text: &str| {
        CommandError::new(FAILED, format!("the control plane gave `{text}`, which is no address"))
    };
    for text in addresses {
        let (address, prefix) = text.split_once('/').ok_or_else(|| refused(text))?;
        let address: IpAddr = address.parse().map_err(|_| refused(text))?;
        let prefix: u8 = prefix.parse().map_err(|_| refused(text))?;
        let _ = writeln!(batch, "address add {address}/{prefix} dev eth0{}", nodad(address));
    }
    for text in gateways {
        let gateway: IpAddr = text.parse().map_err(|_| refused(text))?;
        let _ = writeln!(batch, "route add {} via {gateway} dev eth0", everything(gateway));
    }
    Ok(batch)
}

/// Runs a batch in the network namespace of this process.
///
/// # Errors
/// What `ip` said.
pub fn run(batch: &str) -> Result<(), CommandError> {
    tool::run("ip", &["-batch", "-"], batch).map(drop)
}

/// Sets a switch of this network namespace. A kernel without it has nothing to switch.
pub fn switch(name: &str, value: &str) {
    let _ = fs::write(Path::new("/proc/sys/net").join(name), value);
}
