//! Filters of rules and backends.

use http::{HeaderName, HeaderValue, StatusCode};

use super::parse::hostname;
use super::{HttpRouteFilter, HttpRouteMatch, PathMatch, PathModifier, RequestRedirect, Scheme, UrlRewrite};
use crate::source::checks;
use crate::source::diagnostic::code;
use crate::source::fields::{Field, Fields, Problem};
use crate::source::words::{HeaderChanges, Host};

/// `type` of a filter.
#[derive(Clone, Copy, PartialEq)]
enum Type {
    RequestHeaders,
    ResponseHeaders,
    Redirect,
    Rewrite,
    Unsupported(&'static str),
}

const TYPES: &[(&str, Type)] = &[
    ("RequestHeaderModifier", Type::RequestHeaders),
    ("ResponseHeaderModifier", Type::ResponseHeaders),
    ("RequestRedirect", Type::Redirect),
    ("URLRewrite", Type::Rewrite),
    ("RequestMirror", Type::Unsupported("RequestMirror")),
    ("CORS", Type::Unsupported("CORS")),
    ("ExternalAuth", Type::Unsupported("ExternalAuth")),
    ("ExtensionRef", Type::Unsupported("ExtensionRef")),
];

/// All filters of a rule or backend; `matches` are those of the rule.
pub(super) fn filters(field: &Field<'_>, matches: &[HttpRouteMatch]) -> Vec<HttpRouteFilter> {
    let items = field.items_up_to(16);
    let filters: Vec<_> = items.iter().filter_map(|item| filter(item, matches)).collect();
    let count = |is: fn(&HttpRouteFilter) -> bool| filters.iter().filter(|filter| is(filter)).count();
    for (name, count) in [
        ("RequestHeaderModifier", count(|f| matches!(f, HttpRouteFilter::RequestHeaderModifier(_)))),
        ("ResponseHeaderModifier", count(|f| matches!(f, HttpRouteFilter::ResponseHeaderModifier(_)))),
        ("RequestRedirect", count(|f| matches!(f, HttpRouteFilter::RequestRedirect(_)))),
        ("URLRewrite", count(|f| matches!(f, HttpRouteFilter::UrlRewrite(_)))),
    ] {
        if count > 1 {
            field.invalid(
                format!("the filter {name} stands {count} times"),
                "put all of its changes into one",
            );
        }
    }
    let redirect = count(|f| matches!(f, HttpRouteFilter::RequestRedirect(_))) > 0;
    if redirect && count(|f| matches!(f, HttpRouteFilter::UrlRewrite(_))) > 0 {
        field.refuse(
            code::CONFLICTING_FIELDS,
            "RequestRedirect and URLRewrite exclude each other",
            "keep one",
        );
    }
    filters
}

fn filter(item: &Field<'_>, matches: &[HttpRouteMatch]) -> Option<HttpRouteFilter> {
    item.message(|f| {
        let others = ["requestMirror", "cors", "externalAuth", "extensionRef"];
        let place = f.required("type");
        let kind = place.as_ref().and_then(|field| field.choice(TYPES));
        // Of an unsupported type the type is refused, which is enough.
        if matches!(kind, Some(Type::Unsupported(_))) {
            f.ignored(&others)
        } else {
            f.unsupported(&others)
        }
        let request = f.optional("requestHeaderModifier");
        let response = f.optional("responseHeaderModifier");
        let redirect_field = f.optional("requestRedirect");
        let rewrite_field = f.optional("urlRewrite");
        for (name, field, own) in [
            ("requestHeaderModifier", &request, Type::RequestHeaders),
            ("responseHeaderModifier", &response, Type::ResponseHeaders),
            ("requestRedirect", &redirect_field, Type::Redirect),
            ("urlRewrite", &rewrite_field, Type::Rewrite),
        ] {
            match (kind, field) {
                (Some(kind), Some(field)) if kind != own => {
                    field.refuse(
                        code::CONFLICTING_FIELDS,
                        format!("`{name}` does not go with the `type` of the filter"),
                        "there is one field a type, of the same name",
                    );
                }
                (Some(kind), None) if kind == own => {
                    f.here().refuse(
                        code::MISSING_FIELD,
                        format!("`{name}` is missing"),
                        "the `type` of the filter asks for it",
                    );
                }
                _ => {}
            }
        }
        match kind? {
            Type::RequestHeaders => header_changes(&request?).map(HttpRouteFilter::RequestHeaderModifier),
            Type::ResponseHeaders => header_changes(&response?).map(HttpRouteFilter::ResponseHeaderModifier),
            Type::Redirect => redirect(&redirect_field?, matches).map(HttpRouteFilter::RequestRedirect),
            Type::Rewrite => rewrite(&rewrite_field?, matches).map(HttpRouteFilter::UrlRewrite),
            Type::Unsupported(name) => {
                place?.unsupported(format_args!("the filter {name}"), "");
                None
            }
        }
    })
}

fn header_changes(field: &Field<'_>) -> Option<HeaderChanges> {
    let pair = |item: &Field<'_>| -> Option<(HeaderName, HeaderValue)> {
        item.message(|f| {
            let name = f.required("name").and_then(|field| field.parse(checks::header_name));
            let value = f.required("value").and_then(|field| field.parse(checks::header_value));
            Some((name?, value?))
        })
    };
    field.message(|f| {
        let changes = HeaderChanges {
            set: f.each("set", pair),
            add: f.each("add", pair),
            remove: f.each("remove", |item| item.parse(checks::header_name)),
        };
        let names: Vec<_> =
            changes.set.iter().chain(&changes.add).map(|(name, _)| name).chain(&changes.remove).collect();
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                f.here().invalid(
                    format!("the header `{name}` is changed twice"),
                    "a name may stand once in `set`, `add` and `remove` together",
                );
            }
        }
        Some(changes)
    })
}

