//! `Listener`: where connections are taken, and which filter chain serves one.

use std::net::SocketAddr;

use prost::Message;
use weft_proto::xds::core::{self, TrafficDirection};
use weft_proto::xds::listener as pb;
use weft_proto::xds::listener::{filter, listener_filter};
use weft_proto::xds::protobuf::value::Kind;
use weft_proto::xds::tls::DownstreamTlsContext;
use weft_proto::xds::{
    hcm, http_inspector, original_dst, proxy_protocol, tcp_proxy as tcp_pb, tls_inspector,
};

use super::reader::{DecodeErrors, Reader, fields};
use super::tls::{self, Socket};
use super::wire::{
    OrderedKind, OrderedMetadata, OrderedValue, duration, embed, flag, metadata_value, number, pack,
};
use super::{address, http_connection, network_rbac, provenance, tcp_proxy};
use crate::filter::rbac::Rbac;
use crate::listener::{
    Direction, DownstreamTls, FilterChain, FilterChainMatch, Inspection, Listener, NetworkFilter,
    ProxyProtocol, Transport,
};

const HTTP: &str = "envoy.filters.network.http_connection_manager";
const TCP: &str = "envoy.filters.network.tcp_proxy";
const RBAC: &str = "envoy.filters.network.rbac";
const ORIGINAL_DST: &str = "envoy.filters.listener.original_dst";
const PROXY_PROTOCOL: &str = "envoy.filters.listener.proxy_protocol";
const TLS_INSPECTOR: &str = "envoy.filters.listener.tls_inspector";
const HTTP_INSPECTOR: &str = "envoy.filters.listener.http_inspector";
/// Network filters of Istio's that only measure.
const IGNORED_FILTERS: [&str; 4] = [
    "istio.metadata_exchange",
    "envoy.filters.network.metadata_exchange",
    "istio.stats",
    "istio.metadata_exchange_network",
];
/// Envoy's wait for the client to speak when none is given.
const DEFAULT_INSPECTION: std::time::Duration = std::time::Duration::from_secs(15);
/// Where a filter chain says that its HTTP is a forward proxy's.
const FORWARD_PROXY: (&str, &str) = ("weft.http", "forward_proxy");
/// Number of `Listener.metadata`, which is written by hand, in order.
const METADATA: u32 = 6;
/// Where a listener says that its addresses are those of endpoints.
const HEADLESS: (&str, &str) = ("weft.listener", "headless");

/// The bytes of a `Listener`.
#[must_use]
pub fn encode(listener: &Listener) -> Vec<u8> {
    let direction = match listener.direction {
        Direction::Inbound => TrafficDirection::Inbound,
        Direction::Outbound => TrafficDirection::Outbound,
    };
    let mut addresses = listener.addresses.iter().map(|address| address::encode_socket(*address));
    let mut metadata = OrderedMetadata::default();
    provenance::encode(&listener.provenance, &mut metadata);
    if listener.headless {
        metadata.insert(HEADLESS.0, HEADLESS.1, OrderedValue { kind: Some(OrderedKind::Flag(true)) });
    }
    let message = pb::Listener {
        name: listener.name.to_string(),
        address: addresses.next().flatten(),
        additional_addresses: addresses
            .map(|address| pb::AdditionalAddress { address, ..Default::default() })
            .collect(),
        filter_chains: listener.filter_chains.iter().map(encode_chain).collect(),
        default_filter_chain: listener.default_filter_chain.as_ref().map(encode_chain),
        use_original_dst: if listener.use_original_dst { flag(true) } else { None },
        listener_filters: encode_listener_filters(listener),
        listener_filters_timeout: duration(listener.inspection.timeout),
        continue_on_listener_filters_timeout: true,
        traffic_direction: direction as i32,
        bind_to_port: if listener.bind { None } else { flag(false) },
        ..Default::default()
    };
    let mut bytes = message.encode_to_vec();
    if !metadata.is_empty() {
        embed(&mut bytes, METADATA, &metadata.encode_to_vec());
    }
    bytes
}

/// Reads the bytes of a `Listener`.
///
/// # Errors
/// Every mistake of it.
pub fn decode(bytes: &[u8]) -> Result<Listener, DecodeErrors> {
    Reader::resource(bytes, read)
}

