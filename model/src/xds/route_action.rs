//! What becomes of a request.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use weft_proto::xds::core::{self, data_source::Specifier};
use weft_proto::xds::matcher;
use weft_proto::xds::route as pb;
use weft_proto::xds::route::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use weft_proto::xds::route::route::Action;
use weft_proto::xds::route::route_action::{ClusterSpecifier, HostRewriteSpecifier, RequestMirrorPolicy};
use weft_proto::xds::route::weighted_cluster::ClusterWeight;

use super::reader::{Reader, fields};
use super::wire::{bound, duration, number};
use super::{hash_policy, headers, retry, subset, text};
use crate::matcher::PathMatch;
use crate::policy::Fraction;
use crate::route::{
    DirectResponse, Forward, Mirror, PathRewrite, Redirect, RouteAction, RouteMatch, RoutingPriority,
    WeightedCluster,
};

/// Envoy's bound on an exchange when none is given.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
/// The whole path, as Istio writes it.
const WHOLE_PATH: &str = "/.*";
/// Envoy's bound on the body of a direct response.
const MOST_BODY: usize = 4096;

pub(super) fn encode(action: &RouteAction, matches: &RouteMatch) -> Action {
    match action {
        RouteAction::Forward(forward) => encode_forward(forward, matches),
        RouteAction::Redirect(redirect) => Action::Redirect(encode_redirect(redirect)),
        RouteAction::Respond(response) => Action::DirectResponse(encode_response(response)),
    }
}

pub(super) fn decode(
    reader: &mut Reader,
    action: Action,
    matches: Option<&RouteMatch>,
) -> Option<RouteAction> {
    match action {
        Action::Route(route) => {
            reader.within("route", |reader| decode_forward(reader, route, matches)).map(RouteAction::Forward)
        }
        Action::Redirect(redirect) => {
            reader.within("redirect", |reader| decode_redirect(reader, redirect)).map(RouteAction::Redirect)
        }
        Action::DirectResponse(response) => reader
            .within("direct_response", |reader| decode_response(reader, response))
            .map(RouteAction::Respond),
        Action::FilterAction(_) => reader.unsupported("filter_action"),
        Action::NonForwardingAction(_) => reader.unsupported("non_forwarding_action"),
    }
}

fn encode_forward(forward: &Forward, matches: &RouteMatch) -> Action {
    let total: u64 = forward.clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
    if total == 0 {
        let body = "no destination of this route has a weight above 0".into();
        return Action::DirectResponse(encode_response(&DirectResponse { status: 503, body }));
    }
    let mut route = pb::RouteAction {
        cluster_specifier: Some(encode_clusters(&forward.clusters)),
        timeout: bound(forward.timeout),
        idle_timeout: forward.idle_timeout.and_then(duration),
        retry_policy: forward.retry.as_ref().map(retry::encode),
        request_mirror_policies: forward.mirrors.iter().map(encode_mirror).collect(),
        host_rewrite_specifier: forward.host_rewrite.as_ref().map(|host| {
            HostRewriteSpecifier::HostRewriteLiteral(String::from_utf8_lossy(host.as_bytes()).into_owned())
        }),
        hash_policy: forward.hash_policy.iter().map(hash_policy::encode).collect(),
        metadata_match: subset::metadata(&forward.metadata_match),
        priority: match forward.priority {
            RoutingPriority::Default => core::RoutingPriority::Default,
            RoutingPriority::High => core::RoutingPriority::High,
        } as i32,
        ..Default::default()
    };
    match &forward.path_rewrite {
        None => {}
        Some(PathRewrite::Full(path)) => route.regex_rewrite = Some(encode_whole_path(path)),
        Some(PathRewrite::Prefix(prefix)) => match slash_rewrite(matches) {
            Some(rewrite) if &**prefix == "/" => route.regex_rewrite = Some(rewrite),
            _ => route.prefix_rewrite = prefix.to_string(),
        },
    }
    Action::Route(route)
}

