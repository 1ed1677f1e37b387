//! Heads of requests and responses: found, tokenised by `httparse`, and then held to what RFC 9112 and 9110 say.
//!
//! A head is looked at only once it is complete, so that how its bytes were split cannot matter, and so that a
//! trickled head costs no more than its length. The search for its end already refuses every LF without a CR.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri, Version};

use super::framing::{BodyLength, take};
use super::{Refusal, target};

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;

/// Envoy's limit on a head, 60 KiB.
pub const DEFAULT_MAX_HEAD: usize = 60 * 1024;
/// Envoy's limit on the number of header fields.
pub const DEFAULT_MAX_HEADERS: usize = 100;
/// Empty lines that are passed over before a request (RFC 9112 section 2.2 says "at least one").
const MAX_EMPTY_LINES: u8 = 4;
/// Fields of a trailer section.
const MAX_TRAILER_FIELDS: usize = 64;

/// How large a head may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head, first line included. Beyond: 431, or 414 when already the first line is.
    pub max_head: usize,
    /// Bytes of the first line. Beyond: 414. As Envoy, there is none of its own by default.
    pub max_first_line: usize,
    /// Header fields. Beyond: 431.
    pub max_headers: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            max_head: DEFAULT_MAX_HEAD,
            max_first_line: DEFAULT_MAX_HEAD,
            max_headers: DEFAULT_MAX_HEADERS,
        }
    }
}

/// A request's head that was accepted.
#[derive(Debug)]
pub struct RequestHead {
    /// Its method.
    pub method: Method,
    /// Its target, in the form it came in.
    pub uri: Uri,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// Its fields as they came, but `Host` is that of an absolute target when there is one.
    pub headers: HeaderMap,
    /// How long its body is.
    pub body: BodyLength,
    /// Whether the client means to send more requests.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether the client takes trailers (`TE: trailers`).
    pub accepts_trailers: bool,
    /// Whether the client would leave HTTP: a valid `Upgrade`, or `CONNECT`.
    pub wants_upgrade: bool,
}

/// A response's head that was accepted.
#[derive(Debug)]
pub struct ResponseHead {
    /// Its status.
    pub status: StatusCode,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// Its fields as they came.
    pub headers: HeaderMap,
    /// How long its body is.
    pub body: BodyLength,
    /// Whether the connection can take another request.
    pub keep_alive: bool,
}

/// How far a buffer was searched for the end of a head.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Scan {
    seen: usize,
    line_start: usize,
    empty_lines: u8,
}

/// Takes a request's head off the front of a buffer; `None` when it is not complete yet.
///
/// # Errors
/// The head is refused; the buffer is of no more use.
pub fn parse_request(buffer: &mut BytesMut, limits: &HeadLimits) -> Result<Option<RequestHead>, Refusal> {
    next_request(buffer, limits, &mut Scan::default())
}

/// Takes a response's head off the front of a buffer; `method` is that of its request.
///
/// # Errors
/// The head is refused; the buffer is of no more use.
pub fn parse_response(
    buffer: &mut BytesMut,
    method: &Method,
    limits: &HeadLimits,
) -> Result<Option<ResponseHead>, Refusal> {
    next_response(buffer, method, limits, &mut Scan::default())
}

/// [`parse_request`] that goes on where the last call on the same bytes stopped.
pub(super) fn next_request(
    buffer: &mut BytesMut,
    limits: &HeadLimits,
    scan: &mut Scan,
) -> Result<Option<RequestHead>, Refusal> {
    skip_empty_lines(buffer, scan)?;
    match buffer.first() {
        None => return Ok(None),
        Some(b'\r') if buffer.len() == 1 => return Ok(None),
        Some(b'\r' | b'\n') => return Err(Refusal::BareLineEnd),
        Some(byte) if !is_token_byte(*byte) => return Err(Refusal::RequestLine),
        Some(_) => {}
    }
    let Some(end) = find_end(buffer, limits, scan, check_request_line)? else { return Ok(None) };
    *scan = Scan::default();
    with_slots(limits, &take(buffer, end), read_request).map(Some)
}

/// [`parse_response`] that goes on where the last call on the same bytes stopped.
pub(super) fn next_response(
    buffer: &mut BytesMut,
    method: &Method,
    limits: &HeadLimits,
    scan: &mut Scan,
) -> Result<Option<ResponseHead>, Refusal> {
    let n = buffer.len().min(5);
    if buffer[..n] != b"HTTP/"[..n] {
        return Err(Refusal::StatusLine);
    }
    let Some(end) = find_end(buffer, limits, scan, |_| Ok(()))? else { return Ok(None) };
    *scan = Scan::default();
    with_slots(limits, &take(buffer, end), |head, slots| read_response(head, method, slots)).map(Some)
}

