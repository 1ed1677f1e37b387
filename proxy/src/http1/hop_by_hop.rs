//! Fields that belong to one connection and must not travel on: RFC 9110 section 7.6.1.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::head::{has_token, tokens};

#[cfg(test)]
#[path = "hop_by_hop_tests.rs"]
mod tests;

pub(super) const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// The protocol a request asks to change to, when it is one that can be tunnelled. Not `h2c`: HTTP/2 inside a tunnel
/// would pass by every rule.
#[must_use]
pub fn upgrade_requested(headers: &HeaderMap) -> Option<&HeaderValue> {
    let upgrade = headers.get(header::UPGRADE)?;
    let tunnels = has_token(headers, &header::CONNECTION, b"upgrade")
        && !tokens(headers, &header::UPGRADE).any(|token| {
            token.eq_ignore_ascii_case(b"h2c")
                || token.len() >= 5 && token[..5].eq_ignore_ascii_case(b"http/")
        });
    tunnels.then_some(upgrade)
}

/// Removes from a request what must not travel on. `TE: trailers` stays, for whoever forwards it can speak for
/// itself; `Upgrade` stays when `keep_upgrade`, and the codec then writes `Connection: upgrade` anew.
///
/// Call it before the proxy adds fields of its own: a client can name any field in `Connection`, though not `Host`,
/// the framing fields, or those that say who the client is.
pub fn strip_request(headers: &mut HeaderMap, keep_upgrade: bool) {
    if !headers.keys().any(is_hop_by_hop) {
        return;
    }
    if headers.contains_key(header::TE) {
        let trailers = has_token(headers, &header::TE, b"trailers");
        headers.remove(header::TE);
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
    strip(headers, keep_upgrade);
}

/// Removes from a response what must not travel on; `Upgrade` stays when `keep_upgrade`.
pub fn strip_response(headers: &mut HeaderMap, keep_upgrade: bool) {
    if headers.keys().any(is_hop_by_hop) {
        strip(headers, keep_upgrade);
    }
}

/// One look over the few fields of a message costs less than asking the map for each of these names, and mostly
/// there is none of them.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    match name.as_str().len() {
        2 => *name == header::TE,
        7 => *name == header::UPGRADE,
        10 => *name == header::CONNECTION || *name == KEEP_ALIVE,
        16 => *name == PROXY_CONNECTION,
        17 => *name == header::TRANSFER_ENCODING,
        _ => false,
    }
}

fn strip(headers: &mut HeaderMap, keep_upgrade: bool) {
    if headers.contains_key(header::CONNECTION) {
        strip_named(headers);
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    if !keep_upgrade {
        headers.remove(header::UPGRADE);
    }
}

fn strip_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
        .filter(|token| {
            // By far the most common ones name no field to remove.
            ![&b"close"[..], b"keep-alive", b"upgrade", b"te"]
                .iter()
                .any(|common| token.eq_ignore_ascii_case(common))
        })
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| !is_for_all(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
    headers.remove(header::CONNECTION);
}

/// Fields that are meant for every recipient, so that naming them in `Connection` is an attack.
fn is_for_all(name: &HeaderName) -> bool {
    [header::HOST, header::CONTENT_LENGTH, header::AUTHORIZATION, header::FORWARDED, header::VIA]
        .contains(name)
        || name.as_str().starts_with("x-forwarded-")
        || name.as_str().starts_with("x-envoy-")
        || matches!(name.as_str(), "x-real-ip" | "x-request-id" | "traceparent" | "tracestate")
}
