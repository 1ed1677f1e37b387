//! `ClusterLoadAssignment`: where a cluster's requests can go.
//!
//! Endpoints change more often than anything else and are the largest part of what is sent, so they are written
//! field by field: that keeps metadata in order (see `wire`) and copies nothing twice.

use std::sync::Arc;

use prost::Message;
use weft_proto::xds::core::{self, HealthStatus};
use weft_proto::xds::endpoint as pb;
use weft_proto::xds::endpoint::lb_endpoint::HostIdentifier;

use super::address;
use super::reader::{DecodeErrors, Reader, fields};
use super::wire::{OrderedMetadata, OrderedValue, embed, metadata_text, number};
use crate::endpoint::{Endpoint, EndpointSet, Health, Locality, LocalityEndpoints, WorkloadInfo};

// Numbers of fields that are written by hand.
const ASSIGNMENT_ENDPOINTS: u32 = 2;
const LOCALITY_LB_ENDPOINTS: u32 = 2;
const ENDPOINT_METADATA: u32 = 3;

/// Envoy's key of what transport sockets are chosen by.
const SOCKET_MATCH: &str = "envoy.transport_socket_match";
/// Envoy's bound.
const MOST_PRIORITY: u32 = 128;

/// The bytes of a `ClusterLoadAssignment`.
#[must_use]
pub fn encode(endpoints: &EndpointSet) -> Vec<u8> {
    let head =
        pb::ClusterLoadAssignment { cluster_name: endpoints.cluster.to_string(), ..Default::default() };
    let mut bytes = head.encode_to_vec();
    for group in &endpoints.localities {
        embed(&mut bytes, ASSIGNMENT_ENDPOINTS, &encode_locality(group));
    }
    bytes
}

/// Reads the bytes of a `ClusterLoadAssignment`.
///
/// # Errors
/// Every mistake of it.
pub fn decode(bytes: &[u8]) -> Result<EndpointSet, DecodeErrors> {
    Reader::resource(bytes, read)
}

pub(super) fn read(reader: &mut Reader, endpoints: pb::ClusterLoadAssignment) -> Option<EndpointSet> {
    fields!(reader, endpoints => pb::ClusterLoadAssignment {
        cluster_name, endpoints, policy;
        refused: named_endpoints
    });
    let cluster = reader.text("cluster_name", cluster_name);
    let localities = reader.each("endpoints", endpoints, decode_locality);
    if let Some(policy) = policy {
        reader.within("policy", |reader| {
            fields!(reader, policy => pb::cluster_load_assignment::Policy {
                ; ignored: overprovisioning_factor, endpoint_stale_after, weighted_priority_health
                ; refused: drop_overloads
            });
        });
    }
    Some(EndpointSet { cluster: cluster?, localities })
}

fn encode_locality(group: &LocalityEndpoints) -> Vec<u8> {
    let Locality { region, zone, sub_zone } = &group.locality;
    let known = group.locality != Locality::default();
    let head = pb::LocalityLbEndpoints {
        locality: known.then(|| core::Locality {
            region: region.to_string(),
            zone: zone.to_string(),
            sub_zone: sub_zone.to_string(),
        }),
        load_balancing_weight: weight(group.weight),
        priority: group.priority,
        ..Default::default()
    };
    let mut bytes = head.encode_to_vec();
    for endpoint in &group.endpoints {
        embed(&mut bytes, LOCALITY_LB_ENDPOINTS, &encode_endpoint(endpoint));
    }
    bytes
}

/// Absent stands for 0.
fn weight(weight: u32) -> Option<weft_proto::xds::protobuf::UInt32Value> {
    if weight > 0 { number(weight) } else { None }
}

