//! `ClusterLoadAssignment`: where a cluster's requests can go.
//!
//! Endpoints change more often than anything else and are the largest part of what is sent, so they are written
//! field by field: that keeps metadata in order (see `wire`) and copies nothing twice.

use std::sync::Arc;

use prost::Message;
use weft_proto::xds::core::{self, HealthStatus};
use weft_proto::xds::endpoint as pb;
use weft_proto::xds::endpoint::cluster_load_assignment::{Policy, policy::DropOverload};
use weft_proto::xds::endpoint::endpoint::HealthCheckConfig;
use weft_proto::xds::endpoint::lb_endpoint::HostIdentifier;

use super::reader::{DecodeErrors, Reader, fields};
use super::wire::{OrderedMetadata, OrderedValue, embed, metadata_text, number};
use super::{address, subset, text};
use crate::endpoint::{
    AssignmentPolicy, Endpoint, EndpointHealthCheck, EndpointSet, Health, Locality, LocalityEndpoints,
    WorkloadInfo,
};
use crate::policy::Fraction;

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
    let head = pb::ClusterLoadAssignment {
        cluster_name: endpoints.cluster.to_string(),
        policy: encode_policy(&endpoints.policy),
        ..Default::default()
    };
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
    let policy = match policy {
        None => Some(AssignmentPolicy::default()),
        some => reader.required("policy", some, decode_policy),
    };
    Some(EndpointSet { cluster: cluster?, localities, policy: policy? })
}

fn encode_policy(policy: &AssignmentPolicy) -> Option<Policy> {
    let drop = |(category, share): &(Arc<str>, Fraction)| DropOverload {
        category: category.to_string(),
        drop_percentage: Some(text::encode_fraction(*share)),
    };
    (*policy != AssignmentPolicy::default()).then(|| Policy {
        overprovisioning_factor: number(policy.overprovisioning_factor),
        drop_overloads: policy.drop_overloads.iter().map(drop).collect(),
        ..Default::default()
    })
}

fn decode_policy(reader: &mut Reader, policy: Policy) -> Option<AssignmentPolicy> {
    fields!(reader, policy => Policy {
        drop_overloads, overprovisioning_factor;
        ignored: endpoint_stale_after;
        refused: weighted_priority_health
    });
    let factor = overprovisioning_factor.map_or(AssignmentPolicy::OVERPROVISIONING, |factor| factor.value);
    if factor == 0 {
        reader.refuse_at::<()>("overprovisioning_factor", "is 0");
    }
    let drop_overloads = reader.each("drop_overloads", drop_overloads, |reader, drop| {
        let category = reader.text("category", drop.category);
        let share = match drop.drop_percentage {
            None => Some(Fraction::from_millionths(0)),
            some => reader.required("drop_percentage", some, text::decode_fraction),
        };
        Some((category?, share?))
    });
    Some(AssignmentPolicy { overprovisioning_factor: factor, drop_overloads })
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
            hostname: endpoint.hostname.to_string(),
            health_check_config: encode_health_check(&endpoint.health_check),
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
    subset::insert(&endpoint.metadata, &mut metadata);
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
    let described = match host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => reader.within("endpoint", |reader| {
            fields!(reader, endpoint => pb::Endpoint {
                address, health_check_config, hostname;
                ignored: observability_name;
                refused: additional_addresses
            });
            let address = reader.required("address", address, address::decode_socket);
            let health_check = match health_check_config {
                None => Some(EndpointHealthCheck::default()),
                some => reader.required("health_check_config", some, decode_health_check),
            };
            Some((address?, Arc::<str>::from(hostname), health_check?))
        }),
        Some(HostIdentifier::EndpointName(_)) => reader.unsupported("endpoint_name"),
        None => reader.missing("endpoint"),
    };
    let (address, hostname, health_check) = described?;
    Some(Arc::new(Endpoint {
        address,
        health: health?,
        weight: load_balancing_weight.map_or(0, |weight| weight.value),
        mutual_tls: metadata_text(metadata.as_ref(), SOCKET_MATCH, "tlsMode") == Some("istio"),
        workload: metadata_text(metadata.as_ref(), "istio", "workload").map(workload).unwrap_or_default(),
        hostname,
        metadata: subset::of_endpoint(metadata.as_ref()),
        health_check,
    }))
}

fn encode_health_check(check: &EndpointHealthCheck) -> Option<HealthCheckConfig> {
    (*check != EndpointHealthCheck::default()).then(|| HealthCheckConfig {
        port_value: check.port.unwrap_or(0).into(),
        hostname: check.hostname.to_string(),
        disable_active_health_check: check.disabled,
        ..Default::default()
    })
}

fn decode_health_check(reader: &mut Reader, check: HealthCheckConfig) -> Option<EndpointHealthCheck> {
    fields!(reader, check => HealthCheckConfig {
        port_value, hostname, disable_active_health_check; refused: address
    });
    let port = match u16::try_from(port_value) {
        Ok(0) => None,
        Ok(port) => Some(port),
        Err(_) => return reader.refuse_at("port_value", format!("{port_value} is no port: 1 to 65535")),
    };
    Some(EndpointHealthCheck { port, hostname: hostname.into(), disabled: disable_active_health_check })
}

/// `NAME;NAMESPACE;SERVICE;VERSION;CLUSTER`; parts may be missing at the end.
fn workload(text: &str) -> WorkloadInfo {
    let mut parts = text.split(';');
    let mut next = || parts.next().unwrap_or_default().into();
    WorkloadInfo { name: next(), namespace: next(), service: next(), version: next(), cluster: next() }
}
