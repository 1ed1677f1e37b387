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
use weft_proto::xds::route::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier, MaxStreamDuration,
    RequestMirrorPolicy, UpgradeConfig,
};
use weft_proto::xds::route::weighted_cluster::cluster_weight::HostRewriteSpecifier as WeightedHostRewrite;
use weft_proto::xds::route::weighted_cluster::{ClusterWeight, RandomValueSpecifier};

use super::reader::{Reader, fields};
use super::wire::{bound, duration, flag, number};
use super::{filter, hash_policy, headers, retry, subset, text};
use crate::matcher::{PathMatch, Substitution};
use crate::policy::Fraction;
use crate::route::{
    DirectResponse, Forward, GrpcTimeout, HostRewrite, Mirror, MoreForward, PathRewrite, Redirect,
    RouteAction, RouteMatch, RoutingPriority, WeightedCluster,
};

/// Envoy's bound on an exchange when none is given.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
/// The whole path, as Istio writes it.
const WHOLE_PATH: &str = "/.*";
/// Envoy's bound on the body of a direct response.
pub(super) const MOST_BODY: usize = 4096;

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
    most_body: usize,
) -> Option<RouteAction> {
    match action {
        Action::Route(route) => {
            reader.within("route", |reader| decode_forward(reader, route, matches)).map(RouteAction::Forward)
        }
        Action::Redirect(redirect) => {
            reader.within("redirect", |reader| decode_redirect(reader, redirect)).map(RouteAction::Redirect)
        }
        Action::DirectResponse(response) => reader
            .within("direct_response", |reader| decode_response(reader, response, most_body))
            .map(RouteAction::Respond),
        Action::FilterAction(_) => reader.unsupported("filter_action"),
        Action::NonForwardingAction(_) => reader.unsupported("non_forwarding_action"),
    }
}

