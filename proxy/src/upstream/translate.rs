//! The head of a request in the words of the protocol it leaves by.
//!
//! RFC 9113 section 8.2.2 (fields that HTTP/2 must not carry) and 8.3.1 (pseudo-fields), 8.2.3 (cookies).

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Uri, Version};

#[cfg(test)]
#[path = "translate_tests.rs"]
mod tests;

/// A copy of the head for HTTP/2: `:authority` from the URI, else from `Host`, which does not travel itself. None when
/// there is no valid authority.
pub(crate) fn http2_head<B>(request: &Request<B>) -> Option<Request<()>> {
    let from_host = |headers: &HeaderMap| {
        let host = headers.get(header::HOST)?;
        Authority::from_maybe_shared(Bytes::copy_from_slice(host.as_bytes())).ok()
    };
    let uri = request.uri();
    let authority = uri.authority().cloned().or_else(|| from_host(request.headers()))?;
    let mut parts = http::uri::Parts::default();
    parts.authority = Some(authority);
    if request.method() != http::Method::CONNECT {
        parts.scheme = Some(uri.scheme().cloned().unwrap_or(Scheme::HTTP));
        parts.path_and_query =
            Some(uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    }
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = Uri::from_parts(parts).ok()?;
    *head.version_mut() = Version::HTTP_2;
    *head.headers_mut() = request.headers().clone();
    let headers = head.headers_mut();
    for name in [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        headers.remove(name);
    }
    // The body's own length is known better than the header's when filters changed it; h2 checks what is said.
    Some(head)
}

/// HTTP/2 may split cookies over several fields; HTTP/1 servers expect one (RFC 9113, 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let parts: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}
