//! Istio's `VirtualService` (<https://istio.io/latest/docs/reference/config/networking/virtual-service/>).

use std::sync::Arc;

use http::HeaderValue;
use weft_model::filter::FilterOverrides;
use weft_model::matcher::{HeaderKey, HeaderMatch, PathMatch, PseudoHeader, QueryMatch, ValueMatch};
use weft_model::policy::{Abort, Fault, HeaderMutations};
use weft_model::route::{
    DirectResponse, Forward, HostRewrite, PathRewrite, Redirect, Route, RouteAction, RouteMatch,
    WeightedCluster,
};

use super::outbound::cluster_name;
use super::scope::OutboundScope;
use super::{convert, retry};
use crate::source::Object;
use crate::source::kinds::virtual_service::{
    AbortStatus, Destination, HttpAction, HttpFault, HttpMatchRequest, HttpRule, RedirectPort,
    ValueCondition, VirtualService,
};
use crate::source::words::Labels;
use crate::world::{ServicePort, World, WorldService};

/// Routes of one service port by its virtual service; without one, everything goes to the service.
pub(super) fn routes(
    world: &World,
    scope: &OutboundScope,
    service: &WorldService,
    port: &ServicePort,
) -> Vec<Route> {
    let own = || default_route(service, port);
    let Some((object, spec)) = world.policies.virtual_service(&service.host, &scope.namespace) else {
        return vec![own()];
    };
    if spec.http.is_empty() {
        return vec![own()];
    }
    let compile = Compile { world, scope, port, object };
    spec.http.iter().flat_map(|rule| compile.rule(rule)).collect()
}

/// Where bytes of a port that is not read as HTTP go.
pub(super) fn tcp_clusters(
    world: &World,
    scope: &OutboundScope,
    service: &WorldService,
    port: &ServicePort,
) -> Vec<WeightedCluster> {
    let found = world.policies.virtual_service(&service.host, &scope.namespace);
    let rule = found.and_then(|(object, spec): (_, &VirtualService)| {
        let fits = |labels: &Labels, namespace: Option<&Arc<str>>, wanted: Option<u16>| {
            wanted.is_none_or(|number| number == port.number) && client_fits(scope, labels, namespace)
        };
        let rule = spec.tcp.iter().find(|rule| {
            rule.matches.is_empty()
                || rule
                    .matches
                    .iter()
                    .any(|m| fits(&m.source_labels, m.source_namespace.as_ref(), m.port.map(|p| p.get())))
        })?;
        Some((object, rule))
    });
    let Some((object, rule)) = rule else {
        return vec![WeightedCluster::new(&cluster_name(&service.host, port.number, ""), 1)];
    };
    let weighted = rule.route.iter().map(|route| {
        WeightedCluster::new(&destination(world, object, &route.destination, port.number), route.weight)
    });
    weighted.collect()
}

/// Everything to the service itself.
fn default_route(service: &WorldService, port: &ServicePort) -> Route {
    let mut provenance = service.provenance.clone();
    provenance.field = port.field.clone();
    Route {
        name: "default".into(),
        matches: RouteMatch::any(),
        action: RouteAction::Forward(Forward {
            retry: Some(retry::default()),
            ..Forward::to(&cluster_name(&service.host, port.number, ""))
        }),
        request_headers: HeaderMutations::default(),
        response_headers: HeaderMutations::default(),
        filters: Default::default(),
        provenance: vec![provenance],
    }
}

/// Whether a client of the class is one that a match asks for.
fn client_fits(scope: &OutboundScope, labels: &Labels, namespace: Option<&Arc<str>>) -> bool {
    namespace.is_none_or(|wanted| *wanted == scope.namespace)
        && labels.iter().all(|(key, value)| scope.labels.get(key) == Some(value))
}

/// The cluster of a destination. Its port may be left out when the service has only one, else the called port counts.
fn destination(world: &World, object: &Object, destination: &Destination, called: u16) -> Arc<str> {
    let host = destination.host.resolve(object.namespace(), &world.mesh.domain);
    let only = || match world.services.get(&host).map(|service| &service.ports[..]) {
        Some([only]) => only.number,
        _ => called,
    };
    let port = destination.port.map_or_else(only, |port| port.get());
    cluster_name(&host, port, destination.subset.as_deref().unwrap_or_default())
}

struct Compile<'a> {
    world: &'a World,
    scope: &'a OutboundScope,
    port: &'a ServicePort,
    object: &'a Arc<Object>,
}

