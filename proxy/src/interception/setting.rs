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
    /// Packets with this mark are the proxy's own and pass. Never 0, which is the mark of every other packet.
    pub mark: u32,
    /// Incoming ports that are intercepted; `None` for all.
    pub included_inbound_ports: Option<BTreeSet<u16>>,
    /// Incoming ports that are not intercepted.
    pub excluded_inbound_ports: BTreeSet<u16>,
    /// Destination ports that are not intercepted on the way out.
    pub excluded_outbound_ports: BTreeSet<u16>,
    /// Only these destinations are intercepted on the way out; empty for all.
    pub included_outbound_ranges: Vec<Cidr>,
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
            mark: MARK,
            included_inbound_ports: None,
            excluded_inbound_ports: OWN_PORTS.into(),
            excluded_outbound_ports: BTreeSet::new(),
            included_outbound_ranges: Vec::new(),
            excluded_outbound_ranges: Vec::new(),
        }
    }
}

impl Interception {
    /// The mark of an upstream connection to the workload's own address: the one after [`Self::mark`].
    #[must_use]
    pub fn self_mark(&self) -> u32 {
        self.mark + 1
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn check(self) -> Result<Self, InterceptionError> {
        let mut mistakes = Vec::new();
        if self.mark == 0 || self.mark == u32::MAX {
            mistakes.push(format!(
                "mark {:#x} cannot tell the proxy's packets from others; choose one between 1 and {:#x}",
                self.mark,
                u32::MAX - 1
            ));
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
        for range in &self.included_outbound_ranges {
            if self.excluded_outbound_ranges.contains(range) {
                mistakes.push(format!("outbound range {range} is both included and excluded"));
            }
        }
        if mistakes.is_empty() { Ok(self) } else { Err(InterceptionError(mistakes)) }
    }
}

impl Cidr {
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
