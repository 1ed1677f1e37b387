//! `Cluster`: a named destination and how it is reached.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use weft_proto::xds::cluster as pb;
use weft_proto::xds::cluster::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig, TransportSocketMatch,
};
use weft_proto::xds::protobuf::value::Kind;
use weft_proto::xds::protobuf::{Struct, Value};
use weft_proto::xds::tls::UpstreamTlsContext;
use weft_proto::xds::{core, endpoint as endpoint_pb};

use super::reader::{DecodeErrors, Reader, fields};
use super::tls::{self, Client, Socket};
use super::wire::{
    OrderedKind, OrderedMetadata, OrderedStruct, OrderedValue, duration, embed, metadata_value, over_ads,
    text_struct,
};
use super::{
    address, bootstrap, endpoint, health_check, limits, load_balancing, outlier, provenance, proxy_protocol,
    subset, upstream_http,
};
use crate::cluster::{Cluster, Discovery, ServiceInfo, UpstreamTls, UpstreamTransport};

/// Numbers of the fields of `Cluster` that are written by hand.
const LB_SUBSET_CONFIG: u32 = 22;
const METADATA: u32 = 25;
const LOAD_ASSIGNMENT: u32 = 33;
/// Envoy's bound on connecting when none is given.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What endpoints that terminate mutual TLS have in their metadata.
const TLS_MODE: (&str, &str) = ("tlsMode", "istio");
/// Where a cluster of type ORIGINAL_DST says by which name its endpoints are known. Envoy, which knows nothing of it,
/// goes to the original destination, too.
const ENDPOINT_SET: (&str, &str) = ("weft.cluster", "endpoint_set");

/// The bytes of a `Cluster`.
#[must_use]
pub fn encode(cluster: &Cluster) -> Vec<u8> {
    let options = upstream_http::Options {
        http: cluster.http,
        idle_timeout: cluster.idle_timeout,
        max_requests_per_connection: cluster.max_requests_per_connection,
    };
    let balancing = load_balancing::encode(cluster);
    let mut message = pb::Cluster {
        name: cluster.name.to_string(),
        connect_timeout: duration(cluster.connect_timeout),
        lb_policy: balancing.lb_policy,
        lb_config: balancing.lb_config,
        load_balancing_policy: balancing.policy,
        common_lb_config: balancing.common,
        circuit_breakers: Some(limits::encode(&cluster.limits, &cluster.high_priority_limits)),
        typed_extension_protocol_options: upstream_http::encode(options),
        outlier_detection: cluster.outlier_detection.as_ref().map(outlier::encode),
        health_checks: cluster.health_check.iter().map(health_check::encode).collect(),
        ..Default::default()
    };
    let assignment = encode_discovery(&cluster.discovery, &cluster.name, &mut message);
    match &cluster.transport {
        UpstreamTransport::Plain => {}
        UpstreamTransport::MutualTls(tls) => {
            message.transport_socket = Some(tls::encode_upstream(tls, cluster.http));
        }
        UpstreamTransport::Context(context) => {
            message.transport_socket = Some(tls::encode_client(context));
        }
        UpstreamTransport::ByEndpoint(tls) => {
            message.transport_socket_matches = encode_by_endpoint(tls, cluster);
        }
    }
    if let Some(version) = cluster.proxy_protocol {
        let inside = message.transport_socket.take();
        message.transport_socket = Some(proxy_protocol::encode(version, inside));
    }
    let mut bytes = message.encode_to_vec();
    if let Some(subsets) = &cluster.balancing.subsets {
        embed(&mut bytes, LB_SUBSET_CONFIG, &subset::encode(subsets).encode_to_vec());
    }
    if let Some(assignment) = assignment {
        embed(&mut bytes, LOAD_ASSIGNMENT, &assignment);
    }
    let metadata = encode_metadata(cluster);
    if !metadata.is_empty() {
        embed(&mut bytes, METADATA, &metadata.encode_to_vec());
    }
    bytes
}

/// Reads the bytes of a `Cluster`.
///
/// # Errors
/// Every mistake of it.
pub fn decode(bytes: &[u8]) -> Result<Cluster, DecodeErrors> {
    Reader::resource(bytes, read)
}

