//! Socket addresses and ranges of addresses.

use std::net::{IpAddr, SocketAddr};

use weft_proto::xds::core;
use weft_proto::xds::core::address::Address as Kind;
use weft_proto::xds::core::socket_address::PortSpecifier;

use super::reader::{Reader, fields};
use super::wire::number;
use crate::listener::IpPrefix;

pub(super) fn encode(host: &str, port: u16) -> Option<core::Address> {
    let socket = core::SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(port.into())),
        ..Default::default()
    };
    Some(core::Address { address: Some(Kind::SocketAddress(socket)) })
}

pub(super) fn encode_socket(address: SocketAddr) -> Option<core::Address> {
    encode(&address.ip().to_string(), address.port())
}

/// A TCP address: a host name or IP address, and a port.
pub(super) fn decode(reader: &mut Reader, address: core::Address) -> Option<(String, u16)> {
    let socket = match address.address {
        Some(Kind::SocketAddress(socket)) => socket,
        Some(Kind::Pipe(_)) => return reader.unsupported("pipe"),
        Some(Kind::EnvoyInternalAddress(_)) => return reader.unsupported("envoy_internal_address"),
        None => return reader.missing("socket_address"),
    };
    reader.within("socket_address", |reader| {
        fields!(reader, socket => core::SocketAddress {
            address, port_specifier, protocol;
            ignored: ipv4_compat;
            refused: resolver_name, network_namespace_filepath
        });
        if protocol != core::socket_address::Protocol::Tcp as i32 {
            return reader.refuse_at("protocol", "is not TCP");
        }
        match port_specifier {
            Some(PortSpecifier::PortValue(port)) => match u16::try_from(port) {
                Ok(port) => Some((address, port)),
                Err(_) => reader.refuse_at("port_value", format!("{port} is no port: 0 to 65535")),
            },
            Some(PortSpecifier::NamedPort(_)) => reader.unsupported("named_port"),
            None => reader.missing("port_value"),
        }
    })
}

/// As [`decode`], of an IP address.
pub(super) fn decode_socket(reader: &mut Reader, address: core::Address) -> Option<SocketAddr> {
    let (host, port) = decode(reader, address)?;
    match host.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, port)),
        Err(_) => reader.refuse_at("socket_address.address", format!("`{host}` is no IP address")),
    }
}

pub(super) fn encode_prefix(prefix: &IpPrefix) -> core::CidrRange {
    core::CidrRange { address_prefix: prefix.address.to_string(), prefix_len: number(prefix.length.into()) }
}

pub(super) fn decode_prefix(reader: &mut Reader, range: core::CidrRange) -> Option<IpPrefix> {
    let core::CidrRange { address_prefix, prefix_len } = range;
    let Ok(address) = address_prefix.parse::<IpAddr>() else {
        return reader.refuse_at("address_prefix", format!("`{address_prefix}` is no IP address"));
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = prefix_len.map_or(0, |length| length.value);
    match u8::try_from(length) {
        Ok(length) if length <= most => Some(IpPrefix { address, length }),
        _ => reader.refuse_at("prefix_len", format!("{length} is more than {most}")),
    }
}
