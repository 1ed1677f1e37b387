//! Routes, and the one function that chooses among them. In xDS: `RouteConfiguration`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::filter::FilterOverrides;
use crate::hash_policy::HashPolicy;
use crate::matcher::{CookieMatch, HeaderMatch, PathMatch, QueryMatch, RequestFacts, Substitution};
use crate::policy::{Fraction, HeaderMutations, RetryPolicy};
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
    /// For all requests of the table.
    pub settings: LevelSettings,
    /// In which order the levels' header changes are made. False: the route's first and the table's last, which then
    /// has the last word; true: the other way round. A weighted cluster's always come first.
    pub most_specific_header_mutations_wins: bool,
    index: DomainIndex,
}

/// What the table and each virtual host say of all their requests.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct LevelSettings {
    /// Changes to the request before it is sent.
    pub request_headers: HeaderMutations,
    /// Changes to the response before it is returned.
    pub response_headers: HeaderMutations,
    /// How filters work here, where it is not as the listener says.
    pub filters: FilterOverrides,
}

/// Routes for requests to some hosts.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct VirtualHost {
    /// For people.
    pub name: Arc<str>,
    /// Host names with or without port; `*.suffix`, `prefix.*` and `*` are wild cards.
    pub domains: Vec<Arc<str>>,
    /// The first that matches is taken.
    pub routes: Vec<Route>,
    /// For all requests of the host.
    pub settings: LevelSettings,
    /// Requests that came without TLS are told to come again with it.
    pub require_tls: bool,
    /// The response says how many attempts there were, in `x-envoy-attempt-count`.
    pub attempt_count_in_response: bool,
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
    /// How filters work here, where it is not as the listener says.
    pub filters: FilterOverrides,
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
    /// Rare conditions.
    pub more: Option<Box<MoreConditions>>,
}

/// The conditions of a [`RouteMatch`] that few routes have.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct MoreConditions {
    /// All must hold.
    pub cookies: Vec<CookieMatch>,
    /// Only gRPC's requests.
    pub grpc: bool,
    /// Only that share of requests; the others are for later routes.
    pub fraction: Option<Fraction>,
}

impl MoreConditions {
    fn match_all(&self, request: &RequestFacts<'_>) -> bool {
        self.fraction.is_none_or(|fraction| fraction.includes(request.random))
            && (!self.grpc || is_grpc(request.headers))
            && self.cookies.iter().all(|cookie| cookie.matches(request))
    }
}

/// Whether a request or response is gRPC's
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
#[must_use]
pub fn is_grpc(headers: &http::HeaderMap) -> bool {
    let Some(kind) = headers.get(http::header::CONTENT_TYPE) else { return false };
    match kind.as_bytes().strip_prefix(b"application/grpc") {
        Some(rest) => rest.is_empty() || matches!(rest[0], b'+' | b';'),
        None => false,
    }
}

impl Route {
    /// A rule without a name, header changes or provenance.
    #[must_use]
    pub fn new(matches: RouteMatch, action: RouteAction) -> Self {
        Self {
            name: "".into(),
            matches,
            action,
            request_headers: HeaderMutations::default(),
            response_headers: HeaderMutations::default(),
            filters: FilterOverrides::default(),
            provenance: Vec::new(),
        }
    }
}

impl RouteMatch {
    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self { path: PathMatch::any(), headers: Vec::new(), query: Vec::new(), more: None }
    }

    /// Whether the request fulfils all of it.
    #[must_use]
    pub fn matches(&self, request: &RequestFacts<'_>) -> bool {
        self.path.matches(request.path())
            && self.headers.iter().all(|header| header.matches(request))
            && self.query.iter().all(|query| query.matches(request))
            && self.more.as_ref().is_none_or(|more| more.match_all(request))
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
    /// Where to; one is drawn by weight. Empty only when a header names the cluster; a sum of 0 means that nothing is
    /// sent (503).
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
    pub host_rewrite: Option<HostRewrite>,
    /// Copies sent elsewhere, their answers ignored.
    pub mirrors: Vec<Mirror>,
    /// What few routes say.
    pub more: Option<Box<MoreForward>>,
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

/// What few routes say of how a request is sent on.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct MoreForward {
    /// The request names the cluster in this header; [`Forward::clusters`] is empty then.
    pub cluster_header: Option<HeaderName>,
    /// The request says in this header, as a whole number, which of the weighted clusters it goes to.
    pub random_value_header: Option<HeaderName>,
    /// When `Host` is replaced, what it was is added to `x-forwarded-host`.
    pub append_x_forwarded_host: bool,
    /// Status of the answer when the cluster is not known: 503 (none), 404 or 500.
    pub cluster_not_found: Option<u16>,
    /// Bound on the whole stream; unlike the time-out it also ends streams that have answered. None: no bound.
    pub max_stream_duration: Option<Duration>,
    /// gRPC's own time-out (`grpc-timeout`) is obeyed.
    pub grpc_timeout: Option<GrpcTimeout>,
    /// Tokens of `Upgrade` that are let through (true) or not (false), whatever the listener says.
    pub upgrades: Vec<(Arc<str>, bool)>,
}

/// How gRPC's own time-out is obeyed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GrpcTimeout {
    /// The longest that is granted; none: any.
    pub most: Option<Duration>,
    /// Taken from the client's, so that the answer comes in time.
    pub offset: Duration,
}

impl GrpcTimeout {
    /// The bound for a request with such a `grpc-timeout`, if it has one.
    #[must_use]
    pub fn bound(self, header: Option<&str>) -> Option<Duration> {
        let asked = header.and_then(grpc_timeout)?;
        let asked = asked.checked_sub(self.offset).unwrap_or(asked);
        Some(self.most.map_or(asked, |most| asked.min(most)))
    }
}

/// At most eight digits and a unit
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>, "Timeout").
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// What `Host` becomes.
#[derive(Clone, PartialEq, Debug)]
pub enum HostRewrite {
    /// Always the same.
    Literal(HeaderValue),
    /// What this header of the request says; without it, `Host` stays.
    Header(HeaderName),
    /// What the path, without its query, becomes by a substitution.
    PathRegex(Box<Substitution>),
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
    /// How filters work for requests that go here, where it is not as the route says.
    pub filters: FilterOverrides,
    /// Replaces `Host`, instead of the route's.
    pub host_rewrite: Option<HeaderValue>,
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
            filters: FilterOverrides::default(),
            host_rewrite: None,
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
    /// What an expression finds in it becomes something else.
    Regex(Box<Substitution>),
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
    /// Whether the request's query goes.
    pub strip_query: bool,
}

/// To where the request came from, with 301.
impl Default for Redirect {
    fn default() -> Self {
        Self { status: 301, scheme: None, host: None, port: None, path: None, strip_query: false }
    }
}

/// The proxy's own answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirectResponse {
    /// 200..=599.
    pub status: u16,
    /// At most 4 KiB, if the table says nothing else.
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
            more: None,
            hash_policy: Vec::new(),
            metadata_match: LbMetadata::default(),
            priority: RoutingPriority::Default,
        }
    }

    /// Whether the request names the cluster, and in which header.
    #[must_use]
    pub fn cluster_header(&self) -> Option<&HeaderName> {
        self.more.as_ref()?.cluster_header.as_ref()
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
        Self {
            name: name.into(),
            virtual_hosts,
            settings: LevelSettings::default(),
            most_specific_header_mutations_wins: false,
            index,
        }
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