fn encode_forward(forward: &Forward, matches: &RouteMatch) -> Action {
    let total: u64 = forward.clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
    if total == 0 && forward.cluster_header().is_none() {
        let body = "no destination of this route has a weight above 0".into();
        return Action::DirectResponse(encode_response(&DirectResponse { status: 503, body }));
    }
    let mut route = pb::RouteAction {
        cluster_specifier: Some(encode_clusters(forward)),
        timeout: bound(forward.timeout),
        idle_timeout: forward.idle_timeout.and_then(duration),
        retry_policy: forward.retry.as_ref().map(retry::encode),
        request_mirror_policies: forward.mirrors.iter().map(encode_mirror).collect(),
        host_rewrite_specifier: forward.host_rewrite.as_ref().map(encode_host),
        hash_policy: forward.hash_policy.iter().map(hash_policy::encode).collect(),
        metadata_match: subset::metadata(&forward.metadata_match),
        priority: match forward.priority {
            RoutingPriority::Default => core::RoutingPriority::Default,
            RoutingPriority::High => core::RoutingPriority::High,
        } as i32,
        ..Default::default()
    };
    if let Some(more) = &forward.more {
        encode_more(more, &mut route);
    }
    match &forward.path_rewrite {
        None => {}
        Some(PathRewrite::Full(path)) => route.regex_rewrite = Some(encode_whole_path(path)),
        Some(PathRewrite::Regex(regex)) => route.regex_rewrite = Some(encode_substitution(regex)),
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
        max_stream_duration, cluster_specifier, host_rewrite_specifier, cluster_not_found_response_code,
        append_x_forwarded_host, upgrade_configs, max_grpc_timeout, grpc_timeout_offset, hash_policy,
        metadata_match, priority;
        ignored: flush_timeout, early_data_policy, include_vh_rate_limits;
        refused: path_rewrite_policy, path_rewrite, retry_policy_typed_config, rate_limits, cors,
            internal_redirect_policy, internal_redirect_action, max_internal_redirects, hedge_policy
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
    let mut more = MoreForward { append_x_forwarded_host, ..MoreForward::default() };
    more.cluster_not_found = decode_not_found(reader, cluster_not_found_response_code);
    let offset = reader.duration("grpc_timeout_offset", grpc_timeout_offset);
    more.grpc_timeout =
        reader.duration("max_grpc_timeout", max_grpc_timeout).map(|most| grpc_timeout(most, offset));
    if let Some(stream) = max_stream_duration {
        reader.within("max_stream_duration", |reader| decode_stream_duration(reader, stream, &mut more));
    }
    more.upgrades = reader.each("upgrade_configs", upgrade_configs, |reader, upgrade| {
        fields!(reader, upgrade => UpgradeConfig { upgrade_type, enabled; refused: connect_config });
        Some((Arc::from(upgrade_type), enabled.is_none_or(|enabled| enabled.value)))
    });
    let clusters = match cluster_specifier {
        Some(clusters) => decode_clusters(reader, clusters, &mut more),
        None => reader.missing("cluster_specifier"),
    };
    let host_rewrite = host_rewrite_specifier.and_then(|host| decode_host(reader, host));
    let more = (more != MoreForward::default()).then(|| Box::new(more));
    Some(Forward {
        clusters: clusters?,
        timeout,
        idle_timeout,
        retry,
        path_rewrite,
        host_rewrite,
        mirrors,
        more,
        hash_policy,
        metadata_match: metadata_match?,
        priority: priority?,
    })
}

/// Zero is no bound.
fn grpc_timeout(most: Duration, offset: Option<Duration>) -> GrpcTimeout {
    GrpcTimeout { most: Some(most).filter(|most| !most.is_zero()), offset: offset.unwrap_or_default() }
}

fn encode_more(more: &MoreForward, route: &mut pb::RouteAction) {
    route.append_x_forwarded_host = more.append_x_forwarded_host;
    route.cluster_not_found_response_code = match more.cluster_not_found {
        Some(404) => ClusterNotFoundResponseCode::NotFound,
        Some(500) => ClusterNotFoundResponseCode::InternalServerError,
        _ => ClusterNotFoundResponseCode::ServiceUnavailable,
    } as i32;
    if more.max_stream_duration.is_some() || more.grpc_timeout.is_some() {
        let grpc = more.grpc_timeout;
        route.max_stream_duration = Some(MaxStreamDuration {
            max_stream_duration: more.max_stream_duration.and_then(duration),
            grpc_timeout_header_max: grpc.and_then(|grpc| bound(grpc.most)),
            grpc_timeout_header_offset: grpc.and_then(|grpc| duration(grpc.offset)),
        });
    }
    let upgrade = |(token, enabled): &(Arc<str>, bool)| UpgradeConfig {
        upgrade_type: token.to_string(),
        enabled: flag(*enabled),
        ..Default::default()
    };
    route.upgrade_configs = more.upgrades.iter().map(upgrade).collect();
}

fn decode_stream_duration(reader: &mut Reader, stream: MaxStreamDuration, more: &mut MoreForward) {
    fields!(reader, stream => MaxStreamDuration {
        max_stream_duration, grpc_timeout_header_max, grpc_timeout_header_offset
    });
    more.max_stream_duration = reader.bound("max_stream_duration", max_stream_duration);
    let offset = reader.duration("grpc_timeout_header_offset", grpc_timeout_header_offset);
    if let Some(most) = reader.duration("grpc_timeout_header_max", grpc_timeout_header_max) {
        more.grpc_timeout = Some(grpc_timeout(most, offset));
    }
}

fn decode_not_found(reader: &mut Reader, code: i32) -> Option<u16> {
    match ClusterNotFoundResponseCode::try_from(code) {
        Ok(ClusterNotFoundResponseCode::ServiceUnavailable) => None,
        Ok(ClusterNotFoundResponseCode::NotFound) => Some(404),
        Ok(ClusterNotFoundResponseCode::InternalServerError) => Some(500),
        Err(_) => reader.refuse_at("cluster_not_found_response_code", format!("{code} is not known")),
    }
}

fn encode_host(host: &HostRewrite) -> HostRewriteSpecifier {
    match host {
        HostRewrite::Literal(host) => {
            HostRewriteSpecifier::HostRewriteLiteral(String::from_utf8_lossy(host.as_bytes()).into_owned())
        }
        HostRewrite::Header(name) => HostRewriteSpecifier::HostRewriteHeader(name.to_string()),
        HostRewrite::PathRegex(regex) => {
            HostRewriteSpecifier::HostRewritePathRegex(encode_substitution(regex))
        }
    }
}

fn decode_host(reader: &mut Reader, host: HostRewriteSpecifier) -> Option<HostRewrite> {
    match host {
        HostRewriteSpecifier::HostRewriteLiteral(host) => {
            decode_host_name(reader, &host).map(HostRewrite::Literal)
        }
        HostRewriteSpecifier::HostRewriteHeader(name) => reader
            .within("host_rewrite_header", |reader| headers::name(reader, name))
            .map(HostRewrite::Header),
        HostRewriteSpecifier::HostRewritePathRegex(regex) => reader
            .within("host_rewrite_path_regex", |reader| decode_substitution(reader, regex))
            .map(|regex| HostRewrite::PathRegex(Box::new(regex))),
        HostRewriteSpecifier::AutoHostRewrite(auto) if !auto.value => None,
        HostRewriteSpecifier::AutoHostRewrite(_) => reader.unsupported("auto_host_rewrite"),
        HostRewriteSpecifier::HostRewrite(_) => reader.unsupported("host_rewrite"),
    }
}

fn decode_host_name(reader: &mut Reader, host: &str) -> Option<HeaderValue> {
    match HeaderValue::from_str(host) {
        Ok(host) => Some(host),
        Err(_) => reader.refuse_at("host_rewrite_literal", format!("`{host}` is no host name")),
    }
}

fn encode_substitution(regex: &Substitution) -> matcher::RegexMatchAndSubstitute {
    matcher::RegexMatchAndSubstitute {
        pattern: Some(text::encode_expression(regex.pattern())),
        substitution: regex.substitution().to_owned(),
    }
}

fn decode_substitution(reader: &mut Reader, regex: matcher::RegexMatchAndSubstitute) -> Option<Substitution> {
    let pattern = regex.pattern.map(|pattern| pattern.regex).unwrap_or_default();
    if pattern.is_empty() {
        return reader.missing("pattern");
    }
    match Substitution::new(&pattern, &regex.substitution) {
        Ok(substitution) => Some(substitution),
        Err(message) => reader.refuse(message),
    }
}

fn encode_clusters(forward: &Forward) -> ClusterSpecifier {
    let clusters = &forward.clusters[..];
    let more = forward.more.as_deref();
    if let Some(name) = forward.cluster_header() {
        return ClusterSpecifier::ClusterHeader(name.to_string());
    }
    let random = more.and_then(|more| more.random_value_header.as_ref());
    if let [only] = clusters
        && *only == WeightedCluster::new(&only.cluster, 1)
        && random.is_none()
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
            typed_per_filter_config: filter::encode_overrides(&cluster.filters),
            host_rewrite_specifier: cluster.host_rewrite.as_ref().map(|host| {
                WeightedHostRewrite::HostRewriteLiteral(String::from_utf8_lossy(host.as_bytes()).into_owned())
            }),
            metadata_match: subset::metadata(&cluster.metadata_match),
            ..Default::default()
        }
    };
    let clusters = clusters.iter().map(weighted).collect();
    let random_value_specifier = random.map(|name| RandomValueSpecifier::HeaderName(name.to_string()));
    ClusterSpecifier::WeightedClusters(pb::WeightedCluster {
        clusters,
        random_value_specifier,
        ..Default::default()
    })
}

