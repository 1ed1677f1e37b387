//! The Gateway API's `HTTPRoute` with a Service as parent (<https://gateway-api.sigs.k8s.io/mesh/>).

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use weft_model::matcher::{
    HeaderKey, HeaderMatch, PathMatch, PseudoHeader, QueryMatch, StringMatch, StringPattern, ValueMatch,
};
use weft_model::policy::HeaderMutations;
use weft_model::route::{
    DirectResponse, Forward, HostRewrite, PathRewrite, Redirect, Route, RouteAction, RouteMatch,
    WeightedCluster,
};

use super::outbound::cluster_name;
use super::scope::OutboundScope;
use super::{convert, retry};
use crate::source::Object;
use crate::source::kinds::http_route::{
    self as source, HttpBackend, HttpRouteFilter, HttpRouteMatch, HttpRouteRule, PathModifier, Scheme,
};
use crate::world::{ServicePort, World, WorldService};

/// Routes of one service port, the ones that win first; empty when no route has the service as parent.
pub(super) fn routes(
    world: &World,
    scope: &OutboundScope,
    service: &WorldService,
    port: &ServicePort,
) -> Vec<Route> {
    let is_for_port = |spec: &source::HttpRoute| {
        spec.parents.iter().any(|parent| {
            *parent.namespace == *service.namespace
                && *parent.name == *service.name
                && parent.port.is_none_or(|number| number.get() == port.number)
                && parent.section_name.as_ref().is_none_or(|name| *name == port.name)
        })
    };
    let attached =
        world.policies.http_routes(&service.namespace, &service.name, &scope.namespace, is_for_port);
    // The order of objects (oldest first) and of rules is kept where the matches are equal: the sort is stable.
    let mut ranked: Vec<(Precedence, Route)> = attached
        .into_iter()
        .flat_map(|(object, spec)| {
            let rules = spec.rules.iter().flat_map(|rule| rule.matches.iter().map(move |m| (rule, m)));
            rules.map(|(rule, matches)| (Precedence::of(matches), route(world, object, rule, matches)))
        })
        .collect();
    ranked.sort_by(|(a, _), (b, _)| a.cmp(b));
    ranked.into_iter().map(|(_, route)| route).collect()
}

/// Which of two matches wins: the lesser. The order is the specification's: exact path, then the longest prefix,
/// then a method, then more headers, then more query parameters
/// (<https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule>). Where regular expressions stand is for the
/// implementation to say: after exact paths, before prefixes, the longer first, as in Istio.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Precedence {
    path: (PathRank, Reverse<usize>),
    method: Reverse<bool>,
    headers: Reverse<usize>,
    query: Reverse<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum PathRank {
    Exact,
    Regex,
    Prefix,
}

impl Precedence {
    pub(super) fn of(matches: &HttpRouteMatch) -> Self {
        let path = match &matches.path {
            source::PathMatch::Exact(path) => (PathRank::Exact, Reverse(path.len())),
            source::PathMatch::RegularExpression(pattern) => {
                (PathRank::Regex, Reverse(pattern.as_str().len()))
            }
            source::PathMatch::PathPrefix(prefix) => (PathRank::Prefix, Reverse(prefix.len())),
        };
        Self {
            path,
            method: Reverse(matches.method.is_some()),
            headers: Reverse(matches.headers.len()),
            query: Reverse(matches.query_params.len()),
        }
    }
}

fn route(world: &World, object: &Arc<Object>, rule: &HttpRouteRule, matches: &HttpRouteMatch) -> Route {
    let filters = Filters::of(&rule.filters);
    let unnamed = || Arc::from(format!("{}/{}", object.name(), rule.field));
    Route {
        name: rule.name.clone().unwrap_or_else(unnamed),
        matches: conditions(matches),
        action: action(world, rule, &filters),
        request_headers: filters.request,
        response_headers: filters.response,
        filters: Default::default(),
        provenance: vec![object.provenance(&matches.field)],
    }
}