pub(super) fn read(reader: &mut Reader, listener: pb::Listener) -> Option<Listener> {
    fields!(reader, listener => pb::Listener {
        name, address, additional_addresses, filter_chains, use_original_dst, default_filter_chain, metadata,
        deprecated_v1, listener_filters, listener_filters_timeout, traffic_direction, bind_to_port;
        ignored: stat_prefix, stats_matcher, per_connection_buffer_limit_bytes,
            per_connection_buffer_high_watermark_timeout, drain_type, continue_on_listener_filters_timeout,
            transparent, freebind, socket_options, tcp_fast_open_queue_length, connection_balance_config,
            reuse_port, enable_reuse_port, access_log, tcp_backlog_size,
            max_connections_to_accept_per_socket_event, enable_mptcp, ignore_global_conn_limit,
            bypass_overload_manager, tcp_keepalive;
        refused: fcds_config, filter_chain_matcher, udp_listener_config, api_listener, listener_specifier
    });
    let name = reader.text("name", name);
    let first = reader.required("address", address, address::decode_socket);
    let more = reader.each("additional_addresses", additional_addresses, |reader, additional| {
        reader.required("address", additional.address, address::decode_socket)
    });
    let filter_chains = reader.each("filter_chains", filter_chains, decode_chain);
    let default_filter_chain = reader.optional("default_filter_chain", default_filter_chain, decode_chain);
    let mut inspection = Inspection::default();
    reader.each("listener_filters", listener_filters, |reader, filter| {
        decode_listener_filter(reader, &filter, &mut inspection)
    });
    inspection.timeout = match listener_filters_timeout {
        None => DEFAULT_INSPECTION,
        some => reader.duration("listener_filters_timeout", some).unwrap_or_default(),
    };
    let direction = match TrafficDirection::try_from(traffic_direction) {
        Ok(TrafficDirection::Inbound) => Some(Direction::Inbound),
        // A listener of Envoy's own users mostly does not say; it sends on what clients ask, as a client's sidecar does.
        Ok(TrafficDirection::Outbound | TrafficDirection::Unspecified) => Some(Direction::Outbound),
        Err(_) => reader.refuse_at("traffic_direction", "is not known"),
    };
    let bind = bind_to_port.or_else(|| deprecated_v1.and_then(|v1| v1.bind_to_port));
    let provenance = provenance::decode(reader, metadata.as_ref());
    let headless = metadata_value(metadata.as_ref(), HEADLESS.0, HEADLESS.1);
    let addresses: Vec<SocketAddr> = first.into_iter().chain(more).collect();
    Some(Listener {
        name: name?,
        addresses,
        bind: bind.is_none_or(|bind| bind.value),
        use_original_dst: use_original_dst.is_some_and(|uses| uses.value),
        headless: matches!(headless, Some(Kind::BoolValue(true))),
        direction: direction?,
        inspection,
        filter_chains,
        default_filter_chain,
        provenance,
    })
}

fn encode_listener_filters(listener: &Listener) -> Vec<pb::ListenerFilter> {
    let filter = |name: &str, config| pb::ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    };
    let mut filters = Vec::new();
    if listener.use_original_dst {
        filters.push(filter(ORIGINAL_DST, pack(&original_dst::OriginalDst::default())));
    }
    if let Some(presence) = listener.inspection.proxy_protocol {
        let allow_requests_without_proxy_protocol = presence == ProxyProtocol::Allowed;
        let message =
            proxy_protocol::ProxyProtocol { allow_requests_without_proxy_protocol, ..Default::default() };
        filters.push(filter(PROXY_PROTOCOL, pack(&message)));
    }
    if listener.inspection.tls {
        filters.push(filter(TLS_INSPECTOR, pack(&tls_inspector::TlsInspector::default())));
    }
    if listener.inspection.http {
        filters.push(filter(HTTP_INSPECTOR, pack(&http_inspector::HttpInspector::default())));
    }
    filters
}

