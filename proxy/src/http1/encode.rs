//! Heads as they leave. Framing fields and `Connection` are always written anew here: whatever a header map says of
//! them is left out, so that a copied header can never frame a message.

use std::cell::RefCell;
use std::io::Write;
use std::time::SystemTime;

use bytes::{BufMut, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode};

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;

/// How a body is framed on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    /// No body, and no field that speaks of one.
    Absent,
    /// No body, but the length it would have: `HEAD` and `304`.
    Announced(Option<u64>),
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Until the connection closes.
    UntilClose,
}

/// What is said of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ConnectionField {
    /// Nothing: the version's default holds.
    None,
    /// It closes after this message.
    Close,
    /// It stays, though the client speaks HTTP/1.0.
    KeepAlive,
    /// It changes its protocol.
    Upgrade,
}

/// Writes a response's head. `date` adds `Date` when it is missing (RFC 9110 section 6.6.1).
pub(super) fn response_head(
    out: &mut BytesMut,
    status: StatusCode,
    headers: &HeaderMap,
    framing: Framing,
    connection: ConnectionField,
    date: bool,
) {
    out.reserve(64 + headers_size(headers));
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(status.canonical_reason().unwrap_or("").as_bytes());
    out.put_slice(b"\r\n");
    let mut has_date = !date;
    for (name, value) in headers {
        if !is_framing(name) && (*name != header::UPGRADE || connection == ConnectionField::Upgrade) {
            has_date |= *name == header::DATE;
            field(out, name, value);
        }
    }
    if !has_date {
        put_date(out);
    }
    framing_field(out, framing);
    connection_field(out, connection, false);
    out.put_slice(b"\r\n");
}

/// Writes a request's head. The target is in origin form whatever form the URI has, but for `CONNECT` and `*`;
/// `Host` comes first (RFC 9110 section 7.2) and is the URI's authority when no field says otherwise.
pub(super) fn request_head<B>(
    out: &mut BytesMut,
    request: &Request<B>,
    framing: Framing,
    connection: ConnectionField,
) {
    let (headers, uri) = (request.headers(), request.uri());
    out.reserve(128 + uri.path().len() + headers_size(headers));
    out.put_slice(request.method().as_str().as_bytes());
    out.put_slice(b" ");
    if *request.method() == Method::CONNECT {
        out.put_slice(uri.authority().map_or("", http::uri::Authority::as_str).as_bytes());
    } else {
        // An absolute URI may have no path (`http://host`, `http://host?query`).
        let target = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        if *request.method() == Method::OPTIONS
            && uri.authority().is_some()
            && uri.path() == "/"
            && target == "/"
        {
            out.put_slice(options_target(uri));
        } else {
            if target.starts_with('?') {
                out.put_slice(b"/");
            }
            out.put_slice(target.as_bytes());
        }
    }
    out.put_slice(b" HTTP/1.1\r\nhost: ");
    match headers.get(header::HOST) {
        Some(host) => out.put_slice(host.as_bytes()),
        None => {
            // Without user info, which must not travel: RFC 9110 section 4.2.4.
            let authority = uri.authority().map_or("", http::uri::Authority::as_str);
            out.put_slice(authority.rsplit('@').next().unwrap_or("").as_bytes());
        }
    }
    out.put_slice(b"\r\n");
    let mut cookie = false;
    for (name, value) in headers {
        if is_framing(name) || *name == header::HOST || *name == header::TE {
            continue;
        }
        if *name == header::UPGRADE && connection != ConnectionField::Upgrade {
            continue;
        }
        if *name == header::COOKIE {
            // HTTP/2 may split the cookies, HTTP/1 must not: RFC 9113 section 8.2.3.
            if !std::mem::replace(&mut cookie, true) {
                cookies(out, headers);
            }
            continue;
        }
        field(out, name, value);
    }
    framing_field(out, framing);
    let trailers = super::head::has_token(headers, &header::TE, b"trailers");
    if trailers {
        out.put_slice(b"te: trailers\r\n");
    }
    connection_field(out, connection, trailers);
    out.put_slice(b"\r\n");
}