fn decode_forward(
    reader: &mut Reader,
    route: pb::RouteAction,
    matches: Option<&RouteMatch>,
) -> Option<Forward> {
    fields!(reader, route => pb::RouteAction {
        prefix_rewrite, regex_rewrite, timeout, idle_timeout, retry_policy, request_mirror_policies,
        max_stream_duration, cluster_specifier, host_rewrite_specifier, hash_policy, metadata_match, priority;
        ignored: cluster_not_found_response_code, append_x_forwarded_host, flush_timeout, early_data_policy,
            include_vh_rate_limits;
        refused: path_rewrite_policy, path_rewrite, retry_policy_typed_config, rate_limits,
            cors, max_grpc_timeout, grpc_timeout_offset, upgrade_configs, internal_redirect_policy,
            internal_redirect_action, max_internal_redirects, hedge_policy
    });
    let path_rewrite = decode_rewrite(reader, prefix_rewrite, regex_rewrite, matches);
    let timeout = match timeout {
        None => Some(DEFAULT_TIMEOUT),
        some => reader.bound("timeout", some),
    };
    let idle_timeout = reader.bound("idle_timeout", idle_timeout);
    let retry = reader.optional("retry_policy", retry_policy, retry::decode);
    let hash_policy = reader.each("hash_policy", hash_policy, hash_policy::decode);
    let metadata_match = subset::of_request(reader, "metadata_match", metadata_match);
    let priority = match core::RoutingPriority::try_from(priority) {
        Ok(core::RoutingPriority::Default) => Some(RoutingPriority::Default),
        Ok(core::RoutingPriority::High) => Some(RoutingPriority::High),
        Err(_) => reader.refuse_at("priority", format!("{priority} is not known")),
    };
    let mirrors = reader.each("request_mirror_policies", request_mirror_policies, decode_mirror);
    // Its bound on gRPC's own time-outs asks for what is done anyway.
    if let Some(stream) = max_stream_duration
        && stream.max_stream_duration.is_some_and(|most| most != Default::default())
    {
        reader.unsupported::<()>("max_stream_duration.max_stream_duration");
    }
    let clusters = match cluster_specifier {
        Some(clusters) => decode_clusters(reader, clusters),
        None => reader.missing("cluster_specifier"),
    };
    let host_rewrite = match host_rewrite_specifier {
        None => None,
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => match HeaderValue::from_str(&host) {
            Ok(host) => Some(host),
            Err(_) => reader.refuse_at("host_rewrite_literal", format!("`{host}` is no host name")),
        },
        Some(HostRewriteSpecifier::AutoHostRewrite(auto)) if !auto.value => None,
        Some(HostRewriteSpecifier::AutoHostRewrite(_)) => reader.unsupported("auto_host_rewrite"),
        Some(HostRewriteSpecifier::HostRewriteHeader(_)) => reader.unsupported("host_rewrite_header"),
        Some(HostRewriteSpecifier::HostRewritePathRegex(_)) => reader.unsupported("host_rewrite_path_regex"),
        Some(HostRewriteSpecifier::HostRewrite(_)) => reader.unsupported("host_rewrite"),
    };
    Some(Forward {
        clusters: clusters?,
        timeout,
        idle_timeout,
        retry,
        path_rewrite,
        host_rewrite,
        mirrors,
        hash_policy,
        metadata_match: metadata_match?,
        priority: priority?,
    })
}

fn encode_clusters(clusters: &[WeightedCluster]) -> ClusterSpecifier {
    if let [only] = clusters
        && *only == WeightedCluster::new(&only.cluster, 1)
    {
        return ClusterSpecifier::Cluster(only.cluster.to_string());
    }
    let weighted = |cluster: &WeightedCluster| {
        let (request_headers_to_add, request_headers_to_remove) = headers::encode(&cluster.request_headers);
        let (response_headers_to_add, response_headers_to_remove) =
            headers::encode(&cluster.response_headers);
        ClusterWeight {
            name: cluster.cluster.to_string(),
            weight: number(cluster.weight),
            request_headers_to_add,
            request_headers_to_remove,
            response_headers_to_add,
            response_headers_to_remove,
            metadata_match: subset::metadata(&cluster.metadata_match),
            ..Default::default()
        }
    };
    let clusters = clusters.iter().map(weighted).collect();
    ClusterSpecifier::WeightedClusters(pb::WeightedCluster { clusters, ..Default::default() })
}

fn decode_clusters(reader: &mut Reader, clusters: ClusterSpecifier) -> Option<Vec<WeightedCluster>> {
    match clusters {
        ClusterSpecifier::Cluster(name) => {
            reader.text("cluster", name).map(|name| vec![WeightedCluster::new(&name, 1)])
        }
        ClusterSpecifier::WeightedClusters(weighted) => reader.within("weighted_clusters", |reader| {
            fields!(reader, weighted => pb::WeightedCluster {
                clusters;
                ignored: total_weight, runtime_key_prefix;
                refused: random_value_specifier
            });
            if clusters.is_empty() {
                return reader.missing("clusters");
            }
            Some(reader.each("clusters", clusters, decode_weighted))
        }),
        ClusterSpecifier::ClusterHeader(_) => reader.unsupported("cluster_header"),
        ClusterSpecifier::ClusterSpecifierPlugin(_) => reader.unsupported("cluster_specifier_plugin"),
        ClusterSpecifier::InlineClusterSpecifierPlugin(_) => {
            reader.unsupported("inline_cluster_specifier_plugin")
        }
    }
}

