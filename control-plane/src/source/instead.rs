//! What to write instead of kinds that reach into a proxy's innards. Such patches break with every version of the proxy,
//! and nothing can check or explain them; Weft takes typed resources only, and names the one that was probably meant.

use super::document::{Node, Value};

/// Words of an Envoy configuration, and the typed resource for what they stand for.
const TYPED: &[(&[&str], &str)] = &[
    (&["envoy.filters.http.fault", "httpfault"], "to inject faults: VirtualService `spec.http[].fault`"),
    (
        &["retry_policy", "retrypolicy", "num_retries", "retry_on"],
        "to retry: VirtualService `spec.http[].retries`, or HTTPRoute `spec.rules[].retry`",
    ),
    (
        &[
            "idle_timeout",
            "connect_timeout",
            "common_http_protocol_options",
            "circuit_breakers",
            "max_connections",
            "tcp_keepalive",
        ],
        "for limits and time-outs of connections: DestinationRule `spec.trafficPolicy.connectionPool`",
    ),
    (
        &["timeout", "max_stream_duration", "per_try_timeout"],
        "for a time-out of requests: VirtualService `spec.http[].timeout`, or HTTPRoute `spec.rules[].timeouts`",
    ),
    (
        &["outlier_detection"],
        "to keep away from endpoints that fail: DestinationRule `spec.trafficPolicy.outlierDetection`",
    ),
    (
        &["lb_policy", "least_request_lb_config", "ring_hash_lb_config"],
        "to balance: DestinationRule `spec.trafficPolicy.loadBalancer`",
    ),
    (
        &[
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
            "envoy.filters.http.header_mutation",
        ],
        "to change headers: VirtualService `spec.http[].headers`, or the filters of HTTPRoute `spec.rules[].filters`",
    ),
    (
        &["prefix_rewrite", "regex_rewrite", "host_rewrite_literal"],
        "to rewrite: VirtualService `spec.http[].rewrite`",
    ),
    (
        &["transport_socket", "common_tls_context", "require_client_certificate"],
        "for TLS: PeerAuthentication on the server's side, DestinationRule `spec.trafficPolicy.tls` on the client's",
    ),
    (
        &["envoy.filters.http.lua", "envoy.filters.http.wasm", "envoy.filters.network.wasm", "inline_code"],
        "foreign code does not run in Weft's proxy: put it into a service that is called",
    ),
];

/// What to do about a kind that patches the proxy; none for other kinds.
pub(super) fn of(kind: &str, object: &Node) -> Option<String> {
    match kind {
        "EnvoyFilter" => {}
        "WasmPlugin" => {
            return Some(
                "no foreign code runs in Weft's proxy: put it into a service that is called; for routing, headers, \
                 faults and retries write a VirtualService or an HTTPRoute"
                    .to_owned(),
            );
        }
        _ => return None,
    }
    let mut words = Vec::new();
    collect(object, &mut words);
    let fits = |known: &&(&[&str], &str)| known.0.iter().any(|word| words.iter().any(|own| own == word));
    let fitting: Vec<&str> = TYPED.iter().filter(fits).map(|(_, instead)| *instead).collect();
    Some(if fitting.is_empty() {
        "Weft takes typed resources, no patches of the proxy's configuration: VirtualService or HTTPRoute for requests, \
         DestinationRule for connections, PeerAuthentication for mutual TLS"
            .to_owned()
    } else {
        format!("write a typed resource instead: {}", fitting.join("; "))
    })
}

/// All keys, and all names of filters, in lower case.
fn collect(node: &Node, words: &mut Vec<String>) {
    match &node.value {
        Value::Mapping(entries) => {
            for entry in entries {
                words.push(entry.key.to_ascii_lowercase());
                collect(&entry.value, words);
            }
        }
        Value::Sequence(items) => items.iter().for_each(|item| collect(item, words)),
        Value::String(text) => {
            // `type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault`, or a name.
            let text = text.to_ascii_lowercase();
            words.extend(text.rsplit(['.', '/']).next().map(str::to_owned));
            words.push(text);
        }
        _ => {}
    }
}