impl Compile<'_> {
    /// One route for each match that clients of the class can fulfil on this port.
    fn rule(&self, rule: &HttpRule) -> Vec<Route> {
        if rule.matches.is_empty() {
            let name = rule.name.clone().unwrap_or_default();
            return vec![self.route(rule, name, RouteMatch::any(), None, &rule.field)];
        }
        let possible = rule.matches.iter().filter(|matches| {
            matches.port.is_none_or(|port| port.get() == self.port.number)
                && client_fits(self.scope, &matches.source_labels, matches.source_namespace.as_ref())
        });
        let routes = possible.map(|matches| {
            // Istio joins the names of the rule and of the match.
            let name = match (&rule.name, &matches.name) {
                (Some(rule), Some(own)) => format!("{rule}.{own}").into(),
                (Some(name), None) | (None, Some(name)) => name.clone(),
                (None, None) => Arc::default(),
            };
            self.route(rule, name, conditions(matches), Some(matches), &matches.field)
        });
        routes.collect()
    }

    fn route(
        &self,
        rule: &HttpRule,
        name: Arc<str>,
        matches: RouteMatch,
        matched: Option<&HttpMatchRequest>,
        field: &str,
    ) -> Route {
        Route {
            name: if name.is_empty() {
                format!("{}/{}", self.object.name(), rule.field).into()
            } else {
                name
            },
            matches,
            action: self.action(rule, matched),
            request_headers: convert::headers(&rule.headers.request),
            response_headers: convert::headers(&rule.headers.response),
            filters: FilterOverrides::fault(rule.fault.as_ref().map(fault)),
            provenance: vec![self.object.provenance(field)],
        }
    }

    fn action(&self, rule: &HttpRule, matched: Option<&HttpMatchRequest>) -> RouteAction {
        match &rule.action {
            HttpAction::Route(destinations) => {
                let clusters = destinations.iter().map(|to| WeightedCluster {
                    cluster: destination(self.world, self.object, &to.destination, self.port.number),
                    weight: to.weight,
                    request_headers: convert::headers(&to.headers.request),
                    response_headers: convert::headers(&to.headers.response),
                    ..WeightedCluster::new("", 0)
                });
                let rewrite = rule.rewrite.as_ref();
                let is_prefix = matched
                    .is_some_and(|m| matches!(m.uri, Some(crate::source::words::StringMatch::Prefix(_))));
                let path = |uri: &Arc<str>| {
                    // Without a prefix match the prefix is `/`, which a rewrite replaces too (Istio).
                    let any = matched.is_none_or(|m| m.uri.is_none());
                    if is_prefix || any {
                        PathRewrite::Prefix(uri.clone())
                    } else {
                        PathRewrite::Full(uri.clone())
                    }
                };
                RouteAction::Forward(Forward {
                    clusters: clusters.collect(),
                    timeout: rule.timeout.filter(|limit| !limit.is_zero()),
                    idle_timeout: None,
                    retry: rule
                        .retries
                        .as_ref()
                        .map_or_else(|| Some(retry::default()), retry::virtual_service),
                    path_rewrite: rewrite.and_then(|r| r.uri.as_ref()).map(path),
                    host_rewrite: rewrite
                        .and_then(|r| r.authority.as_ref())
                        .and_then(|authority| HeaderValue::from_str(authority).ok())
                        .map(HostRewrite::Literal),
                    mirrors: Vec::new(),
                    ..Forward::to("")
                })
            }
            HttpAction::Redirect(redirect) => RouteAction::Redirect(Redirect {
                status: redirect.status.as_u16(),
                scheme: redirect.scheme.clone(),
                host: redirect.authority.clone(),
                port: match redirect.port {
                    Some(RedirectPort::Port(port)) => Some(port.get()),
                    Some(RedirectPort::FromProtocolDefault) => {
                        Some(if redirect.scheme.as_deref() == Some("https") { 443 } else { 80 })
                    }
                    Some(RedirectPort::FromRequestPort) | None => None,
                },
                path: redirect.uri.clone().map(PathRewrite::Full),
                strip_query: false,
            }),
            HttpAction::DirectResponse(response) => RouteAction::Respond(DirectResponse {
                status: response.status.as_u16(),
                body: String::from_utf8_lossy(&response.body).into(),
            }),
        }
    }
}

fn fault(fault: &HttpFault) -> Fault {
    Fault {
        delay: fault.delay.map(|delay| (delay.fixed_delay, convert::fraction(delay.percentage))),
        abort: fault.abort.map(|abort| {
            let status = match abort.status {
                AbortStatus::Http(status) => Abort::Http(status.as_u16()),
                AbortStatus::Grpc(code) => Abort::Grpc(code.into()),
            };
            (status, convert::fraction(abort.percentage))
        }),
        ..Fault::default()
    }
}

fn conditions(matches: &HttpMatchRequest) -> RouteMatch {
    let pseudo = |key: PseudoHeader, value: &Option<crate::source::words::StringMatch>| {
        value.as_ref().map(|value| HeaderMatch {
            name: HeaderKey::Pseudo(key),
            value: ValueMatch::Value(convert::string(value, false)),
            invert: false,
            absent_as_empty: false,
        })
    };
    let mut headers: Vec<HeaderMatch> = [
        pseudo(PseudoHeader::Scheme, &matches.scheme),
        pseudo(PseudoHeader::Method, &matches.method),
        pseudo(PseudoHeader::Authority, &matches.authority),
    ]
    .into_iter()
    .flatten()
    .collect();
    let asked = matches.headers.iter().map(|header| (header, false));
    let forbidden = matches.without_headers.iter().map(|header| (header, true));
    headers.extend(asked.chain(forbidden).map(|(header, invert)| HeaderMatch {
        name: HeaderKey::Header(header.name.clone()),
        value: value(&header.value),
        invert,
        // A header that is not there does not have the forbidden value.
        absent_as_empty: invert && header.value != ValueCondition::Present,
    }));
    RouteMatch {
        path: matches
            .uri
            .as_ref()
            .map_or_else(PathMatch::any, |uri| convert::path(uri, matches.ignore_uri_case)),
        headers,
        query: matches
            .query_params
            .iter()
            .map(|(name, condition)| QueryMatch { name: name.clone(), value: value(condition) })
            .collect(),
        more: None,
    }
}

fn value(condition: &ValueCondition) -> ValueMatch {
    match condition {
        ValueCondition::Present => ValueMatch::Present,
        ValueCondition::Matches(matches) => ValueMatch::Value(convert::string(matches, false)),
    }
}
