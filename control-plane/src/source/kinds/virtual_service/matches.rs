//! Conditions on a request.

use std::sync::Arc;

use super::parse::source_labels;
use super::{HeaderCondition, HttpMatchRequest, ValueCondition};
use crate::source::checks;
use crate::source::diagnostic::code;
use crate::source::document::Value;
use crate::source::fields::{Field, Fields};
use crate::source::kinds::istio::{self, string_match};
use crate::source::words::StringMatch;

pub(super) fn match_request(item: &Field<'_>) -> Option<HttpMatchRequest> {
    item.message(|f| {
        f.unsupported(&["gateways", "statPrefix"]);
        let text = |name: &'static str| f.optional(name).and_then(|field| string_match(&field));
        let uri = text("uri");
        if let (Some(StringMatch::Exact(path) | StringMatch::Prefix(path)), Some(field)) =
            (&uri, f.optional("uri"))
            && !path.starts_with('/')
        {
            field.warn(
                code::NO_EFFECT,
                format!("a path begins with `/`, so `{path}` matches nothing"),
                format!("did you mean `/{path}`?"),
            );
        }
        let ignore_uri_case = f.flag("ignoreUriCase");
        let read = HttpMatchRequest {
            field: f.path(),
            name: f.optional("name").and_then(|field| field.text()).map(Arc::from),
            uri,
            scheme: text("scheme"),
            method: text("method"),
            authority: text("authority"),
            headers: headers(f, "headers"),
            without_headers: headers(f, "withoutHeaders"),
            port: f.optional("port").and_then(|field| field.port()),
            source_labels: source_labels(f.optional("sourceLabels")),
            source_namespace: f
                .optional("sourceNamespace")
                .and_then(|field| field.parse(checks::dns_label))
                .map(Arc::from),
            query_params: query_params(f),
            ignore_uri_case,
        };
        if let Some(StringMatch::Exact(method)) = &read.method
            && method.bytes().any(|byte| byte.is_ascii_lowercase())
            && let Some(field) = f.optional("method")
        {
            field.warn(
                code::NO_EFFECT,
                format!("methods are case-sensitive; `{method}` is none that clients send"),
                format!("did you mean `{}`?", method.to_uppercase()),
            );
        }
        Some(read)
    })
}

fn headers(f: &Fields<'_>, name: &'static str) -> Vec<HeaderCondition> {
    let read = |(key, field): (&str, Field<'_>)| {
        let name = istio::name(&field, key);
        let value = condition(&field);
        Some(HeaderCondition { name: name?, value: value? })
    };
    f.optional(name).map(|field| field.entries().into_iter().filter_map(read).collect()).unwrap_or_default()
}

fn query_params(f: &Fields<'_>) -> Vec<(Arc<str>, ValueCondition)> {
    let read = |(key, field): (&str, Field<'_>)| Some((Arc::from(key), condition(&field)?));
    f.optional("queryParams")
        .map(|field| field.entries().into_iter().filter_map(read).collect())
        .unwrap_or_default()
}

/// `{}` (and nothing) asks for presence only.
fn condition(field: &Field<'_>) -> Option<ValueCondition> {
    match &field.node().value {
        Value::Null => Some(ValueCondition::Present),
        Value::Mapping(entries) if entries.is_empty() => Some(ValueCondition::Present),
        _ => string_match(field).map(ValueCondition::Matches),
    }
}