fn decode_weighted(reader: &mut Reader, cluster: ClusterWeight) -> Option<WeightedCluster> {
    fields!(reader, cluster => ClusterWeight {
        name, weight, request_headers_to_add, request_headers_to_remove, response_headers_to_add,
        response_headers_to_remove, metadata_match;
        refused: cluster_header, typed_per_filter_config, host_rewrite_specifier
    });
    let cluster = reader.text("name", name);
    let request_headers =
        headers::decode(reader, "request", request_headers_to_add, request_headers_to_remove);
    let response_headers =
        headers::decode(reader, "response", response_headers_to_add, response_headers_to_remove);
    let weight = weight.map_or(0, |weight| weight.value);
    let metadata_match = subset::of_request(reader, "metadata_match", metadata_match)?;
    Some(WeightedCluster { cluster: cluster?, weight, request_headers, response_headers, metadata_match })
}

fn encode_mirror(mirror: &Mirror) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster: mirror.cluster.to_string(),
        runtime_fraction: text::encode_runtime_fraction(mirror.fraction),
        ..Default::default()
    }
}

fn decode_mirror(reader: &mut Reader, mirror: RequestMirrorPolicy) -> Option<Mirror> {
    fields!(reader, mirror => RequestMirrorPolicy {
        cluster, runtime_fraction;
        ignored: trace_sampled, disable_shadow_host_suffix_append;
        refused: cluster_header, request_headers_mutations, host_rewrite_literal
    });
    let cluster = reader.text("cluster", cluster);
    let fraction = match runtime_fraction {
        None => Some(Fraction::ALL),
        some => reader.required("runtime_fraction", some, text::decode_runtime_fraction),
    };
    Some(Mirror { cluster: cluster?, fraction: fraction? })
}

// Rewriting a path. Envoy replaces a prefix text by text: `/a` replaced by `/` makes `//b` of `/a/b`. Istio therefore
// writes that case as a regular expression, and so do we.

fn slash_rewrite(matches: &RouteMatch) -> Option<matcher::RegexMatchAndSubstitute> {
    let PathMatch::SeparatedPrefix(prefix) = &matches.path else { return None };
    Some(matcher::RegexMatchAndSubstitute {
        pattern: Some(text::encode_expression(&format!("^{}(/?)(.*)", regex::escape(prefix)))),
        substitution: r"/\2".to_owned(),
    })
}

fn encode_whole_path(path: &Arc<str>) -> matcher::RegexMatchAndSubstitute {
    matcher::RegexMatchAndSubstitute {
        pattern: Some(text::encode_expression(WHOLE_PATH)),
        // A backslash begins a reference to a group.
        substitution: path.replace('\\', r"\\"),
    }
}

fn decode_rewrite(
    reader: &mut Reader,
    prefix: String,
    regex: Option<matcher::RegexMatchAndSubstitute>,
    matches: Option<&RouteMatch>,
) -> Option<PathRewrite> {
    match regex {
        Some(_) if !prefix.is_empty() => {
            reader.refuse_at("regex_rewrite", "cannot stand beside prefix_rewrite")
        }
        Some(regex) if matches.and_then(slash_rewrite).as_ref() == Some(&regex) => {
            Some(PathRewrite::Prefix("/".into()))
        }
        Some(regex) => decode_whole_path(reader, regex),
        None if prefix.is_empty() => None,
        None => Some(PathRewrite::Prefix(prefix.into())),
    }
}

fn decode_whole_path(reader: &mut Reader, regex: matcher::RegexMatchAndSubstitute) -> Option<PathRewrite> {
    let pattern = regex.pattern.map(|pattern| pattern.regex).unwrap_or_default();
    let path = regex.substitution.replace(r"\\", "\u{0}");
    if ![WHOLE_PATH, "^/.*$"].contains(&pattern.as_str()) || path.contains('\\') {
        return reader.refuse_at(
            "regex_rewrite",
            format!("`{pattern}` is not supported: only the whole path (`{WHOLE_PATH}`), without groups"),
        );
    }
    Some(PathRewrite::Full(path.replace('\u{0}', "\\").into()))
}

