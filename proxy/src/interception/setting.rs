//! What to intercept, checked.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

#[cfg(test)]
#[path = "setting_tests.rs"]
mod tests;

/// Where outgoing connections are accepted (Istio's port).
pub const OUTBOUND_PORT: u16 = 15001;
/// Where incoming connections are accepted (Istio's port).
pub const INBOUND_PORT: u16 = 15006;
/// Where the sidecar's resolver answers (Istio's port).
pub const DNS_PORT: u16 = 15053;
/// The mark of the proxy's own sockets: 1337, the user id that Istio's proxy is told by.
pub const MARK: u32 = 0x539;
/// Ports of the sidecar itself that must be reachable from outside without going through the proxy: admin,
/// merged metrics, readiness, metrics (<https://istio.io/latest/docs/ops/deployment/application-requirements/>).
pub const OWN_PORTS: [u16; 4] = [15000, 15020, 15021, 15090];

/// A range of addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cidr {
    /// The first address: bits behind the prefix are zero.
    address: IpAddr,
    /// Leading bits that count: at most 32 or 128.
    prefix: u8,
}

/// How the proxy's own packets are told from the workload's. They must pass: caught again they would go in circles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Own {
    /// By the mark of their sockets, never 0, which is the mark of every other packet. Setting one needs
    /// `CAP_NET_ADMIN`.
    Mark(u32),
    /// By the user, or by the group, that the proxy runs as: it needs no capability then, as in a pod. Nothing else
    /// of the workload may run as either.
    Process {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
}

/// Which packets are intercepted, and to where. Made by [`Interception::check`], so that the ports differ from
/// each other and none is zero.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interception {
    /// Outgoing TCP is redirected here.
    pub outbound_port: u16,
    /// Incoming TCP is redirected here.
    pub inbound_port: u16,
    /// Outgoing DNS (UDP and TCP port 53) is redirected here; `None` leaves DNS alone.
    pub dns_port: Option<u16>,
    /// How the proxy's own packets are told.
    pub own: Own,
    /// Packets of these users pass, names included.
    pub excluded_uids: BTreeSet<u32>,
    /// Packets of these groups pass, names included.
    pub excluded_gids: BTreeSet<u32>,
    /// What arrives or leaves through these interfaces passes.
    pub excluded_interfaces: BTreeSet<String>,
    /// Incoming ports that are intercepted; `None` for all.
    pub included_inbound_ports: Option<BTreeSet<u16>>,
    /// Incoming ports that are not intercepted.
    pub excluded_inbound_ports: BTreeSet<u16>,
    /// Destination ports that are not intercepted on the way out.
    pub excluded_outbound_ports: BTreeSet<u16>,
    /// Destination ports that are intercepted on the way out although their destination is in no included range.
    pub included_outbound_ports: BTreeSet<u16>,
    /// Only these destinations are intercepted on the way out; `None` for all.
    pub included_outbound_ranges: Option<Vec<Cidr>>,
    /// These destinations are not intercepted on the way out.
    pub excluded_outbound_ranges: Vec<Cidr>,
}

/// Everything that is wrong with a setting.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the interception setting is wrong: {}", .0.join("; "))]
pub struct InterceptionError(pub Vec<String>);

impl Default for Interception {
    fn default() -> Self {
        Self {
            outbound_port: OUTBOUND_PORT,
            inbound_port: INBOUND_PORT,
            dns_port: Some(DNS_PORT),
            own: Own::Mark(MARK),
            excluded_uids: BTreeSet::new(),
            excluded_gids: BTreeSet::new(),
            excluded_interfaces: BTreeSet::new(),
            included_inbound_ports: None,
            excluded_inbound_ports: OWN_PORTS.into(),
            excluded_outbound_ports: BTreeSet::new(),
            included_outbound_ports: BTreeSet::new(),
            included_outbound_ranges: None,
            excluded_outbound_ranges: Vec::new(),
        }
    }
}

impl Interception {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn check(self) -> Result<Self, InterceptionError> {
        let mut mistakes = Vec::new();
        match self.own {
            Own::Mark(0) => mistakes.push(
                "mark 0x0 cannot tell the proxy's packets from others: choose another number".to_owned(),
            ),
            Own::Process { uid: 0, .. } | Own::Process { gid: 0, .. } => mistakes.push(
                "the proxy must not run as user or group 0: what root sends would pass unseen".to_owned(),
            ),
            Own::Mark(_) | Own::Process { .. } => {}
        }
        let ports = [
            ("outbound", Some(self.outbound_port)),
            ("inbound", Some(self.inbound_port)),
            ("DNS", self.dns_port),
        ];
        for (index, (name, port)) in ports.iter().enumerate() {
            let Some(port) = port else { continue };
            if *port == 0 {
                mistakes.push(format!("the {name} port must not be 0"));
            }
            for (other, same) in &ports[..index] {
                if *same == Some(*port) {
                    mistakes.push(format!("the {other} and the {name} port are both {port}"));
                }
            }
        }
        for port in self.included_inbound_ports.iter().flatten() {
            if self.excluded_inbound_ports.contains(port) {
                mistakes.push(format!("inbound port {port} is both included and excluded"));
            }
        }
        for port in self.included_outbound_ports.intersection(&self.excluded_outbound_ports) {
            mistakes.push(format!("outbound port {port} is both included and excluded"));
        }
        for name in &self.excluded_interfaces {
            if !is_interface_name(name) {
                mistakes.push(format!(
                    "`{name}` is no name of an interface: at most {INTERFACE_NAME} letters, digits, `.`, `-`, `_`, `@`"
                ));
            }
        }
        for range in self.included_outbound_ranges.iter().flatten() {
            if self.excluded_outbound_ranges.contains(range) {
                mistakes.push(format!("outbound range {range} is both included and excluded"));
            }
        }
        if mistakes.is_empty() { Ok(self) } else { Err(InterceptionError(mistakes)) }
    }
}

/// Bytes of an interface's name at most (`IFNAMSIZ` without the zero at the end).
const INTERFACE_NAME: usize = 15;

/// Stricter than the kernel, because it becomes a word of a packet filter's language.
fn is_interface_name(name: &str) -> bool {
    (1..=INTERFACE_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_@".contains(&byte))
}

impl Cidr {
    /// Its first address.
    #[must_use]
    pub fn first(self) -> IpAddr {
        self.address
    }

    /// Leading bits that count.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether it is a range of IPv4 addresses.
    #[must_use]
    pub fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether every address of the family is in it.
    #[must_use]
    pub fn is_all(self) -> bool {
        self.prefix == 0
    }
}

/// `10.0.0.0/8`, or a single address. Bits behind the prefix are cleared, as packet filters do.
impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |why: String| format!("`{text}` is not a range of addresses such as 10.0.0.0/8: {why}");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_| refused(format!("`{address}` is no IP address")))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u8 =
            match prefix {
                None => most,
                Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= most).ok_or_else(|| {
                    refused(format!("the prefix length must be 0 to {most}, not `{prefix}`"))
                })?,
            };
        let address = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4((address.to_bits() & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6((address.to_bits() & mask).into())
            }
        };
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}