fn decode_locality(reader: &mut Reader, group: pb::LocalityLbEndpoints) -> Option<LocalityEndpoints> {
    fields!(reader, group => pb::LocalityLbEndpoints {
        locality, lb_endpoints, load_balancing_weight, priority;
        ignored: metadata, proximity;
        refused: lb_config
    });
    if priority > MOST_PRIORITY {
        reader.refuse_at::<()>("priority", format!("{priority} is more than {MOST_PRIORITY}"));
    }
    let core::Locality { region, zone, sub_zone } = locality.unwrap_or_default();
    Some(LocalityEndpoints {
        locality: Locality { region: region.into(), zone: zone.into(), sub_zone: sub_zone.into() },
        priority,
        weight: load_balancing_weight.map_or(0, |weight| weight.value),
        endpoints: reader.each("lb_endpoints", lb_endpoints, decode_endpoint),
    })
}

fn encode_endpoint(endpoint: &Endpoint) -> Vec<u8> {
    let health = match endpoint.health {
        Health::Healthy => HealthStatus::Healthy,
        Health::Draining => HealthStatus::Draining,
        Health::Unhealthy => HealthStatus::Unhealthy,
    };
    let head = pb::LbEndpoint {
        health_status: health as i32,
        load_balancing_weight: weight(endpoint.weight),
        host_identifier: Some(HostIdentifier::Endpoint(pb::Endpoint {
            address: address::encode_socket(endpoint.address),
            ..Default::default()
        })),
        ..Default::default()
    };
    let mut metadata = OrderedMetadata::default();
    if endpoint.mutual_tls {
        metadata.insert(SOCKET_MATCH, "tlsMode", OrderedValue::text("istio"));
    }
    if endpoint.workload != WorkloadInfo::default() {
        let WorkloadInfo { name, namespace, service, version, cluster } = &endpoint.workload;
        let text = format!("{name};{namespace};{service};{version};{cluster}");
        metadata.insert("istio", "workload", OrderedValue::text(&text));
    }
    let mut bytes = head.encode_to_vec();
    if !metadata.is_empty() {
        embed(&mut bytes, ENDPOINT_METADATA, &metadata.encode_to_vec());
    }
    bytes
}

fn decode_endpoint(reader: &mut Reader, endpoint: pb::LbEndpoint) -> Option<Arc<Endpoint>> {
    fields!(reader, endpoint => pb::LbEndpoint {
        health_status, metadata, load_balancing_weight, host_identifier
    });
    let health = match HealthStatus::try_from(health_status) {
        Ok(HealthStatus::Unknown | HealthStatus::Healthy | HealthStatus::Degraded) => Some(Health::Healthy),
        Ok(HealthStatus::Draining) => Some(Health::Draining),
        Ok(HealthStatus::Unhealthy | HealthStatus::Timeout) => Some(Health::Unhealthy),
        Err(_) => reader.refuse_at("health_status", format!("{health_status} is not known")),
    };
    let address = match host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => reader.within("endpoint", |reader| {
            fields!(reader, endpoint => pb::Endpoint {
                address;
                ignored: health_check_config, hostname, observability_name;
                refused: additional_addresses
            });
            reader.required("address", address, address::decode_socket)
        }),
        Some(HostIdentifier::EndpointName(_)) => reader.unsupported("endpoint_name"),
        None => reader.missing("endpoint"),
    };
    Some(Arc::new(Endpoint {
        address: address?,
        health: health?,
        weight: load_balancing_weight.map_or(0, |weight| weight.value),
        mutual_tls: metadata_text(metadata.as_ref(), SOCKET_MATCH, "tlsMode") == Some("istio"),
        workload: metadata_text(metadata.as_ref(), "istio", "workload").map(workload).unwrap_or_default(),
    }))
}

/// `NAME;NAMESPACE;SERVICE;VERSION;CLUSTER`; parts may be missing at the end.
fn workload(text: &str) -> WorkloadInfo {
    let mut parts = text.split(';');
    let mut next = || parts.next().unwrap_or_default().into();
    WorkloadInfo { name: next(), namespace: next(), service: next(), version: next(), cluster: next() }
}
