//! `weft-proxy intercept`: sets, checks, shows and removes the rules. Run once in a workload's network namespace,
//! before its sidecar and its application start: by `weft run`, by an init container, or by the CNI plugin.
//!
//! Lists are written as in Istio's annotations `traffic.sidecar.istio.io/*`: by commas, `*` for all where that has a
//! sense, and empty for none.

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::apply::{ApplyError, Backend, apply, families_here, remove};
use super::check::{CheckError, check};
use super::rules::Family;
use super::setting::{
    Cidr, DNS_PORT, INBOUND_PORT, Interception, InterceptionError, MARK, OUTBOUND_PORT, OWN_PORTS, Own,
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
    /// Find out whether the rules are in force, before the sidecar listens; takes what `apply` was given. Ends with
    /// 126 when they are not. To be run as neither the proxy's nor an excluded user; needs no capability.
    Check(CheckArgs),
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
struct CheckArgs {
    #[command(flatten)]
    setting: SettingArgs,
    /// How long a packet may take to come round.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// What is to be intercepted, as arguments.
#[derive(Args, Clone, Debug)]
pub struct SettingArgs {
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
    /// The mark of the proxy's own sockets.
    #[arg(long, default_value_t = MARK, value_parser = parse_mark)]
    mark: u32,
    /// The user that the proxy runs as; its packets are told by that, and not by a mark.
    #[arg(long, value_name = "UID", conflicts_with = "mark")]
    proxy_uid: Option<u32>,
    /// The group that the proxy runs as; by default the number of its user.
    #[arg(long, value_name = "GID", requires = "proxy_uid")]
    proxy_gid: Option<u32>,
    /// Incoming ports that go through the proxy; `*`: all, empty: none.
    #[arg(long, value_name = "PORT,…|*", default_value = "*")]
    include_inbound_ports: Included<u16>,
    /// Incoming ports that reach the application directly, besides those of the sidecar itself.
    #[arg(long, value_name = "PORT,…")]
    exclude_inbound_ports: Vec<List<u16>>,
    /// Destination ports that go through the proxy although their destination is in no included range.
    #[arg(long, value_name = "PORT,…")]
    include_outbound_ports: Vec<List<u16>>,
    /// Destination ports that leave directly.
    #[arg(long, value_name = "PORT,…")]
    exclude_outbound_ports: Vec<List<u16>>,
    /// Ranges to which connections go through the proxy; `*`: all, empty: none.
    #[arg(long, value_name = "CIDR,…|*", default_value = "*")]
    include_outbound_ranges: Included<Cidr>,
    /// Ranges to which connections leave directly.
    #[arg(long, value_name = "CIDR,…")]
    exclude_outbound_ranges: Vec<List<Cidr>>,
    /// Interfaces whose packets are left alone.
    #[arg(long, value_name = "NAME,…")]
    exclude_interfaces: Vec<List<String>>,
    /// Users whose packets leave directly.
    #[arg(long, value_name = "UID,…")]
    exclude_uids: Vec<List<u32>>,
    /// Groups whose packets leave directly.
    #[arg(long, value_name = "GID,…")]
    exclude_gids: Vec<List<u32>>,
}

/// Words between commas; blanks and empty words do not count.
#[derive(Clone, PartialEq, Eq, Debug)]
struct List<T>(Vec<T>);

impl<T: FromStr<Err: ToString>> FromStr for List<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let parsed = words.map(|word| word.parse().map_err(|error: T::Err| named(word, &error.to_string())));
        parsed.collect::<Result<_, _>>().map(Self)
    }
}

/// A number's own message does not say which word it is about.
fn named(word: &str, error: &str) -> String {
    if error.contains(word) { error.to_owned() } else { format!("`{word}`: {error}") }
}

/// All, or a list.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Included<T> {
    All,
    Only(Vec<T>),
}

impl<T: FromStr<Err: ToString>> FromStr for Included<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Self::All);
        }
        text.parse().map(|List(only)| Self::Only(only))
    }
}

impl<T> Included<T> {
    /// None: all.
    fn only<C: FromIterator<T>>(self) -> Option<C> {
        match self {
            Self::All => None,
            Self::Only(list) => Some(list.into_iter().collect()),
        }
    }
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
    /// The rules are not in force.
    #[error(transparent)]
    Check(#[from] CheckError),
}

impl InterceptError {
    /// How the process ends: as Istio's validation does where the rules are not in force, so that whoever watches for
    /// pods that were not intercepted finds them by the exit code of the container.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Check(CheckError::NotInForce(_)) => 126,
            Self::Setting(_) => 2,
            Self::Apply(_) | Self::Check(_) => 1,
        }
    }
}

/// Does what the arguments say.
///
/// # Errors
/// See [`InterceptError`].
pub fn run(args: InterceptArgs) -> Result<(), InterceptError> {
    match args.action {
        Action::Apply(setting) => {
            let (families, backend) = (setting.filter.families(), setting.filter.backend);
            let by = apply(&setting.check()?, &families, backend)?;
            tracing::info!("the rules are in force, set by {by}");
            Ok(())
        }
        Action::Check(CheckArgs { setting, timeout }) => {
            let families = setting.filter.families();
            for proven in check(&setting.check()?, &families, timeout)? {
                println!("{proven}");
            }
            Ok(())
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
        Backend::Iptables | Backend::IptablesNft | Backend::IptablesLegacy => families
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
    /// For which addresses, and whom to tell.
    #[must_use]
    pub fn families_and_backend(&self) -> (Vec<Family>, Backend) {
        (self.filter.families(), self.filter.backend)
    }

    /// What the arguments say, checked.
    ///
    /// # Errors
    /// Everything that contradicts itself.
    pub fn check(self) -> Result<Interception, InterceptionError> {
        let own = match self.proxy_uid {
            Some(uid) => Own::Process { uid, gid: self.proxy_gid.unwrap_or(uid) },
            None => Own::Mark(self.mark),
        };
        Interception {
            outbound_port: self.outbound_port,
            inbound_port: self.inbound_port,
            dns_port: (!self.no_dns).then_some(self.dns_port),
            own,
            excluded_uids: all(self.exclude_uids),
            excluded_gids: all(self.exclude_gids),
            excluded_interfaces: all(self.exclude_interfaces),
            included_inbound_ports: self.include_inbound_ports.only(),
            excluded_inbound_ports: OWN_PORTS
                .into_iter()
                .chain(all::<_, Vec<_>>(self.exclude_inbound_ports))
                .collect(),
            excluded_outbound_ports: all(self.exclude_outbound_ports),
            included_outbound_ports: all(self.include_outbound_ports),
            included_outbound_ranges: self.include_outbound_ranges.only(),
            excluded_outbound_ranges: all(self.exclude_outbound_ranges),
        }
        .check()
    }
}

/// An argument that was given more than once adds up.
fn all<T, C: FromIterator<T>>(lists: Vec<List<T>>) -> C {
    lists.into_iter().flat_map(|List(list)| list).collect()
}

/// A mark as people write one: `1337` or `0x539`.
fn parse_mark(text: &str) -> Result<u32, String> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .map_err(|_| format!("`{text}` is not a number such as 1337 or 0x539"))
}