pub(super) fn read(reader: &mut Reader, cluster: pb::Cluster) -> Option<Cluster> {
    fields!(reader, cluster => pb::Cluster {
        transport_socket_matches, name, eds_cluster_config, connect_timeout, lb_policy, load_assignment,
        max_requests_per_connection, circuit_breakers, typed_extension_protocol_options, outlier_detection,
        common_lb_config, transport_socket, metadata, cluster_discovery_type, lb_config, lb_subset_config,
        load_balancing_policy, health_checks;
        // How names are resolved, and how often, is the proxy's own rule; filters here only measure (Istio).
        ignored: alt_stat_name, stats_matcher, per_connection_buffer_limit_bytes,
            per_connection_buffer_high_watermark_timeout, dns_refresh_rate, dns_jitter, dns_failure_refresh_rate,
            respect_dns_ttl, dns_lookup_family, use_tcp_for_dns_lookups, typed_dns_resolver_config,
            wait_for_warm_on_init, cleanup_interval, upstream_connection_options,
            close_connections_on_host_health_failure, ignore_health_on_host_removal, filters, lrs_server,
            lrs_report_endpoint_metrics, track_timeout_budgets, track_cluster_stats, preconnect_policy,
            upstream_bind_config, queuing_policies;
        refused: transport_socket_matcher, upstream_http_protocol_options,
            common_http_protocol_options, http_protocol_options, http2_protocol_options, dns_resolvers,
            dns_resolution_config, protocol_selection, upstream_config,
            connection_pool_per_downstream_connection
    });
    let name = reader.text("name", name);
    let connect_timeout = reader.bound("connect_timeout", connect_timeout).unwrap_or(DEFAULT_CONNECT_TIMEOUT);
    let discovery = decode_discovery(
        reader,
        cluster_discovery_type,
        name.as_ref(),
        eds_cluster_config,
        load_assignment,
        metadata.as_ref(),
    );
    let form = load_balancing::Form {
        lb_policy,
        lb_config,
        common: common_lb_config,
        subsets: lb_subset_config,
        policy: load_balancing_policy,
    };
    let balancing = load_balancing::decode(reader, form, discovery.as_ref());
    let (limits, high_priority_limits) =
        reader.within("circuit_breakers", |reader| limits::decode(reader, circuit_breakers));
    let options = upstream_http::decode(reader, typed_extension_protocol_options);
    let (proxy_protocol, transport_socket) = match transport_socket {
        Some(socket) => reader.within("transport_socket", |reader| proxy_protocol::decode(reader, socket))?,
        None => (None, None),
    };
    let transport = decode_transport(reader, transport_socket, transport_socket_matches);
    let outlier_detection = reader.optional("outlier_detection", outlier_detection, outlier::decode);
    let health_check = health_check::decode(reader, health_checks);
    let options = options?;
    let (load_balancing, balancing) = balancing?;
    Some(Cluster {
        name: name?,
        discovery: discovery?,
        load_balancing,
        balancing,
        connect_timeout,
        http: options.http,
        transport: transport?,
        proxy_protocol,
        limits,
        high_priority_limits,
        outlier_detection,
        health_check: health_check?,
        max_requests_per_connection: options
            .max_requests_per_connection
            .or(max_requests_per_connection.map(|most| most.value).filter(|most| *most > 0)),
        idle_timeout: options.idle_timeout,
        service: decode_service(metadata.as_ref()),
        provenance: provenance::decode(reader, metadata.as_ref()),
    })
}

/// Sets the kind of discovery; returns the bytes of endpoints that stand in the cluster itself.
fn encode_discovery(discovery: &Discovery, name: &str, message: &mut pb::Cluster) -> Option<Vec<u8>> {
    let (kind, assignment) = match discovery {
        Discovery::Endpoints(service) => {
            message.eds_cluster_config = Some(EdsClusterConfig {
                eds_config: over_ads(),
                service_name: if **service == *name { String::new() } else { service.to_string() },
            });
            (DiscoveryType::Eds, None)
        }
        Discovery::Static(endpoints) => (DiscoveryType::Static, Some(endpoint::encode(endpoints))),
        Discovery::Dns(hosts) => {
            message.dns_lookup_family = DnsLookupFamily::All as i32;
            (DiscoveryType::StrictDns, Some(encode_hosts(name, hosts)))
        }
        Discovery::OriginalDst | Discovery::Dialled(_) => (DiscoveryType::OriginalDst, None),
    };
    message.cluster_discovery_type = Some(ClusterDiscoveryType::Type(kind as i32));
    assignment
}

