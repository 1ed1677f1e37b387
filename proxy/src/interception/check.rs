//! Proves that the rules are in force: packets that should come to the proxy's ports really do. To be run before the
//! sidecar, whose ports it takes for a moment: by an init container where somebody else (the CNI plugin) set the rules,
//! so that an application never starts without them.
//!
//! What arrives from outside cannot be proven from inside. But the rules of a family are set in one transaction, so
//! that those of the way in are there when those of the way out are.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

use super::rules::Family;
use super::setting::{Cidr, Interception, Own};

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;

/// Why it could not be proven.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The rules are missing, or others than asked for.
    #[error("the traffic of this workload is not intercepted: {}", .0.join("; "))]
    NotInForce(Vec<String>),
    /// It says nothing about the rules.
    #[error("cannot find out whether traffic is intercepted: {0}")]
    Unknown(String),
}

/// One thing that was found out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proven {
    /// What was sent to the address came to the port.
    Arrived {
        /// Such as `TCP`.
        what: &'static str,
        /// Where it was sent.
        to: SocketAddr,
        /// Where it came to.
        port: u16,
    },
    /// Nothing of the family leaves here, or all of it is excluded.
    Nothing {
        /// Such as `TCP over IPv6`.
        what: String,
        /// Why.
        why: String,
    },
}

impl fmt::Display for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arrived { what, to, port } => write!(f, "{what} to {to} comes to port {port}"),
            Self::Nothing { what, why } => write!(f, "{what} is not checked: {why}"),
        }
    }
}

/// Addresses for documentation (RFC 5737, RFC 3849), where nobody is, should a packet leave after all.
const NOBODY: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// Sends to addresses whose packets the setting wants intercepted, and waits for them at the proxy's ports.
///
/// # Errors
/// See [`CheckError`].
pub fn check(
    setting: &Interception,
    families: &[Family],
    timeout: Duration,
) -> Result<Vec<Proven>, CheckError> {
    not_as_one_who_passes(setting)?;
    let unknown = |error: io::Error| CheckError::Unknown(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unknown)?;
    runtime.block_on(async {
        let (mut proven, mut wrong) = (Vec::new(), Vec::new());
        let mut note = |found: Found| match found {
            Ok(one) => proven.push(one),
            Err(reason) => wrong.push(reason),
        };
        for family in families {
            note(tcp(setting, *family, timeout).await?);
            if let Some(port) = setting.dns_port {
                note(dns(*family, port, timeout).await?);
            }
        }
        if wrong.is_empty() { Ok(proven) } else { Err(CheckError::NotInForce(wrong)) }
    })
}

/// Proven, or what did not arrive.
type Found = Result<Proven, String>;

fn not_as_one_who_passes(setting: &Interception) -> Result<(), CheckError> {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let is_proxy = matches!(setting.own, Own::Process { uid: own, gid: group } if own == uid || group == gid);
    if is_proxy || setting.excluded_uids.contains(&uid) || setting.excluded_gids.contains(&gid) {
        return Err(CheckError::Unknown(format!(
            "this runs as user {uid} and group {gid}, whose packets pass; run it as another"
        )));
    }
    Ok(())
}

async fn tcp(setting: &Interception, family: Family, timeout: Duration) -> Result<Found, CheckError> {
    let port = setting.outbound_port;
    let nothing = |why: String| Ok(Ok(Proven::Nothing { what: format!("TCP over {}", name(family)), why }));
    let Some(to) = target(setting, family) else {
        return nothing("everything that leaves is excluded".to_owned());
    };
    let listener = listen(family, port)?;
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|error| CheckError::Unknown(error.to_string()))?;
    let (connecting, accepting) = (socket.connect(to), listener.accept());
    let both = async {
        let (client, (server, _)) = tokio::try_join!(connecting, accepting)?;
        drop(client);
        let tracked = SockRef::from(&server);
        let original = if to.is_ipv4() { tracked.original_dst_v4() } else { tracked.original_dst_v6() };
        Ok::<_, io::Error>(original?.as_socket())
    };
    Ok(match tokio::time::timeout(timeout, both).await {
        Ok(Ok(original)) if original == Some(to) => Ok(Proven::Arrived { what: "TCP", to, port }),
        Ok(Ok(_)) => Err(format!("the connection to {to} came to port {port} without its destination")),
        Ok(Err(error)) if has_no_route(&error) => return nothing(format!("no route leads there ({error})")),
        Ok(Err(error)) => Err(format!("the connection to {to} did not come to port {port}: {error}")),
        Err(_) => Err(format!("the connection to {to} did not come to port {port} within {timeout:?}")),
    })
}

