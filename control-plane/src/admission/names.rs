//! What can be referred to: services, their ports, and subsets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::source::kinds::virtual_service::Destination;
use crate::source::words::{ExportTo, Host};
use crate::source::{Object, Spec};

/// A service by its fully qualified name.
#[derive(Debug, Default)]
pub(super) struct KnownService {
    /// Numbers of its ports; empty when they are not known.
    pub(super) ports: BTreeSet<u16>,
}

/// Everything that can be referred to.
#[derive(Debug)]
pub(super) struct Names<'a> {
    /// The mesh's DNS suffix. Names with another suffix are checked as they are written.
    domain: &'a str,
    services: BTreeMap<Arc<str>, KnownService>,
    /// Hosts with wildcards, of service entries.
    wildcards: Vec<Host>,
    /// Host and namespace of each destination rule, with the names of its subsets.
    subsets: Vec<(&'a Host, &'a Object, BTreeSet<&'a str>)>,
}

impl<'a> Names<'a> {
    pub(super) fn of(objects: &[&'a Object], domain: &'a str) -> Self {
        let mut names =
            Self { domain, services: BTreeMap::new(), wildcards: Vec::new(), subsets: Vec::new() };
        for object in objects {
            let namespace = object.namespace();
            match &object.spec {
                Spec::Service(service) => {
                    let ports = service.ports.iter().map(|port| port.port.get());
                    names.add(names.service_host(namespace, object.name()), ports);
                }
                Spec::ServiceEntry(entry) => {
                    for host in &entry.hosts {
                        if host.is_wildcard() {
                            names.wildcards.push(host.clone());
                        } else {
                            names.add(
                                host.resolve(namespace, domain),
                                entry.ports.iter().map(|port| port.number.get()),
                            );
                        }
                    }
                }
                Spec::DestinationRule(rule) => {
                    let subsets = rule.subsets.iter().map(|subset| &*subset.name).collect();
                    names.subsets.push((&rule.host, object, subsets));
                }
                _ => {}
            }
        }
        names
    }

    fn add(&mut self, host: Arc<str>, ports: impl Iterator<Item = u16>) {
        self.services.entry(host).or_default().ports.extend(ports);
    }

    /// The service of a fully qualified name.
    pub(super) fn service(&self, host: &str) -> Option<&KnownService> {
        self.services.get(host)
    }

    /// The full name, with Istio's short forms: `reviews`, and `reviews.shop` and `reviews.shop.svc` when there is
    /// such a service.
    pub(super) fn resolve(&self, host: &Host, namespace: &str) -> Arc<str> {
        let full = host.resolve(namespace, self.domain);
        if self.services.contains_key(&full) {
            return full;
        }
        let domain = self.domain;
        [format!("{full}.svc.{domain}"), format!("{full}.{domain}")]
            .into_iter()
            .map(Arc::from)
            .find(|longer| self.services.contains_key(longer))
            .unwrap_or(full)
    }

    /// Whether anything stands behind a host, which may have a wildcard.
    pub(super) fn exists(&self, host: &Host, namespace: &str) -> bool {
        if host.is_wildcard() {
            return self.services.keys().any(|name| host.covers(name)) || self.wildcards.contains(host);
        }
        let full = self.resolve(host, namespace);
        self.services.contains_key(&full) || self.wildcards.iter().any(|wildcard| wildcard.covers(&full))
    }

    /// Whether a destination rule that clients of the namespace see names the subset; none when there is no rule
    /// for the host.
    pub(super) fn has_subset(
        &self,
        destination: &Destination,
        subset: &str,
        namespace: &str,
    ) -> Option<bool> {
        let full = self.resolve(&destination.host, namespace);
        let mut found = None;
        for (host, object, subsets) in &self.subsets {
            let Spec::DestinationRule(rule) = &object.spec else { continue };
            let own = **object.namespace() == *namespace;
            let visible =
                own || matches!(&rule.export_to, ExportTo::All) || rule.export_to.includes(namespace);
            let covers =
                host.is_wildcard() && host.covers(&full) || *self.resolve(host, object.namespace()) == *full;
            if visible && covers {
                found = Some(found.unwrap_or(false) || subsets.contains(subset));
            }
        }
        found
    }

    /// Full names of the services, for "did you mean".
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(AsRef::as_ref)
    }

    /// The fully qualified name of a Kubernetes service.
    pub(super) fn service_host(&self, namespace: &str, name: &str) -> Arc<str> {
        format!("{name}.{namespace}.svc.{}", self.domain).into()
    }
}