/// `filter_disabled` is ignored: on the ports it names, inspection then costs at most its time-out.
fn decode_listener_filter(
    reader: &mut Reader,
    filter: &pb::ListenerFilter,
    inspection: &mut Inspection,
) -> Option<()> {
    match filter.name.as_str() {
        ORIGINAL_DST => {}
        TLS_INSPECTOR => inspection.tls = true,
        HTTP_INSPECTOR => inspection.http = true,
        PROXY_PROTOCOL => inspection.proxy_protocol = Some(decode_proxy_protocol(reader, filter)?),
        other => return reader.refuse(format!("listener filter `{other}` is not supported")),
    }
    Some(())
}

fn decode_proxy_protocol(reader: &mut Reader, filter: &pb::ListenerFilter) -> Option<ProxyProtocol> {
    let message = match &filter.config_type {
        Some(listener_filter::ConfigType::TypedConfig(any)) => {
            reader.within("typed_config", |reader| reader.unpack(any))?
        }
        _ => proxy_protocol::ProxyProtocol::default(),
    };
    // What a header says beside the addresses is taken off and goes nowhere.
    reader.within("typed_config", |reader| {
        fields!(reader, message => proxy_protocol::ProxyProtocol {
            allow_requests_without_proxy_protocol;
            ignored: pass_through_tlvs, stat_prefix, tlv_location;
            refused: rules, disallowed_versions
        });
        Some(match allow_requests_without_proxy_protocol {
            true => ProxyProtocol::Allowed,
            false => ProxyProtocol::Required,
        })
    })
}

fn encode_chain(chain: &FilterChain) -> pb::FilterChain {
    let (name, config, forward_proxy) = match &chain.filter {
        NetworkFilter::Http(http) => (HTTP, pack(&http_connection::encode(http)), http.forward_proxy),
        NetworkFilter::Tcp(tcp) => (TCP, pack(&tcp_proxy::encode(tcp)), false),
    };
    let mut metadata = OrderedMetadata::default();
    if forward_proxy {
        let yes = OrderedValue { kind: Some(OrderedKind::Flag(true)) };
        metadata.insert(FORWARD_PROXY.0, FORWARD_PROXY.1, yes);
    }
    let matches = encode_match(&chain.matches);
    let filter = |name: &str, config| pb::Filter {
        name: name.to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(config)),
    };
    pb::FilterChain {
        name: chain.name.to_string(),
        filter_chain_match: (matches != pb::FilterChainMatch::default()).then_some(matches),
        filters: chain
            .rbac
            .iter()
            .map(network_rbac::encode)
            .map(|it| filter(RBAC, it))
            .chain([filter(name, config)])
            .collect(),
        metadata: metadata.to_unordered(),
        transport_socket: chain.tls.as_ref().map(tls::encode_downstream),
        ..Default::default()
    }
}

fn decode_chain(reader: &mut Reader, chain: pb::FilterChain) -> Option<FilterChain> {
    fields!(reader, chain => pb::FilterChain {
        filter_chain_match, filters, metadata, transport_socket, name;
        ignored: transport_socket_connect_timeout;
        refused: use_proxy_proto
    });
    let matches = match filter_chain_match {
        None => Some(FilterChainMatch::default()),
        some => reader.required("filter_chain_match", some, decode_match),
    };
    let tls = reader.optional("transport_socket", transport_socket, decode_socket).flatten();
    let filters = decode_filters(reader, filters);
    let (rbac, mut filter) = filters.map_or((Vec::new(), None), |(rbac, filter)| (rbac, Some(filter)));
    if let Some(NetworkFilter::Http(http)) = &mut filter {
        let flag = metadata_value(metadata.as_ref(), FORWARD_PROXY.0, FORWARD_PROXY.1);
        http.forward_proxy = matches!(flag, Some(Kind::BoolValue(true)));
    }
    Some(FilterChain { name: name.into(), matches: matches?, tls, rbac, filter: filter? })
}

fn decode_socket(reader: &mut Reader, socket: core::TransportSocket) -> Option<Option<DownstreamTls>> {
    match tls::unpack::<DownstreamTlsContext>(reader, socket)? {
        Socket::Plain => Some(None),
        Socket::Tls(context) => {
            reader.within("typed_config", |reader| tls::decode_downstream(reader, context)).map(Some)
        }
    }
}

