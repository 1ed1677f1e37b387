//! `Bootstrap`: what a proxy starts with
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/bootstrap/v3/bootstrap.proto>).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use prost::Message;
use weft_proto::xds::bootstrap as pb;
use weft_proto::xds::bootstrap::bootstrap::{DynamicResources, StaticResources};
use weft_proto::xds::core;
use weft_proto::xds::core::api_config_source::ApiType;
use weft_proto::xds::core::config_source::ConfigSourceSpecifier;
use weft_proto::xds::core::grpc_service::TargetSpecifier;
use weft_proto::xds::discovery::DiscoveryResponse;

use super::reader::{DecodeErrors, Mistake, Reader, fields};
use super::{address, cluster, listener, tls_context};
use crate::bootstrap::{Ads, Bootstrap, ConfigSource, Dynamic, NodeInfo, Secret};
use crate::snapshot::Snapshot;

/// Reads the bytes of a `Bootstrap`; also tells what is set in it and has no effect.
///
/// # Errors
/// Every mistake of it.
pub fn decode(bytes: &[u8]) -> Result<(Bootstrap, Vec<Mistake>), DecodeErrors> {
    let message = pb::Bootstrap::decode(bytes)
        .map_err(|error| DecodeErrors::one("", format!("is no such message: {error}")))?;
    Reader::with_notes(message, read)
}

/// Reads the bytes of a `DiscoveryResponse` of secrets.
///
/// # Errors
/// Every mistake of it.
pub fn decode_secrets(bytes: &[u8]) -> Result<HashMap<String, Secret>, DecodeErrors> {
    Reader::resource(bytes, |reader, response: DiscoveryResponse| {
        let secrets = reader.each("resources", response.resources, |reader, any| {
            let secret: weft_proto::xds::tls::Secret = reader.unpack(&any)?;
            tls_context::decode_secret_of_file(reader, secret)
        });
        Some(secrets.into_iter().collect())
    })
}

fn read(reader: &mut Reader, bootstrap: pb::Bootstrap) -> Option<Bootstrap> {
    fields!(reader, bootstrap => pb::Bootstrap {
        node, static_resources, dynamic_resources, admin;
        // What is measured, traced, watched over and how names are resolved is the proxy's own rule.
        ignored: flags_path, node_context_params, cluster_manager, stats_sinks, deferred_stat_options, stats_config,
            stats_flush_interval, watchdog, watchdogs, tracing, layered_runtime, overload_manager,
            enable_dispatcher_stats, stats_server_version_override, use_tcp_for_dns_lookups,
            dns_resolution_config, typed_dns_resolver_config, bootstrap_extensions, fatal_actions,
            perf_tracing_file_path, default_regex_engine, xds_config_tracker_extension, application_log_config,
            grpc_async_client_manager_config, memory_allocator_manager, enable_worker_cpu_affinity, stats_flush,
            stats_eviction;
        refused: hds_config, header_prefix, config_sources, default_config_source, default_socket_interface,
            certificate_provider_instances, inline_headers, xds_delegate_extension, listener_manager
    });
    let admin = reader.optional("admin", admin, read_admin);
    let mut found = Bootstrap {
        node: node.map(read_node).unwrap_or_default(),
        admin: admin.flatten(),
        ..Bootstrap::default()
    };
    if dynamic_resources.as_ref().is_none_or(|dynamic| dynamic.ads_config.is_none()) {
        reader.go_without_ads();
    }
    reader.optional("static_resources", static_resources, |reader, resources| {
        read_static(reader, resources, &mut found);
        Some(())
    });
    if let Some(dynamic) = dynamic_resources {
        found.dynamic = reader.within("dynamic_resources", |reader| read_dynamic(reader, dynamic));
    }
    let mut logs = reader.logs();
    if logs.len() > 1 {
        let message = "write different access logs, which is not supported: one process writes one";
        reader.within("static_resources", |reader| reader.refuse_at::<()>("listeners", message));
    }
    found.access_log = logs.pop();
    check_references(reader, &found);
    Some(found)
}

fn read_node(node: core::Node) -> NodeInfo {
    let locality = node.locality.unwrap_or_default();
    NodeInfo {
        id: node.id,
        cluster: node.cluster,
        metadata: node.metadata.unwrap_or_default(),
        locality: crate::endpoint::Locality {
            region: locality.region.into(),
            zone: locality.zone.into(),
            sub_zone: locality.sub_zone.into(),
        },
    }
}

fn read_admin(reader: &mut Reader, admin: pb::Admin) -> Option<Option<std::net::SocketAddr>> {
    fields!(reader, admin => pb::Admin {
        address;
        ignored: access_log, access_log_path, profile_path, socket_options, ignore_global_conn_limit;
        refused: allow_paths
    });
    let address = reader.optional("address", address, address::decode_socket);
    if address.is_some_and(|address| !address.ip().is_loopback()) {
        reader.within("address", |reader| reader.note("is not loopback: who reaches it can end the proxy"));
    }
    Some(address)
}

