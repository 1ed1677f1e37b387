//! References to services, ports and subsets that are not there.

use super::names::Names;
use crate::source::diagnostic::code::REFERENCE_NOT_FOUND;
use crate::source::fields::did_you_mean;
use crate::source::kinds::destination_rule::DestinationRule;
use crate::source::kinds::http_route::HttpRoute;
use crate::source::kinds::peer_authentication::PeerAuthentication;
use crate::source::kinds::service::TargetPort;
use crate::source::kinds::virtual_service::{Destination, HttpAction, VirtualService};
use crate::source::{Finding, Object, Severity, Spec};

const ANSWER: &str = "until then requests to it get 503";

pub(super) fn check(object: &Object, names: &Names<'_>, findings: &mut Vec<Finding>) {
    let mut check = Check { object, names, findings };
    match &object.spec {
        Spec::HttpRoute(route) => check.http_route(route),
        Spec::VirtualService(service) => check.virtual_service(service),
        Spec::DestinationRule(rule) => check.destination_rule(rule),
        _ => {}
    }
}

struct Check<'a, 'b> {
    object: &'a Object,
    names: &'a Names<'b>,
    findings: &'a mut Vec<Finding>,
}

impl Check<'_, '_> {
    fn warn(&mut self, field: &str, message: String, hint: String) {
        self.findings.push(self.object.finding(Severity::Warning, REFERENCE_NOT_FOUND, field, message, hint));
    }

    fn suggest(&self, name: &str) -> String {
        did_you_mean(name, self.names.hosts()).unwrap_or_else(|| format!("apply the service; {ANSWER}"))
    }

    fn http_route(&mut self, route: &HttpRoute) {
        for parent in &route.parents {
            let host = self.names.service_host(&parent.namespace, &parent.name);
            let found = self.names.service(&host);
            match (found.map(|service| &service.ports), parent.port) {
                (None, _) => {
                    let hint = self.suggest(&host);
                    let message = format!(
                        "there is no service `{}` in the namespace `{}`: the route applies to nothing",
                        parent.name, parent.namespace
                    );
                    self.warn(&format!("{}.name", parent.field), message, hint);
                }
                (Some(ports), Some(port)) if !ports.contains(&port.get()) => {
                    let message = format!("the service `{}` has no port {port}", parent.name);
                    self.warn(&format!("{}.port", parent.field), message, ports_hint(ports));
                }
                _ => {}
            }
        }
        for backend in route.rules.iter().flat_map(|rule| &rule.backends) {
            let host = self.names.service_host(&backend.namespace, &backend.name);
            match self.names.service(&host).map(|service| &service.ports) {
                None => {
                    let hint = self.suggest(&host);
                    let message = format!(
                        "there is no service `{}` in the namespace `{}`",
                        backend.name, backend.namespace
                    );
                    self.warn(&format!("{}.name", backend.field), message, hint);
                }
                Some(ports) if !ports.contains(&backend.port.get()) => {
                    let message = format!("the service `{}` has no port {}", backend.name, backend.port);
                    self.warn(&format!("{}.port", backend.field), message, ports_hint(ports));
                }
                Some(_) => {}
            }
        }
    }

    fn virtual_service(&mut self, service: &VirtualService) {
        let namespace = self.object.namespace().clone();
        for host in &service.hosts {
            if !self.names.exists(&host.host, &namespace) && host.host.address().is_none() {
                let full = self.names.resolve(&host.host, &namespace);
                let hint = did_you_mean(&full, self.names.hosts())
                    .unwrap_or_else(|| "apply a Service or ServiceEntry of that name".to_owned());
                self.warn(
                    &host.field,
                    format!("there is no service `{full}`: the rules apply to nothing"),
                    hint,
                );
            }
        }
        for rule in &service.http {
            if let HttpAction::Route(route) = &rule.action {
                for item in route {
                    self.destination(&item.destination);
                }
            }
        }
        for item in service.tcp.iter().flat_map(|rule| &rule.route) {
            self.destination(&item.destination);
        }
    }

