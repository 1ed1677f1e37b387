//! One rule for HTTP requests.

use super::actions::{direct_response, fault, headers, redirect, retries, rewrite};
use super::matches::match_request;
use super::parse::{destination, weight_of, weights};
use super::{Headers, HttpAction, HttpRouteDestination, HttpRule};
use crate::source::diagnostic::code;
use crate::source::fields::{Field, Fields};
use crate::source::kinds::istio;

pub(super) fn rule(item: &Field<'_>) -> Option<HttpRule> {
    item.message(|f| {
        f.unsupported(&[
            "corsPolicy",
            "delegate",
            "mirror",
            "mirrors",
            "mirrorPercent",
            "mirrorPercentage",
            "mirror_percent",
            "websocketUpgrade",
        ]);
        let name = f.optional("name").and_then(|field| field.text());
        let matches = f.each("match", match_request);
        let action = action(f);
        let rewrite = f.optional("rewrite").map(|field| rewrite(&field, &matches));
        let timeout = f.optional("timeout").map(|field| istio::duration_or_zero(&field));
        let retries = f.optional("retries").map(|field| retries(&field));
        let fault = f.optional("fault").map(|field| fault(&field));
        let headers = f.optional("headers").map_or_else(|| Some(Headers::default()), |field| headers(&field));
        if let Some(HttpAction::Redirect(_) | HttpAction::DirectResponse(_)) = action {
            for extra in ["rewrite", "timeout", "retries"] {
                if f.has(extra) {
                    let message = format!("`{extra}` goes with `route` only");
                    f.here().refuse(code::CONFLICTING_FIELDS, message, format!("remove `{extra}`"));
                }
            }
        }
        Some(HttpRule {
            field: f.path(),
            name: name.map(Into::into),
            matches,
            action: action?,
            rewrite: flat(rewrite)?,
            // Zero is no limit, as when the field is absent.
            timeout: flat(timeout)?.filter(|timeout| !timeout.is_zero()),
            retries: flat(retries)?,
            fault: flat(fault)?,
            headers: headers?,
        })
    })
}

/// Absent is fine, refused is not.
#[expect(clippy::option_option, reason = "an optional part that may have been refused")]
fn flat<T>(part: Option<Option<T>>) -> Option<Option<T>> {
    match part {
        None => Some(None),
        Some(None) => None,
        Some(read) => Some(read),
    }
}

fn action(f: &Fields<'_>) -> Option<HttpAction> {
    f.exclusive(&["route", "redirect", "directResponse"]);
    let route = f.optional("route");
    let redirect_field = f.optional("redirect");
    let direct = f.optional("directResponse");
    if let Some(field) = redirect_field {
        return redirect(&field).map(HttpAction::Redirect);
    }
    if let Some(field) = direct {
        return direct_response(&field).map(HttpAction::DirectResponse);
    }
    let Some(route) = route else {
        if !f.has("delegate") {
            f.here().refuse(
                code::MISSING_FIELD,
                "the rule does nothing",
                "add `route`, `redirect` or `directResponse`",
            );
        }
        return None;
    };
    let items = route.items();
    if items.is_empty() {
        route.invalid("`route` must have at least one destination", "");
    }
    let read = |item: &Field<'_>| {
        item.message(|f| {
            let weight = f.optional("weight").and_then(|field| field.count());
            let destination = f.required("destination").and_then(|field| destination(&field));
            let headers =
                f.optional("headers").map_or_else(|| Some(Headers::default()), |field| headers(&field));
            Some((
                weight,
                HttpRouteDestination {
                    field: f.path(),
                    destination: destination?,
                    weight: weight_of(weight, items.len()),
                    headers: headers?,
                },
            ))
        })
    };
    let (given, destinations): (Vec<_>, Vec<_>) = items.iter().filter_map(read).unzip();
    if destinations.len() == items.len() {
        weights(&items, &given);
    }
    (!destinations.is_empty()).then_some(HttpAction::Route(destinations))
}
