//! Clusters and their endpoints.

use serde_json::{Value, json};

use super::seconds;
use crate::cluster::{
    CircuitBreakers, Cluster, Discovery, LoadBalancing, UpstreamHttp, UpstreamTls, UpstreamTransport,
};
use crate::endpoint::{EndpointSet, Health};
use crate::health_check::HealthQuestion;

pub(super) fn cluster(cluster: &Cluster) -> Value {
    let discovery = match &cluster.discovery {
        Discovery::Endpoints(name) => json!({ "type": "EDS", "service_name": name }),
        Discovery::Dialled(name) => json!({ "type": "ORIGINAL_DST", "service_name": name }),
        Discovery::Static(endpoints) => {
            json!({ "type": "STATIC", "load_assignment": endpoint_set(endpoints) })
        }
        Discovery::Dns(hosts) => json!({ "type": "STRICT_DNS", "hosts": hosts }),
        Discovery::OriginalDst => json!({ "type": "ORIGINAL_DST" }),
    };
    let tls = |tls: &UpstreamTls| json!({ "identities": &*tls.identities, "sni": tls.sni });
    let transport = match &cluster.transport {
        UpstreamTransport::Plain => json!("plain"),
        UpstreamTransport::ByEndpoint(by) => json!({ "by_endpoint": tls(by) }),
        UpstreamTransport::MutualTls(with) => json!({ "mutual_tls": tls(with) }),
        UpstreamTransport::Context(context) => {
            json!({ "tls": { "sni": context.sni, "alpn_protocols": context.tls.application_protocols } })
        }
    };
    let outlier = cluster.outlier_detection.map(|outlier| {
        json!({
            "consecutive_5xx": outlier.consecutive_5xx,
            "consecutive_gateway_failure": outlier.consecutive_gateway_errors,
            "interval": seconds(outlier.interval),
            "base_ejection_time": seconds(outlier.base_ejection_time),
            "max_ejection_percent": outlier.max_ejection_percent,
        })
    });
    let service = cluster
        .service
        .as_ref()
        .map(|service| json!({ "host": service.host, "name": service.name, "namespace": service.namespace }));
    json!({
        "name": cluster.name,
        "discovery": discovery,
        "lb_policy": match cluster.load_balancing {
            LoadBalancing::RoundRobin => "ROUND_ROBIN",
            LoadBalancing::Random => "RANDOM",
            LoadBalancing::LeastRequest(_) => "LEAST_REQUEST",
            LoadBalancing::RingHash(_) => "RING_HASH",
            LoadBalancing::Maglev(_) => "MAGLEV",
            LoadBalancing::PeakEwma(_) => "PEAK_EWMA",
        },
        "connect_timeout": seconds(cluster.connect_timeout),
        "http": match cluster.http {
            UpstreamHttp::SameAsDownstream => "USE_DOWNSTREAM_PROTOCOL",
            UpstreamHttp::Http1 => "HTTP1",
            UpstreamHttp::Http2 => "HTTP2",
        },
        "transport": transport,
        "health_check": cluster.health_check.as_ref().map(|check| {
            json!({
                "kind": match &check.question {
                    HealthQuestion::Http(_) => "HTTP",
                    HealthQuestion::Grpc { .. } => "GRPC",
                    HealthQuestion::Tcp { .. } => "TCP",
                },
                "interval": seconds(check.interval),
                "timeout": seconds(check.timeout),
                "unhealthy_threshold": check.unhealthy_threshold,
                "healthy_threshold": check.healthy_threshold,
            })
        }),
        "healthy_panic_threshold": cluster.balancing.panic_threshold,
        "circuit_breakers": limits(&cluster.limits),
        "circuit_breakers_high": limits(&cluster.high_priority_limits),
        "outlier_detection": outlier,
        "max_requests_per_connection": cluster.max_requests_per_connection,
        "idle_timeout": seconds(cluster.idle_timeout),
        "service": service,
        "provenance": cluster.provenance,
    })
}

fn limits(limits: &CircuitBreakers) -> Value {
    json!({
        "max_connections": limits.max_connections,
        "max_pending_requests": limits.max_pending_requests,
        "max_requests": limits.max_requests,
        "max_retries": limits.max_retries,
        "retry_budget": limits.retry_budget.map(|budget| {
            json!({ "budget_millionths": budget.budget.millionths(),
                    "min_retry_concurrency": budget.min_retry_concurrency })
        }),
    })
}

pub(super) fn endpoint_set(set: &EndpointSet) -> Value {
    let group = set.localities.iter().map(|group| {
        let endpoints = group.endpoints.iter().map(|one| {
            json!({
                "address": one.address,
                "health_status": match one.health {
                    Health::Healthy => "HEALTHY",
                    Health::Draining => "DRAINING",
                    Health::Unhealthy => "UNHEALTHY",
                },
                "load_balancing_weight": one.weight,
                "mutual_tls": one.mutual_tls,
                "metadata": super::metadata(&one.metadata),
                "workload": {
                    "name": one.workload.name,
                    "namespace": one.workload.namespace,
                    "service": one.workload.service,
                    "version": one.workload.version,
                    "cluster": one.workload.cluster,
                },
            })
        });
        json!({
            "locality": {
                "region": group.locality.region,
                "zone": group.locality.zone,
                "sub_zone": group.locality.sub_zone,
            },
            "priority": group.priority,
            "load_balancing_weight": group.weight,
            "lb_endpoints": endpoints.collect::<Vec<_>>(),
        })
    });
    json!({ "cluster_name": set.cluster, "endpoints": group.collect::<Vec<_>>() })
}
