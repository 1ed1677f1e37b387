//! The request target's four forms (RFC 9112 section 3.2) and `Host` (RFC 9110 section 7.2).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};

use super::Refusal;

/// Reads the target in the form its method allows.
///
/// Origin form for all but `CONNECT`, absolute form with http or https, authority form for `CONNECT` only, `*` for
/// `OPTIONS` only. A backslash in the path, `#` and bytes beyond ASCII are refused: hops disagree on what they mean. So are `<`, `>`,
/// and a bare quote in the query, which the `http` crate does not hold; browsers encode all of these.
pub(super) fn parse(method: &Method, target: Bytes) -> Result<Uri, Refusal> {
    let path_end = target.iter().position(|b| *b == b'?').unwrap_or(target.len());
    if target.iter().any(|b| !(0x21..=0x7e).contains(b) || *b == b'#') || target[..path_end].contains(&b'\\')
    {
        return Err(Refusal::Target);
    }
    if method == Method::CONNECT {
        let has_port =
            target.iter().rposition(|b| *b == b':').is_some_and(|colon| is_port(&target[colon + 1..]));
        if !has_port || !is_host(&target) {
            return Err(Refusal::Target);
        }
        return Uri::from_maybe_shared(target).map_err(|_| Refusal::Target);
    }
    match target.first() {
        Some(b'/') => Uri::from_maybe_shared(target).map_err(|_| Refusal::Target),
        Some(b'*') if target.len() == 1 && method == Method::OPTIONS => Ok(Uri::from_static("*")),
        _ => parse_absolute(target),
    }
}

fn parse_absolute(target: Bytes) -> Result<Uri, Refusal> {
    let scheme_end = target.windows(3).position(|w| w == b"://").ok_or(Refusal::Target)?;
    let scheme = &target[..scheme_end];
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        let is_scheme = scheme.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
        return Err(if is_scheme { Refusal::Scheme } else { Refusal::Target });
    }
    let rest = &target[scheme_end + 3..];
    let end = rest.iter().position(|b| *b == b'/' || *b == b'?').unwrap_or(rest.len());
    if !is_host(&rest[..end]) {
        return Err(Refusal::Target);
    }
    Uri::from_maybe_shared(target).map_err(|_| Refusal::Target)
}

/// Checks `Host`; an absolute target replaces it, whatever it said (RFC 9112 section 3.2.2).
pub(super) fn settle_host(uri: &Uri, version: Version, headers: &mut HeaderMap) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(Refusal::HostRepeated),
        (None, _) if version != Version::HTTP_10 => return Err(Refusal::HostMissing),
        // An empty Host is what RFC 9110 section 7.2 asks for beside a target without authority; with an origin
        // form there is nobody it could mean.
        (Some(host), None) if !is_host(host.as_bytes()) => return Err(Refusal::Host),
        _ => {}
    }
    if let Some(authority) = uri.authority() {
        let agrees =
            headers.get(header::HOST).is_some_and(|host| host.as_bytes() == authority.as_str().as_bytes());
        if !agrees {
            let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::Host)?;
            headers.insert(header::HOST, host);
        }
    }
    Ok(())
}

/// `uri-host [":" port]` of RFC 3986, without the comma that joined duplicates would leave and without user info.
fn is_host(bytes: &[u8]) -> bool {
    let (host, port) = if bytes.first() == Some(&b'[') {
        let Some(end) = bytes.iter().position(|b| *b == b']') else { return false };
        let address = std::str::from_utf8(&bytes[1..end]).ok().and_then(|a| a.parse().ok());
        let Some::<std::net::Ipv6Addr>(_) = address else { return false };
        (&bytes[..=end], &bytes[end + 1..])
    } else {
        let end = bytes.iter().position(|b| *b == b':').unwrap_or(bytes.len());
        if !bytes[..end].iter().all(|b| is_reg_name(*b)) {
            return false;
        }
        bytes.split_at(end)
    };
    // RFC 3986 allows an empty port after the colon.
    !host.is_empty() && (port.is_empty() || port == b":" || (port[0] == b':' && is_port(&port[1..])))
}

fn is_reg_name(byte: u8) -> bool {
    REG_NAME[byte as usize]
}

/// A table: every request's `Host` goes through it.
static REG_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let others = b"-._~%!$&'()*+;=";
    let mut i = 0;
    while i < others.len() {
        table[others[i] as usize] = true;
        i += 1;
    }
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() {
            table[byte as usize] = true;
        }
        byte += 1;
    }
    table
};

fn is_port(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes)
        .is_ok_and(|text| text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok())
}
