//! Retry policies.

use std::sync::Arc;
use std::time::Duration;

use weft_model::policy::{RetryConditions, RetryPolicy};

use crate::source::kinds::http_route::{HttpRouteRetry, HttpRouteTimeouts};
use crate::source::kinds::virtual_service::{HttpRetry, RetryCondition};

const DEFAULT_CONDITIONS: RetryConditions = RetryConditions::CONNECT_FAILURE
    .and(RetryConditions::REFUSED_STREAM)
    .and(RetryConditions::RESET_BEFORE_REQUEST)
    .and(RetryConditions::GRPC_UNAVAILABLE)
    .and(RetryConditions::GRPC_CANCELLED)
    .and(RetryConditions::STATUS_CODES);

/// What holds where the user says nothing: Istio's conditions, two retries, on other endpoints
/// (<https://istio.io/latest/docs/concepts/traffic-management/#retries>). Beyond Istio: a request that may have been
/// processed is repeated only when its method is idempotent, so that nobody pays twice.
pub(super) fn default() -> RetryPolicy {
    RetryPolicy {
        retries: 2,
        conditions: DEFAULT_CONDITIONS,
        status_codes: Arc::new([503]),
        per_try_timeout: None,
        per_try_idle_timeout: None,
        backoff_base: RetryPolicy::BACKOFF_BASE,
        backoff_max: RetryPolicy::BACKOFF_MAX,
        idempotent_only: true,
        avoid_tried_endpoints: true,
        ..RetryPolicy::default()
    }
}

/// A virtual service's policy; none switches retries off.
pub(super) fn virtual_service(retry: &HttpRetry) -> Option<RetryPolicy> {
    if retry.attempts == 0 {
        return None;
    }
    let base = retry.backoff.unwrap_or(RetryPolicy::BACKOFF_BASE);
    let mut policy = RetryPolicy {
        retries: retry.attempts,
        per_try_timeout: retry.per_try_timeout,
        per_try_idle_timeout: None,
        backoff_base: base,
        backoff_max: base * 10,
        avoid_tried_endpoints: retry.retry_ignore_previous_hosts,
        ..default()
    };
    if let Some(words) = &retry.retry_on {
        policy.conditions = RetryConditions::default();
        let mut codes = Vec::new();
        for word in words {
            match word {
                RetryCondition::Status(code) => codes.push(*code),
                other => policy.conditions = policy.conditions.and(condition(*other)),
            }
        }
        if !codes.is_empty() {
            policy.conditions = policy.conditions.and(RetryConditions::STATUS_CODES);
        }
        policy.status_codes = codes.into();
        policy.idempotent_only = false;
    }
    Some(policy)
}

fn condition(word: RetryCondition) -> RetryConditions {
    match word {
        RetryCondition::ServerError => RetryConditions::SERVER_ERROR,
        RetryCondition::GatewayError => RetryConditions::GATEWAY_ERROR,
        RetryCondition::Reset => RetryConditions::RESET,
        RetryCondition::ResetBeforeRequest => RetryConditions::RESET_BEFORE_REQUEST,
        RetryCondition::ConnectFailure => RetryConditions::CONNECT_FAILURE,
        RetryCondition::Retriable4xx => RetryConditions::RETRIABLE_4XX,
        RetryCondition::RefusedStream => RetryConditions::REFUSED_STREAM,
        RetryCondition::RetriableStatusCodes => RetryConditions::STATUS_CODES,
        RetryCondition::GrpcCancelled => RetryConditions::GRPC_CANCELLED,
        RetryCondition::GrpcDeadlineExceeded => RetryConditions::GRPC_DEADLINE_EXCEEDED,
        RetryCondition::GrpcInternal => RetryConditions::GRPC_INTERNAL,
        RetryCondition::GrpcResourceExhausted => RetryConditions::GRPC_RESOURCE_EXHAUSTED,
        RetryCondition::GrpcUnavailable => RetryConditions::GRPC_UNAVAILABLE,
        RetryCondition::RateLimited => RetryConditions::RATE_LIMITED,
        // Of no effect here: there is no header list or HTTP/3 that they could be about.
        RetryCondition::RetriableHeaders | RetryCondition::Http3PostConnectFailure => {
            RetryConditions::default()
        }
        RetryCondition::Status(_) => RetryConditions::STATUS_CODES,
    }
}

/// A Gateway API rule's policy (GEP-1731) with its limit on one attempt. Connection errors that certainly left no
/// trace are always retried.
pub(super) fn http_route(retry: Option<&HttpRouteRetry>, timeouts: HttpRouteTimeouts) -> Option<RetryPolicy> {
    // A zero duration switches a limit off.
    let per_try_timeout = timeouts.backend_request.filter(|limit| *limit > Duration::ZERO);
    let Some(retry) = retry else { return Some(RetryPolicy { per_try_timeout, ..default() }) };
    let retries = retry.attempts.unwrap_or(default().retries);
    let base = retry.backoff.unwrap_or(RetryPolicy::BACKOFF_BASE);
    if retries == 0 && per_try_timeout.is_none() {
        return None;
    }
    let connection = RetryConditions::CONNECT_FAILURE
        .and(RetryConditions::REFUSED_STREAM)
        .and(RetryConditions::RESET_BEFORE_REQUEST);
    let codes =
        if retry.codes.is_empty() { RetryConditions::default() } else { RetryConditions::STATUS_CODES };
    Some(RetryPolicy {
        retries,
        conditions: connection.and(codes),
        status_codes: retry.codes.clone().into(),
        per_try_timeout,
        per_try_idle_timeout: None,
        backoff_base: base,
        backoff_max: base * 10,
        idempotent_only: false,
        avoid_tried_endpoints: true,
        ..RetryPolicy::default()
    })
}
