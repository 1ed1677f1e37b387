//! Bounds the rate of requests by a token bucket. All workers share it; a bucket of a connection is its own.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderName, HeaderValue, Response, StatusCode};
use weft_model::filter::local_rate_limit::{LocalRateLimit, Taken, TokenBucket};
use weft_model::policy::HeaderMutations;

use super::chain::{After, Passage};
use super::headers;
use crate::body::Body;
use crate::error::ResponseFlag;
use crate::http::reply;

/// gRPC's status code.
const RESOURCE_EXHAUSTED: u32 = 8;
const REASON: &str = "local_rate_limited";

pub(super) fn decide(limit: &Arc<LocalRateLimit>, passage: &mut Passage<'_>) -> Option<Response<Body>> {
    let bucket = limit.bucket.as_ref()?;
    if !limit.enabled.includes(fastrand::u32(..)) {
        return None;
    }
    let state = match limit.per_connection {
        true => passage.context.downstream.bucket(limit),
        false => limit.state.clone(),
    };
    let taken = state.take(bucket, Instant::now());
    if limit.x_ratelimit_headers {
        passage.context.after.push(After::Headers(Box::new(told(bucket, taken))));
    }
    if taken.granted {
        return None;
    }
    if !limit.enforced.includes(fastrand::u32(..)) {
        headers::change_request(passage.context, &limit.request_headers, passage.request);
        return None;
    }
    let context = &mut *passage.context;
    context.flags.insert(ResponseFlag::RateLimited);
    context.details = REASON;
    let status = StatusCode::from_u16(limit.status).unwrap_or(StatusCode::TOO_MANY_REQUESTS);
    let mut response = match context.grpc && limit.as_resource_exhausted {
        true => reply::of_grpc_status(RESOURCE_EXHAUSTED, REASON),
        false => reply::of_status(status, REASON, context.grpc),
    };
    headers::change_response(context, &limit.response_headers, &mut response);
    Some(response)
}

/// The draft's headers
/// (<https://datatracker.ietf.org/doc/html/draft-polli-ratelimit-headers-03>).
fn told(bucket: &TokenBucket, taken: Taken) -> HeaderMutations {
    let header = |name, number: u64| (HeaderName::from_static(name), HeaderValue::from(number));
    let seconds = taken.reset.as_secs() + u64::from(taken.reset.subsec_nanos() > 0);
    let all = [
        header("x-ratelimit-limit", bucket.max_tokens.into()),
        header("x-ratelimit-remaining", taken.remaining.into()),
        header("x-ratelimit-reset", seconds),
    ];
    HeaderMutations::of(Vec::new(), all, [])
}
