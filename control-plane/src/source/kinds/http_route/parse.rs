//! `spec` of an `HTTPRoute`.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use super::filters::filters;
use super::{
    HeaderMatch, HttpBackend, HttpRoute, HttpRouteFilter, HttpRouteMatch, HttpRouteRetry, HttpRouteRule,
    HttpRouteTimeouts, ParentRef, PathMatch, QueryParamMatch, ValueMatch,
};
use crate::source::checks;
use crate::source::diagnostic::code;
use crate::source::fields::{Field, Fields, Problem};
use crate::source::registry::Scope;

/// The API's limits.
const MAX_RULES: usize = 16;
const MAX_PARENTS: usize = 32;
const MAX_MATCHES: usize = 64;
const MAX_MATCHES_OF_ALL_RULES: usize = 128;

pub(crate) fn parse(field: &Field<'_>, scope: Scope<'_>) -> Option<HttpRoute> {
    field.message(|f| {
        f.unsupported(&["useDefaultGateways"]);
        let parents = f.required("parentRefs").map(|field| {
            let items = field.items_up_to(MAX_PARENTS);
            if items.is_empty() {
                field.invalid("`parentRefs` must name at least one Service", "add the service whose traffic is routed");
            }
            items.iter().filter_map(|item| parent(item, scope)).collect::<Vec<_>>()
        });
        let hostnames = f.optional("hostnames").map(|field| {
            field.inform(code::NO_EFFECT, "for a Service parent `hostnames` are not compared: the route applies to the service's own names", "");
            let items = field.items_up_to(16);
            items.iter().filter_map(|item| item.parse(hostname)).collect::<Vec<_>>()
        });
        let rules = match f.optional("rules") {
            Some(field) => {
                let items = field.items_up_to(MAX_RULES);
                if items.is_empty() {
                    field.invalid("`rules` must have at least one rule", "");
                }
                let rules: Vec<_> = items.iter().filter_map(|item| rule(item, scope)).collect();
                check_names(&items, &rules);
                let matches: usize = rules.iter().map(|rule| rule.matches.len()).sum();
                if matches > MAX_MATCHES_OF_ALL_RULES {
                    field.invalid(format!("the rules have {matches} matches; at most {MAX_MATCHES_OF_ALL_RULES} are allowed"), "split the route");
                }
                rules
            }
            // The API's default is one rule that matches everything and has no backends.
            None => vec![default_rule(&f.here().absent("rules"))],
        };
        Some(HttpRoute { parents: parents?, hostnames: hostnames.unwrap_or_default(), rules })
    })
}

fn default_rule(field: &Field<'_>) -> HttpRouteRule {
    HttpRouteRule {
        field: field.path(),
        name: None,
        matches: vec![match_all(field)],
        filters: Vec::new(),
        backends: Vec::new(),
        timeouts: HttpRouteTimeouts::default(),
        retry: None,
    }
}

fn match_all(field: &Field<'_>) -> HttpRouteMatch {
    HttpRouteMatch {
        field: field.path(),
        path: PathMatch::PathPrefix("/".into()),
        headers: Vec::new(),
        query_params: Vec::new(),
        method: None,
    }
}

/// No address, a `*` only as the first label.
pub(super) fn hostname(text: &str) -> Result<crate::source::words::Host, Problem> {
    let host = checks::host(text)?;
    if host.address().is_some() || host.as_str() == "*" {
        return Err(Problem::new(format!("`{text}` is no hostname: a name, or `*.` and a name"), ""));
    }
    Ok(host)
}

fn parent(item: &Field<'_>, scope: Scope<'_>) -> Option<ParentRef> {
    item.message(|f| {
        let group = f.optional("group");
        let group_text = group.as_ref().map_or(Some("gateway.networking.k8s.io"), |field| field.text())?;
        let kind = f.optional("kind");
        let kind_text = kind.as_ref().map_or(Some("Gateway"), |field| field.text())?;
        let name = f.required("name").and_then(|field| field.parse(checks::dns_subdomain));
        let namespace =
            f.optional("namespace").map_or(Some(scope.namespace), |field| field.parse(checks::dns_label));
        let section_name = f.optional("sectionName").map(|field| field.parse(checks::dns_subdomain));
        let port = f.optional("port").map(|field| field.port());
        match (group_text, kind_text) {
            ("" | "core", "Service") => {}
            (_, "Service") => {
                let hint =
                    "add `group: \"\"`: a Service is of the core group, and the field's default is another";
                group
                    .as_ref()
                    .or(kind.as_ref())
                    .unwrap_or(f.here())
                    .invalid(format!("there is no Service in the group `{group_text}`"), hint);
                return None;
            }
            _ => {
                let hint = "name the service whose traffic is routed: `kind: Service` with `group: \"\"`";
                kind.as_ref()
                    .unwrap_or(f.here())
                    .unsupported(format_args!("a parent of kind `{kind_text}`"), hint);
                return None;
            }
        }
        Some(ParentRef {
            field: f.path(),
            namespace: namespace?.into(),
            name: name?.into(),
            port: port.unwrap_or_default(),
            section_name: section_name.flatten().map(Arc::from),
        })
    })
}