fn encode_hosts(name: &str, hosts: &[(Arc<str>, u16)]) -> Vec<u8> {
    let endpoint = |(host, port): &(Arc<str>, u16)| endpoint_pb::LbEndpoint {
        host_identifier: Some(endpoint_pb::lb_endpoint::HostIdentifier::Endpoint(endpoint_pb::Endpoint {
            address: address::encode(host, *port),
            ..Default::default()
        })),
        ..Default::default()
    };
    let group = endpoint_pb::LocalityLbEndpoints {
        lb_endpoints: hosts.iter().map(endpoint).collect(),
        ..Default::default()
    };
    let assignment = endpoint_pb::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![group],
        ..Default::default()
    };
    assignment.encode_to_vec()
}

fn decode_discovery(
    reader: &mut Reader,
    kind: Option<ClusterDiscoveryType>,
    name: Option<&Arc<str>>,
    eds: Option<EdsClusterConfig>,
    assignment: Option<endpoint_pb::ClusterLoadAssignment>,
    metadata: Option<&core::Metadata>,
) -> Option<Discovery> {
    let kind = match kind {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(kind)) => match DiscoveryType::try_from(kind) {
            Ok(kind) => kind,
            Err(_) => return reader.refuse_at("type", format!("{kind} is not known")),
        },
        Some(ClusterDiscoveryType::ClusterType(_)) => return reader.unsupported("cluster_type"),
    };
    match kind {
        DiscoveryType::Eds => {
            let eds = eds.unwrap_or_default();
            bootstrap::only_over_ads(reader, "eds_cluster_config.eds_config", eds.eds_config);
            let service = Some(eds.service_name).filter(|service| !service.is_empty());
            service.map(Into::into).or(name.cloned()).map(Discovery::Endpoints)
        }
        DiscoveryType::Static => match assignment {
            None => reader.missing("load_assignment"),
            some => reader.required("load_assignment", some, endpoint::read).map(Discovery::Static),
        },
        DiscoveryType::StrictDns | DiscoveryType::LogicalDns => {
            reader.required("load_assignment", assignment, decode_hosts).map(Discovery::Dns)
        }
        DiscoveryType::OriginalDst => Some(match metadata_value(metadata, ENDPOINT_SET.0, ENDPOINT_SET.1) {
            Some(Kind::StringValue(name)) => Discovery::Dialled(name.as_str().into()),
            _ => Discovery::OriginalDst,
        }),
    }
}

fn decode_hosts(
    reader: &mut Reader,
    assignment: endpoint_pb::ClusterLoadAssignment,
) -> Option<Vec<(Arc<str>, u16)>> {
    let groups = reader.each("endpoints", assignment.endpoints, |reader, group| {
        Some(reader.each("lb_endpoints", group.lb_endpoints, |reader, one| {
            use endpoint_pb::lb_endpoint::HostIdentifier;
            let Some(HostIdentifier::Endpoint(endpoint)) = one.host_identifier else {
                return reader.missing("endpoint");
            };
            let (host, port) = reader.required("endpoint.address", endpoint.address, address::decode)?;
            if host.is_empty() {
                return reader.refuse_at("endpoint.address", "has no host name");
            }
            Some((Arc::from(host), port))
        }))
    });
    Some(groups.into_iter().flatten().collect())
}

fn encode_by_endpoint(tls: &UpstreamTls, cluster: &Cluster) -> Vec<TransportSocketMatch> {
    let mode = Value { kind: Some(Kind::StringValue(TLS_MODE.1.to_owned())) };
    vec![
        TransportSocketMatch {
            name: "tlsMode-istio".to_owned(),
            r#match: Some(Struct { fields: [(TLS_MODE.0.to_owned(), mode)].into() }),
            transport_socket: Some(tls::encode_upstream(tls, cluster.http)),
        },
        TransportSocketMatch {
            name: "tlsMode-disabled".to_owned(),
            r#match: Some(Struct::default()),
            transport_socket: Some(tls::encode_plain()),
        },
    ]
}

