//! The configuration that is served, in the shape of Envoy's `/config_dump`, as the model sees it: what was ignored
//! when it was decoded is not shown, and where each rule came from is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use weft_model::cluster::{Cluster, Discovery, UpstreamTls, UpstreamTransport};
use weft_model::endpoint::EndpointSet;
use weft_model::listener::{FilterChain, Listener, NetworkFilter, RouteSource};
use weft_model::matcher::{HeaderKey, PathMatch, StringMatch, StringPattern, ValueMatch};
use weft_model::policy::{Abort, HeaderMutations, RetryPolicy};
use weft_model::route::{Forward, PathRewrite, Route, RouteAction, RouteMatch, RouteTable};
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
        json!({ "version_info": version(&versions, type_url::CLUSTER, &one.name), "cluster": cluster(one) })
    });
    let listeners = snapshot.listeners.values().map(|one| {
        let version = version(&versions, type_url::LISTENER, &one.name);
        json!({ "name": one.name, "active_state": { "version_info": version, "listener": listener(one) } })
    });
    let routes = routes.into_iter().map(|one| {
        json!({ "version_info": version(&versions, type_url::ROUTE, &one.name), "route_config": table(one) })
    });
    let endpoints = endpoints.into_iter().map(|one| {
        let version = version(&versions, type_url::ENDPOINT, &one.cluster);
        json!({ "version_info": version, "endpoint_config": endpoint_set(one) })
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
        json!({ "name": cluster.name, "endpoints": endpoints.as_deref().map(endpoint_set) })
    };
    clusters.into_iter().map(status).collect()
}

fn version(versions: &Versions, url: &str, name: &str) -> String {
    versions.get(&(url.to_owned(), name.to_owned())).cloned().unwrap_or_default()
}

