//! The transport socket `envoy.transport_sockets.upstream_proxy_protocol`, which has another one within.

use weft_proto::xds::core::transport_socket::ConfigType;
use weft_proto::xds::core::{self, proxy_protocol_config::Version};
use weft_proto::xds::upstream_proxy_protocol::ProxyProtocolUpstreamTransport;

use super::reader::{Reader, fields};
use super::tls;
use super::wire::pack;
use crate::cluster::ProxyProtocolVersion;

const NAME: &str = "envoy.transport_sockets.upstream_proxy_protocol";

pub(super) fn encode(
    version: ProxyProtocolVersion,
    inside: Option<core::TransportSocket>,
) -> core::TransportSocket {
    let version = match version {
        ProxyProtocolVersion::V1 => Version::V1,
        ProxyProtocolVersion::V2 => Version::V2,
    };
    let message = ProxyProtocolUpstreamTransport {
        config: Some(core::ProxyProtocolConfig { version: version as i32, ..Default::default() }),
        transport_socket: Some(inside.unwrap_or_else(tls::encode_plain)),
        ..Default::default()
    };
    core::TransportSocket {
        name: NAME.to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&message))),
    }
}

/// The version, if it is one, and the socket within.
pub(super) fn decode(
    reader: &mut Reader,
    socket: core::TransportSocket,
) -> Option<(Option<ProxyProtocolVersion>, Option<core::TransportSocket>)> {
    let any = match &socket.config_type {
        Some(ConfigType::TypedConfig(any)) if any.type_url.ends_with(".ProxyProtocolUpstreamTransport") => {
            any
        }
        _ => return Some((None, Some(socket))),
    };
    reader.within("typed_config", |reader| {
        let message = reader.unpack::<ProxyProtocolUpstreamTransport>(any)?;
        fields!(reader, message => ProxyProtocolUpstreamTransport {
            config, transport_socket;
            ignored: allow_unspecified_address, tlv_as_pool_key
        });
        let version = match config {
            None => Some(ProxyProtocolVersion::V1),
            some => reader.required("config", some, decode_config),
        };
        if transport_socket.is_none() {
            return reader.missing("transport_socket");
        }
        Some((Some(version?), transport_socket))
    })
}

fn decode_config(reader: &mut Reader, config: core::ProxyProtocolConfig) -> Option<ProxyProtocolVersion> {
    fields!(reader, config => core::ProxyProtocolConfig {
        version;
        refused: pass_through_tlvs, added_tlvs
    });
    match Version::try_from(version) {
        Ok(Version::V1) => Some(ProxyProtocolVersion::V1),
        Ok(Version::V2) => Some(ProxyProtocolVersion::V2),
        Err(_) => reader.refuse_at("version", format!("{version} is not known")),
    }
}