    fn destination(&mut self, destination: &Destination) {
        let namespace = self.object.namespace().clone();
        let full = self.names.resolve(&destination.host, &namespace);
        if !self.names.exists(&destination.host, &namespace) {
            let hint = self.suggest(&full);
            return self.warn(
                &format!("{}.host", destination.field),
                format!("there is no service `{full}`"),
                hint,
            );
        }
        if let (Some(port), Some(service)) = (destination.port, self.names.service(&full))
            && !service.ports.is_empty()
            && !service.ports.contains(&port.get())
        {
            let hint = ports_hint(&service.ports);
            self.warn(
                &format!("{}.port", destination.field),
                format!("the service `{full}` has no port {port}"),
                hint,
            );
        }
        let Some(subset) = &destination.subset else { return };
        let (message, hint) = match self.names.has_subset(destination, subset, &namespace) {
            Some(true) => return,
            Some(false) => (
                format!("no DestinationRule for `{full}` names the subset `{subset}`"),
                format!("add it to the rule's `subsets`; {ANSWER}"),
            ),
            None => (
                format!("the subset `{subset}` is not there: there is no DestinationRule for `{full}`"),
                format!("apply a DestinationRule with the subset; {ANSWER}"),
            ),
        };
        self.warn(&format!("{}.subset", destination.field), message, hint);
    }

    fn destination_rule(&mut self, rule: &DestinationRule) {
        let namespace = self.object.namespace().clone();
        if !self.names.exists(&rule.host, &namespace) {
            let full = self.names.resolve(&rule.host, &namespace);
            let hint = did_you_mean(&full, self.names.hosts())
                .unwrap_or_else(|| "apply a Service or ServiceEntry of that name".to_owned());
            return self.warn(
                "spec.host",
                format!("there is no service `{full}`: the rule applies to nothing"),
                hint,
            );
        }
        let full = self.names.resolve(&rule.host, &namespace);
        let Some(service) = self.names.service(&full) else { return };
        let own = rule.traffic_policy.port_level.iter();
        for policy in own.chain(rule.subsets.iter().flat_map(|subset| &subset.traffic_policy.port_level)) {
            if !service.ports.is_empty() && !service.ports.contains(&policy.port.get()) {
                let hint = ports_hint(&service.ports);
                self.warn(
                    &format!("{}.port", policy.field),
                    format!("the service `{full}` has no port {}", policy.port),
                    hint,
                );
            }
        }
    }
}

fn ports_hint(ports: &std::collections::BTreeSet<u16>) -> String {
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    if ports.is_empty() {
        "it has no ports".to_owned()
    } else {
        format!("its ports are {}", ports.join(", "))
    }
}

/// Ports of `portLevelMtls` that no service sends to: the numbers are the workload's, a usual slip.
pub(super) fn unused_ports(
    object: &Object,
    policy: &PeerAuthentication,
    objects: &[&Object],
    findings: &mut Vec<Finding>,
) {
    let Some(selector) = &policy.selector else { return };
    let mut targets = Vec::new();
    for other in objects.iter().filter(|other| other.namespace() == object.namespace()) {
        let Spec::Service(service) = &other.spec else { continue };
        // Services whose workloads the policy may be for: those that do not ask for other labels.
        let Some(labels) = &service.selector else { continue };
        if labels.iter().any(|(key, value)| selector.get(key).is_some_and(|own| own != value)) {
            continue;
        }
        for port in &service.ports {
            match &port.target_port {
                TargetPort::Number(number) => targets.push((number.get(), port.port.get())),
                // A name may stand for any number.
                TargetPort::Name(_) => return,
            }
        }
    }
    for port in &policy.port_level {
        let number = port.port.get();
        if targets.is_empty() || targets.iter().any(|(target, _)| *target == number) {
            continue;
        }
        let by_service = targets.iter().find(|(_, service)| *service == number);
        let hint = by_service.map_or_else(
            || "ports here are those that the workload listens on".to_owned(),
            |(target, _)| format!("{number} is the service's port; its workloads listen on {target}"),
        );
        let message = format!("no service sends to port {number} of the selected workloads");
        findings.push(object.finding(Severity::Warning, REFERENCE_NOT_FOUND, &port.field, message, hint));
    }
}