fn time(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

fn listener(listener: &Listener) -> Value {
    json!({
        "name": listener.name,
        "addresses": listener.addresses,
        "bind_to_port": listener.bind,
        "use_original_dst": listener.use_original_dst,
        "traffic_direction": format!("{:?}", listener.direction).to_uppercase(),
        "inspection": {
            "tls": listener.inspection.tls,
            "http": listener.inspection.http,
            "timeout": time(listener.inspection.timeout),
        },
        "filter_chains": listener.filter_chains.iter().map(chain).collect::<Vec<_>>(),
        "default_filter_chain": listener.default_filter_chain.as_ref().map(chain),
        "provenance": listener.provenance,
    })
}

fn chain(chain: &FilterChain) -> Value {
    let matches = &chain.matches;
    let prefixes = matches.destination_prefixes.iter();
    let prefixes = prefixes.map(|prefix| format!("{}/{}", prefix.address, prefix.length));
    let tls = chain.tls.as_ref().map(|tls| {
        json!({
            "require_client_certificate": tls.require_client_certificate,
            "alpn_protocols": tls.application_protocols,
        })
    });
    json!({
        "name": chain.name,
        "filter_chain_match": {
            "destination_port": matches.destination_port,
            "prefix_ranges": prefixes.collect::<Vec<_>>(),
            "transport_protocol": matches.transport.map(|transport| format!("{transport:?}").to_lowercase()),
            "application_protocols": matches.application_protocols,
            "server_names": matches.server_names,
        },
        "tls": tls,
        "filter": filter(&chain.filter),
    })
}

fn filter(filter: &NetworkFilter) -> Value {
    match filter {
        NetworkFilter::Tcp(tcp) => json!({ "tcp_proxy": {
            "stat_prefix": tcp.stat_prefix,
            "clusters": tcp.clusters.iter().map(|c| json!({ "name": c.cluster, "weight": c.weight }))
                .collect::<Vec<_>>(),
            "idle_timeout": tcp.idle_timeout.map(time),
        }}),
        NetworkFilter::Http(http) => {
            let routes = match &http.routes {
                RouteSource::Named(name) => json!({ "route_config_name": name }),
                RouteSource::Inline(inline) => json!({ "route_config": table(inline) }),
            };
            json!({ "http_connection_manager": {
                "stat_prefix": http.stat_prefix,
                "codec_type": format!("{:?}", http.codec).to_uppercase(),
                "routes": routes,
                "forward_client_certificate": http.forward_client_certificate,
                "stream_idle_timeout": http.stream_idle_timeout.map(time),
                "upgrades": http.upgrades,
                "forward_proxy": http.forward_proxy,
            }})
        }
    }
}

fn table(table: &RouteTable) -> Value {
    let hosts = table.virtual_hosts.iter().map(|host| {
        json!({
            "name": host.name,
            "domains": host.domains,
            "routes": host.routes.iter().map(route).collect::<Vec<_>>(),
        })
    });
    json!({ "name": table.name, "virtual_hosts": hosts.collect::<Vec<_>>() })
}

fn route(route: &Route) -> Value {
    let action = match &route.action {
        RouteAction::Forward(to) => json!({ "route": forward(to) }),
        RouteAction::Redirect(to) => json!({ "redirect": {
            "response_code": to.status,
            "scheme": to.scheme,
            "host": to.host,
            "port": to.port,
            "path": to.path.as_ref().map(rewrite),
        }}),
        RouteAction::Respond(with) => {
            json!({ "direct_response": { "status": with.status, "body": with.body } })
        }
    };
    let fault = route.fault.as_ref().map(|fault| {
        json!({
            "delay": fault.delay.map(|(delay, share)| {
                json!({ "fixed_delay": time(delay), "millionths": share.millionths() })
            }),
            "abort": fault.abort.map(|(abort, share)| match abort {
                Abort::Http(status) => json!({ "http_status": status, "millionths": share.millionths() }),
                Abort::Grpc(status) => json!({ "grpc_status": status, "millionths": share.millionths() }),
            }),
        })
    });
    json!({
        "name": route.name,
        "match": route_match(&route.matches),
        "action": action,
        "request_headers": headers(&route.request_headers),
        "response_headers": headers(&route.response_headers),
        "fault": fault,
        "provenance": route.provenance,
    })
}

fn route_match(matches: &RouteMatch) -> Value {
    let path = match &matches.path {
        PathMatch::Prefix { prefix, ignore_case } => json!({ "prefix": prefix, "ignore_case": ignore_case }),
        PathMatch::SeparatedPrefix(prefix) => json!({ "path_separated_prefix": prefix }),
        PathMatch::Exact { path, ignore_case } => json!({ "path": path, "ignore_case": ignore_case }),
        PathMatch::Regex(regex) => json!({ "safe_regex": regex.as_str() }),
    };
    let header = matches.headers.iter().map(|header| {
        let name = match &header.name {
            HeaderKey::Header(name) => name.to_string(),
            HeaderKey::Pseudo(pseudo) => format!(":{pseudo:?}").to_lowercase(),
        };
        json!({ "name": name, "value": value(&header.value), "invert_match": header.invert })
    });
    let query = matches.query.iter().map(|query| json!({ "name": query.name, "value": value(&query.value) }));
    json!({
        "path": path,
        "headers": header.collect::<Vec<_>>(),
        "query_parameters": query.collect::<Vec<_>>(),
    })
}

fn value(value: &ValueMatch) -> Value {
    match value {
        ValueMatch::Present => json!({ "present": true }),
        ValueMatch::Value(StringMatch { pattern, ignore_case }) => {
            let (form, text) = match pattern {
                StringPattern::Exact(text) => ("exact", &**text),
                StringPattern::Prefix(text) => ("prefix", &**text),
                StringPattern::Suffix(text) => ("suffix", &**text),
                StringPattern::Contains(text) => ("contains", &**text),
                StringPattern::Regex(regex) => ("safe_regex", regex.as_str()),
            };
            json!({ form: text, "ignore_case": ignore_case })
        }
    }
}

fn forward(to: &Forward) -> Value {
    let clusters = to.clusters.iter().map(|one| {
        json!({
            "name": one.cluster,
            "weight": one.weight,
            "request_headers": headers(&one.request_headers),
            "response_headers": headers(&one.response_headers),
        })
    });
    let mirrors = to
        .mirrors
        .iter()
        .map(|one| json!({ "cluster": one.cluster, "millionths": one.fraction.millionths() }));
    json!({
        "clusters": clusters.collect::<Vec<_>>(),
        "timeout": to.timeout.map(time),
        "idle_timeout": to.idle_timeout.map(time),
        "retry_policy": to.retry.as_ref().map(retry),
        "path_rewrite": to.path_rewrite.as_ref().map(rewrite),
        "host_rewrite": to.host_rewrite.as_ref().map(|host| String::from_utf8_lossy(host.as_bytes())),
        "mirrors": mirrors.collect::<Vec<_>>(),
    })
}

fn retry(retry: &RetryPolicy) -> Value {
    json!({
        "num_retries": retry.retries,
        "retry_on": retry.conditions.words().collect::<Vec<_>>().join(","),
        "retriable_status_codes": &*retry.status_codes,
        "per_try_timeout": retry.per_try_timeout.map(time),
        "base_interval": time(retry.backoff_base),
        "max_interval": time(retry.backoff_max),
        "idempotent_only": retry.idempotent_only,
        "avoid_tried_endpoints": retry.avoid_tried_endpoints,
    })
}

fn rewrite(rewrite: &PathRewrite) -> Value {
    match rewrite {
        PathRewrite::Prefix(prefix) => json!({ "prefix": prefix }),
        PathRewrite::Full(path) => json!({ "full": path }),
    }
}

fn headers(mutations: &HeaderMutations) -> Value {
    if mutations.is_empty() {
        return Value::Null;
    }
    let pairs = |pairs: &[(http::HeaderName, http::HeaderValue)]| {
        pairs
            .iter()
            .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
            .collect::<Vec<_>>()
    };
    let removed: Vec<_> = mutations.remove.iter().map(http::HeaderName::as_str).collect();
    json!({ "remove": removed, "set": pairs(&mutations.set), "add": pairs(&mutations.add) })
}

fn cluster(cluster: &Cluster) -> Value {
    let discovery = match &cluster.discovery {
        Discovery::Endpoints(name) => json!({ "type": "EDS", "service_name": name }),
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
    };
    let outlier = cluster.outlier_detection.map(|outlier| {
        json!({
            "consecutive_5xx": outlier.consecutive_5xx,
            "consecutive_gateway_failure": outlier.consecutive_gateway_errors,
            "interval": time(outlier.interval),
            "base_ejection_time": time(outlier.base_ejection_time),
            "max_ejection_percent": outlier.max_ejection_percent,
            "min_health_percent": outlier.min_health_percent,
        })
    });
    let service = cluster
        .service
        .as_ref()
        .map(|service| json!({ "host": service.host, "name": service.name, "namespace": service.namespace }));
    json!({
        "name": cluster.name,
        "discovery": discovery,
        "lb_policy": format!("{:?}", cluster.load_balancing),
        "connect_timeout": time(cluster.connect_timeout),
        "http": format!("{:?}", cluster.http),
        "transport": transport,
        "circuit_breakers": {
            "max_connections": cluster.limits.max_connections,
            "max_pending_requests": cluster.limits.max_pending_requests,
            "max_requests": cluster.limits.max_requests,
            "max_retries": cluster.limits.max_retries,
        },
        "outlier_detection": outlier,
        "max_requests_per_connection": cluster.max_requests_per_connection,
        "idle_timeout": time(cluster.idle_timeout),
        "service": service,
        "provenance": cluster.provenance,
    })
}

fn endpoint_set(set: &EndpointSet) -> Value {
    let group = set.localities.iter().map(|group| {
        let endpoints = group.endpoints.iter().map(|one| {
            json!({
                "address": one.address,
                "health_status": format!("{:?}", one.health).to_uppercase(),
                "load_balancing_weight": one.weight,
                "mutual_tls": one.mutual_tls,
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