/// Names of rules are unique.
fn check_names(items: &[Field<'_>], rules: &[HttpRouteRule]) {
    for (index, rule) in rules.iter().enumerate() {
        let Some(name) = &rule.name else { continue };
        if rules[..index].iter().any(|other| other.name.as_ref() == Some(name))
            && let Some(item) = items.iter().find(|item| item.path() == rule.field)
        {
            item.invalid(format!("two rules have the name `{name}`"), "names of rules are unique in a route");
        }
    }
}

fn rule(item: &Field<'_>, scope: Scope<'_>) -> Option<HttpRouteRule> {
    item.message(|f| {
        f.unsupported(&["sessionPersistence"]);
        let name = f.optional("name").and_then(|field| field.parse(checks::dns_subdomain)).map(Arc::from);
        let matches = match f.optional("matches") {
            Some(field) => {
                let items = field.items_up_to(MAX_MATCHES);
                if items.is_empty() {
                    vec![match_all(item)]
                } else {
                    items.iter().filter_map(match_).collect()
                }
            }
            None => vec![match_all(item)],
        };
        let filters = f.optional("filters").map(|field| filters(&field, &matches)).unwrap_or_default();
        let backends = f.optional("backendRefs").map(|field| {
            let items = field.items_up_to(16);
            items.iter().filter_map(|item| backend(item, scope, &matches)).collect::<Vec<_>>()
        });
        let backends = backends.unwrap_or_default();
        let redirects = filters.iter().any(|filter| matches!(filter, HttpRouteFilter::RequestRedirect(_)));
        if redirects && f.has("backendRefs") && !backends.is_empty() {
            f.here().refuse(
                code::CONFLICTING_FIELDS,
                "a rule with a RequestRedirect filter has no backends",
                "remove `backendRefs` or the filter",
            );
        }
        let timeouts = f.optional("timeouts").map(|field| timeouts(&field));
        let retry = f.optional("retry").map(|field| retry(&field));
        Some(HttpRouteRule {
            field: f.path(),
            name,
            matches,
            filters,
            backends,
            timeouts: timeouts.map_or(Some(HttpRouteTimeouts::default()), |read| read)?,
            retry: retry.flatten(),
        })
    })
}

fn match_(item: &Field<'_>) -> Option<HttpRouteMatch> {
    item.message(|f| {
        let path =
            f.optional("path").map_or_else(|| Some(PathMatch::PathPrefix("/".into())), |field| path(&field));
        let headers = f.optional("headers").map(|field| headers(&field)).unwrap_or_default();
        let query_params = f.optional("queryParams").map(|field| query_params(&field)).unwrap_or_default();
        let method = f
            .optional("method")
            .map(|field| field.choice(METHODS))
            .map(|name| name.and_then(|name| Method::from_bytes(name.as_bytes()).ok()));
        Some(HttpRouteMatch { field: f.path(), path: path?, headers, query_params, method: method.flatten() })
    })
}

const METHODS: &[(&str, &str)] = &[
    ("GET", "GET"),
    ("HEAD", "HEAD"),
    ("POST", "POST"),
    ("PUT", "PUT"),
    ("DELETE", "DELETE"),
    ("CONNECT", "CONNECT"),
    ("OPTIONS", "OPTIONS"),
    ("TRACE", "TRACE"),
    ("PATCH", "PATCH"),
];

fn path(field: &Field<'_>) -> Option<PathMatch> {
    #[derive(Clone, Copy)]
    enum Type {
        Exact,
        Prefix,
        Regex,
    }
    field.message(|f| {
        let kind = f.optional("type").map_or(Some(Type::Prefix), |field| {
            field.choice(&[
                ("Exact", Type::Exact),
                ("PathPrefix", Type::Prefix),
                ("RegularExpression", Type::Regex),
            ])
        });
        let value = f.optional("value");
        Some(match kind? {
            Type::Regex => PathMatch::RegularExpression(match value {
                Some(value) => value.parse(checks::pattern)?,
                None => checks::pattern("/").ok()?,
            }),
            Type::Exact => PathMatch::Exact(value.map_or(Some("/"), |value| value.parse(plain_path))?.into()),
            Type::Prefix => {
                let text = value.map_or(Some("/"), |value| value.parse(plain_path))?;
                let trimmed = text.strip_suffix('/').filter(|rest| !rest.is_empty());
                PathMatch::PathPrefix(trimmed.unwrap_or(text).into())
            }
        })
    })
}

/// The API's rules for exact and prefix paths.
fn plain_path(text: &str) -> Result<&str, Problem> {
    if !text.starts_with('/') {
        return Err(Problem::new(
            format!("the path `{text}` does not begin with `/`"),
            format!("did you mean `/{text}`?"),
        ));
    }
    if text.len() > 1024 {
        return Err(Problem::new("the path has more than 1024 characters", ""));
    }
    let banned = ["//", "/./", "/../", "%2f", "%2F", "#"];
    if let Some(part) = banned.iter().find(|part| text.contains(**part)) {
        return Err(Problem::new(
            format!("the path `{text}` has `{part}`"),
            "write the path in its normal form",
        ));
    }
    if text.ends_with("/..") || text.ends_with("/.") {
        return Err(Problem::new(
            format!("the path `{text}` ends with a dot segment"),
            "write the path in its normal form",
        ));
    }
    Ok(text)
}

/// `value` by `type`, which is `Exact` when absent.
fn value_match(f: &Fields<'_>) -> Option<ValueMatch> {
    let regex = f
        .optional("type")
        .map_or(Some(false), |field| field.choice(&[("Exact", false), ("RegularExpression", true)]));
    let value = f.required("value");
    let (regex, value) = (regex?, value?);
    if regex {
        value.parse(checks::pattern).map(ValueMatch::RegularExpression)
    } else {
        value.nonempty().map(|text| ValueMatch::Exact(text.into()))
    }
}

fn headers(field: &Field<'_>) -> Vec<HeaderMatch> {
    let mut seen: Vec<HeaderName> = Vec::new();
    let mut kept = Vec::new();
    for item in field.items_up_to(16) {
        let read = item.message(|f| {
            let name = f.required("name").and_then(|field| field.parse(checks::header_name));
            let value = value_match(f);
            Some(HeaderMatch { name: name?, value: value? })
        });
        let Some(read) = read else { continue };
        if seen.contains(&read.name) {
            item.warn(
                code::NO_EFFECT,
                format!("the header `{}` is matched twice; the first counts", read.name),
                "remove one",
            );
            continue;
        }
        seen.push(read.name.clone());
        kept.push(read);
    }
    kept
}

fn query_params(field: &Field<'_>) -> Vec<QueryParamMatch> {
    let mut kept: Vec<QueryParamMatch> = Vec::new();
    for item in field.items_up_to(16) {
        let read = item.message(|f| {
            let name = f.required("name").and_then(|field| field.nonempty());
            let value = value_match(f);
            Some(QueryParamMatch { name: name?.into(), value: value? })
        });
        let Some(read) = read else { continue };
        if kept.iter().any(|other| other.name == read.name) {
            item.warn(
                code::NO_EFFECT,
                format!("the parameter `{}` is matched twice; the first counts", read.name),
                "remove one",
            );
            continue;
        }
        kept.push(read);
    }
    kept
}

fn backend(item: &Field<'_>, scope: Scope<'_>, matches: &[HttpRouteMatch]) -> Option<HttpBackend> {
    item.message(|f| {
        let group = f.optional("group").map_or(Some(""), |field| field.text())?;
        let kind = f.optional("kind");
        let kind_text = kind.as_ref().map_or(Some("Service"), |field| field.text())?;
        let service = matches!(group, "" | "core") && kind_text == "Service";
        if !service {
            kind.as_ref()
                .unwrap_or(f.here())
                .unsupported(format_args!("a backend of kind `{kind_text}`"), "name a Service");
        }
        let name = f.required("name").and_then(|field| field.parse(checks::dns_subdomain));
        let namespace =
            f.optional("namespace").map_or(Some(scope.namespace), |field| field.parse(checks::dns_label));
        let port = f.required("port").and_then(|field| field.port());
        let weight = f.optional("weight").map_or(Some(1), |field| field.integer::<u32>(0..=1_000_000));
        let filters = f.optional("filters").map(|field| filters(&field, matches)).unwrap_or_default();
        service.then_some(())?;
        Some(HttpBackend {
            field: f.path(),
            namespace: namespace?.into(),
            name: name?.into(),
            port: port?,
            weight: weight?,
            filters,
        })
    })
}

fn timeouts(field: &Field<'_>) -> Option<HttpRouteTimeouts> {
    field.message(|f| {
        let one = |name: &'static str| {
            f.optional(name).map(|field| (field.duration(checks::gateway_duration, Duration::ZERO), field))
        };
        let (request, backend) = (one("request"), one("backendRequest"));
        let limit = request.as_ref().and_then(|(request, _)| *request);
        if let (Some(limit), Some((Some(inner), place))) = (limit, &backend)
            && *inner > limit
            && !limit.is_zero()
        {
            place.invalid(
                "`backendRequest` is longer than `request`",
                "an attempt cannot take longer than the whole request",
            );
        }
        Some(HttpRouteTimeouts {
            request: limit,
            backend_request: backend.and_then(|(duration, _)| duration),
        })
    })
}

fn retry(field: &Field<'_>) -> Option<HttpRouteRetry> {
    field.message(|f| {
        let codes = f.each("codes", |item| item.integer::<u16>(400..=599));
        let attempts = f.optional("attempts").and_then(|field| field.count());
        let backoff =
            f.optional("backoff").and_then(|field| field.duration(checks::gateway_duration, Duration::ZERO));
        Some(HttpRouteRetry { field: f.path(), codes, attempts, backoff })
    })
}
