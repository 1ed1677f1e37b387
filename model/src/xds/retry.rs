//! When and how often a request is tried again.
//!
//! "Only idempotent methods" is written as a condition on `:method`, with exactly the expression below. Envoy then
//! never retries other methods; Weft still does when nothing of the request was processed.

use weft_proto::xds::matcher::{self, string_matcher::MatchPattern};
use weft_proto::xds::protobuf::Any;
use weft_proto::xds::route as pb;
use weft_proto::xds::route::header_matcher::HeaderMatchSpecifier;
use weft_proto::xds::route::retry_policy::{
    RetryBackOff, RetryHostPredicate, retry_host_predicate::ConfigType,
};

use super::reader::{Reader, fields};
use super::text;
use super::wire::{duration, number};
use crate::policy::{RetryConditions, RetryPolicy};

/// RFC 9110, section 9.2.2.
const IDEMPOTENT_METHODS: &str = "DELETE|GET|HEAD|OPTIONS|PUT|TRACE";
const PREVIOUS_HOSTS: &str = "envoy.retry_host_predicates.previous_hosts";
const PREVIOUS_HOSTS_TYPE: &str =
    "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
/// As Istio: draw so often for an endpoint that was not tried.
const SELECTION_ATTEMPTS: i64 = 5;

pub(super) fn encode(policy: &RetryPolicy) -> pb::RetryPolicy {
    let avoid = policy.avoid_tried_endpoints;
    let predicate = || RetryHostPredicate {
        name: PREVIOUS_HOSTS.to_owned(),
        config_type: Some(ConfigType::TypedConfig(Any {
            type_url: PREVIOUS_HOSTS_TYPE.to_owned(),
            value: Vec::new(),
        })),
    };
    pb::RetryPolicy {
        retry_on: policy.conditions.words().collect::<Vec<_>>().join(","),
        num_retries: number(policy.retries),
        per_try_timeout: policy.per_try_timeout.and_then(duration),
        per_try_idle_timeout: policy.per_try_idle_timeout.and_then(duration),
        retry_host_predicate: avoid.then(predicate).into_iter().collect(),
        host_selection_retry_max_attempts: if avoid { SELECTION_ATTEMPTS } else { 0 },
        retriable_status_codes: policy.status_codes.iter().copied().map(u32::from).collect(),
        retry_back_off: Some(RetryBackOff {
            base_interval: duration(policy.backoff_base),
            max_interval: duration(policy.backoff_max),
        }),
        retriable_request_headers: policy.idempotent_only.then(idempotent).into_iter().collect(),
        ..Default::default()
    }
}

fn idempotent() -> pb::HeaderMatcher {
    let methods = matcher::StringMatcher {
        match_pattern: Some(MatchPattern::SafeRegex(text::encode_expression(IDEMPOTENT_METHODS))),
        ..Default::default()
    };
    pb::HeaderMatcher {
        name: ":method".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(methods)),
        ..Default::default()
    }
}

pub(super) fn decode(reader: &mut Reader, policy: pb::RetryPolicy) -> Option<RetryPolicy> {
    fields!(reader, policy => pb::RetryPolicy {
        retry_on, num_retries, per_try_timeout, per_try_idle_timeout, retry_host_predicate, retriable_status_codes, retry_back_off,
        retriable_request_headers;
        ignored: host_selection_retry_max_attempts, refresh_cluster_on_retry;
        refused: retry_priority, retry_options_predicates, rate_limited_retry_back_off,
            retriable_headers
    });
    let mut conditions = RetryConditions::default();
    for word in retry_on.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match RetryConditions::from_word(word) {
            Some(condition) => conditions = conditions.and(condition),
            // Weft speaks no HTTP/3 to upstreams: the condition never comes true.
            None if word == "http3-post-connect-failure" => {}
            None => {
                reader.refuse_at::<()>("retry_on", format!("`{word}` is not supported"));
            }
        }
    }
    let per_try_timeout = reader.bound("per_try_timeout", per_try_timeout);
    let per_try_idle_timeout = reader.bound("per_try_idle_timeout", per_try_idle_timeout);
    let predicates = reader.each("retry_host_predicate", retry_host_predicate, |reader, predicate| {
        if predicate.name == PREVIOUS_HOSTS {
            Some(())
        } else {
            reader.refuse(format!("`{}` is not supported", predicate.name))
        }
    });
    let status_codes = reader.each("retriable_status_codes", retriable_status_codes, |reader, code| {
        match u16::try_from(code) {
            Ok(code) if (100..=599).contains(&code) => Some(code),
            _ => reader.refuse(format!("{code} is no status: 100 to 599")),
        }
    });
    let back_off = match retry_back_off {
        None => Some((RetryPolicy::BACKOFF_BASE, RetryPolicy::BACKOFF_MAX)),
        some => reader.required("retry_back_off", some, decode_back_off),
    };
    let headers = reader.each("retriable_request_headers", retriable_request_headers, |reader, header| {
        if header == idempotent() {
            Some(())
        } else {
            reader.refuse(format!(
                "is not supported, save `:method` with the expression `{IDEMPOTENT_METHODS}`"
            ))
        }
    });
    let (backoff_base, backoff_max) = back_off?;
    Some(RetryPolicy {
        retries: num_retries.map_or(1, |retries| retries.value),
        conditions,
        status_codes: status_codes.into(),
        per_try_timeout,
        per_try_idle_timeout,
        backoff_base,
        backoff_max,
        idempotent_only: !headers.is_empty(),
        avoid_tried_endpoints: !predicates.is_empty(),
    })
}

fn decode_back_off(
    reader: &mut Reader,
    back_off: RetryBackOff,
) -> Option<(std::time::Duration, std::time::Duration)> {
    let RetryBackOff { base_interval, max_interval } = back_off;
    let Some(base) = reader.bound("base_interval", base_interval) else {
        return reader.refuse_at("base_interval", "must be more than 0");
    };
    let most = match max_interval {
        None => base.saturating_mul(10),
        some => reader.duration("max_interval", some)?,
    };
    if most < base {
        return reader.refuse_at("max_interval", "is less than base_interval");
    }
    Some((base, most))
}
