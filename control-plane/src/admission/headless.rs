//! Headless services that share workloads and ports: clients dial the same addresses for both, which do not tell them
//! apart.

use crate::source::diagnostic::code::CONFLICT;
use crate::source::kinds::service::{Addressing, Service};
use crate::source::words::Labels;
use crate::source::{Finding, Object, Severity, Spec};

pub(super) fn check_conflicts(objects: &[&Object], findings: &mut Vec<Finding>) {
    let headless: Vec<(&Object, &Service, &Labels)> = objects
        .iter()
        .filter_map(|object| match &object.spec {
            Spec::Service(service) if service.addressing == Addressing::Headless => {
                Some((*object, service, service.selector.as_ref()?))
            }
            _ => None,
        })
        .collect();
    for (object, service, selector) in &headless {
        // As hosts are ordered: the first has the address.
        let before = |other: &Object| format!("{}.", other.name()) < format!("{}.", object.name());
        for (other, others, selects) in &headless {
            let meet = object.namespace() == other.namespace()
                && before(other)
                && (within(selector, selects) || within(selects, selector));
            if !meet {
                continue;
            }
            let shared = service
                .ports
                .iter()
                .filter(|port| others.ports.iter().any(|other| other.target_port == port.target_port));
            for port in shared {
                let message = format!(
                    "{} has workloads and a target port of it, too: what is sent to them is that service's",
                    other.reference
                );
                let hint = "give one of them a virtual address (no `clusterIP: None`), or another port";
                findings.push(object.finding(Severity::Warning, CONFLICT, &port.field, message, hint));
            }
        }
    }
}

/// Whether what `wide` selects includes what `narrow` does.
fn within(narrow: &Labels, wide: &Labels) -> bool {
    wide.iter().all(|(key, value)| narrow.get(key) == Some(value))
}