/// A name that is no wildcard.
fn precise(text: &str) -> Result<Host, Problem> {
    hostname(text)?;
    checks::plain_host(text)
}

fn redirect(field: &Field<'_>, matches: &[HttpRouteMatch]) -> Option<RequestRedirect> {
    field.message(|f| {
        let scheme = f
            .optional("scheme")
            .and_then(|field| field.choice(&[("http", Scheme::Http), ("https", Scheme::Https)]));
        let hostname = f.optional("hostname").and_then(|field| field.parse(precise));
        let path = f.optional("path").and_then(|field| path_modifier(&field, matches));
        let port = f.optional("port").and_then(|field| field.port());
        let status = match f.optional("statusCode") {
            None => Some(StatusCode::FOUND),
            Some(field) => match field.integer::<u16>(300..=399) {
                Some(status @ (301 | 302 | 303 | 307 | 308)) => StatusCode::from_u16(status).ok(),
                Some(status) => {
                    field.invalid(
                        format!("{status} is no status of a redirect"),
                        "one of 301, 302, 303, 307, 308",
                    );
                    None
                }
                None => None,
            },
        };
        Some(RequestRedirect { scheme, hostname, path, port, status: status? })
    })
}

fn rewrite(field: &Field<'_>, matches: &[HttpRouteMatch]) -> Option<UrlRewrite> {
    field.message(|f| {
        let hostname = f.optional("hostname").and_then(|field| field.parse(precise));
        let path = f.optional("path").and_then(|field| path_modifier(&field, matches));
        Some(UrlRewrite { hostname, path })
    })
}

fn path_modifier(field: &Field<'_>, matches: &[HttpRouteMatch]) -> Option<PathModifier> {
    field.message(|f: &Fields<'_>| {
        let prefix = f
            .required("type")
            .and_then(|field| field.choice(&[("ReplaceFullPath", false), ("ReplacePrefixMatch", true)]));
        f.exclusive(&["replaceFullPath", "replacePrefixMatch"]);
        let full_path = f.optional("replaceFullPath");
        let prefix_match = f.optional("replacePrefixMatch");
        let (name, value) =
            if prefix? { ("replacePrefixMatch", prefix_match) } else { ("replaceFullPath", full_path) };
        let Some(value) = value else {
            f.here().refuse(code::MISSING_FIELD, format!("`{name}` is missing"), "the `type` asks for it");
            return None;
        };
        let text = value.text()?;
        if prefix? {
            if !matches!(matches, [HttpRouteMatch { path: PathMatch::PathPrefix(_), .. }]) {
                f.here().invalid(
                    "ReplacePrefixMatch needs a rule with exactly one match, of type PathPrefix",
                    "split the rule, or use ReplaceFullPath",
                );
            }
            Some(PathModifier::ReplacePrefixMatch(text.into()))
        } else {
            Some(PathModifier::ReplaceFullPath(text.into()))
        }
    })
}
