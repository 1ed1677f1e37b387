//! Rules that do nothing, and objects that claim the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::names::Names;
use super::references::unused_ports;
use crate::source::diagnostic::code::{CONFLICT, NO_EFFECT, UNREACHABLE_RULE};
use crate::source::kinds::http_route::HttpRoute;
use crate::source::kinds::virtual_service::{HttpAction, HttpRule, TcpRule, VirtualService};
use crate::source::words::ExportTo;
use crate::source::{Finding, Object, Severity, Spec};

pub(super) fn check(object: &Object, findings: &mut Vec<Finding>) {
    match &object.spec {
        Spec::VirtualService(service) => virtual_service(object, service, findings),
        Spec::HttpRoute(route) => http_route(object, route, findings),
        _ => {}
    }
}

/// Rules after one that takes everything are never reached. Of a single request's two identical matches the first
/// counts too.
fn virtual_service(object: &Object, service: &VirtualService, findings: &mut Vec<Finding>) {
    let http = shadowed(&service.http, |rule: &HttpRule| {
        rule.matches.is_empty() || rule.matches.iter().any(|condition| condition.is_catch_all())
    });
    let tcp = shadowed(&service.tcp, |rule: &TcpRule| {
        let everything = |m: &crate::source::kinds::virtual_service::L4Match| {
            m.port.is_none() && m.source_labels.is_empty() && m.source_namespace.is_none()
        };
        rule.matches.is_empty() || rule.matches.iter().any(everything)
    });
    let http = http
        .map(|(first, rest)| (&service.http[first].field, rest.map(|i| &service.http[i].field).collect()));
    let tcp =
        tcp.map(|(first, rest)| (&service.tcp[first].field, rest.map(|i| &service.tcp[i].field).collect()));
    for (first, rest) in http.into_iter().chain(tcp) {
        let rest: Vec<_> = rest;
        for field in rest {
            let message = format!("no request reaches this rule: {first} before it takes everything");
            findings.push(object.finding(
                Severity::Warning,
                UNREACHABLE_RULE,
                field,
                message,
                "move the rule without conditions to the end",
            ));
        }
    }
    let duplicates = service.http.iter().enumerate().filter(|(index, rule)| {
        !rule.matches.is_empty()
            && service.http[..*index].iter().any(|earlier| same_conditions(earlier, rule))
    });
    for (_, rule) in duplicates {
        let message = "no request reaches this rule: an earlier rule has the same conditions";
        findings.push(object.finding(
            Severity::Warning,
            UNREACHABLE_RULE,
            &rule.field,
            message,
            "remove one of them",
        ));
    }
    for rule in &service.http {
        let HttpAction::Route(route) = &rule.action else { continue };
        if route.len() > 1 && route.iter().all(|item| item.weight == 0) {
            findings.push(object.finding(
                Severity::Warning,
                NO_EFFECT,
                &rule.field,
                "all weights are 0: requests get 503",
                "give one of the destinations a weight",
            ));
        }
    }
}

/// Index of the first rule that takes everything, and those after it.
fn shadowed<T>(rules: &[T], everything: impl Fn(&T) -> bool) -> Option<(usize, std::ops::Range<usize>)> {
    let first = rules.iter().position(everything)?;
    (first + 1 < rules.len()).then(|| (first, first + 1..rules.len()))
}

/// Whether every condition of `later` is one of `earlier`, places aside.
fn same_conditions(earlier: &HttpRule, later: &HttpRule) -> bool {
    later.matches.iter().all(|condition| {
        earlier.matches.iter().any(|other| {
            let mut other = other.clone();
            other.field = Arc::clone(&condition.field);
            other.name.clone_from(&condition.name);
            other == *condition
        })
    })
}

fn http_route(object: &Object, route: &HttpRoute, findings: &mut Vec<Finding>) {
    for rule in &route.rules {
        if !rule.backends.is_empty() && rule.backends.iter().all(|backend| backend.weight == 0) {
            findings.push(object.finding(
                Severity::Warning,
                NO_EFFECT,
                &rule.field,
                "all weights are 0: requests get 500",
                "give one of the backends a weight",
            ));
        }
        let redirects = rule.filters.iter().any(|filter| {
            matches!(filter, crate::source::kinds::http_route::HttpRouteFilter::RequestRedirect(_))
        });
        if rule.backends.is_empty() && !redirects {
            findings.push(object.finding(
                Severity::Warning,
                NO_EFFECT,
                &rule.field,
                "the rule has no backends: requests get 500",
                "add `backendRefs`",
            ));
        }
    }
    for (index, rule) in route.rules.iter().enumerate() {
        for one in &rule.matches {
            let earlier = route.rules[..index].iter().flat_map(|rule| &rule.matches).find(|other| {
                other.path == one.path
                    && other.headers == one.headers
                    && other.query_params == one.query_params
                    && other.method == one.method
            });
            if let Some(earlier) = earlier {
                let message =
                    format!("no request reaches this match: {} is the same and comes first", earlier.field);
                findings.push(object.finding(
                    Severity::Warning,
                    UNREACHABLE_RULE,
                    &one.field,
                    message,
                    "remove one of them",
                ));
            }
        }
    }
}

