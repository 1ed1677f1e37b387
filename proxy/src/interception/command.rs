//! `weft-proxy intercept`: sets, shows and removes the rules. Run once in a workload's network namespace, before
//! its sidecar and its application start: by `weft run`, or by an init container.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};

use super::apply::{ApplyError, Backend, apply, families_here, remove};
use super::rules::Family;
use super::setting::{
    Cidr, DNS_PORT, INBOUND_PORT, Interception, InterceptionError, MARK, OUTBOUND_PORT, OWN_PORTS,
};
use super::{iptables, nftables};

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;

/// Bring this network namespace's traffic to the proxy.
#[derive(Args, Clone, Debug)]
pub struct InterceptArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Clone, Debug)]
enum Action {
    /// Set the rules, in place of those of an earlier call.
    Apply(SettingArgs),
    /// Write the rules, each with its reason, and change nothing.
    Print(SettingArgs),
    /// Take the rules away.
    Remove(FilterArgs),
}

#[derive(Args, Clone, Debug)]
struct FilterArgs {
    /// The packet filter to tell.
    #[arg(long, value_enum, default_value = "auto")]
    backend: Backend,
    /// Leave IPv6 alone; without this it is intercepted where the kernel has it.
    #[arg(long)]
    ipv4_only: bool,
}

#[derive(Args, Clone, Debug)]
struct SettingArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Where the proxy accepts outgoing connections.
    #[arg(long, value_name = "PORT", default_value_t = OUTBOUND_PORT)]
    outbound_port: u16,
    /// Where the proxy accepts incoming connections.
    #[arg(long, value_name = "PORT", default_value_t = INBOUND_PORT)]
    inbound_port: u16,
    /// Where the sidecar's resolver answers.
    #[arg(long, value_name = "PORT", default_value_t = DNS_PORT)]
    dns_port: u16,
    /// Leave DNS alone.
    #[arg(long, conflicts_with = "dns_port")]
    no_dns: bool,
    /// The mark of the proxy's own sockets. The next number marks its connections to its own workload.
    #[arg(long, default_value_t = MARK, value_parser = parse_mark)]
    mark: u32,
    /// Only these incoming ports.
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    include_inbound_ports: Vec<u16>,
    /// Incoming ports that reach the application directly, besides those of the sidecar itself.
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    exclude_inbound_ports: Vec<u16>,
    /// Destination ports that leave directly.
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    exclude_outbound_ports: Vec<u16>,
    /// Only connections to these ranges.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    include_outbound_ranges: Vec<Cidr>,
    /// Ranges to which connections leave directly.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    exclude_outbound_ranges: Vec<Cidr>,
}

/// Why `weft-proxy intercept` failed.
#[derive(Debug, thiserror::Error)]
pub enum InterceptError {
    /// The arguments contradict each other.
    #[error(transparent)]
    Setting(#[from] InterceptionError),
    /// The kernel did not take the rules.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// Does what the arguments say.
///
/// # Errors
/// See [`InterceptError`].
pub fn run(args: InterceptArgs) -> Result<(), InterceptError> {
    match args.action {
        Action::Apply(setting) => {
            let families = setting.filter.families();
            let backend = setting.filter.backend;
            Ok(apply(&setting.check()?, &families, backend)?)
        }
        Action::Print(setting) => {
            print!("{}", rendered(setting)?);
            Ok(())
        }
        Action::Remove(filter) => Ok(remove(&filter.families(), filter.backend)?),
    }
}

fn rendered(setting: SettingArgs) -> Result<String, InterceptError> {
    let (families, backend) = (setting.filter.families(), setting.filter.backend);
    let setting = setting.check()?;
    Ok(match backend {
        Backend::Auto | Backend::Nftables => nftables::apply_script(&setting, &families),
        Backend::Iptables => families
            .iter()
            .map(|family| {
                let tool = if *family == Family::Ipv4 { "iptables-restore" } else { "ip6tables-restore" };
                format!("# {tool} --noflush\n{}", iptables::apply_script(&setting, *family, ""))
            })
            .collect(),
    })
}

impl FilterArgs {
    fn families(&self) -> Vec<Family> {
        if self.ipv4_only { vec![Family::Ipv4] } else { families_here() }
    }
}

impl SettingArgs {
    fn check(self) -> Result<Interception, InterceptionError> {
        let included: BTreeSet<u16> = self.include_inbound_ports.into_iter().collect();
        Interception {
            outbound_port: self.outbound_port,
            inbound_port: self.inbound_port,
            dns_port: (!self.no_dns).then_some(self.dns_port),
            mark: self.mark,
            included_inbound_ports: (!included.is_empty()).then_some(included),
            excluded_inbound_ports: OWN_PORTS.into_iter().chain(self.exclude_inbound_ports).collect(),
            excluded_outbound_ports: self.exclude_outbound_ports.into_iter().collect(),
            included_outbound_ranges: self.include_outbound_ranges,
            excluded_outbound_ranges: self.exclude_outbound_ranges,
        }
        .check()
    }
}

/// A mark as people write one: `1337` or `0x539`.
fn parse_mark(text: &str) -> Result<u32, String> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .map_err(|_| format!("`{text}` is not a number such as 1337 or 0x539"))
}