fn action(world: &World, rule: &HttpRouteRule, filters: &Filters<'_>) -> RouteAction {
    if let Some(redirect) = filters.redirect {
        let scheme_port = redirect.scheme.map(|scheme| if scheme == Scheme::Https { 443 } else { 80 });
        return RouteAction::Redirect(Redirect {
            status: redirect.status.as_u16(),
            scheme: redirect
                .scheme
                .map(|scheme| if scheme == Scheme::Https { "https".into() } else { "http".into() }),
            host: redirect.hostname.as_ref().map(|host| host.as_str().into()),
            port: redirect.port.map(|port| port.get()).or(scheme_port),
            path: redirect.path.as_ref().map(path_rewrite),
            strip_query: false,
        });
    }
    if rule.backends.is_empty() {
        let body = "no backendRefs: the HTTPRoute's rule names no service to send requests to\n";
        return RouteAction::Respond(DirectResponse { status: 500, body: body.into() });
    }
    // A zero duration switches a limit off.
    let timeout = rule.timeouts.request.filter(|limit| *limit > Duration::ZERO);
    RouteAction::Forward(Forward {
        clusters: rule.backends.iter().map(|backend| weighted(world, backend)).collect(),
        timeout,
        idle_timeout: None,
        retry: retry::http_route(rule.retry.as_ref(), rule.timeouts),
        path_rewrite: filters.path.map(path_rewrite),
        host_rewrite: filters
            .host
            .and_then(|host| HeaderValue::from_str(host).ok())
            .map(HostRewrite::Literal),
        mirrors: Vec::new(),
        ..Forward::to("")
    })
}

fn weighted(world: &World, backend: &HttpBackend) -> WeightedCluster {
    let host = format!("{}.{}.svc.{}", backend.name, backend.namespace, world.mesh.domain);
    let filters = Filters::of(&backend.filters);
    WeightedCluster {
        cluster: cluster_name(&host, backend.port.get(), ""),
        weight: backend.weight,
        request_headers: filters.request,
        response_headers: filters.response,
        ..WeightedCluster::new("", 0)
    }
}

fn path_rewrite(modifier: &PathModifier) -> PathRewrite {
    match modifier {
        PathModifier::ReplaceFullPath(path) => PathRewrite::Full(path.clone()),
        PathModifier::ReplacePrefixMatch(prefix) => PathRewrite::Prefix(prefix.clone()),
    }
}

/// A list of filters by what they do.
#[derive(Default)]
struct Filters<'a> {
    request: HeaderMutations,
    response: HeaderMutations,
    redirect: Option<&'a source::RequestRedirect>,
    path: Option<&'a PathModifier>,
    host: Option<&'a str>,
}

impl<'a> Filters<'a> {
    fn of(list: &'a [HttpRouteFilter]) -> Self {
        let mut filters = Self::default();
        for filter in list {
            match filter {
                HttpRouteFilter::RequestHeaderModifier(changes) => {
                    filters.request = convert::joined(&filters.request, &convert::headers(changes));
                }
                HttpRouteFilter::ResponseHeaderModifier(changes) => {
                    filters.response = convert::joined(&filters.response, &convert::headers(changes));
                }
                HttpRouteFilter::RequestRedirect(redirect) => filters.redirect = Some(redirect),
                HttpRouteFilter::UrlRewrite(rewrite) => {
                    filters.path = rewrite.path.as_ref();
                    filters.host = rewrite.hostname.as_ref().map(|host| host.as_str());
                }
            }
        }
        filters
    }
}

fn conditions(matches: &HttpRouteMatch) -> RouteMatch {
    let path = match &matches.path {
        source::PathMatch::Exact(path) => PathMatch::Exact { path: path.clone(), ignore_case: false },
        source::PathMatch::PathPrefix(prefix) => {
            PathMatch::SeparatedPrefix(prefix.trim_end_matches('/').into())
        }
        source::PathMatch::RegularExpression(pattern) => match convert::regex(pattern) {
            Some(regex) => PathMatch::Regex(regex),
            None => PathMatch::Exact { path: "".into(), ignore_case: false },
        },
    };
    let value = |value: &source::ValueMatch| {
        let pattern = match value {
            source::ValueMatch::Exact(text) => StringPattern::Exact(text.clone()),
            source::ValueMatch::RegularExpression(pattern) => {
                convert::regex(pattern).map_or_else(convert::nothing, StringPattern::Regex)
            }
        };
        ValueMatch::Value(StringMatch { pattern, ignore_case: false })
    };
    let condition = |name, value| HeaderMatch { name, value, invert: false, absent_as_empty: false };
    let method = matches.method.as_ref().map(|method| {
        let exact = ValueMatch::Value(StringMatch::exact(method.as_str()));
        condition(HeaderKey::Pseudo(PseudoHeader::Method), exact)
    });
    let headers =
        matches.headers.iter().map(|h| condition(HeaderKey::Header(h.name.clone()), value(&h.value)));
    let query =
        matches.query_params.iter().map(|q| QueryMatch { name: q.name.clone(), value: value(&q.value) });
    RouteMatch {
        path,
        headers: method.into_iter().chain(headers).collect(),
        query: query.collect(),
        more: None,
    }
}
