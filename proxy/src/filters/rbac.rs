//! Allows and denies requests and connections by Envoy's rules. What shadow rules would decide is counted only.

use http::{Response, StatusCode};
use weft_model::filter::rbac::{Rbac, RbacFacts};
use weft_model::matcher::RequestFacts;

use super::chain::{self, Passage};
use crate::body::Body;
use crate::http::context::facts;
use crate::listener::statistics::{ListenerStatistics, RbacStatistics};
use crate::telemetry::record::ConnectionRecord;

/// Whether a request may pass; the answer when it may not.
pub(super) fn decide(rbac: &Rbac, passage: &mut Passage<'_>) -> Option<Response<Body>> {
    let downstream = passage.context.downstream.clone();
    let request = facts(passage.request, downstream.scheme);
    let counts = &downstream.worker.shared.statistics.rbac;
    let policy = allow(counts, rbac, &downstream.record(), Some(request)).err()?;
    tracing::debug!(client = %downstream.record().remote, policy, "RBAC denied a request");
    let details = "rbac_access_denied";
    Some(chain::answer(passage.context, StatusCode::FORBIDDEN, details, "RBAC: access denied"))
}

/// Whether a connection may be served: all of them must allow it. Decided before anything is served, and so before the
/// first byte.
///
/// # Errors
/// It may not: Envoy's `%CONNECTION_TERMINATION_DETAILS%`.
pub fn let_in(counts: &RbacStatistics, all: &[Rbac], connection: &ConnectionRecord) -> Result<(), String> {
    for rbac in all {
        if let Err(policy) = allow(counts, rbac, connection, None) {
            tracing::debug!(client = %connection.remote, to = %connection.local, policy, "RBAC denied a connection");
            // As one word: it stands in access logs between spaces.
            let policy = policy.replace(char::is_whitespace, "_");
            return Err(format!("rbac_access_denied_matched_policy[{policy}]"));
        }
    }
    Ok(())
}

/// Decides, and counts; the policy that denied, if it was one.
fn allow(
    counts: &RbacStatistics,
    rbac: &Rbac,
    connection: &ConnectionRecord,
    request: Option<RequestFacts<'_>>,
) -> Result<(), String> {
    let peer = connection.peer_identity.as_ref().map(ToString::to_string);
    let facts = RbacFacts {
        request,
        source: connection.remote,
        direct_remote: connection.direct_remote,
        destination: connection.local,
        peer: peer.as_deref(),
        server_name: connection.server_name.as_deref().unwrap_or_default(),
    };
    if let Some(rules) = &rbac.shadow_rules {
        let (allowed, _) = rules.decide(&facts);
        ListenerStatistics::add(if allowed { &counts.shadow_allowed } else { &counts.shadow_denied });
    }
    let Some(rules) = &rbac.rules else { return Ok(()) };
    let (allowed, policy) = rules.decide(&facts);
    ListenerStatistics::add(if allowed { &counts.allowed } else { &counts.denied });
    if allowed { Ok(()) } else { Err(policy.map_or("none", |name| name).to_owned()) }
}