fn decode_clusters(
    reader: &mut Reader,
    clusters: ClusterSpecifier,
    more: &mut MoreForward,
) -> Option<Vec<WeightedCluster>> {
    match clusters {
        ClusterSpecifier::Cluster(name) => {
            reader.text("cluster", name).map(|name| vec![WeightedCluster::new(&name, 1)])
        }
        ClusterSpecifier::WeightedClusters(weighted) => reader.within("weighted_clusters", |reader| {
            fields!(reader, weighted => pb::WeightedCluster {
                clusters, random_value_specifier;
                // Envoy, too, takes the sum of the weights.
                ignored: total_weight, runtime_key_prefix
            });
            match random_value_specifier {
                Some(RandomValueSpecifier::HeaderName(name)) => {
                    more.random_value_header =
                        reader.within("header_name", |reader| headers::name(reader, name));
                }
                Some(RandomValueSpecifier::UseHashPolicy(uses)) if uses.value => {
                    reader.unsupported::<()>("use_hash_policy");
                }
                Some(RandomValueSpecifier::UseHashPolicy(_)) | None => {}
            }
            if clusters.is_empty() {
                return reader.missing("clusters");
            }
            Some(reader.each("clusters", clusters, decode_weighted))
        }),
        ClusterSpecifier::ClusterHeader(name) => {
            let name = reader.within("cluster_header", |reader| headers::name(reader, name))?;
            more.cluster_header = Some(name);
            Some(Vec::new())
        }
        ClusterSpecifier::ClusterSpecifierPlugin(_) => reader.unsupported("cluster_specifier_plugin"),
        ClusterSpecifier::InlineClusterSpecifierPlugin(_) => {
            reader.unsupported("inline_cluster_specifier_plugin")
        }
    }
}

