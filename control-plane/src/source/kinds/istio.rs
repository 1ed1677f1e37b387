//! Parts that several of Istio's kinds share.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::source::checks;
use crate::source::fields::{Field, Fields, Problem};
use crate::source::words::{ExportTo, HeaderChanges, Labels, Percentage, Port, StringMatch};

/// The shortest duration that Istio takes where zero has no meaning.
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

/// A duration of at least a millisecond.
pub(super) fn duration(field: &Field<'_>) -> Option<Duration> {
    field.duration(checks::go_duration, MILLISECOND)
}

/// A duration where zero switches something off.
pub(super) fn duration_or_zero(field: &Field<'_>) -> Option<Duration> {
    field.duration(checks::go_duration, Duration::ZERO)
}

/// `StringMatch`: one of exact, prefix and regex.
pub(super) fn string_match(field: &Field<'_>) -> Option<StringMatch> {
    field.message(|f| {
        f.exclusive(&["exact", "prefix", "regex"]);
        let exact = f.optional("exact");
        let prefix = f.optional("prefix");
        let regex = f.optional("regex");
        if let Some(exact) = exact {
            return exact.text().map(|text| StringMatch::Exact(text.into()));
        }
        if let Some(prefix) = prefix {
            return prefix.nonempty().map(|text| StringMatch::Prefix(text.into()));
        }
        match regex {
            Some(regex) => regex.parse(checks::pattern).map(StringMatch::Regex),
            None => {
                f.here().invalid("one of `exact`, `prefix` and `regex` is needed", "such as `exact: VALUE`");
                None
            }
        }
    })
}

/// `exportTo`.
pub(super) fn export_to(f: &Fields<'_>, namespace: &str) -> ExportTo {
    let Some(field) = f.optional("exportTo") else { return ExportTo::All };
    let items = field.items();
    if items.is_empty() {
        return ExportTo::All;
    }
    let mut names: Vec<Arc<str>> = Vec::new();
    let mut all = false;
    for item in &items {
        match item.text() {
            Some("*") => all = true,
            Some(".") => names.push(namespace.into()),
            Some("~") if items.len() > 1 => item.invalid("`~` excludes all other values", "keep one"),
            Some("~") | None => {}
            Some(_) => names.extend(item.parse(checks::dns_label).map(Arc::from)),
        }
    }
    if all && items.len() > 1 {
        field.invalid("`*` excludes all other values", "keep `*` only, or remove it");
    }
    if all { ExportTo::All } else { ExportTo::Namespaces(names) }
}

/// `set`, `add` and `remove` of one direction.
pub(super) fn header_operations(field: &Field<'_>) -> Option<HeaderChanges> {
    let pairs = |field: Field<'_>| -> Vec<(HeaderName, HeaderValue)> {
        let pair =
            |(key, value): (&str, Field<'_>)| Some((name(&value, key)?, value.parse(checks::header_value)?));
        field.entries().into_iter().filter_map(pair).collect()
    };
    field.message(|f| {
        Some(HeaderChanges {
            set: f.optional("set").map(pairs).unwrap_or_default(),
            add: f.optional("add").map(pairs).unwrap_or_default(),
            remove: f.each("remove", |item| item.parse(checks::header_name)),
        })
    })
}

/// `{number: PORT}`.
pub(super) fn port_selector(field: &Field<'_>) -> Option<Port> {
    field.message_such_as("write `port: {number: 80}`", |f| f.required("number")?.port())
}

/// The header that a key names.
pub(super) fn name(field: &Field<'_>, key: &str) -> Option<HeaderName> {
    match checks::header_name(key) {
        Ok(name) => Some(name),
        Err(Problem { message, hint }) => {
            field.invalid(message, hint);
            None
        }
    }
}

/// `percentage: {value: 0..100}`.
pub(super) fn percentage(field: &Field<'_>) -> Option<Percentage> {
    field.message_such_as("write `percentage: {value: 10}`", |f| match f.optional("value") {
        Some(value) => Percentage::new(value.number(0.0..=100.0)?),
        None => Some(Percentage::default()),
    })
}

/// `matchLabels` of a `workloadSelector` or `selector`.
pub(super) fn selector(field: &Field<'_>, name: &'static str) -> Option<Labels> {
    field.message(|f| Some(f.optional(name).map(|labels| checks::labels(&labels)).unwrap_or_default()))
}
