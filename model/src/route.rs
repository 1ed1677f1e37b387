//! Routes, and the one function that chooses among them. In xDS: `RouteConfiguration`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::hash_policy::HashPolicy;
use crate::matcher::{HeaderMatch, PathMatch, QueryMatch, RequestFacts};
use crate::policy::{Fault, Fraction, HeaderMutations, RetryPolicy};
use crate::provenance::Provenance;
use crate::subset::LbMetadata;

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;

/// All routes of one outbound service port, or of one inbound port.
#[derive(Clone, PartialEq, Debug)]
pub struct RouteTable {
    /// What listeners refer to, such as `reviews.default.svc.cluster.local:9080`.
    pub name: Arc<str>,
    /// In the order of configuration; a domain belongs to one of them.
    pub virtual_hosts: Vec<VirtualHost>,
    index: DomainIndex,
}

/// Routes for requests to some hosts.
#[derive(Clone, PartialEq, Debug)]
pub struct VirtualHost {
    /// For people.
    pub name: Arc<str>,
    /// Host names with or without port; `*.suffix`, `prefix.*` and `*` are wild cards.
    pub domains: Vec<Arc<str>>,
    /// The first that matches is taken.
    pub routes: Vec<Route>,
}

/// One rule: which requests, and what becomes of them.
#[derive(Clone, PartialEq, Debug)]
pub struct Route {
    /// For metrics, logs and people; may be empty.
    pub name: Arc<str>,
    /// Which requests.
    pub matches: RouteMatch,
    /// What becomes of them.
    pub action: RouteAction,
    /// Changes to the request before it is sent.
    pub request_headers: HeaderMutations,
    /// Changes to the response before it is returned.
    pub response_headers: HeaderMutations,
    /// Injected before the request is sent.
    pub fault: Option<Fault>,
    /// What the user wrote that led to this rule; the most specific first.
    pub provenance: Vec<Provenance>,
}

/// A request must fulfil all of it.
#[derive(Clone, PartialEq, Debug)]
pub struct RouteMatch {
    /// The path without its query.
    pub path: PathMatch,
    /// All must hold.
    pub headers: Vec<HeaderMatch>,
    /// All must hold.
    pub query: Vec<QueryMatch>,
}

impl RouteMatch {
    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self { path: PathMatch::any(), headers: Vec::new(), query: Vec::new() }
    }

    /// Whether the request fulfils all of it.
    #[must_use]
    pub fn matches(&self, request: &RequestFacts<'_>) -> bool {
        self.path.matches(request.path())
            && self.headers.iter().all(|header| header.matches(request))
            && self.query.iter().all(|query| query.matches(request))
    }
}

/// What becomes of a request.
#[derive(Clone, PartialEq, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every route forwards")]
pub enum RouteAction {
    /// It is sent on.
    Forward(Forward),
    /// The client is told to go elsewhere.
    Redirect(Redirect),
    /// The proxy answers itself.
    Respond(DirectResponse),
}

/// Sends a request on.
#[derive(Clone, PartialEq, Debug)]
pub struct Forward {
    /// Where to; one is drawn by weight. Not empty; a sum of 0 means that nothing is sent (503).
    pub clusters: Vec<WeightedCluster>,
    /// Bound on the whole exchange, retries included. None: no bound.
    pub timeout: Option<Duration>,
    /// Bound on the silence within a stream. None: no bound.
    pub idle_timeout: Option<Duration>,
    /// None: a failed attempt is final.
    pub retry: Option<RetryPolicy>,
    /// Changes the path.
    pub path_rewrite: Option<PathRewrite>,
    /// Replaces `Host`.
    pub host_rewrite: Option<HeaderValue>,
    /// Copies sent elsewhere, their answers ignored.
    pub mirrors: Vec<Mirror>,
    /// What the hash of a request is made of, for clusters that choose by it.
    pub hash_policy: Vec<HashPolicy>,
    /// What endpoints must have, in clusters with subsets.
    pub metadata_match: LbMetadata,
    /// Which of a cluster's circuit breakers bounds its requests.
    pub priority: RoutingPriority,
}

/// Envoy's routing priority: it chooses among the circuit breakers of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum RoutingPriority {
    /// The ordinary.
    #[default]
    Default,
    /// Counted apart.
    High,
}

/// One of several destinations.
#[derive(Clone, PartialEq, Debug)]
pub struct WeightedCluster {
    /// Name of a cluster.
    pub cluster: Arc<str>,
    /// Share of the sum of weights.
    pub weight: u32,
    /// Changes to requests that go here.
    pub request_headers: HeaderMutations,
    /// Changes to responses that come from here.
    pub response_headers: HeaderMutations,
    /// What endpoints must have beside what the route says; where both have a key, this holds.
    pub metadata_match: LbMetadata,
}

impl WeightedCluster {
    /// A destination without header changes.
    #[must_use]
    pub fn new(cluster: &str, weight: u32) -> Self {
        Self {
            cluster: cluster.into(),
            weight,
            request_headers: HeaderMutations::default(),
            response_headers: HeaderMutations::default(),
            metadata_match: LbMetadata::default(),
        }
    }
}

/// How a path is changed; the query stays.
#[derive(Clone, PartialEq, Debug)]
pub enum PathRewrite {
    /// The matched prefix becomes this.
    Prefix(Arc<str>),
    /// The whole path becomes this.
    Full(Arc<str>),
}

