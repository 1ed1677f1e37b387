//! What is known of clusters at run time, in the shape of Envoy's `/clusters`: text, or
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/clusters.proto>) JSON.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};
use weft_model::cluster::Cluster;
use weft_model::endpoint::{Endpoint, Health, LocalityEndpoints};
use weft_model::snapshot::Snapshot;

use super::AdminState;
use crate::upstream::{ClusterStats, HostStats};

/// Every cluster with its hosts, by name. Those of a cluster that nobody has called yet stand in it, too.
fn all(state: &AdminState, snapshot: &Snapshot) -> Vec<(ClusterStats, Option<Arc<Cluster>>)> {
    let mut stats = (state.clusters)();
    stats.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    let with_configuration = |stats: ClusterStats| {
        let cluster = snapshot.clusters.get(&stats.cluster).cloned();
        (stats, cluster)
    };
    stats.into_iter().map(with_configuration).collect()
}

/// Where an endpoint stands in its cluster's configuration; none of one that was found by its name.
fn place(
    snapshot: &Snapshot,
    cluster: Option<&Cluster>,
    host: &HostStats,
) -> Option<(LocalityEndpoints, Endpoint)> {
    let set = snapshot.endpoints_of(cluster?)?;
    set.localities.iter().find_map(|locality| {
        let endpoint = locality.endpoints.iter().find(|endpoint| endpoint.address == host.address)?;
        let bare = LocalityEndpoints { endpoints: Vec::new(), ..locality.clone() };
        Some((bare, Endpoint::clone(endpoint)))
    })
}

/// Envoy's words for what is wrong with a host.
fn health_flags(host: &HostStats, health: Health) -> String {
    let flags = [
        (host.checked == Some(false), "/failed_active_hc"),
        (host.ejected, "/failed_outlier_check"),
        (health != Health::Healthy, "/failed_eds_health"),
    ];
    let set: String = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| *flag).collect();
    if set.is_empty() { "healthy".to_owned() } else { set }
}

/// One fact a line.
pub(super) fn text(state: &AdminState) -> String {
    let snapshot = state.discovery.snapshot.load();
    let mut text = String::new();
    for (stats, cluster) in all(state, &snapshot) {
        let name = &stats.cluster;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}::observability_name::{name}");
        if let Some(cluster) = &cluster {
            let limits = &cluster.limits;
            let limits = [
                ("max_connections", limits.max_connections),
                ("max_pending_requests", limits.max_pending_requests),
                ("max_requests", limits.max_requests),
                ("max_retries", limits.max_retries),
            ];
            for (limit, value) in limits {
                let _ = writeln!(text, "{name}::default_priority::{limit}::{value}");
            }
        }
        let _ = writeln!(text, "{name}::added_via_api::{}", is_dynamic(state, name));
        for host in &stats.hosts {
            let place = place(&snapshot, cluster.as_deref(), host);
            let (locality, endpoint) =
                place.map_or((None, None), |(locality, endpoint)| (Some(locality), Some(endpoint)));
            let health = endpoint.as_ref().map_or(Health::Healthy, |endpoint| endpoint.health);
            let part =
                |read: fn(&LocalityEndpoints) -> String| locality.as_ref().map(read).unwrap_or_default();
            let facts = [
                ("cx_active", host.connections.to_string()),
                ("rq_active", host.requests.to_string()),
                ("hostname", endpoint.as_ref().map(|it| it.hostname.to_string()).unwrap_or_default()),
                ("health_flags", health_flags(host, health)),
                ("weight", endpoint.as_ref().map_or(1, |it| it.weight.max(1)).to_string()),
                ("region", part(|it| it.locality.region.to_string())),
                ("zone", part(|it| it.locality.zone.to_string())),
                ("sub_zone", part(|it| it.locality.sub_zone.to_string())),
                ("priority", locality.as_ref().map_or(0, |it| it.priority).to_string()),
            ];
            for (fact, value) in facts {
                let _ = writeln!(text, "{name}::{}::{fact}::{value}", host.address);
            }
        }
    }
    text
}

/// `envoy.admin.v3.Clusters`.
pub(super) fn json(state: &AdminState) -> Value {
    let snapshot = state.discovery.snapshot.load();
    let statuses = all(state, &snapshot).into_iter().map(|(stats, cluster)| {
        let hosts = stats.hosts.iter().map(|host| host_status(&snapshot, cluster.as_deref(), host));
        json!({
            "name": &*stats.cluster,
            "observability_name": &*stats.cluster,
            "added_via_api": is_dynamic(state, &stats.cluster),
            "host_statuses": hosts.collect::<Vec<_>>(),
            // Not Envoy's: what is counted of the cluster as a whole.
            "weft": {
                "connections": stats.connections, "requests": stats.requests, "retries": stats.retries,
                "overflows": stats.overflows, "ejected": stats.ejected,
            },
        })
    });
    json!({ "cluster_statuses": statuses.collect::<Vec<_>>() })
}

fn host_status(snapshot: &Snapshot, cluster: Option<&Cluster>, host: &HostStats) -> Value {
    let place = place(snapshot, cluster, host);
    let health = place.as_ref().map_or(Health::Healthy, |(_, endpoint)| endpoint.health);
    let eds = match health {
        Health::Healthy => "HEALTHY",
        Health::Draining => "DRAINING",
        Health::Unhealthy => "UNHEALTHY",
    };
    let mut status = serde_json::Map::new();
    let mut set = |name: &str, value: Value| status.insert(name.to_owned(), value);
    let address = json!({ "address": host.address.ip().to_string(), "port_value": host.address.port() });
    set("address", json!({ "socket_address": address }));
    let gauge = |name: &str, value: u32| json!({ "type": "GAUGE", "name": name, "value": value.to_string() });
    set("stats", json!([gauge("cx_active", host.connections), gauge("rq_active", host.requests)]));
    let mut flags = json!({ "eds_health_status": eds });
    for (is_set, name) in
        [(host.checked == Some(false), "failed_active_health_check"), (host.ejected, "failed_outlier_check")]
    {
        if is_set {
            flags[name] = true.into();
        }
    }
    set("health_status", flags);
    if let Some((locality, endpoint)) = place {
        set("weight", endpoint.weight.max(1).into());
        set("priority", locality.priority.into());
        let place = &locality.locality;
        set("locality", json!({ "region": place.region, "zone": place.zone, "sub_zone": place.sub_zone }));
        if !endpoint.hostname.is_empty() {
            set("hostname", endpoint.hostname.to_string().into());
        }
    }
    Value::Object(status)
}

/// Whether it came by an API, and does not stand in a bootstrap.
fn is_dynamic(state: &AdminState, name: &str) -> bool {
    let key = (weft_proto::type_url::CLUSTER.to_owned(), name.to_owned());
    state.discovery.status.versions().contains_key(&key)
}
