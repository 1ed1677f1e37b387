//! Cross-origin requests.

use http::HeaderValue;
use weft_proto::xds::cors as pb;

use super::super::reader::{Reader, fields};
use super::super::text;
use super::super::wire::flag;
use crate::filter::cors::CorsPolicy;
use crate::policy::Fraction;

pub(super) fn encode(policy: &CorsPolicy) -> pb::CorsPolicy {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    pb::CorsPolicy {
        allow_origin_string_match: policy.origins.iter().map(text::encode).collect(),
        allow_methods: text(&policy.methods),
        allow_headers: text(&policy.headers),
        expose_headers: text(&policy.expose),
        max_age: text(&policy.max_age),
        allow_credentials: flag(policy.credentials),
        filter_enabled: text::encode_runtime_fraction(policy.enabled),
        shadow_enabled: None,
        allow_private_network_access: flag(policy.private_network),
        forward_not_matching_preflights: flag(policy.forward_not_matching_preflights),
    }
}

pub(super) fn decode(reader: &mut Reader, policy: pb::CorsPolicy) -> Option<CorsPolicy> {
    fields!(reader, policy => pb::CorsPolicy {
        allow_origin_string_match, allow_methods, allow_headers, expose_headers, max_age, allow_credentials,
        filter_enabled, allow_private_network_access, forward_not_matching_preflights;
        // Only counts.
        ignored: shadow_enabled
    });
    let mut header = |field: &str, text: String| match HeaderValue::try_from(text) {
        Ok(value) => Some(value),
        Err(_) => reader.refuse_at(field, "has characters that no header value may have"),
    };
    let methods = header("allow_methods", allow_methods);
    let headers = header("allow_headers", allow_headers);
    let expose = header("expose_headers", expose_headers);
    let max_age = header("max_age", max_age);
    let enabled = match filter_enabled {
        None => Some(Fraction::ALL),
        some => reader.required("filter_enabled", some, text::decode_runtime_fraction),
    };
    Some(CorsPolicy {
        origins: reader.each("allow_origin_string_match", allow_origin_string_match, text::decode),
        methods: methods?,
        headers: headers?,
        expose: expose?,
        max_age: max_age?,
        credentials: allow_credentials.is_some_and(|yes| yes.value),
        private_network: allow_private_network_access.is_some_and(|yes| yes.value),
        enabled: enabled?,
        forward_not_matching_preflights: forward_not_matching_preflights.is_none_or(|yes| yes.value),
    })
}