fn decode_weighted(reader: &mut Reader, cluster: ClusterWeight) -> Option<WeightedCluster> {
    fields!(reader, cluster => ClusterWeight {
        name, weight, request_headers_to_add, request_headers_to_remove, response_headers_to_add,
        response_headers_to_remove, typed_per_filter_config, host_rewrite_specifier, metadata_match;
        refused: cluster_header
    });
    let filters = filter::decode_overrides(reader, typed_per_filter_config);
    let host_rewrite = host_rewrite_specifier
        .and_then(|WeightedHostRewrite::HostRewriteLiteral(host)| decode_host_name(reader, &host));
    let cluster = reader.text("name", name);
    let request_headers =
        headers::decode(reader, "request", request_headers_to_add, request_headers_to_remove);
    let response_headers =
        headers::decode(reader, "response", response_headers_to_add, response_headers_to_remove);
    let weight = weight.map_or(0, |weight| weight.value);
    let metadata_match = subset::of_request(reader, "metadata_match", metadata_match)?;
    Some(WeightedCluster {
        cluster: cluster?,
        weight,
        request_headers,
        response_headers,
        filters,
        host_rewrite,
        metadata_match,
    })
}

fn encode_mirror(mirror: &Mirror) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster: mirror.cluster.to_string(),
        runtime_fraction: text::encode_runtime_fraction(mirror.fraction),
        ..Default::default()
    }
}

pub(super) fn decode_mirror(reader: &mut Reader, mirror: RequestMirrorPolicy) -> Option<Mirror> {
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
        Some(regex) => match whole_path(&regex) {
            Some(path) => Some(PathRewrite::Full(path)),
            None => {
                let substitution =
                    reader.within("regex_rewrite", |reader| decode_substitution(reader, regex));
                Some(PathRewrite::Regex(Box::new(substitution?)))
            }
        },
        None if prefix.is_empty() => None,
        None => Some(PathRewrite::Prefix(prefix.into())),
    }
}

/// The text that replaces the whole path, if that is what the expression says.
fn whole_path(regex: &matcher::RegexMatchAndSubstitute) -> Option<Arc<str>> {
    let pattern = &regex.pattern.as_ref()?.regex;
    let path = regex.substitution.replace(r"\\", "\u{0}");
    ([WHOLE_PATH, "^/.*$"].contains(&pattern.as_str()) && !path.contains('\\'))
        .then(|| path.replace('\u{0}', "\\").into())
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
            PathRewrite::Regex(regex) => PathRewriteSpecifier::RegexRewrite(encode_substitution(regex)),
        }),
        strip_query: redirect.strip_query,
    }
}

fn decode_redirect(reader: &mut Reader, redirect: pb::RedirectAction) -> Option<Redirect> {
    fields!(reader, redirect => pb::RedirectAction {
        host_redirect, port_redirect, response_code, scheme_rewrite_specifier, path_rewrite_specifier,
        strip_query
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
        Some(PathRewriteSpecifier::RegexRewrite(regex)) => reader
            .within("regex_rewrite", |reader| decode_substitution(reader, regex))
            .map(|substitution| PathRewrite::Regex(Box::new(substitution))),
        Some(PathRewriteSpecifier::PathRewrite(_)) => reader.unsupported("path_rewrite"),
    };
    let host = (!host_redirect.is_empty()).then(|| host_redirect.into());
    Some(Redirect { status: status?, scheme, host, port, path, strip_query })
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

fn decode_response(
    reader: &mut Reader,
    response: pb::DirectResponseAction,
    most_body: usize,
) -> Option<DirectResponse> {
    fields!(reader, response => pb::DirectResponseAction { status, body; refused: body_format });
    let status = match u16::try_from(status) {
        Ok(status) if (200..=599).contains(&status) => Some(status),
        _ => reader.refuse_at("status", format!("{status} is no status: 200 to 599")),
    };
    let body = match body {
        None => Some(Arc::from("")),
        some => reader.required("body", some, |reader, body| decode_body(reader, body, most_body)),
    };
    Some(DirectResponse { status: status?, body: body? })
}

fn decode_body(reader: &mut Reader, body: core::DataSource, most: usize) -> Option<Arc<str>> {
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
    if text.len() > most {
        return reader.refuse(format!("has {} bytes; {most} are the most", text.len()));
    }
    Some(text.into())
}