/// A copy of requests.
#[derive(Clone, PartialEq, Debug)]
pub struct Mirror {
    /// Name of a cluster.
    pub cluster: Arc<str>,
    /// Share of requests copied.
    pub fraction: Fraction,
}

/// Tells the client to go elsewhere.
#[derive(Clone, PartialEq, Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// None: the request's.
    pub scheme: Option<Arc<str>>,
    /// None: the request's.
    pub host: Option<Arc<str>>,
    /// None: the request's.
    pub port: Option<u16>,
    /// None: the request's.
    pub path: Option<PathRewrite>,
}

/// The proxy's own answer.
#[derive(Clone, PartialEq, Debug)]
pub struct DirectResponse {
    /// 200..=599.
    pub status: u16,
    /// At most 4 KiB.
    pub body: Arc<str>,
}

impl Forward {
    /// To one cluster, without bounds or retries.
    #[must_use]
    pub fn to(cluster: &str) -> Self {
        Self {
            clusters: vec![WeightedCluster::new(cluster, 1)],
            timeout: None,
            idle_timeout: None,
            retry: None,
            path_rewrite: None,
            host_rewrite: None,
            mirrors: Vec::new(),
            hash_policy: Vec::new(),
            metadata_match: LbMetadata::default(),
            priority: RoutingPriority::Default,
        }
    }

    /// The destination of a request that drew `random` (any number, evenly distributed); none when all weights are 0.
    #[must_use]
    pub fn draw(&self, random: u64) -> Option<&WeightedCluster> {
        if let [only] = &self.clusters[..] {
            return (only.weight > 0).then_some(only);
        }
        let total: u64 = self.clusters.iter().map(|c| u64::from(c.weight)).sum();
        let mut rest = random.checked_rem(total)?;
        self.clusters.iter().find(|c| match rest.checked_sub(u64::from(c.weight)) {
            Some(less) => {
                rest = less;
                false
            }
            None => true,
        })
    }
}

impl RouteTable {
    /// A table of its virtual hosts. A domain that stands twice belongs to the first.
    #[must_use]
    pub fn new(name: &str, virtual_hosts: Vec<VirtualHost>) -> Self {
        let index = DomainIndex::new(&virtual_hosts);
        Self { name: name.into(), virtual_hosts, index }
    }

    /// The virtual host for an authority; Envoy's order: exact, longest suffix wild card, longest prefix wild card, `*`.
    #[must_use]
    pub fn virtual_host(&self, authority: &str) -> Option<&VirtualHost> {
        self.index.find(authority).map(|host| &self.virtual_hosts[host])
    }

    /// The first route of the virtual host that the request fulfils.
    #[must_use]
    pub fn route(&self, request: &RequestFacts<'_>) -> Option<&Route> {
        self.virtual_host(request.authority)?.routes.iter().find(|route| route.matches.matches(request))
    }

    /// As [`RouteTable::route`], by its places: the virtual host's in the table, and its own in the virtual host. For
    /// who keeps the table and wants to find the route again.
    #[must_use]
    pub fn route_place(&self, request: &RequestFacts<'_>) -> Option<(usize, usize)> {
        let host = self.index.find(request.authority)?;
        let routes = &self.virtual_hosts.get(host)?.routes;
        Some((host, routes.iter().position(|route| route.matches.matches(request))?))
    }
}

/// Finds a virtual host without comparing with each, so that many cost no more than few.
#[derive(Clone, PartialEq, Default, Debug)]
struct DomainIndex {
    exact: HashMap<Box<str>, usize>,
    // Without the star; longest first.
    suffixes: Vec<(Box<str>, usize)>,
    prefixes: Vec<(Box<str>, usize)>,
    any: Option<usize>,
}

impl DomainIndex {
    fn new(hosts: &[VirtualHost]) -> Self {
        let mut index = Self::default();
        for (at, domain) in
            hosts.iter().enumerate().flat_map(|(at, h)| h.domains.iter().map(move |d| (at, d)))
        {
            let domain = domain.to_ascii_lowercase();
            if domain == "*" {
                index.any.get_or_insert(at);
            } else if let Some(suffix) = domain.strip_prefix('*') {
                index.suffixes.push((suffix.into(), at));
            } else if let Some(prefix) = domain.strip_suffix('*') {
                index.prefixes.push((prefix.into(), at));
            } else {
                index.exact.entry(domain.into()).or_insert(at);
            }
        }
        index.suffixes.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        index.prefixes.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        index
    }

    fn find(&self, authority: &str) -> Option<usize> {
        let only_any = self.exact.is_empty() && self.suffixes.is_empty() && self.prefixes.is_empty();
        if only_any {
            return self.any;
        }
        let lower;
        let authority = if authority.bytes().any(|b| b.is_ascii_uppercase()) {
            lower = authority.to_ascii_lowercase();
            &lower
        } else {
            authority
        };
        let longer = |text: &str| authority.len() > text.len();
        self.exact
            .get(authority)
            .copied()
            .or_else(|| {
                self.suffixes.iter().find(|(s, _)| longer(s) && authority.ends_with(&**s)).map(|(_, at)| *at)
            })
            .or_else(|| {
                self.prefixes
                    .iter()
                    .find(|(p, _)| longer(p) && authority.starts_with(&**p))
                    .map(|(_, at)| *at)
            })
            .or(self.any)
    }
}