fn skip_empty_lines(buffer: &mut BytesMut, scan: &mut Scan) -> Result<(), Refusal> {
    while buffer.starts_with(b"\r\n") {
        buffer.advance(2);
        scan.empty_lines += 1;
        if scan.empty_lines > MAX_EMPTY_LINES {
            return Err(Refusal::RequestLine);
        }
    }
    Ok(())
}

/// Where the empty line that ends the head ends.
fn find_end(
    buffer: &[u8],
    limits: &HeadLimits,
    scan: &mut Scan,
    check_first_line: impl Fn(&[u8]) -> Result<(), Refusal>,
) -> Result<Option<usize>, Refusal> {
    let window = &buffer[..buffer.len().min(limits.max_head)];
    for at in memchr::memchr_iter(b'\n', &window[scan.seen..]).map(|at| at + scan.seen) {
        if scan.line_start == 0 && at + 1 > limits.max_first_line {
            return Err(Refusal::RequestLineTooLong);
        }
        if at == scan.line_start || window[at - 1] != b'\r' {
            return Err(Refusal::BareLineEnd);
        }
        if at == scan.line_start + 1 {
            return Ok(Some(at + 1));
        }
        if scan.line_start == 0 {
            check_first_line(&window[..at - 1])?;
        }
        scan.line_start = at + 1;
    }
    scan.seen = window.len();
    if scan.line_start == 0 && window.len() >= limits.max_first_line.min(limits.max_head) {
        return Err(Refusal::RequestLineTooLong);
    }
    if window.len() == limits.max_head { Err(Refusal::HeadersTooLarge) } else { Ok(None) }
}

/// Judges the version as soon as the first line is there: an HTTP/0.9 client would wait for ever for an answer.
fn check_request_line(line: &[u8]) -> Result<(), Refusal> {
    let version = line.rsplit(|b| *b == b' ').next().unwrap_or_default();
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Refusal::Version)
        }
        // Method and target alone are HTTP/0.9.
        _ if line.split(|b| *b == b' ').count() == 2 && line.starts_with(b"GET /") => Err(Refusal::Version),
        _ => Err(Refusal::RequestLine),
    }
}

/// Room for `httparse`'s findings, on the stack when the limit is the usual one.
type Slots<'a, 'h> = &'a mut [MaybeUninit<httparse::Header<'h>>];

fn with_slots<'h, T>(
    limits: &HeadLimits,
    head: &'h Bytes,
    read: impl FnOnce(&'h Bytes, Slots<'_, 'h>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    if limits.max_headers <= DEFAULT_MAX_HEADERS {
        let mut slots = [const { MaybeUninit::uninit() }; DEFAULT_MAX_HEADERS];
        read(head, &mut slots[..limits.max_headers])
    } else {
        let mut slots = Vec::new();
        slots.resize_with(limits.max_headers, MaybeUninit::uninit);
        read(head, &mut slots)
    }
}

fn read_request<'h>(head: &'h Bytes, slots: Slots<'_, 'h>) -> Result<RequestHead, Refusal> {
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, slots) {
        Ok(httparse::Status::Complete(n)) if n == head.len() => {}
        Ok(_) => return Err(Refusal::RequestLine),
        Err(error) => return Err(classify(error, head, Refusal::RequestLine)),
    }
    let (Some(method), Some(path), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Refusal::RequestLine);
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Refusal::Method)?;
    let uri = target::parse(&method, head.slice_ref(path.as_bytes()))?;
    let version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut headers = header_map(head, parsed.headers, ADDED_TO_REQUESTS)?;
    target::settle_host(&uri, version, &mut headers)?;
    let body = BodyLength::of_request(version, &headers)?;
    if method == Method::CONNECT && body != BodyLength::Exact(0) {
        return Err(Refusal::BodyNotAllowed);
    }
    let connection = ConnectionOptions::of(&headers);
    let modern = version == Version::HTTP_11;
    Ok(RequestHead {
        keep_alive: connection.keeps_alive(modern),
        expects_continue: modern
            && body != BodyLength::Exact(0)
            && headers
                .get(header::EXPECT)
                .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue")),
        accepts_trailers: modern && has_token(&headers, &header::TE, b"trailers"),
        wants_upgrade: modern
            && (method == Method::CONNECT || (connection.upgrade && headers.contains_key(header::UPGRADE))),
        method,
        uri,
        version,
        headers,
        body,
    })
}

