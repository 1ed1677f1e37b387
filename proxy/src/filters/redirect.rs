//! Tells the client to go elsewhere. Semantics are Gateway API's `HTTPRequestRedirectFilter` and Envoy's
//! `RedirectAction`: what is not named is the request's.

use http::{HeaderValue, Response, StatusCode, header};
use weft_model::matcher::PathMatch;
use weft_model::route::Redirect;

use super::rewrite;
use crate::body::Body;

#[cfg(test)]
#[path = "redirect_tests.rs"]
mod tests;

/// The answer to a request that came by `scheme` to `authority`.
#[must_use]
pub fn answer(
    redirect: &Redirect,
    matches: &PathMatch,
    scheme: &str,
    authority: &str,
    path_and_query: &str,
) -> Response<Body> {
    let location = location(redirect, matches, scheme, authority, path_and_query);
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND);
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn location(
    redirect: &Redirect,
    matches: &PathMatch,
    scheme: &str,
    authority: &str,
    path_and_query: &str,
) -> String {
    let (request_host, request_port) = split_port(authority);
    let host = redirect.host.as_deref().unwrap_or(request_host);
    let new_scheme = redirect.scheme.as_deref().unwrap_or(scheme);
    let port = match redirect.port {
        Some(port) => Some(port),
        // Another scheme, or another host, has its own port.
        None if redirect.scheme.is_some() || redirect.host.is_some() => None,
        None => request_port,
    };
    let well_known = if new_scheme == "https" { 443 } else { 80 };
    let port = port.filter(|port| *port != well_known).map(|port| format!(":{port}")).unwrap_or_default();
    let path = match &redirect.path {
        Some(rewrite) => rewrite::rewritten(rewrite, matches, path_and_query),
        None => path_and_query.to_owned(),
    };
    let path = match redirect.strip_query {
        true => path.split('?').next().unwrap_or_default(),
        false => &path,
    };
    format!("{new_scheme}://{host}{port}{path}")
}

/// Host and port of an authority; an IPv6 address keeps its brackets.
#[must_use]
pub fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (authority, None),
        },
        _ => (authority, None),
    }
}