/// Objects of which only one can apply.
pub(super) fn check_conflicts(objects: &[&Object], names: &Names<'_>, findings: &mut Vec<Finding>) {
    virtual_services_of_one_host(objects, names, findings);
    routes_of_one_service(objects, findings);
    for object in objects {
        if let Spec::PeerAuthentication(policy) = &object.spec {
            unused_ports(object, policy, objects, findings);
        }
    }
    several_peer_authentications(objects, findings);
}

/// Older first, then by name: the order of precedence of the Gateway API and of Istio.
fn precedence(object: &Object) -> (Option<jiff::Timestamp>, &str, &str) {
    (object.metadata.created, object.namespace(), object.name())
}

fn virtual_services_of_one_host(objects: &[&Object], names: &Names<'_>, findings: &mut Vec<Finding>) {
    let mut claims: BTreeMap<Arc<str>, Vec<(&Object, &str, &ExportTo)>> = BTreeMap::new();
    for object in objects {
        let Spec::VirtualService(service) = &object.spec else { continue };
        if !service.applies_to_mesh {
            continue;
        }
        for host in &service.hosts {
            let full = names.resolve(&host.host, object.namespace());
            claims.entry(full).or_default().push((object, &host.field, &service.export_to));
        }
    }
    for (host, mut claims) in claims {
        claims.sort_by_key(|(object, ..)| precedence(object));
        let Some(((first, _, export_to), rest)) = claims.split_first() else { continue };
        for (object, field, own) in rest {
            let meet = object.namespace() == first.namespace()
                || matches!(own, ExportTo::All)
                || matches!(export_to, ExportTo::All);
            if meet {
                let message = format!(
                    "{} is for the host `{host}` too; for sidecars the older one applies",
                    first.reference
                );
                findings.push(object.finding(
                    Severity::Warning,
                    CONFLICT,
                    field,
                    message,
                    "put all rules of a host into one VirtualService",
                ));
            }
        }
    }
}

fn routes_of_one_service(objects: &[&Object], findings: &mut Vec<Finding>) {
    for object in objects {
        let Spec::HttpRoute(route) = &object.spec else { continue };
        for other in objects {
            let Spec::HttpRoute(others) = &other.spec else { continue };
            if precedence(other) >= precedence(object) {
                continue;
            }
            let shared = route.parents.iter().find(|parent| {
                others.parents.iter().any(|p| {
                    p.namespace == parent.namespace
                        && p.name == parent.name
                        && (p.port.is_none() || parent.port.is_none() || p.port == parent.port)
                })
            });
            let Some(parent) = shared else { continue };
            let same = route.rules.iter().flat_map(|rule| &rule.matches).find(|one| {
                others.rules.iter().flat_map(|rule| &rule.matches).any(|m| {
                    m.path == one.path
                        && m.headers == one.headers
                        && m.query_params == one.query_params
                        && m.method == one.method
                })
            });
            if let Some(one) = same {
                let message = format!(
                    "{} has the same match for the service `{}`; the older route has precedence",
                    other.reference, parent.name
                );
                findings.push(object.finding(
                    Severity::Warning,
                    CONFLICT,
                    &one.field,
                    message,
                    "remove one of them, or make one more specific",
                ));
            }
        }
    }
}

/// Of several without a selector in a namespace the oldest applies, as Istio documents.
fn several_peer_authentications(objects: &[&Object], findings: &mut Vec<Finding>) {
    let mut whole: BTreeMap<&str, Vec<&Object>> = BTreeMap::new();
    for object in objects {
        if matches!(&object.spec, Spec::PeerAuthentication(policy) if policy.selector.is_none()) {
            whole.entry(object.namespace()).or_default().push(object);
        }
    }
    for (namespace, mut policies) in whole {
        policies.sort_by_key(|object| precedence(object));
        let Some((first, rest)) = policies.split_first() else { continue };
        for object in rest {
            let message = format!(
                "{} is for the whole namespace `{namespace}` too; the older one applies",
                first.reference
            );
            findings.push(object.finding(
                Severity::Warning,
                CONFLICT,
                "",
                message,
                "keep one, or add a `selector`",
            ));
        }
    }
}
