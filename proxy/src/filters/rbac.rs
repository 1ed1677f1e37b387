//! Allows and denies requests by Envoy's rules. What shadow rules would decide is counted only.

use http::{Response, StatusCode};
use weft_model::filter::rbac::{Rbac, RbacFacts};

use super::chain::{self, Passage};
use crate::body::Body;
use crate::http::context::facts;
use crate::listener::statistics::ListenerStatistics;

pub(super) fn decide(rbac: &Rbac, passage: &mut Passage<'_>) -> Option<Response<Body>> {
    let downstream = passage.context.downstream.clone();
    let connection = downstream.record();
    let peer = connection.peer_identity.as_ref().map(ToString::to_string);
    let facts = RbacFacts {
        request: Some(facts(passage.request, downstream.scheme)),
        source: connection.remote,
        destination: connection.local,
        peer: peer.as_deref(),
        server_name: connection.server_name.as_deref().unwrap_or_default(),
    };
    let counts = &downstream.worker.shared.statistics.rbac;
    if let Some(rules) = &rbac.shadow_rules {
        let (allowed, _) = rules.decide(&facts);
        ListenerStatistics::add(if allowed { &counts.shadow_allowed } else { &counts.shadow_denied });
    }
    let rules = rbac.rules.as_ref()?;
    let (allowed, policy) = rules.decide(&facts);
    ListenerStatistics::add(if allowed { &counts.allowed } else { &counts.denied });
    if allowed {
        return None;
    }
    tracing::debug!(client = %connection.remote, policy = policy.map_or("none", |name| name), "RBAC denied a request");
    let details = "rbac_access_denied";
    Some(chain::answer(passage.context, StatusCode::FORBIDDEN, details, "RBAC: access denied"))
}
