//! Policies, indexed by what they are looked up by.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::MeshSettings;
use crate::source::kinds::destination_rule::DestinationRule;
use crate::source::kinds::http_route::HttpRoute;
use crate::source::kinds::peer_authentication::{MtlsMode, PeerAuthentication};
use crate::source::kinds::virtual_service::VirtualService;
use crate::source::words::Labels;
use crate::source::{Object, Spec};

/// All policies of a world. Where several compete, the oldest comes first (then by namespace and name), as Istio and
/// the Gateway API decide.
#[derive(Clone, Default, Debug)]
pub struct Policies {
    virtual_services: Vec<Arc<Object>>,
    http_routes: BTreeMap<ParentService, Vec<Arc<Object>>>,
    destination_rules: Vec<Arc<Object>>,
    peer_authentications: Vec<Arc<Object>>,
    root_namespace: Arc<str>,
    domain: Arc<str>,
}

/// Namespace and name of a service that routes are attached to.
type ParentService = (Arc<str>, Arc<str>);

/// What a workload's port accepts, and who says so.
#[derive(Clone, PartialEq, Debug)]
pub struct Authentication<'a> {
    /// Never [`MtlsMode::Unset`].
    pub mode: MtlsMode,
    /// The object and its field; none where it is the default.
    pub decided_by: Option<(&'a Arc<Object>, Arc<str>)>,
}

impl Policies {
    /// The policies among some objects.
    #[must_use]
    pub(crate) fn from_objects(objects: &[Arc<Object>], mesh: &MeshSettings) -> Self {
        let mut policies = Self {
            root_namespace: mesh.root_namespace.clone(),
            domain: mesh.domain.clone(),
            ..Self::default()
        };
        let mut ordered: Vec<&Arc<Object>> = objects.iter().collect();
        // An object without a creation time is younger than any that has one.
        ordered.sort_by_key(|o| {
            (o.metadata.created.is_none(), o.metadata.created, o.namespace().clone(), o.name().clone())
        });
        for object in ordered {
            match &object.spec {
                Spec::VirtualService(spec) if spec.applies_to_mesh => {
                    policies.virtual_services.push(object.clone())
                }
                Spec::HttpRoute(spec) => {
                    let mut seen = Vec::new();
                    for parent in &spec.parents {
                        let key = (parent.namespace.clone(), parent.name.clone());
                        if !seen.contains(&key) {
                            policies.http_routes.entry(key.clone()).or_default().push(object.clone());
                            seen.push(key);
                        }
                    }
                }
                Spec::DestinationRule(_) => policies.destination_rules.push(object.clone()),
                Spec::PeerAuthentication(_) => policies.peer_authentications.push(object.clone()),
                _ => {}
            }
        }
        policies
    }

    /// The virtual service for a host, as clients in `namespace` see it: an exact host before a wild card (the longer
    /// the better), then the oldest.
    #[must_use]
    pub fn virtual_service(&self, host: &str, namespace: &str) -> Option<(&Arc<Object>, &VirtualService)> {
        let candidates = self.virtual_services.iter().filter_map(|object| {
            let Spec::VirtualService(spec) = &object.spec else { return None };
            let resolve = |h: &crate::source::kinds::virtual_service::VirtualHost| {
                h.host.resolve(object.namespace(), &self.domain)
            };
            let best = spec.hosts.iter().map(resolve).filter_map(|own| specificity(&own, host)).max()?;
            spec.export_to.includes(namespace).then_some((best, object, spec))
        });
        // `max_by_key` would take the youngest of equals.
        let best = candidates.reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map(|(_, object, spec)| (object, spec))
    }

    /// Routes of the Gateway API for a service's port, as clients in `namespace` see them: routes of the client's own
    /// namespace for a service of another (consumer routes) take the place of the service owner's (producer routes)
    /// (<https://gateway-api.sigs.k8s.io/mesh/mesh-overview/>).
    #[must_use]
    pub fn http_routes(
        &self,
        service_namespace: &str,
        service: &str,
        namespace: &str,
        is_for_port: impl Fn(&HttpRoute) -> bool,
    ) -> Vec<(&Arc<Object>, &HttpRoute)> {
        let key = (Arc::from(service_namespace), Arc::from(service));
        let of = |owner: &str| -> Vec<(&Arc<Object>, &HttpRoute)> {
            let routes =
                self.http_routes.get(&key).into_iter().flatten().filter(|o| **o.namespace() == *owner);
            routes
                .filter_map(|o| if let Spec::HttpRoute(spec) = &o.spec { Some((o, spec)) } else { None })
                .filter(|(_, spec)| is_for_port(spec))
                .collect()
        };
        let consumer = if namespace == service_namespace { Vec::new() } else { of(namespace) };
        if consumer.is_empty() { of(service_namespace) } else { consumer }
    }

