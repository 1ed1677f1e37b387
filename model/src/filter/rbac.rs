//! Who may do what: Envoy's role-based access control
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/rbac/v3/rbac.proto>), for requests and for connections.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::listener::IpPrefix;
use crate::matcher::{HeaderMatch, RequestFacts, StringMatch};

#[cfg(test)]
#[path = "rbac_tests.rs"]
mod tests;

/// Rules that decide, and rules that only count.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Rbac {
    /// They decide; none: everybody may do everything.
    pub rules: Option<Rules>,
    /// What they would decide is counted.
    pub shadow_rules: Option<Rules>,
}

/// What becomes of what a policy matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RbacAction {
    /// Only that is allowed.
    Allow,
    /// That is denied.
    Deny,
    /// Everything is allowed.
    Log,
}

/// Policies, one of which must match.
#[derive(Clone, PartialEq, Debug)]
pub struct Rules {
    /// What becomes of what one matches.
    pub action: RbacAction,
    /// In order of their names.
    pub policies: Vec<Policy>,
}

/// One of the permissions and one of the principals must match.
#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    /// For people.
    pub name: Arc<str>,
    /// What is done.
    pub permissions: Vec<Permission>,
    /// Who does it.
    pub principals: Vec<Principal>,
}

/// What is done.
pub type Permission = Condition<Deed>;
/// Who does it.
pub type Principal = Condition<Doer>;

/// A condition on a request or connection. One on what only a request has never holds for a connection.
#[derive(Clone, PartialEq, Debug)]
pub enum Condition<T> {
    /// Holds always.
    Any,
    /// All hold.
    And(Vec<Condition<T>>),
    /// One holds.
    Or(Vec<Condition<T>>),
    /// It does not hold.
    Not(Box<Condition<T>>),
    /// On a header.
    Header(HeaderMatch),
    /// On the path, without its query.
    UrlPath(StringMatch),
    /// What only one of the two kinds has.
    Special(T),
}

/// What is done, beyond what every condition can ask.
#[derive(Clone, PartialEq, Debug)]
pub enum Deed {
    /// The address that the client wanted.
    DestinationIp(IpPrefix),
    /// Its port.
    DestinationPort(RangeInclusive<u16>),
    /// The server name that the client asked for; none is the empty text.
    ServerName(StringMatch),
}

/// Who does it, beyond what every condition can ask.
#[derive(Clone, PartialEq, Debug)]
pub enum Doer {
    /// Has proved an identity; such a one, if something is asked of it.
    Authenticated(Option<StringMatch>),
    /// The client's address, where a load balancer tells it the one that it passes on.
    SourceIp(IpPrefix),
    /// The other end of the connection itself.
    DirectRemoteIp(IpPrefix),
}

/// What is known of a request or connection.
#[derive(Clone, Copy, Debug)]
pub struct RbacFacts<'a> {
    /// None for a connection.
    pub request: Option<RequestFacts<'a>>,
    /// The client.
    pub source: SocketAddr,
    /// The other end of the connection itself.
    pub direct_remote: SocketAddr,
    /// Where it wanted to go.
    pub destination: SocketAddr,
    /// Who it has proved to be, as a URI.
    pub peer: Option<&'a str>,
    /// The server name that it asked for.
    pub server_name: &'a str,
}

/// What is asked of a request or connection.
pub trait Asked {
    /// Whether it is so.
    fn holds(&self, facts: &RbacFacts<'_>) -> bool;
}

impl Asked for Deed {
    fn holds(&self, facts: &RbacFacts<'_>) -> bool {
        match self {
            Self::DestinationIp(prefix) => prefix.contains(facts.destination.ip().to_canonical()),
            Self::DestinationPort(ports) => ports.contains(&facts.destination.port()),
            Self::ServerName(pattern) => pattern.matches(facts.server_name),
        }
    }
}

impl Asked for Doer {
    fn holds(&self, facts: &RbacFacts<'_>) -> bool {
        match self {
            Self::Authenticated(None) => facts.peer.is_some(),
            Self::Authenticated(Some(pattern)) => facts.peer.is_some_and(|peer| pattern.matches(peer)),
            Self::SourceIp(prefix) => prefix.contains(facts.source.ip().to_canonical()),
            Self::DirectRemoteIp(prefix) => prefix.contains(facts.direct_remote.ip().to_canonical()),
        }
    }
}

impl<T: Asked> Condition<T> {
    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, facts: &RbacFacts<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::And(all) => all.iter().all(|one| one.holds(facts)),
            Self::Or(any) => any.iter().any(|one| one.holds(facts)),
            Self::Not(one) => !one.holds(facts),
            Self::Header(header) => facts.request.is_some_and(|request| header.matches(&request)),
            Self::UrlPath(pattern) => facts.request.is_some_and(|request| pattern.matches(request.path())),
            Self::Special(special) => special.holds(facts),
        }
    }
}

impl Rules {
    /// Whether something is allowed, and by which policy that was decided, if by one.
    #[must_use]
    pub fn decide(&self, facts: &RbacFacts<'_>) -> (bool, Option<&Arc<str>>) {
        let matches = |policy: &&Policy| {
            policy.permissions.iter().any(|permission| permission.holds(facts))
                && policy.principals.iter().any(|principal| principal.holds(facts))
        };
        let policy = self.policies.iter().find(matches).map(|policy| &policy.name);
        let allowed = match self.action {
            RbacAction::Allow => policy.is_some(),
            RbacAction::Deny => policy.is_none(),
            RbacAction::Log => true,
        };
        (allowed, policy)
    }
}
