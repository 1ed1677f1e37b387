//! The configuration that is served, in the shape of Envoy's `/config_dump`, as the model sees it: what was ignored
//! when it was decoded is not shown, and where each rule came from is.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use weft_model::cluster::Cluster;
use weft_model::describe;
use weft_model::snapshot::Snapshot;
use weft_proto::type_url;

use super::AdminState;

type Versions = BTreeMap<(String, String), String>;

/// Everything.
pub(super) fn config(state: &AdminState) -> Value {
    let snapshot = state.discovery.snapshot.load();
    let versions = state.discovery.status.versions();
    let mut clusters: Vec<_> = snapshot.clusters.values().collect();
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    let mut routes: Vec<_> = snapshot.routes.values().collect();
    routes.sort_by(|a, b| a.name.cmp(&b.name));
    let mut endpoints: Vec<_> = snapshot.endpoints.values().collect();
    endpoints.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    let clusters = clusters.into_iter().map(|one| {
        json!({ "version_info": version(&versions, type_url::CLUSTER, &one.name), "cluster": describe::cluster(one) })
    });
    let listeners = snapshot.listeners.values().map(|one| {
        let version = version(&versions, type_url::LISTENER, &one.name);
        json!({ "name": one.name, "active_state": { "version_info": version, "listener": describe::listener(one) } })
    });
    let routes = routes.into_iter().map(|one| {
        json!({ "version_info": version(&versions, type_url::ROUTE, &one.name), "route_config": describe::routes(one) })
    });
    let endpoints = endpoints.into_iter().map(|one| {
        let version = version(&versions, type_url::ENDPOINT, &one.cluster);
        json!({ "version_info": version, "endpoint_config": describe::endpoints(one) })
    });
    json!({ "configs": [
        { "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
          "dynamic_active_clusters": clusters.collect::<Vec<_>>() },
        { "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
          "dynamic_listeners": listeners.collect::<Vec<_>>() },
        { "@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump",
          "dynamic_route_configs": routes.collect::<Vec<_>>() },
        { "@type": "type.googleapis.com/envoy.admin.v3.EndpointsConfigDump",
          "dynamic_endpoint_configs": endpoints.collect::<Vec<_>>() },
    ]})
}

/// Each cluster with its endpoints.
pub(super) fn clusters(snapshot: &Snapshot) -> Vec<Value> {
    let mut clusters: Vec<_> = snapshot.clusters.values().collect();
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    let status = |cluster: &Arc<Cluster>| {
        let endpoints = snapshot.endpoints_of(cluster);
        json!({ "name": cluster.name, "endpoints": endpoints.as_deref().map(describe::endpoints) })
    };
    clusters.into_iter().map(status).collect()
}

fn version(versions: &Versions, url: &str, name: &str) -> String {
    versions.get(&(url.to_owned(), name.to_owned())).cloned().unwrap_or_default()
}
