//! When and how often a request is tried again.
//!
//! "Only idempotent methods" is written as a condition on `:method`, with exactly the expression below. Envoy then
//! never retries other methods; Weft still does when nothing of the request was processed.

use prost::Name;
use weft_proto::xds::matcher::{self, string_matcher::MatchPattern};
use weft_proto::xds::omit_host_metadata::OmitHostMetadataConfig;
use weft_proto::xds::previous_priorities::PreviousPrioritiesConfig;
use weft_proto::xds::protobuf::Any;
use weft_proto::xds::route as pb;
use weft_proto::xds::route::header_matcher::HeaderMatchSpecifier;
use weft_proto::xds::route::retry_policy::{
    RateLimitedRetryBackOff, ResetHeader, ResetHeaderFormat, RetryBackOff, RetryHostPredicate, RetryPriority,
    retry_host_predicate::ConfigType, retry_priority,
};

use super::reader::{Reader, fields};
use super::wire::{duration, number, pack};
use super::{headers, route_match, subset, text};
use crate::policy::{RateLimitedBackOff, ResetFormat, RetryConditions, RetryPolicy};
use crate::subset::LbMetadata;

/// RFC 9110, section 9.2.2.
const IDEMPOTENT_METHODS: &str = "DELETE|GET|HEAD|OPTIONS|PUT|TRACE";
/// What Envoy's extensions are called, by name and type.
const PREVIOUS_HOSTS: (&str, &str) = (
    "envoy.retry_host_predicates.previous_hosts",
    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
);
const OMIT_CANARY_HOSTS: (&str, &str) = (
    "envoy.retry_host_predicates.omit_canary_hosts",
    "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate",
);
const OMIT_HOST_METADATA: &str = "envoy.retry_host_predicates.omit_host_metadata";
const PREVIOUS_PRIORITIES: &str = "envoy.retry_priorities.previous_priorities";
/// As Istio: draw so often for an endpoint that was not tried.
const SELECTION_ATTEMPTS: i64 = 5;

pub(super) fn encode(policy: &RetryPolicy) -> pb::RetryPolicy {
    let mut predicates = Vec::new();
    if policy.avoid_tried_endpoints {
        predicates.push(predicate(PREVIOUS_HOSTS.0, empty(PREVIOUS_HOSTS.1)));
    }
    if policy.omit_canary_hosts {
        predicates.push(predicate(OMIT_CANARY_HOSTS.0, empty(OMIT_CANARY_HOSTS.1)));
    }
    if let Some(metadata_match) = subset::metadata(&policy.omit_host_metadata) {
        let config = OmitHostMetadataConfig { metadata_match: Some(metadata_match) };
        predicates.push(predicate(OMIT_HOST_METADATA, pack(&config)));
    }
    let retry_priority = policy.previous_priorities.map(|frequency| {
        let update_frequency = i32::try_from(frequency).unwrap_or(i32::MAX);
        let config = pack(&PreviousPrioritiesConfig { update_frequency });
        RetryPriority {
            name: PREVIOUS_PRIORITIES.to_owned(),
            config_type: Some(retry_priority::ConfigType::TypedConfig(config)),
        }
    });
    let request_headers = policy.retriable_request_headers.iter().map(route_match::encode_header);
    pb::RetryPolicy {
        retry_on: policy.conditions.words().collect::<Vec<_>>().join(","),
        num_retries: number(policy.retries),
        per_try_timeout: policy.per_try_timeout.and_then(duration),
        per_try_idle_timeout: policy.per_try_idle_timeout.and_then(duration),
        host_selection_retry_max_attempts: if predicates.is_empty() { 0 } else { SELECTION_ATTEMPTS },
        retry_host_predicate: predicates,
        retry_priority,
        retriable_status_codes: policy.status_codes.iter().copied().map(u32::from).collect(),
        retry_back_off: Some(RetryBackOff {
            base_interval: duration(policy.backoff_base),
            max_interval: duration(policy.backoff_max),
        }),
        rate_limited_retry_back_off: policy.rate_limited.as_ref().map(encode_rate_limited),
        retriable_headers: policy.retriable_headers.iter().map(route_match::encode_header).collect(),
        retriable_request_headers: policy
            .idempotent_only
            .then(idempotent)
            .into_iter()
            .chain(request_headers)
            .collect(),
        ..Default::default()
    }
}

fn predicate(name: &str, config: Any) -> RetryHostPredicate {
    RetryHostPredicate { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(config)) }
}

fn empty(name: &str) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: Vec::new() }
}

