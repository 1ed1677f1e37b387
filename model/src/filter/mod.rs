//! What requests pass through between the choice of a route and the sending: filters, in the order of the
//! configuration. One file has one filter: its settings, and what is decided by them.
//!
//! A filter has a name, by which the table, a virtual host, a route and a weighted cluster may say that it works
//! differently there; the most specific that says anything wins
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/http/http_filters#route-specific-config>).

pub mod cors;
pub mod ext_authz;
pub mod local_rate_limit;
pub mod rbac;

use std::sync::Arc;

use cors::CorsPolicy;
use ext_authz::{CheckSettings, ExtAuthz};
use local_rate_limit::LocalRateLimit;
use rbac::Rbac;

use crate::matcher::HeaderMatch;
use crate::policy::{Fault, HeaderMutations};

/// A filter in its place.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpFilter {
    /// Unique among the filters of a connection.
    pub name: Arc<str>,
    /// Works only where a route says so.
    pub disabled: bool,
    /// Which filter, and how it works.
    pub config: FilterConfig,
}

/// Which filter, and how it works.
#[derive(Clone, PartialEq, Debug)]
pub enum FilterConfig {
    /// Delays and answers on purpose.
    Fault(Fault),
    /// Lets pages of other origins call, where routes say so.
    Cors,
    /// Takes in the whole request first, of so many bytes at most; longer ones are refused (413).
    Buffer(u32),
    /// Changes headers.
    HeaderMutation(Arc<HeaderEdits>),
    /// Bounds the rate of requests.
    LocalRateLimit(Arc<LocalRateLimit>),
    /// Allows and denies.
    Rbac(Arc<Rbac>),
    /// Answers requests that have all of these itself: 200, or 503 while the proxy ends.
    HealthCheck(Vec<HeaderMatch>),
    /// Asks a service whether a request is allowed.
    ExtAuthz(Arc<ExtAuthz>),
}

/// Changes to the headers of requests and responses.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct HeaderEdits {
    /// Made in this order.
    pub request: Vec<HeaderEdit>,
    /// Made in this order.
    pub response: Vec<HeaderEdit>,
    /// Of a filter's own edits and those of its levels the most specific come last, and so have the last word.
    pub most_specific_wins: bool,
}

/// One change.
#[derive(Clone, PartialEq, Debug)]
pub struct HeaderEdit(pub HeaderMutations);

/// How a filter works on a route, instead of as the listener says.
#[derive(Clone, PartialEq, Debug)]
pub enum RouteFilter {
    /// Not at all.
    Disabled,
    /// As the listener says, even where that says that it is disabled.
    Enabled,
    /// Delays and answers on purpose.
    Fault(Fault),
    /// Lets pages of other origins call.
    Cors(Arc<CorsPolicy>),
    /// Takes in the whole request first, of so many bytes at most.
    Buffer(u32),
    /// Changes headers, after those of the listener.
    HeaderMutation(Arc<HeaderEdits>),
    /// Bounds the rate of requests.
    LocalRateLimit(Arc<LocalRateLimit>),
    /// Allows and denies.
    Rbac(Arc<Rbac>),
    /// Tells the service more.
    ExtAuthz(Arc<CheckSettings>),
}

/// How filters work on a route, by the names of the filters; in order of names.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct FilterOverrides(Vec<(Arc<str>, RouteFilter)>);

impl HttpFilter {
    /// Name of the fault filter.
    pub const FAULT: &str = "envoy.filters.http.fault";

    /// A filter that works everywhere.
    #[must_use]
    pub fn new(name: &str, config: FilterConfig) -> Self {
        Self { name: name.into(), disabled: false, config }
    }

    /// What sidecars of the mesh have: faults, where routes say so.
    #[must_use]
    pub fn of_the_mesh() -> Arc<[Self]> {
        [Self::new(Self::FAULT, FilterConfig::Fault(Fault::default()))].into()
    }
}

impl FilterOverrides {
    /// Of names that stand twice the last counts.
    #[must_use]
    pub fn new(overrides: impl IntoIterator<Item = (Arc<str>, RouteFilter)>) -> Self {
        let mut sorted: Vec<_> = overrides.into_iter().collect();
        sorted.reverse();
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        sorted.dedup_by(|(a, _), (b, _)| a == b);
        Self(sorted)
    }

    /// Only a fault.
    #[must_use]
    pub fn fault(fault: Option<Fault>) -> Self {
        Self(fault.into_iter().map(|fault| (HttpFilter::FAULT.into(), RouteFilter::Fault(fault))).collect())
    }

    /// Whether all filters work as they do elsewhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How a filter works here, if anything is said of it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&RouteFilter> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, filter)| filter)
    }

    /// All, in order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &RouteFilter)> {
        self.0.iter().map(|(name, filter)| (name, filter))
    }
}
