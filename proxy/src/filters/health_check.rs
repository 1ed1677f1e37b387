//! Answers health checks itself: 200, or 503 once the proxy is about to end, so that load balancers before it send no
//! more (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/health_check_filter>).

use http::{Response, StatusCode};
use weft_model::matcher::HeaderMatch;

use super::chain::{self, Passage};
use crate::body::Body;
use crate::http::context::facts;

pub(super) fn decide(headers: &[HeaderMatch], passage: &mut Passage<'_>) -> Option<Response<Body>> {
    let facts = facts(passage.request, passage.context.downstream.scheme);
    if !headers.iter().all(|header| header.matches(&facts)) {
        return None;
    }
    let ending = passage.context.downstream.worker.shared.drain.is_draining();
    let (status, details) = match ending {
        true => (StatusCode::SERVICE_UNAVAILABLE, "health_check_failed"),
        false => (StatusCode::OK, "health_check_ok"),
    };
    Some(chain::answer(passage.context, status, details, ""))
}