fn encode_rate_limited(back_off: &RateLimitedBackOff) -> RateLimitedRetryBackOff {
    let header = |(name, format): &(http::HeaderName, ResetFormat)| ResetHeader {
        name: name.to_string(),
        format: match format {
            ResetFormat::Seconds => ResetHeaderFormat::Seconds,
            ResetFormat::UnixTimestamp => ResetHeaderFormat::UnixTimestamp,
        } as i32,
    };
    RateLimitedRetryBackOff {
        reset_headers: back_off.reset_headers.iter().map(header).collect(),
        max_interval: duration(back_off.max_interval),
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
        retry_on, num_retries, per_try_timeout, per_try_idle_timeout, retry_host_predicate, retriable_status_codes,
        retry_back_off, retriable_request_headers, retry_priority, rate_limited_retry_back_off, retriable_headers;
        // All endpoints are looked through for one that will do, so that there is nothing to bound.
        ignored: host_selection_retry_max_attempts, refresh_cluster_on_retry;
        refused: retry_options_predicates
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
    let mut avoid_tried_endpoints = false;
    let mut omit_canary_hosts = false;
    let mut omit_host_metadata = LbMetadata::default();
    reader.each("retry_host_predicate", retry_host_predicate, |reader, predicate| {
        let config = predicate.config_type.map(|ConfigType::TypedConfig(config)| config).unwrap_or_default();
        let kind = config.type_url.rsplit('/').next().unwrap_or_default();
        // Older control planes give the name only.
        let is = |known: (&str, &str)| kind == known.1 || (kind.is_empty() && predicate.name == known.0);
        if is(PREVIOUS_HOSTS) {
            avoid_tried_endpoints = true;
        } else if is(OMIT_CANARY_HOSTS) {
            omit_canary_hosts = true;
        } else if kind == OmitHostMetadataConfig::full_name() {
            let config: OmitHostMetadataConfig = reader.unpack(&config)?;
            omit_host_metadata = subset::of_request(reader, "metadata_match", config.metadata_match)?;
        } else {
            return reader.refuse(format!("`{}` is not supported", predicate.name));
        }
        Some(())
    });
    let previous_priorities = reader.optional("retry_priority", retry_priority, |reader, priority| {
        let config = priority.config_type.map(|retry_priority::ConfigType::TypedConfig(config)| config);
        let config: PreviousPrioritiesConfig = reader.unpack(&config.unwrap_or_default())?;
        match u32::try_from(config.update_frequency) {
            Ok(frequency) if frequency > 0 => Some(frequency),
            _ => reader.refuse_at("update_frequency", "must be more than 0"),
        }
    });
    let rate_limited =
        reader.optional("rate_limited_retry_back_off", rate_limited_retry_back_off, decode_rate_limited);
    let retriable_headers = reader.each("retriable_headers", retriable_headers, route_match::decode_header);
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
    // Alone it is our own rule, which is less strict than the condition; beside others it is one of them.
    let idempotent_only = retriable_request_headers == [idempotent()];
    let request_headers = if idempotent_only { Vec::new() } else { retriable_request_headers };
    let retriable_request_headers =
        reader.each("retriable_request_headers", request_headers, route_match::decode_header);
    let (backoff_base, backoff_max) = back_off?;
    Some(RetryPolicy {
        retries: num_retries.map_or(1, |retries| retries.value),
        conditions,
        status_codes: status_codes.into(),
        per_try_timeout,
        per_try_idle_timeout,
        backoff_base,
        backoff_max,
        idempotent_only,
        avoid_tried_endpoints,
        retriable_headers,
        retriable_request_headers,
        rate_limited,
        omit_canary_hosts,
        omit_host_metadata,
        previous_priorities,
    })
}

fn decode_rate_limited(reader: &mut Reader, back_off: RateLimitedRetryBackOff) -> Option<RateLimitedBackOff> {
    let RateLimitedRetryBackOff { reset_headers, max_interval } = back_off;
    if reset_headers.is_empty() {
        return reader.refuse_at("reset_headers", "is empty");
    }
    let reset_headers = reader.each("reset_headers", reset_headers, |reader, header| {
        let name = reader.within("name", |reader| headers::name(reader, header.name))?;
        match ResetHeaderFormat::try_from(header.format) {
            Ok(ResetHeaderFormat::Seconds) => Some((name, ResetFormat::Seconds)),
            Ok(ResetHeaderFormat::UnixTimestamp) => Some((name, ResetFormat::UnixTimestamp)),
            Err(_) => reader.refuse_at("format", format!("{} is not known", header.format)),
        }
    });
    let max_interval = reader.bound("max_interval", max_interval).unwrap_or(RateLimitedBackOff::MAX_INTERVAL);
    Some(RateLimitedBackOff { reset_headers, max_interval })
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
