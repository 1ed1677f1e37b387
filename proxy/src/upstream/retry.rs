//! Whether an attempt is tried again, and when.
//!
//! Two questions, both of which must be answered with yes: does the attempt look like what the policy wants retried
//! ([`wanted`]), and is it safe to send the request twice ([`safe`])? Conditions are Envoy's
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-retry-on>).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use weft_model::matcher::RequestFacts;
use weft_model::policy::{ResetFormat, RetryConditions, RetryPolicy};

use super::failure::FailureKind;
use super::response::GRPC_STATUS;
use crate::error::Progress;

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;

/// What Envoy's rate limits say of an answer that is theirs.
const X_ENVOY_RATELIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

/// How an attempt ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ended<'a> {
    /// With the head of a response.
    Answered {
        status: StatusCode,
        /// From the head: a response of trailers only.
        grpc_status: Option<u32>,
        headers: &'a HeaderMap,
    },
    /// Without.
    Failed {
        kind: FailureKind,
        /// Any byte of the request was written.
        started: bool,
    },
}

/// Whether a policy's conditions cover how an attempt ended.
pub(crate) fn wanted(policy: &RetryPolicy, ended: Ended<'_>) -> bool {
    use RetryConditions as C;
    let any = |conditions: &[C]| conditions.iter().any(|condition| policy.conditions.contains(*condition));
    match ended {
        // Who is told to slow down only comes back where the policy says so.
        Ended::Answered { headers, .. } if headers.contains_key(X_ENVOY_RATELIMITED) => {
            any(&[C::RATE_LIMITED])
        }
        Ended::Answered { status, grpc_status, headers } => {
            let by_status = match status.as_u16() {
                502..=504 => any(&[C::GATEWAY_ERROR, C::SERVER_ERROR]),
                500.. => any(&[C::SERVER_ERROR]),
                409 => any(&[C::RETRIABLE_4XX]),
                _ => false,
            };
            let by_code = any(&[C::STATUS_CODES]) && policy.status_codes.contains(&status.as_u16());
            let by_grpc = grpc_status.and_then(grpc_condition).is_some_and(|condition| any(&[condition]));
            let by_header = any(&[C::RETRIABLE_HEADERS])
                && policy.retriable_headers.iter().any(|header| header.matches(&facts("", "", "", headers)));
            by_status || by_code || by_grpc || by_header
        }
        Ended::Failed { kind, started } => match kind {
            FailureKind::Connect | FailureKind::ConnectTimeout => {
                any(&[C::CONNECT_FAILURE, C::RESET, C::GATEWAY_ERROR, C::SERVER_ERROR])
                    || any(&[C::RESET_BEFORE_REQUEST])
            }
            FailureKind::RefusedStream => {
                any(&[C::REFUSED_STREAM, C::RESET, C::GATEWAY_ERROR, C::SERVER_ERROR])
            }
            FailureKind::Closed | FailureKind::Reset | FailureKind::Protocol | FailureKind::PerTryTimeout => {
                any(&[C::RESET, C::GATEWAY_ERROR, C::SERVER_ERROR])
                    || (!started && any(&[C::RESET_BEFORE_REQUEST]))
            }
            _ => false,
        },
    }
}

/// Whether the policy's conditions on requests, of which one must hold, let a request be tried again.
pub(crate) fn is_retriable<B>(policy: &RetryPolicy, request: &Request<B>) -> bool {
    if policy.retriable_request_headers.is_empty() {
        return true;
    }
    let headers = request.headers();
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let authority = host.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let facts = facts(request.method().as_str(), authority.unwrap_or_default(), path, headers);
    policy.retriable_request_headers.iter().any(|header| header.matches(&facts))
}

fn facts<'a>(
    method: &'a str,
    authority: &'a str,
    path_and_query: &'a str,
    headers: &'a HeaderMap,
) -> RequestFacts<'a> {
    RequestFacts { method, scheme: "", authority, path_and_query, headers, random: 0 }
}

/// How long an answer asks to wait before the next attempt; none when it says nothing, or more than the policy takes.
pub(crate) fn asked_to_wait(policy: &RetryPolicy, headers: &HeaderMap) -> Option<Duration> {
    let rule = policy.rate_limited.as_ref()?;
    rule.reset_headers.iter().find_map(|(name, format)| {
        let number: u64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
        let wait = match format {
            ResetFormat::Seconds => Duration::from_secs(number),
            ResetFormat::UnixTimestamp => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
                Duration::from_secs(number).checked_sub(now)?
            }
        };
        (wait <= rule.max_interval).then_some(wait)
    })
}

fn grpc_condition(status: u32) -> Option<RetryConditions> {
    match status {
        1 => Some(RetryConditions::GRPC_CANCELLED),
        4 => Some(RetryConditions::GRPC_DEADLINE_EXCEEDED),
        8 => Some(RetryConditions::GRPC_RESOURCE_EXHAUSTED),
        13 => Some(RetryConditions::GRPC_INTERNAL),
        14 => Some(RetryConditions::GRPC_UNAVAILABLE),
        _ => None,
    }
}

/// Whether sending a request twice does no harm: nothing of it was processed, its method is idempotent
/// (RFC 9110, 9.2.2), or the user's policy takes the risk.
pub(crate) fn safe(idempotent_only: bool, method: &Method, progress: Progress) -> bool {
    progress == Progress::Unprocessed || !idempotent_only || method.is_idempotent()
}

/// gRPC's status in a response without content.
pub(crate) fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

/// The wait before the `retry`th retry (from 1): anything between nothing and twice the mean, which doubles with each
/// retry. Full jitter keeps callers that failed together from coming back together.
pub(crate) fn backoff(policy: &RetryPolicy, retry: u32, random: f64) -> Duration {
    let factor = 1_u32 << retry.clamp(1, 16);
    policy.backoff_base.saturating_mul(factor).min(policy.backoff_max).mul_f64(random.clamp(0.0, 1.0))
}
