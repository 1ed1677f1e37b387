//! The PROXY protocol: in front of a connection's own bytes, a load balancer says whose connection it passes on
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, sections 2.1 and 2.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weft_model::cluster::ProxyProtocolVersion;

#[cfg(test)]
#[path = "proxy_protocol_tests.rs"]
mod tests;

/// A header of version 1 is never longer, its line end included.
const LONGEST_V1: usize = 107;
const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, and the length of what follows.
const V2_FIXED: usize = 16;
/// A header of version 2 may carry more than addresses; one that carries more than this is refused.
pub const LONGEST: usize = 4096;

/// The two ends of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    /// Who opened it.
    pub source: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
}

/// What a connection's first bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// More are needed.
    Partial,
    /// No header.
    Absent,
    /// A header of so many bytes. No ends: the connection is the sender's own, a health check say.
    Header(usize, Option<Ends>),
    /// A header that says nothing one could believe, and why.
    Malformed(&'static str),
}

/// Reads a header of either version.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    if bytes.starts_with(V2) {
        return parse_v2(bytes);
    }
    if bytes.starts_with(V1) {
        return parse_v1(bytes);
    }
    if V2.starts_with(bytes) || V1.starts_with(bytes) { Parsed::Partial } else { Parsed::Absent }
}

fn parse_v1(bytes: &[u8]) -> Parsed {
    let window = &bytes[..bytes.len().min(LONGEST_V1)];
    let Some(end) = window.windows(2).position(|two| two == b"\r\n") else {
        return if bytes.len() < LONGEST_V1 {
            Parsed::Partial
        } else {
            Parsed::Malformed("its line has no end")
        };
    };
    let Ok(line) = std::str::from_utf8(&window[V1.len()..end]) else {
        return Parsed::Malformed("its line is no text");
    };
    let length = end + 2;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Parsed::Header(length, None);
    }
    let mut words = line.split(' ');
    let [family, source, destination, from, to] = [(); 5].map(|()| words.next().unwrap_or_default());
    if words.next().is_some() {
        return Parsed::Malformed("its line has more than five fields");
    }
    let ip = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let ends = (|| {
        let source = SocketAddr::new(ip(source)?, port(from)?);
        Some(Ends { source, destination: SocketAddr::new(ip(destination)?, port(to)?) })
    })();
    match ends {
        Some(ends) => Parsed::Header(length, Some(ends)),
        None => Parsed::Malformed("its addresses cannot be read"),
    }
}

/// Digits only, and no zeros in front.
fn port(text: &str) -> Option<u16> {
    let canonical = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| canonical)
}

fn parse_v2(bytes: &[u8]) -> Parsed {
    let Some(fixed) = bytes.get(V2.len()..V2_FIXED) else { return Parsed::Partial };
    let (version, command, family) = (fixed[0] >> 4, fixed[0] & 0xf, fixed[1]);
    let follows = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    let length = V2_FIXED + follows;
    if version != 2 {
        return Parsed::Malformed("its version is not 2");
    }
    if length > LONGEST {
        return Parsed::Malformed("it is longer than 4 KiB");
    }
    let Some(addresses) = bytes.get(V2_FIXED..length) else { return Parsed::Partial };
    match (command, family) {
        // LOCAL, whatever else it says; or of a family that is not told.
        (0, _) | (1, 0) => Parsed::Header(length, None),
        (1, 0x11) => match ends::<4>(addresses) {
            Some(ends) => Parsed::Header(length, Some(ends)),
            None => Parsed::Malformed("it is too short for its addresses"),
        },
        (1, 0x21) => match ends::<16>(addresses) {
            Some(ends) => Parsed::Header(length, Some(ends)),
            None => Parsed::Malformed("it is too short for its addresses"),
        },
        (1, _) => Parsed::Malformed("it is not of a TCP connection"),
        _ => Parsed::Malformed("its command is not known"),
    }
}

fn ends<const N: usize>(bytes: &[u8]) -> Option<Ends>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = bytes.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let [a, b, c, d] = *rest.first_chunk::<4>()?;
    Some(Ends {
        source: SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(IpAddr::from(*destination), u16::from_be_bytes([c, d])),
    })
}

/// The header for a connection on behalf of another; none: for the sender's own.
#[must_use]
pub fn header(version: ProxyProtocolVersion, ends: Option<Ends>) -> Vec<u8> {
    // Ends of two families are told as of the wider.
    let ends = ends.map(|ends| match (ends.source.ip(), ends.destination.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => ends,
        _ => Ends { source: widened(ends.source), destination: widened(ends.destination) },
    });
    match version {
        ProxyProtocolVersion::V1 => header_v1(ends).into_bytes(),
        ProxyProtocolVersion::V2 => header_v2(ends),
    }
}

fn widened(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

fn header_v1(ends: Option<Ends>) -> String {
    let Some(Ends { source, destination }) = ends else { return "PROXY UNKNOWN\r\n".to_owned() };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    format!(
        "PROXY {family} {} {} {} {}\r\n",
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    )
}

fn header_v2(ends: Option<Ends>) -> Vec<u8> {
    let mut bytes = V2.to_vec();
    let Some(Ends { source, destination }) = ends else {
        // LOCAL, no family, nothing that follows.
        bytes.extend([0x20, 0, 0, 0]);
        return bytes;
    };
    let (family, length) = if source.is_ipv4() { (0x11, 12_u16) } else { (0x21, 36) };
    bytes.extend([0x21, family]);
    bytes.extend(length.to_be_bytes());
    for ip in [source.ip(), destination.ip()] {
        match ip {
            IpAddr::V4(ip) => bytes.extend(ip.octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
    }
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    bytes
}
