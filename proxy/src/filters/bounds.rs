//! The time that one request has: the route's, unless the request asks for less, or gRPC's own time-out is obeyed
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#http-headers-consumed>).

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use weft_model::route::Forward;

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod tests;

/// Milliseconds for the whole exchange.
const UPSTREAM_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-timeout-ms");
/// Milliseconds for each attempt.
const PER_TRY_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-per-try-timeout-ms");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What holds for a request where it is not what the route says. Takes the headers that say so away: they are for
/// this hop.
pub fn of_request(forward: &Forward, grpc: bool, headers: &mut HeaderMap) -> Option<Box<Forward>> {
    let millis = |value: http::HeaderValue| -> Option<Duration> {
        value.to_str().ok()?.parse().ok().map(Duration::from_millis)
    };
    let whole = headers.remove(UPSTREAM_TIMEOUT).and_then(millis);
    let per_try = headers.remove(PER_TRY_TIMEOUT).and_then(millis);
    let more = forward.more.as_deref();
    let grpc_bound = more
        .filter(|_| grpc)
        .and_then(|more| more.grpc_timeout)
        .and_then(|bound| bound.bound(headers.get(GRPC_TIMEOUT).and_then(|value| value.to_str().ok())));
    let most = more.and_then(|more| more.max_stream_duration);
    if whole.is_none() && per_try.is_none() && grpc_bound.is_none() && most.is_none() {
        return None;
    }
    let mut bounded = Box::new(forward.clone());
    if let Some(bound) = grpc_bound {
        bounded.timeout = Some(bound);
    }
    bounded.timeout = shorter(bounded.timeout, whole);
    if let Some(most) = most {
        bounded.timeout = Some(bounded.timeout.map_or(most, |timeout| timeout.min(most)));
    }
    if let (Some(per_try), Some(retry)) = (per_try, &mut bounded.retry) {
        retry.per_try_timeout = shorter(retry.per_try_timeout, Some(per_try));
    }
    Some(bounded)
}

/// Other than with Envoy, a client may ask for less time than the policy grants it, and never for more: whoever sends
/// the request must not be able to lift a bound that governs it.
fn shorter(granted: Option<Duration>, asked: Option<Duration>) -> Option<Duration> {
    match (granted, asked.filter(|bound| !bound.is_zero())) {
        (Some(granted), Some(asked)) => Some(granted.min(asked)),
        (granted, asked) => granted.or(asked),
    }
}
