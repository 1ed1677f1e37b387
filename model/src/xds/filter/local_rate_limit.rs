//! Bounds on the rate of requests.

use std::time::Duration;

use weft_proto::xds::core::RuntimeFractionalPercent;
use weft_proto::xds::kind::{HttpStatus, TokenBucket as Bucket};
use weft_proto::xds::local_rate_limit as pb;

use super::super::reader::{Reader, fields};
use super::super::wire::{duration, number};
use super::super::{headers, text};
use crate::filter::local_rate_limit::{BucketState, LocalRateLimit, TokenBucket};
use crate::policy::Fraction;

/// Envoy's shortest time between two fillings.
const SHORTEST: Duration = Duration::from_millis(50);
/// `XRateLimitHeadersRfcVersion.DRAFT_VERSION_03`.
const DRAFT_VERSION_03: i32 = 1;

pub(super) fn encode(limit: &LocalRateLimit) -> pb::LocalRateLimit {
    pb::LocalRateLimit {
        stat_prefix: limit.stat_prefix.to_string(),
        status: Some(HttpStatus { code: limit.status.into() }),
        token_bucket: limit.bucket.map(|bucket| Bucket {
            max_tokens: bucket.max_tokens,
            tokens_per_fill: number(bucket.tokens_per_fill),
            fill_interval: duration(bucket.fill_interval),
        }),
        filter_enabled: text::encode_runtime_fraction(limit.enabled),
        filter_enforced: text::encode_runtime_fraction(limit.enforced),
        request_headers_to_add_when_not_enforced: headers::encode(&limit.request_headers).0,
        response_headers_to_add: headers::encode(&limit.response_headers).0,
        local_rate_limit_per_downstream_connection: limit.per_connection,
        enable_x_ratelimit_headers: if limit.x_ratelimit_headers { DRAFT_VERSION_03 } else { 0 },
        rate_limited_as_resource_exhausted: limit.as_resource_exhausted,
        ..Default::default()
    }
}

pub(super) fn decode(reader: &mut Reader, limit: pb::LocalRateLimit) -> Option<LocalRateLimit> {
    fields!(reader, limit => pb::LocalRateLimit {
        stat_prefix, status, token_bucket, filter_enabled, filter_enforced,
        request_headers_to_add_when_not_enforced, response_headers_to_add,
        local_rate_limit_per_downstream_connection, enable_x_ratelimit_headers, rate_limited_as_resource_exhausted;
        // They say how descriptors are used, which are refused.
        ignored: stage, vh_rate_limits, always_consume_default_token_bucket, max_dynamic_descriptors;
        refused: descriptors, local_cluster_rate_limit, rate_limits, enable_retry_after_header
    });
    let stat_prefix = reader.text("stat_prefix", stat_prefix);
    let bucket = reader.optional("token_bucket", token_bucket, decode_bucket);
    let enabled = share(reader, "filter_enabled", filter_enabled);
    let enforced = share(reader, "filter_enforced", filter_enforced);
    let add = |reader: &mut Reader, field: &str, options| {
        let add = reader.each(field, options, headers::decode_change);
        crate::policy::HeaderMutations { remove: Vec::new(), add }
    };
    let request_headers =
        add(reader, "request_headers_to_add_when_not_enforced", request_headers_to_add_when_not_enforced);
    Some(LocalRateLimit {
        stat_prefix: stat_prefix?,
        bucket,
        enabled: enabled?,
        enforced: enforced?,
        status: error_status(status, 429),
        response_headers: add(reader, "response_headers_to_add", response_headers_to_add),
        request_headers,
        per_connection: local_rate_limit_per_downstream_connection,
        x_ratelimit_headers: enable_x_ratelimit_headers == DRAFT_VERSION_03,
        as_resource_exhausted: rate_limited_as_resource_exhausted,
        state: BucketState::default(),
    })
}

/// What says nothing of an error is none.
pub(super) fn error_status(status: Option<HttpStatus>, default: u16) -> u16 {
    let code = status.and_then(|status| u16::try_from(status.code).ok());
    code.filter(|code| (400..600).contains(code)).unwrap_or(default)
}

/// Nobody where nothing is said, as in Envoy.
fn share(reader: &mut Reader, field: &str, share: Option<RuntimeFractionalPercent>) -> Option<Fraction> {
    match share {
        None => Some(Fraction::from_millionths(0)),
        some => reader.required(field, some, text::decode_runtime_fraction),
    }
}

fn decode_bucket(reader: &mut Reader, bucket: Bucket) -> Option<TokenBucket> {
    fields!(reader, bucket => Bucket { max_tokens, tokens_per_fill, fill_interval });
    if max_tokens == 0 {
        reader.refuse_at::<()>("max_tokens", "must be more than 0");
    }
    let tokens_per_fill = tokens_per_fill.map_or(1, |tokens| tokens.value);
    if tokens_per_fill == 0 {
        reader.refuse_at::<()>("tokens_per_fill", "must be more than 0");
    }
    let fill_interval = reader.duration("fill_interval", fill_interval).unwrap_or_default();
    if fill_interval < SHORTEST {
        return reader.refuse_at("fill_interval", "must be 50 ms or more");
    }
    Some(TokenBucket { max_tokens, tokens_per_fill, fill_interval })
}
