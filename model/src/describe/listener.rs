//! Listeners, filter chains and network filters.

use serde_json::{Value, json};

use super::route::table;
use super::seconds;
use crate::listener::{
    Codec, Direction, DownstreamTls, FilterChain, Listener, NetworkFilter, RouteSource, Transport,
};

pub(super) fn listener(listener: &Listener) -> Value {
    json!({
        "name": listener.name,
        "addresses": listener.addresses,
        "bind_to_port": listener.bind,
        "use_original_dst": listener.use_original_dst,
        "headless": listener.headless,
        "traffic_direction": match listener.direction {
            Direction::Inbound => "INBOUND",
            Direction::Outbound => "OUTBOUND",
        },
        "inspection": {
            "tls": listener.inspection.tls,
            "http": listener.inspection.http,
            "timeout": seconds(listener.inspection.timeout),
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
        let (require, protocols) = match tls {
            DownstreamTls::Mesh(tls) => (tls.require_client_certificate, &tls.application_protocols),
            DownstreamTls::Context(context) => {
                (context.require_client_certificate, &context.tls.application_protocols)
            }
        };
        json!({ "require_client_certificate": require, "alpn_protocols": protocols })
    });
    json!({
        "name": chain.name,
        "filter_chain_match": {
            "destination_port": matches.destination_port,
            "prefix_ranges": prefixes.collect::<Vec<_>>(),
            "transport_protocol": matches.transport.map(|transport| match transport {
                Transport::Raw => "raw_buffer",
                Transport::Tls => "tls",
            }),
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
            "idle_timeout": tcp.idle_timeout.map(seconds),
        }}),
        NetworkFilter::Http(http) => {
            let routes = match &http.routes {
                RouteSource::Named(name) => json!({ "route_config_name": name }),
                RouteSource::Inline(inline) => json!({ "route_config": table(inline) }),
            };
            json!({ "http_connection_manager": {
                "stat_prefix": http.stat_prefix,
                "codec_type": match http.codec {
                    Codec::Auto => "AUTO",
                    Codec::Http1 => "HTTP1",
                    Codec::Http2 => "HTTP2",
                },
                "routes": routes,
                "forward_client_certificate": http.forward_client_certificate,
                "stream_idle_timeout": http.stream_idle_timeout.map(seconds),
                "upgrades": http.upgrades,
                "filters": http.filters.iter().map(|filter| &*filter.name).collect::<Vec<_>>(),
                "forward_proxy": http.forward_proxy,
            }})
        }
    }
}