    /// Destination rules for a host, as a client in `namespace` with these labels sees them. Looked for in the
    /// client's namespace, then the service's, then the root namespace; the first place that has some counts, and
    /// there the most specific host (<https://istio.io/latest/docs/ops/best-practices/traffic-management/>). Several
    /// for one host are merged by the caller: the first gives the policy, all give subsets.
    #[must_use]
    pub fn destination_rules(
        &self,
        host: &str,
        service_namespace: &str,
        namespace: &str,
        labels: &Labels,
    ) -> Vec<(&Arc<Object>, &DestinationRule)> {
        for place in [namespace, service_namespace, &self.root_namespace] {
            let found: Vec<_> = self
                .destination_rules
                .iter()
                .filter(|object| **object.namespace() == *place)
                .filter_map(|object| {
                    let Spec::DestinationRule(spec) = &object.spec else { return None };
                    let rank = specificity(&spec.host.resolve(place, &self.domain), host)?;
                    let selected = spec.workload_selector.as_ref().is_none_or(|selector| {
                        place == namespace
                            && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
                    });
                    (selected && spec.export_to.includes(namespace)).then_some((rank, object, spec))
                })
                .collect();
            if let Some(best) = found.iter().map(|(rank, ..)| *rank).max() {
                return found
                    .into_iter()
                    .filter(|(rank, ..)| *rank == best)
                    .map(|(_, o, s)| (o, s))
                    .collect();
            }
        }
        Vec::new()
    }

    /// What a workload's port accepts, and who says so: port level, then workload, namespace, mesh; at last
    /// PERMISSIVE (<https://istio.io/latest/docs/reference/config/security/peer_authentication/>).
    #[must_use]
    pub fn mtls_mode(&self, namespace: &str, labels: &Labels, port: u16) -> Authentication<'_> {
        let all = self.peer_authentications.iter().filter_map(|object| match &object.spec {
            Spec::PeerAuthentication(spec) => Some((object, spec)),
            _ => None,
        });
        let all: Vec<(&Arc<Object>, &PeerAuthentication)> = all.collect();
        let within = |place: &str, selecting: bool| {
            let fits = move |spec: &PeerAuthentication| match &spec.selector {
                Some(selector) => {
                    selecting && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
                }
                None => !selecting,
            };
            all.iter().find(|(object, spec)| **object.namespace() == *place && fits(spec)).copied()
        };
        let workload = within(namespace, true);
        if let Some((object, spec)) = workload
            && let Some(level) = spec.port_level.iter().find(|level| level.port.get() == port)
            && level.mode != MtlsMode::Unset
        {
            return Authentication { mode: level.mode, decided_by: Some((object, level.field.clone())) };
        }
        let places = [workload, within(namespace, false), within(&self.root_namespace, false)];
        let decided = places.into_iter().flatten().find(|(_, spec)| spec.mode != MtlsMode::Unset);
        match decided {
            Some((object, spec)) => {
                Authentication { mode: spec.mode, decided_by: Some((object, "spec.mtls.mode".into())) }
            }
            None => Authentication { mode: MtlsMode::Permissive, decided_by: None },
        }
    }

    /// Whether both say the same of what workloads accept.
    #[must_use]
    pub fn authenticates_as(&self, other: &Self) -> bool {
        let said = |policies: &Self| -> Vec<_> {
            policies.peer_authentications.iter().map(|o| (o.reference.clone(), o.spec.clone())).collect()
        };
        said(self) == said(other)
    }

    /// Whether every subset of `before` that is still there has the labels it had.
    #[must_use]
    pub(super) fn has_subsets_of(&self, before: &Self) -> bool {
        let rules = |policies: &Self| -> BTreeMap<_, _> {
            let rules = policies.destination_rules.iter().filter_map(|object| match &object.spec {
                Spec::DestinationRule(rule) => Some((object.reference.clone(), rule.clone())),
                _ => None,
            });
            rules.collect()
        };
        let now = rules(self);
        let kept = |(name, was): (_, DestinationRule)| {
            let Some(now) = now.get(&name) else { return true };
            was.subsets.iter().all(|was| {
                let now = now.subsets.iter().find(|now| now.name == was.name);
                now.is_none_or(|now| now.labels == was.labels)
            })
        };
        rules(before).into_iter().all(kept)
    }

    /// Label keys that some subset asks for.
    pub(super) fn subset_label_keys(&self) -> impl Iterator<Item = Arc<str>> {
        let rules = self.destination_rules.iter().filter_map(|object| match &object.spec {
            Spec::DestinationRule(rule) => Some(rule),
            _ => None,
        });
        rules.flat_map(|rule| &rule.subsets).flat_map(|subset| subset.labels.keys().cloned())
    }

    /// Label keys that some policy asks of *clients*: what, beside the namespace, tells outbound classes apart.
    #[must_use]
    pub fn client_label_keys(&self) -> std::collections::BTreeSet<Arc<str>> {
        let mut keys = std::collections::BTreeSet::new();
        for object in self.virtual_services.iter().chain(&self.destination_rules) {
            match &object.spec {
                Spec::VirtualService(spec) => {
                    let http =
                        spec.http.iter().flat_map(|rule| &rule.matches).flat_map(|m| m.source_labels.keys());
                    let tcp =
                        spec.tcp.iter().flat_map(|rule| &rule.matches).flat_map(|m| m.source_labels.keys());
                    keys.extend(http.chain(tcp).cloned());
                }
                Spec::DestinationRule(spec) => {
                    keys.extend(spec.workload_selector.iter().flat_map(|l| l.keys()).cloned())
                }
                _ => {}
            }
        }
        keys
    }
}

/// How well a host of a policy, maybe a wild card, fits: none if it does not; exact is best, then longer suffixes.
fn specificity(policy: &str, host: &str) -> Option<usize> {
    match policy.strip_prefix('*') {
        Some(suffix) => (host.len() > suffix.len() && host.ends_with(suffix)).then_some(suffix.len()),
        None => (policy == host).then_some(usize::MAX),
    }
}