fn encode_redirect(redirect: &Redirect) -> pb::RedirectAction {
    let code = match redirect.status {
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::MovedPermanently,
    };
    pb::RedirectAction {
        host_redirect: redirect.host.as_deref().unwrap_or_default().to_owned(),
        port_redirect: redirect.port.unwrap_or(0).into(),
        response_code: code as i32,
        scheme_rewrite_specifier: redirect
            .scheme
            .as_ref()
            .map(|scheme| SchemeRewriteSpecifier::SchemeRedirect(scheme.to_string())),
        path_rewrite_specifier: redirect.path.as_ref().map(|path| match path {
            PathRewrite::Full(path) => PathRewriteSpecifier::PathRedirect(path.to_string()),
            PathRewrite::Prefix(prefix) => PathRewriteSpecifier::PrefixRewrite(prefix.to_string()),
        }),
        ..Default::default()
    }
}

fn decode_redirect(reader: &mut Reader, redirect: pb::RedirectAction) -> Option<Redirect> {
    fields!(reader, redirect => pb::RedirectAction {
        host_redirect, port_redirect, response_code, scheme_rewrite_specifier, path_rewrite_specifier;
        refused: strip_query
    });
    let status = match RedirectResponseCode::try_from(response_code) {
        Ok(RedirectResponseCode::MovedPermanently) => Some(301),
        Ok(RedirectResponseCode::Found) => Some(302),
        Ok(RedirectResponseCode::SeeOther) => Some(303),
        Ok(RedirectResponseCode::TemporaryRedirect) => Some(307),
        Ok(RedirectResponseCode::PermanentRedirect) => Some(308),
        Err(_) => reader.refuse_at("response_code", format!("{response_code} is not known")),
    };
    let port = match u16::try_from(port_redirect) {
        Ok(0) => None,
        Ok(port) => Some(port),
        Err(_) => reader.refuse_at("port_redirect", format!("{port_redirect} is no port: 1 to 65535")),
    };
    let scheme = match scheme_rewrite_specifier {
        None | Some(SchemeRewriteSpecifier::HttpsRedirect(false)) => None,
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".into()),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => Some(scheme.into()),
    };
    let path = match path_rewrite_specifier {
        None => None,
        Some(PathRewriteSpecifier::PathRedirect(path)) => Some(PathRewrite::Full(path.into())),
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => Some(PathRewrite::Prefix(prefix.into())),
        Some(PathRewriteSpecifier::RegexRewrite(_)) => reader.unsupported("regex_rewrite"),
        Some(PathRewriteSpecifier::PathRewrite(_)) => reader.unsupported("path_rewrite"),
    };
    let host = (!host_redirect.is_empty()).then(|| host_redirect.into());
    Some(Redirect { status: status?, scheme, host, port, path })
}

fn encode_response(response: &DirectResponse) -> pb::DirectResponseAction {
    let body = || core::DataSource {
        specifier: Some(Specifier::InlineString(response.body.to_string())),
        ..Default::default()
    };
    pb::DirectResponseAction {
        status: response.status.into(),
        body: (!response.body.is_empty()).then(body),
        ..Default::default()
    }
}

fn decode_response(reader: &mut Reader, response: pb::DirectResponseAction) -> Option<DirectResponse> {
    fields!(reader, response => pb::DirectResponseAction { status, body; refused: body_format });
    let status = match u16::try_from(status) {
        Ok(status) if (200..=599).contains(&status) => Some(status),
        _ => reader.refuse_at("status", format!("{status} is no status: 200 to 599")),
    };
    let body = match body {
        None => Some(Arc::from("")),
        some => reader.required("body", some, decode_body),
    };
    Some(DirectResponse { status: status?, body: body? })
}

fn decode_body(reader: &mut Reader, body: core::DataSource) -> Option<Arc<str>> {
    let text = match body.specifier {
        Some(Specifier::InlineString(text)) => text,
        Some(Specifier::InlineBytes(bytes)) => match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) => return reader.refuse_at("inline_bytes", "is no UTF-8 text"),
        },
        Some(Specifier::Filename(_)) => return reader.unsupported("filename"),
        Some(Specifier::EnvironmentVariable(_)) => return reader.unsupported("environment_variable"),
        None => String::new(),
    };
    if text.len() > MOST_BODY {
        return reader.refuse(format!("has {} bytes; {MOST_BODY} are the most", text.len()));
    }
    Some(text.into())
}
