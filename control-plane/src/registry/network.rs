//! Addresses of workloads on a mesh's own network.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;

/// An address range with its prefix length, at least 4 host bits wide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    length: u8,
}

impl Network {
    fn bits(self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// The address with that number within the range.
    fn host(self, number: u32) -> IpAddr {
        match self.address {
            IpAddr::V4(base) => IpAddr::V4(Ipv4Addr::from_bits(base.to_bits() | number)),
            IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from_bits(base.to_bits() | u128::from(number))),
        }
    }

    /// How many addresses can be handed out; a wide range is used only in part.
    fn hosts(self) -> u32 {
        let host_bits = (self.bits() - self.length).min(16);
        (1 << host_bits) - 2
    }

    /// The first address: the bridge's, where the control plane is.
    #[must_use]
    pub fn gateway(self) -> IpAddr {
        self.host(1)
    }

    /// An address of the range with the range's prefix length, such as `10.250.0.7/16`.
    #[must_use]
    pub fn with_length(self, address: IpAddr) -> String {
        format!("{address}/{}", self.length)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || format!("`{text}` is no address range such as 10.250.0.0/16 or fd00:7766::/64");
        let (address, length) = text.split_once('/').ok_or_else(refused)?;
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let network = Self { address, length: length.parse().map_err(|_| refused())? };
        if network.length > network.bits().saturating_sub(4) {
            return Err(format!("`{text}` is too narrow: at least 4 bits are needed for workloads"));
        }
        let host_mask =
            |bits: u8| 1_u128.checked_shl(u32::from(bits - network.length)).map_or(u128::MAX, |top| top - 1);
        let low = match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) & host_mask(32),
            IpAddr::V6(v6) => v6.to_bits() & host_mask(128),
        };
        if low != 0 {
            return Err(format!("`{text}` has bits set beyond its prefix"));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// The ranges of one mesh; a workload has the same number in each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WorkloadNetworks {
    /// Required.
    pub v4: Network,
    /// None: the mesh has no IPv6.
    pub v6: Option<Network>,
}

impl WorkloadNetworks {
    /// Addresses of a new workload: the number after the one that was given last (`last`, 0 at first), so that an
    /// address is not used again soon, when somebody may still believe it to be another's: neighbours remember
    /// hardware addresses, clients connections. None when all are taken.
    #[must_use]
    pub fn allocate(&self, taken: &BTreeSet<IpAddr>, last: &mut u32) -> Option<Vec<IpAddr>> {
        let hosts = self.v4.hosts();
        let highest = || (2..=hosts).rev().find(|n| taken.contains(&self.v4.host(*n))).unwrap_or(1);
        let from = if *last == 0 { highest() } else { *last };
        let number = (from + 1..=hosts).chain(2..=from).find(|n| !taken.contains(&self.v4.host(*n)))?;
        *last = number;
        Some(self.iter().map(|network| network.host(number)).collect())
    }

    /// The networks, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = Network> {
        std::iter::once(self.v4).chain(self.v6)
    }
}