async fn dns(family: Family, port: u16, timeout: Duration) -> Result<Found, CheckError> {
    let Some(to) = nobody(family).next().map(|ip| SocketAddr::new(ip, 53)) else {
        return Err(CheckError::Unknown("no address to ask".to_owned()));
    };
    let (own, any): (IpAddr, IpAddr) = match family {
        Family::Ipv4 => (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::UNSPECIFIED.into()),
        Family::Ipv6 => (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into()),
    };
    let what = || format!("DNS over {}", name(family));
    let resolver = match UdpSocket::bind((own, port)).await {
        Ok(resolver) => resolver,
        Err(error) if family == Family::Ipv6 && has_no_route(&error) => {
            return Ok(Ok(Proven::Nothing { what: what(), why: error.to_string() }));
        }
        Err(error) => return Err(taken(port, &error)),
    };
    let exchange = async {
        let client = UdpSocket::bind((any, 0)).await?;
        client.send_to(QUERY, to).await?;
        let mut buffer = [0; 64];
        loop {
            let (length, _) = resolver.recv_from(&mut buffer).await?;
            if buffer.get(..length) == Some(QUERY) {
                return Ok::<_, io::Error>(());
            }
        }
    };
    Ok(match tokio::time::timeout(timeout, exchange).await {
        Ok(Ok(())) => Ok(Proven::Arrived { what: "DNS", to, port }),
        Ok(Err(error)) if has_no_route(&error) => {
            Ok(Proven::Nothing { what: what(), why: format!("no route leads there ({error})") })
        }
        Ok(Err(error)) => Err(format!("a query to {to} did not come to port {port}: {error}")),
        Err(_) => Err(format!("a query to {to} did not come to port {port} within {timeout:?}")),
    })
}

/// A query for the root's name servers: header and one question (RFC 1035, section 4.1).
const QUERY: &[u8] = &[0x57, 0x45, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];

fn listen(family: Family, port: u16) -> Result<TcpListener, CheckError> {
    let failed = |error: io::Error| taken(port, &error);
    let (socket, any): (_, IpAddr) = match family {
        Family::Ipv4 => (TcpSocket::new_v4(), Ipv4Addr::UNSPECIFIED.into()),
        Family::Ipv6 => (TcpSocket::new_v6(), Ipv6Addr::UNSPECIFIED.into()),
    };
    let socket = socket.map_err(failed)?;
    if family == Family::Ipv6 {
        SockRef::from(&socket).set_only_v6(true).map_err(failed)?;
    }
    socket.set_reuseaddr(true).map_err(failed)?;
    socket.bind(SocketAddr::new(any, port)).map_err(failed)?;
    socket.listen(16).map_err(failed)
}

fn taken(port: u16, error: &io::Error) -> CheckError {
    CheckError::Unknown(format!("port {port}: {error}; this must run before the sidecar does"))
}

fn name(family: Family) -> &'static str {
    if family == Family::Ipv4 { "IPv4" } else { "IPv6" }
}

fn nobody(family: Family) -> impl Iterator<Item = IpAddr> {
    NOBODY.into_iter().filter(move |ip| ip.is_ipv4() == (family == Family::Ipv4))
}

/// A destination that the setting wants intercepted; none: there is none of the family.
fn target(setting: &Interception, family: Family) -> Option<SocketAddr> {
    let passes = |ip: IpAddr| setting.excluded_outbound_ranges.iter().any(|range| range.contains(ip));
    let port = (80..=u16::MAX).find(|port| !setting.excluded_outbound_ports.contains(port))?;
    let with = |ip, port| SocketAddr::new(ip, port);
    let Some(ranges) = &setting.included_outbound_ranges else {
        return nobody(family).find(|ip| !passes(*ip)).map(|ip| with(ip, port));
    };
    if let Some(port) = setting.included_outbound_ports.first() {
        return nobody(family).find(|ip| !passes(*ip)).map(|ip| with(ip, *port));
    }
    let of_family = ranges.iter().filter(|range| range.is_ipv4() == (family == Family::Ipv4));
    // The first address of a network stands for the network itself.
    let mut candidates = of_family.flat_map(|range| [range.second(), range.first()]);
    candidates.find(|ip| !passes(*ip) && !ip.is_loopback()).map(|ip| with(ip, port))
}

impl Cidr {
    /// Whether the address is in it.
    fn contains(self, ip: IpAddr) -> bool {
        format!("{ip}/{}", self.prefix()).parse() == Ok(self)
    }

    /// The address behind the first one, or the only one.
    fn second(self) -> IpAddr {
        let next: IpAddr = match self.first() {
            IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits().wrapping_add(1)).into(),
            IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits().wrapping_add(1)).into(),
        };
        if self.contains(next) { next } else { self.first() }
    }
}

/// Nothing can leave that way, so nothing passes unseen either.
fn has_no_route(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::NetworkUnreachable | K::HostUnreachable | K::AddrNotAvailable)
        || error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32)
}