fn read_response<'h>(
    head: &'h Bytes,
    method: &Method,
    slots: Slots<'_, 'h>,
) -> Result<ResponseHead, Refusal> {
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, head, slots) {
        Ok(httparse::Status::Complete(n)) if n == head.len() => {}
        Ok(_) => return Err(Refusal::StatusLine),
        Err(error) => return Err(classify(error, head, Refusal::StatusLine)),
    }
    let (Some(code), Some(minor)) = (parsed.code, parsed.version) else { return Err(Refusal::StatusLine) };
    let status = StatusCode::from_u16(code).map_err(|_| Refusal::StatusLine)?;
    let version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let headers = header_map(head, parsed.headers, ADDED_TO_RESPONSES)?;
    let body = BodyLength::of_response(method, status, version, &headers)?;
    let connection = ConnectionOptions::of(&headers);
    let keep_alive = connection.keeps_alive(version == Version::HTTP_11) && body != BodyLength::UntilClose;
    Ok(ResponseHead { status, version, headers, body, keep_alive })
}

/// Fields that this proxy adds on the way (request id, scheme, attempt; service time), for which there is to be room: a
/// map that grows is built anew.
const ADDED_TO_REQUESTS: usize = 3;
const ADDED_TO_RESPONSES: usize = 1;

/// Slices of the head instead of copies; the `http` crate checks them once more.
fn header_map(head: &Bytes, fields: &[httparse::Header<'_>], added: usize) -> Result<HeaderMap, Refusal> {
    let mut headers = HeaderMap::with_capacity(fields.len() + added);
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Refusal::HeaderName)?;
        let value =
            HeaderValue::from_maybe_shared(head.slice_ref(field.value)).map_err(|_| Refusal::HeaderValue)?;
        headers.try_append(name, value).map_err(|_| Refusal::TooManyHeaders)?;
    }
    Ok(headers)
}

/// The fields after a chunked body, without those that must not stand there. `section` ends in an empty line.
pub(super) fn parse_trailers(section: &Bytes) -> Result<HeaderMap, Refusal> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    let fields = match httparse::parse_headers(section, &mut slots) {
        Ok(httparse::Status::Complete((n, fields))) if n == section.len() => fields,
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TrailersTooLarge),
        _ => return Err(Refusal::Trailers),
    };
    let mut trailers = header_map(section, fields, 0).map_err(|_| Refusal::Trailers)?;
    for name in &FORBIDDEN_TRAILERS {
        trailers.remove(name);
    }
    Ok(trailers)
}

/// Fields that frame, route, authenticate, or change how a message is read: RFC 9110 section 6.5.1.
static FORBIDDEN_TRAILERS: [HeaderName; 32] = [
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TRAILER,
    header::CONNECTION,
    header::TE,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
    header::CONTENT_RANGE,
    header::CACHE_CONTROL,
    header::EXPECT,
    header::MAX_FORWARDS,
    header::PRAGMA,
    header::RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::WWW_AUTHENTICATE,
    header::COOKIE,
    header::SET_COOKIE,
    header::AGE,
    header::LOCATION,
    header::RETRY_AFTER,
    header::VARY,
];

/// Names what `httparse` stumbled over. Only run on heads that are refused.
fn classify(error: httparse::Error, head: &[u8], first_line: Refusal) -> Refusal {
    if head.iter().enumerate().any(|(i, b)| *b == b'\r' && head.get(i + 1) != Some(&b'\n')) {
        return Refusal::BareLineEnd;
    }
    match error {
        httparse::Error::TooManyHeaders => Refusal::TooManyHeaders,
        httparse::Error::HeaderName | httparse::Error::HeaderValue
            if head.windows(2).any(|w| w == b"\n " || w == b"\n\t") =>
        {
            Refusal::ObsoleteFold
        }
        httparse::Error::HeaderName => Refusal::HeaderName,
        httparse::Error::HeaderValue => Refusal::HeaderValue,
        httparse::Error::Version if first_line == Refusal::StatusLine => Refusal::Version,
        httparse::Error::NewLine
        | httparse::Error::Status
        | httparse::Error::Token
        | httparse::Error::Version => first_line,
    }
}

/// What `Connection` says of the connection itself. RFC 9110 section 7.6.1.
struct ConnectionOptions {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
}

impl ConnectionOptions {
    fn of(headers: &HeaderMap) -> Self {
        let mut options = Self { close: false, keep_alive: false, upgrade: false };
        for token in tokens(headers, &header::CONNECTION) {
            options.close |= token.eq_ignore_ascii_case(b"close");
            options.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            options.upgrade |= token.eq_ignore_ascii_case(b"upgrade");
        }
        options
    }

    /// RFC 9112 section 9.3.
    fn keeps_alive(&self, modern: bool) -> bool {
        !self.close && (modern || self.keep_alive)
    }
}

/// The members of a comma-separated field, over all its lines.
pub(super) fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// Whether a list has a member.
pub(super) fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &[u8]) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