/// `OPTIONS http://host` without a path means `*`: RFC 9112 section 3.2.4. The `http` crate shows an empty path as
/// `/`, so the difference is read off the text.
fn options_target(uri: &http::Uri) -> &'static [u8] {
    if uri.to_string().ends_with('/') { b"/" } else { b"*" }
}

/// Writes trailers, after the last chunk's size line, and the empty line.
pub(super) fn trailers(out: &mut BytesMut, trailers: &HeaderMap) {
    for (name, value) in trailers {
        if !is_framing(name) && *name != header::HOST && *name != header::TRAILER {
            field(out, name, value);
        }
    }
    out.put_slice(b"\r\n");
}

/// Writes a chunk's size line.
pub(super) fn chunk_size(out: &mut BytesMut, size: usize) {
    // Writing into memory cannot fail.
    let _ = write!(out.writer(), "{size:x}\r\n");
}

fn headers_size(headers: &HeaderMap) -> usize {
    // Not exact: enough that the buffer grows at most once more.
    headers.len() * 48 + 128
}

fn field(out: &mut BytesMut, name: &HeaderName, value: &HeaderValue) {
    out.reserve(name.as_str().len() + value.len() + 4);
    out.put_slice(name.as_str().as_bytes());
    out.put_slice(b": ");
    out.put_slice(value.as_bytes());
    out.put_slice(b"\r\n");
}

fn cookies(out: &mut BytesMut, headers: &HeaderMap) {
    let mut separator: &[u8] = b"cookie: ";
    for value in headers.get_all(header::COOKIE) {
        out.reserve(value.len() + 10);
        out.put_slice(separator);
        out.put_slice(value.as_bytes());
        separator = b"; ";
    }
    out.put_slice(b"\r\n");
}

fn is_framing(name: &HeaderName) -> bool {
    *name == header::CONTENT_LENGTH
        || *name == header::TRANSFER_ENCODING
        || *name == header::CONNECTION
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

fn framing_field(out: &mut BytesMut, framing: Framing) {
    match framing {
        Framing::Length(n) | Framing::Announced(Some(n)) => {
            out.put_slice(b"content-length: ");
            put_number(out, n);
            out.put_slice(b"\r\n");
        }
        Framing::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Absent | Framing::Announced(None) | Framing::UntilClose => {}
    }
}

/// In decimal digits; nearly every message has a length, and formatting it by the standard library costs several times
/// as much.
fn put_number(out: &mut BytesMut, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[first..]);
}

fn connection_field(out: &mut BytesMut, connection: ConnectionField, te: bool) {
    // `TE` must be named in `Connection`: RFC 9110 section 10.1.4.
    let line: &[u8] = match (connection, te) {
        (ConnectionField::None, false) => b"",
        (ConnectionField::None, true) => b"connection: te\r\n",
        (ConnectionField::Close, false) => b"connection: close\r\n",
        (ConnectionField::Close, true) => b"connection: close, te\r\n",
        (ConnectionField::KeepAlive, _) => b"connection: keep-alive\r\n",
        (ConnectionField::Upgrade, false) => b"connection: upgrade\r\n",
        (ConnectionField::Upgrade, true) => b"connection: upgrade, te\r\n",
    };
    out.put_slice(line);
}

/// The `Date` line, formatted once a second.
fn put_date(out: &mut BytesMut) {
    thread_local! {
        static LINE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_secs());
    LINE.with_borrow_mut(|(second, line)| {
        if *second != now || line.is_empty() {
            let timestamp = jiff::Timestamp::from_second(i64::try_from(now).unwrap_or(0)).unwrap_or_default();
            *line = format!("date: {}\r\n", timestamp.strftime("%a, %d %b %Y %H:%M:%S GMT"));
            *second = now;
        }
        out.put_slice(line.as_bytes());
    });
}
