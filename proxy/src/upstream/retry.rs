//! Whether an attempt is tried again, and when.
//!
//! Two questions, both of which must be answered with yes: does the attempt look like what the policy wants retried
//! ([`wanted`]), and is it safe to send the request twice ([`safe`])? Conditions are Envoy's
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-retry-on>).

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use weft_model::policy::{RetryConditions, RetryPolicy};

use super::failure::FailureKind;
use super::response::GRPC_STATUS;
use crate::error::Progress;

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;

/// How an attempt ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ended {
    /// With the head of a response.
    Answered {
        status: StatusCode,
        /// From the head: a response of trailers only.
        grpc_status: Option<u32>,
    },
    /// Without.
    Failed {
        kind: FailureKind,
        /// Any byte of the request was written.
        started: bool,
    },
}

/// Whether a policy's conditions cover how an attempt ended.
pub(crate) fn wanted(policy: &RetryPolicy, ended: Ended) -> bool {
    use RetryConditions as C;
    let any = |conditions: &[C]| conditions.iter().any(|condition| policy.conditions.contains(*condition));
    match ended {
        Ended::Answered { status, grpc_status } => {
            let by_status = match status.as_u16() {
                502..=504 => any(&[C::GATEWAY_ERROR, C::SERVER_ERROR]),
                500.. => any(&[C::SERVER_ERROR]),
                409 => any(&[C::RETRIABLE_4XX]),
                _ => false,
            };
            let by_code = any(&[C::STATUS_CODES]) && policy.status_codes.contains(&status.as_u16());
            let by_grpc = grpc_status.and_then(grpc_condition).is_some_and(|condition| any(&[condition]));
            by_status || by_code || by_grpc
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
