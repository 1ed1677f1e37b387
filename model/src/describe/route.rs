//! Route tables.

use serde_json::{Value, json};

use super::seconds;
use crate::filter::{FilterOverrides, HttpFilter, RouteFilter};
use crate::hash_policy::{HashPolicy, HashSource};
use crate::matcher::{
    HeaderKey, PathMatch, PseudoHeader, StringMatch, StringPattern, Substitution, ValueMatch,
};
use crate::policy::{Abort, AppendAction, HeaderMutations, HeaderText, RetryPolicy};
use crate::route::{
    Forward, HostRewrite, LevelSettings, PathRewrite, Route, RouteAction, RouteMatch, RouteTable,
    RoutingPriority,
};

pub(super) fn table(table: &RouteTable) -> Value {
    let hosts = table.virtual_hosts.iter().map(|host| {
        let mut text = json!({
            "name": host.name,
            "domains": host.domains,
            "routes": host.routes.iter().map(route).collect::<Vec<_>>(),
        });
        level(&host.settings, &mut text);
        text
    });
    let mut text = json!({ "name": table.name, "virtual_hosts": hosts.collect::<Vec<_>>() });
    level(&table.settings, &mut text);
    text
}

/// What a level says of all its requests; most say nothing.
fn level(settings: &LevelSettings, text: &mut Value) {
    for (key, mutations) in
        [("request_headers", &settings.request_headers), ("response_headers", &settings.response_headers)]
    {
        if !mutations.is_empty() {
            text[key] = headers(mutations);
        }
    }
    if !settings.filters.is_empty() {
        text["filters"] = filters(&settings.filters);
    }
}

fn filters(overrides: &FilterOverrides) -> Value {
    overrides
        .iter()
        .map(|(name, filter)| match filter {
            RouteFilter::Disabled => json!({ "name": name, "disabled": true }),
            _ => json!({ "name": name, "disabled": false }),
        })
        .collect()
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
    let fault = match route.filters.get(HttpFilter::FAULT) {
        Some(RouteFilter::Fault(fault)) => Some(fault),
        _ => None,
    };
    let fault = fault.map(|fault| {
        json!({
            "delay": fault.delay.map(|(delay, share)| {
                json!({ "fixed_delay": seconds(delay), "millionths": share.millionths() })
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
            HeaderKey::Pseudo(pseudo) => pseudo_header(*pseudo).to_owned(),
        };
        json!({ "name": name, "value": value(&header.value), "invert_match": header.invert,
                "treat_missing_header_as_empty": header.absent_as_empty })
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
        ValueMatch::Range(start, end) => json!({ "range": { "start": start, "end": end } }),
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
            "metadata_match": super::metadata(&one.metadata_match),
        })
    });
    let mirrors = to
        .mirrors
        .iter()
        .map(|one| json!({ "cluster": one.cluster, "millionths": one.fraction.millionths() }));
    json!({
        "clusters": clusters.collect::<Vec<_>>(),
        "timeout": to.timeout.map(seconds),
        "idle_timeout": to.idle_timeout.map(seconds),
        "retry_policy": to.retry.as_ref().map(retry),
        "path_rewrite": to.path_rewrite.as_ref().map(rewrite),
        "host_rewrite": to.host_rewrite.as_ref().map(host),
        "mirrors": mirrors.collect::<Vec<_>>(),
        "hash_policy": to.hash_policy.iter().map(hash_policy).collect::<Vec<_>>(),
        "metadata_match": super::metadata(&to.metadata_match),
        "priority": match to.priority {
            RoutingPriority::Default => "DEFAULT",
            RoutingPriority::High => "HIGH",
        },
    })
}

fn hash_policy(policy: &HashPolicy) -> Value {
    let source = match &policy.source {
        HashSource::Header { name, rewrite } => {
            json!({ "header": name.as_str(), "regex_rewrite": rewrite.as_ref().map(|r| r.pattern()) })
        }
        HashSource::Cookie(cookie) => json!({ "cookie": cookie.name, "ttl": cookie.ttl.map(seconds) }),
        HashSource::SourceIp => json!({ "source_ip": true }),
        HashSource::QueryParameter(name) => json!({ "query_parameter": name }),
    };
    json!({ "source": source, "terminal": policy.terminal })
}

fn retry(retry: &RetryPolicy) -> Value {
    json!({
        "num_retries": retry.retries,
        "retry_on": retry.conditions.words().collect::<Vec<_>>().join(","),
        "retriable_status_codes": &*retry.status_codes,
        "per_try_timeout": retry.per_try_timeout.map(seconds),
        "base_interval": seconds(retry.backoff_base),
        "max_interval": seconds(retry.backoff_max),
        "idempotent_only": retry.idempotent_only,
        "avoid_tried_endpoints": retry.avoid_tried_endpoints,
    })
}

fn host(rewrite: &HostRewrite) -> Value {
    match rewrite {
        HostRewrite::Literal(host) => json!(String::from_utf8_lossy(host.as_bytes())),
        HostRewrite::Header(name) => json!({ "header": name.as_str() }),
        HostRewrite::PathRegex(regex) => substitution(regex),
    }
}

fn substitution(regex: &Substitution) -> Value {
    json!({ "regex": regex.pattern(), "substitution": regex.substitution() })
}

fn rewrite(rewrite: &PathRewrite) -> Value {
    match rewrite {
        PathRewrite::Regex(regex) => substitution(regex),
        PathRewrite::Prefix(prefix) => json!({ "prefix": prefix }),
        PathRewrite::Full(path) => json!({ "full": path }),
    }
}

fn headers(mutations: &HeaderMutations) -> Value {
    if mutations.is_empty() {
        return Value::Null;
    }
    let given = |wanted: &[AppendAction]| {
        let chosen = mutations.add.iter().filter(|change| wanted.contains(&change.action));
        chosen.map(|change| json!([change.name.as_str(), text(&change.value)])).collect::<Vec<_>>()
    };
    use AppendAction as A;
    let removed: Vec<_> = mutations.remove.iter().map(http::HeaderName::as_str).collect();
    json!({
        "remove": removed,
        "set": given(&[A::OverwriteIfExistsOrAdd, A::OverwriteIfExists]),
        "add": given(&[A::AppendIfExistsOrAdd, A::AddIfAbsent]),
    })
}

fn text(value: &HeaderText) -> String {
    match value {
        HeaderText::Literal(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        HeaderText::Template { template, .. } => template.as_str().to_owned(),
    }
}

fn pseudo_header(header: PseudoHeader) -> &'static str {
    match header {
        PseudoHeader::Authority => ":authority",
        PseudoHeader::Method => ":method",
        PseudoHeader::Path => ":path",
        PseudoHeader::Scheme => ":scheme",
    }
}