/// What a network filter stands for.
enum Filter {
    Ignored,
    Decides(Rbac),
    Serves(NetworkFilter),
}

/// The last filter serves; those before it decide whether it may, or are ignored.
fn decode_filters(reader: &mut Reader, filters: Vec<pb::Filter>) -> Option<(Vec<Rbac>, NetworkFilter)> {
    let (mut rbac, mut serving) = (Vec::new(), None);
    for filter in reader.each("filters", filters, decode_filter) {
        match filter {
            Filter::Ignored => {}
            Filter::Decides(_) if serving.is_some() => {
                return reader.refuse_at("filters", "has a filter after the one that serves");
            }
            Filter::Decides(rules) => rbac.push(rules),
            Filter::Serves(_) if serving.is_some() => {
                return reader.refuse_at("filters", "has more than one that serves");
            }
            Filter::Serves(filter) => serving = Some(filter),
        }
    }
    match serving {
        Some(serving) => Some((rbac, serving)),
        None => {
            reader.refuse_at("filters", "has none that serves: an HTTP connection manager or a TCP proxy")
        }
    }
}

fn decode_filter(reader: &mut Reader, filter: pb::Filter) -> Option<Filter> {
    if IGNORED_FILTERS.contains(&filter.name.as_str()) {
        return Some(Filter::Ignored);
    }
    let Some(filter::ConfigType::TypedConfig(any)) = filter.config_type else {
        return reader.missing("typed_config");
    };
    reader.within("typed_config", |reader| match any.type_url.rsplit('.').next() {
        Some("HttpConnectionManager") => {
            let http = reader.unpack::<hcm::HttpConnectionManager>(&any)?;
            http_connection::decode(reader, http).map(|http| Filter::Serves(NetworkFilter::Http(http)))
        }
        Some("TcpProxy") => {
            let tcp = reader.unpack::<tcp_pb::TcpProxy>(&any)?;
            tcp_proxy::decode(reader, tcp).map(|tcp| Filter::Serves(NetworkFilter::Tcp(tcp)))
        }
        Some("RBAC") => {
            let rbac = reader.unpack(&any)?;
            network_rbac::decode(reader, rbac).map(Filter::Decides)
        }
        _ => reader.refuse(format!("filter `{}` is not supported", filter.name)),
    })
}

fn encode_match(matches: &FilterChainMatch) -> pb::FilterChainMatch {
    let transport = match matches.transport {
        None => "",
        Some(Transport::Raw) => "raw_buffer",
        Some(Transport::Tls) => "tls",
    };
    pb::FilterChainMatch {
        destination_port: matches.destination_port.map(u32::from).and_then(number),
        prefix_ranges: matches.destination_prefixes.iter().map(address::encode_prefix).collect(),
        server_names: matches.server_names.iter().map(ToString::to_string).collect(),
        transport_protocol: transport.to_owned(),
        application_protocols: matches.application_protocols.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

fn decode_match(reader: &mut Reader, matches: pb::FilterChainMatch) -> Option<FilterChainMatch> {
    fields!(reader, matches => pb::FilterChainMatch {
        destination_port, prefix_ranges, server_names, transport_protocol, application_protocols;
        refused: address_suffix, suffix_len, direct_source_prefix_ranges, source_type, source_prefix_ranges,
            source_ports
    });
    let destination_port = reader.optional("destination_port", destination_port, |reader, port| {
        match u16::try_from(port.value) {
            Ok(port) => Some(port),
            Err(_) => reader.refuse(format!("{} is no port: 0 to 65535", port.value)),
        }
    });
    let transport = match transport_protocol.as_str() {
        "" => None,
        "raw_buffer" => Some(Transport::Raw),
        "tls" => Some(Transport::Tls),
        other => {
            reader.refuse_at("transport_protocol", format!("`{other}` is not supported: raw_buffer, tls"))
        }
    };
    Some(FilterChainMatch {
        destination_port,
        destination_prefixes: reader.each("prefix_ranges", prefix_ranges, address::decode_prefix),
        transport,
        application_protocols: application_protocols.into_iter().map(Into::into).collect(),
        server_names: server_names.into_iter().map(Into::into).collect(),
    })
}
