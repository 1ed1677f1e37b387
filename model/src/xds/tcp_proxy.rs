//! Passes bytes on.

use std::time::Duration;

use weft_proto::xds::tcp_proxy as pb;
use weft_proto::xds::tcp_proxy::tcp_proxy::{
    ClusterSpecifier, WeightedCluster as WeightedClusters, weighted_cluster::ClusterWeight,
};

use super::reader::{Reader, fields};
use super::wire::bound;
use super::{access_log, hash_policy, subset};
use crate::cluster::ClusterName;
use crate::listener::TcpProxy;
use crate::route::WeightedCluster;

/// Envoy's bound on silence when none is given.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

pub(super) fn encode(tcp: &TcpProxy) -> pb::TcpProxy {
    // Envoy refuses a weight of 0, which takes nothing anyway.
    let taking: Vec<_> = tcp.clusters.iter().filter(|cluster| cluster.weight > 0).collect();
    let clusters = match taking[..] {
        [] => ClusterSpecifier::Cluster(ClusterName::BLACK_HOLE.to_owned()),
        [only] if only.weight == 1 && only.metadata_match.is_empty() => {
            ClusterSpecifier::Cluster(only.cluster.to_string())
        }
        _ => ClusterSpecifier::WeightedClusters(WeightedClusters {
            clusters: taking
                .iter()
                .map(|cluster| ClusterWeight {
                    name: cluster.cluster.to_string(),
                    weight: cluster.weight,
                    metadata_match: subset::metadata(&cluster.metadata_match),
                })
                .collect(),
        }),
    };
    pb::TcpProxy {
        stat_prefix: tcp.stat_prefix.to_string(),
        idle_timeout: bound(tcp.idle_timeout),
        cluster_specifier: Some(clusters),
        hash_policy: hash_policy::encode_connection(tcp.hash_source_ip),
        metadata_match: subset::metadata(&tcp.metadata_match),
        ..Default::default()
    }
}

pub(super) fn decode(reader: &mut Reader, tcp: pb::TcpProxy) -> Option<TcpProxy> {
    fields!(reader, tcp => pb::TcpProxy {
        access_log, stat_prefix, idle_timeout, cluster_specifier, hash_policy, metadata_match;
        ignored: access_log_flush_interval, flush_access_log_on_connected, access_log_options,
            max_connect_attempts, backoff_options, check_drain_close;
        refused: on_demand, downstream_idle_timeout, upstream_idle_timeout,
            tunneling_config, max_downstream_connection_duration,
            max_downstream_connection_duration_jitter_percentage, proxy_protocol_tlvs,
            proxy_protocol_tlv_merge_policy, upstream_connect_mode, max_early_data_bytes
    });
    access_log::read(reader, access_log);
    let stat_prefix = reader.text("stat_prefix", stat_prefix);
    let idle_timeout = match idle_timeout {
        None => Some(DEFAULT_IDLE_TIMEOUT),
        some => reader.bound("idle_timeout", some),
    };
    let clusters = match cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => {
            reader.text("cluster", name).map(|name| vec![WeightedCluster::new(&name, 1)])
        }
        Some(ClusterSpecifier::WeightedClusters(weighted)) if weighted.clusters.is_empty() => {
            reader.missing("weighted_clusters.clusters")
        }
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            Some(reader.each("weighted_clusters.clusters", weighted.clusters, |reader, cluster| {
                fields!(reader, cluster => ClusterWeight { name, weight, metadata_match });
                let metadata_match = subset::of_request(reader, "metadata_match", metadata_match)?;
                let name = reader.text("name", name)?;
                Some(WeightedCluster { metadata_match, ..WeightedCluster::new(&name, weight) })
            }))
        }
        None => reader.missing("cluster"),
    };
    let hash_source_ip = hash_policy::decode_connection(reader, hash_policy);
    let metadata_match = subset::of_request(reader, "metadata_match", metadata_match);
    Some(TcpProxy {
        stat_prefix: stat_prefix?,
        clusters: clusters?,
        idle_timeout,
        hash_source_ip,
        metadata_match: metadata_match?,
    })
}