fn read_static(reader: &mut Reader, resources: StaticResources, found: &mut Bootstrap) {
    let StaticResources { listeners, clusters, secrets } = resources;
    let secrets = tls_context::read_secrets(reader, secrets);
    reader.know(secrets);
    let mut names = HashSet::new();
    found.clusters = reader.each("clusters", clusters, |reader, message| {
        let cluster = cluster::read(reader, message)?;
        if !names.insert(cluster.name.clone()) {
            return reader.refuse_at("name", format!("there are two clusters `{}`", cluster.name));
        }
        Some(Arc::new(cluster))
    });
    let mut names = HashSet::new();
    found.listeners = reader.each("listeners", listeners, |reader, mut message| {
        if message.name.is_empty() {
            // As Envoy does; any name that is nobody else's will do.
            message.name = format!("listener-{}", names.len());
        }
        let listener = listener::read(reader, message)?;
        if !names.insert(listener.name.clone()) {
            return reader.refuse_at("name", format!("there are two listeners `{}`", listener.name));
        }
        Some(Arc::new(listener))
    });
}

fn read_dynamic(reader: &mut Reader, dynamic: DynamicResources) -> Dynamic {
    fields!(reader, dynamic => DynamicResources {
        lds_config, cds_config, ads_config;
        refused: lds_resources_locator, cds_resources_locator
    });
    let ads = reader.optional("ads_config", ads_config, read_ads);
    let mut source = |field: &str, source| {
        let source = reader.optional(field, source, read_source)?;
        if source == ConfigSource::Ads && ads.is_none() {
            reader.refuse_at::<()>(field, "asks for ADS, and there is no ads_config");
        }
        Some(source)
    };
    let listeners = source("lds_config", lds_config);
    let clusters = source("cds_config", cds_config);
    Dynamic { ads, listeners, clusters }
}

fn read_ads(reader: &mut Reader, source: core::ApiConfigSource) -> Option<Ads> {
    fields!(reader, source => core::ApiConfigSource {
        api_type, grpc_services, set_node_on_first_message_only;
        ignored: transport_api_version, refresh_delay, request_timeout, rate_limit_settings, config_validators;
        refused: cluster_names
    });
    let _ = set_node_on_first_message_only;
    let delta = match ApiType::try_from(api_type) {
        Ok(ApiType::DeltaGrpc | ApiType::AggregatedDeltaGrpc) => true,
        Ok(ApiType::Grpc | ApiType::AggregatedGrpc) => false,
        Ok(other) => {
            return reader.refuse_at("api_type", format!("{} is not supported", other.as_str_name()));
        }
        Err(_) => return reader.refuse_at("api_type", format!("{api_type} is not known")),
    };
    let mut services =
        reader.each("grpc_services", grpc_services, |reader, service| match service.target_specifier {
            Some(TargetSpecifier::EnvoyGrpc(target)) => {
                reader.within("envoy_grpc", |reader| reader.text("cluster_name", target.cluster_name))
            }
            Some(TargetSpecifier::GoogleGrpc(_)) => reader.unsupported("google_grpc"),
            None => reader.missing("envoy_grpc"),
        });
    match services.len() {
        0 => reader.refuse_at("grpc_services", "names no cluster that the control plane is asked at"),
        1 => Some(Ads { cluster: services.remove(0), delta }),
        _ => reader.refuse_at("grpc_services", "has more than one service, which is not supported"),
    }
}

/// Endpoints and routes come by the one stream, or not at all.
pub(super) fn only_over_ads(reader: &mut Reader, field: &str, source: Option<core::ConfigSource>) {
    let found = source.and_then(|source| source.config_source_specifier);
    match found {
        None | Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => {
            if reader.is_without_ads() {
                let message = "comes from nowhere: there is no dynamic_resources.ads_config";
                reader.refuse_at::<()>(field, message);
            }
        }
        Some(_) => {
            let message =
                "is not supported: endpoints and routes come by `ads`, or stand in the cluster or listener";
            reader.refuse_at::<()>(field, message);
        }
    }
}

/// Where resources of one type come from.
fn read_source(reader: &mut Reader, source: core::ConfigSource) -> Option<ConfigSource> {
    match source.config_source_specifier {
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => Some(ConfigSource::Ads),
        Some(ConfigSourceSpecifier::Path(path)) => Some(ConfigSource::File { path: path.into() }),
        Some(ConfigSourceSpecifier::PathConfigSource(file)) => {
            Some(ConfigSource::File { path: file.path.into() })
        }
        Some(ConfigSourceSpecifier::ApiConfigSource(_)) => reader.refuse_at(
            "api_config_source",
            "is not supported: a control plane is asked for everything by one stream, `ads`",
        ),
        None => reader.missing("path_config_source"),
    }
}

/// What refers to a cluster that no one will ever send is a mistake of this file.
fn check_references(reader: &mut Reader, found: &Bootstrap) {
    if let Some(ads) = &found.dynamic.ads
        && !found.clusters.iter().any(|cluster| cluster.name == ads.cluster)
    {
        let message = format!("there is no static cluster `{}`", ads.cluster);
        reader.refuse_at::<()>("dynamic_resources.ads_config.grpc_services", message);
    }
    if found.dynamic.clusters.is_some() {
        return;
    }
    let mut snapshot = Snapshot::default();
    snapshot.clusters.extend(found.clusters.iter().map(|cluster| (cluster.name.clone(), cluster.clone())));
    for listener in &found.listeners {
        snapshot.listeners = [(listener.name.clone(), listener.clone())].into();
        for dangling in snapshot.dangling().into_iter().filter(|text| text.contains(" cluster ")) {
            reader.refuse_at::<()>("static_resources", dangling);
        }
    }
}