fn decode_transport(
    reader: &mut Reader,
    socket: Option<core::TransportSocket>,
    matches: Vec<TransportSocketMatch>,
) -> Option<UpstreamTransport> {
    if !matches.is_empty() {
        if socket.is_some() {
            reader.refuse_at::<()>("transport_socket", "cannot stand beside transport_socket_matches");
        }
        return reader.within("transport_socket_matches", |reader| decode_by_endpoint(reader, matches));
    }
    let Some(socket) = socket else { return Some(UpstreamTransport::Plain) };
    match reader.within("transport_socket", |reader| decode_socket(reader, socket))? {
        None => Some(UpstreamTransport::Plain),
        Some(Client::Mesh(tls)) => Some(UpstreamTransport::MutualTls(tls)),
        Some(Client::Context(context)) => Some(UpstreamTransport::Context(Arc::new(context))),
    }
}

fn decode_socket(reader: &mut Reader, socket: core::TransportSocket) -> Option<Option<Client>> {
    match tls::unpack::<UpstreamTlsContext>(reader, socket)? {
        Socket::Plain => Some(None),
        Socket::Tls(context) => {
            reader.within("typed_config", |reader| tls::decode_upstream(reader, context)).map(Some)
        }
    }
}

/// Exactly the two that Istio writes: mutual TLS for endpoints that say so, plain text for the rest.
fn decode_by_endpoint(reader: &mut Reader, matches: Vec<TransportSocketMatch>) -> Option<UpstreamTransport> {
    let mut mutual = None;
    for (index, one) in matches.into_iter().enumerate() {
        let by_mode = one.r#match.as_ref().is_some_and(|matches| {
            let mode = matches.fields.get(TLS_MODE.0).and_then(|value| value.kind.as_ref());
            matches.fields.len() == 1 && matches!(mode, Some(Kind::StringValue(mode)) if mode == TLS_MODE.1)
        });
        let by_nothing = one.r#match.is_none_or(|matches| matches.fields.is_empty());
        reader.within(&format!("[{index}]"), |reader| {
            let socket = reader.required("transport_socket", one.transport_socket, decode_socket)?;
            match socket {
                Some(Client::Mesh(tls)) if by_mode => mutual = Some(tls),
                None if by_nothing => {}
                _ => return reader.refuse("is neither TLS for `tlsMode: istio` nor plain text for the rest"),
            }
            Some(())
        });
    }
    match mutual {
        Some(tls) => Some(UpstreamTransport::ByEndpoint(tls)),
        None => reader.refuse("has none for `tlsMode: istio`"),
    }
}

fn encode_metadata(cluster: &Cluster) -> OrderedMetadata {
    let mut metadata = OrderedMetadata::default();
    provenance::encode(&cluster.provenance, &mut metadata);
    if let Some(ServiceInfo { host, name, namespace }) = &cluster.service {
        let mut service: OrderedStruct = text_struct("host", host);
        service.fields.insert("name".to_owned(), OrderedValue::text(name));
        service.fields.insert("namespace".to_owned(), OrderedValue::text(namespace));
        let service = OrderedValue { kind: Some(OrderedKind::Struct(service)) };
        metadata.insert("istio", "services", OrderedValue::list(vec![service]));
    }
    if let Discovery::Dialled(name) = &cluster.discovery {
        metadata.insert(ENDPOINT_SET.0, ENDPOINT_SET.1, OrderedValue::text(name));
    }
    metadata
}

/// The first service that is named; Istio names several only where hosts share a name.
fn decode_service(metadata: Option<&core::Metadata>) -> Option<ServiceInfo> {
    let Kind::ListValue(services) = metadata_value(metadata, "istio", "services")? else { return None };
    let Kind::StructValue(service) = services.values.first()?.kind.as_ref()? else { return None };
    let text = |key: &str| match service.fields.get(key)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(Arc::<str>::from(text.as_str())),
        _ => None,
    };
    Some(ServiceInfo { host: text("host")?, name: text("name")?, namespace: text("namespace")? })
}
