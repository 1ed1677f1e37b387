//! What does a client speak? Found by looking at its first bytes without taking them, so that none can be lost.
//!
//! Looking ahead breaks protocols in which the server speaks first (PAINS 8): a listener whose protocol is declared
//! asks for no inspection, and one that asks waits no longer than its time-out.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use weft_model::listener::{Inspection, Transport};

use super::client_hello::{self, Parsed};
use super::peek;

#[cfg(test)]
#[path = "sniff_tests.rs"]
mod tests;

/// The most that is looked at. A client with a longer request line is taken by its first words.
const WINDOW: usize = 16 * 1024;
/// RFC 9113, section 3.4.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest method of RFC 9110 and its extensions is half of this.
const LONGEST_METHOD: usize = 32;

/// What is known of a connection's protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sniffed {
    /// Whether TLS is spoken.
    pub transport: Transport,
    /// Server name indication.
    pub server_name: Option<String>,
    /// TLS: what the client offers. Else `http/1.0`, `http/1.1` or `h2c`, or nothing when it is none of them.
    pub application_protocols: Vec<String>,
    /// How the looking ended.
    pub outcome: Outcome,
}

/// How looking at the first bytes ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The bytes tell.
    Known,
    /// The client was silent for too long: perhaps it waits for the server to speak first.
    TimedOut,
    /// The client closed before the bytes told anything.
    Closed,
}

impl Sniffed {
    /// Nothing is known: the connection is taken for a stream of bytes.
    #[must_use]
    pub fn nothing(outcome: Outcome) -> Self {
        Self { transport: Transport::Raw, server_name: None, application_protocols: Vec::new(), outcome }
    }

    fn http(protocol: &str) -> Self {
        Self { application_protocols: vec![protocol.to_owned()], ..Self::nothing(Outcome::Known) }
    }
}

/// Looks at the first bytes of `stream`, which stay there to be read.
///
/// # Errors
/// The socket failed.
pub async fn sniff(stream: &TcpStream, inspection: Inspection) -> io::Result<Sniffed> {
    if !inspection.tls && !inspection.http {
        return Ok(Sniffed::nothing(Outcome::Known));
    }
    if inspection.timeout.is_zero() {
        return look(stream, inspection).await;
    }
    match tokio::time::timeout(inspection.timeout.max(Duration::from_millis(1)), look(stream, inspection))
        .await
    {
        Ok(looked) => looked,
        Err(_) => Ok(Sniffed::nothing(Outcome::TimedOut)),
    }
}

async fn look(stream: &TcpStream, inspection: Inspection) -> io::Result<Sniffed> {
    let found = peek::look(stream, WINDOW, |bytes, full| recognise(bytes, inspection, full)).await?;
    Ok(found.unwrap_or_else(|| Sniffed::nothing(Outcome::Closed)))
}

/// What the bytes tell; none when more are needed. `full`: there will be no more to look at.
#[must_use]
pub fn recognise(bytes: &[u8], inspection: Inspection, full: bool) -> Option<Sniffed> {
    if inspection.tls {
        match client_hello::parse(bytes) {
            Parsed::Complete(hello) => {
                return Some(Sniffed {
                    transport: Transport::Tls,
                    server_name: hello.server_name,
                    application_protocols: hello.application_protocols,
                    outcome: Outcome::Known,
                });
            }
            Parsed::Partial if !full => return None,
            Parsed::Partial | Parsed::Malformed => {
                return Some(Sniffed { transport: Transport::Tls, ..Sniffed::nothing(Outcome::Known) });
            }
            Parsed::NotTls => {}
        }
    }
    if !inspection.http {
        return Some(Sniffed::nothing(Outcome::Known));
    }
    match http_version(bytes, full) {
        Http::Partial => None,
        Http::No => Some(Sniffed::nothing(Outcome::Known)),
        Http::Is(version) => Some(Sniffed::http(version)),
    }
}

/// Which HTTP a connection's first bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Http {
    /// More bytes are needed.
    Partial,
    /// `http/1.0`, `http/1.1` or `h2c`.
    Is(&'static str),
    /// None.
    No,
}

/// Looks for the HTTP/2 preface or an HTTP/1 request line (RFC 9112, section 3). `full`: there will be no more bytes.
#[must_use]
pub fn http_version(bytes: &[u8], full: bool) -> Http {
    let more = if full { Http::No } else { Http::Partial };
    if bytes.len() >= HTTP2_PREFACE.len() && bytes.starts_with(HTTP2_PREFACE) {
        return Http::Is("h2c");
    }
    if HTTP2_PREFACE.starts_with(bytes) {
        return more;
    }
    // A recipient may skip an empty line before the request line (RFC 9112, section 2.2).
    let line = match bytes {
        [b'\r', b'\n', rest @ ..] => rest,
        [b'\r'] => return more,
        _ => bytes,
    };
    if line.is_empty() {
        return more;
    }
    let method = line.iter().position(|&byte| !is_token(byte));
    let Some(method) = method.filter(|&length| length <= LONGEST_METHOD) else {
        return if line.len() <= LONGEST_METHOD { more } else { Http::No };
    };
    if method == 0 || line[method] != b' ' {
        return Http::No;
    }
    let rest = &line[method + 1..];
    let Some(target) = rest.iter().position(|&byte| byte <= b' ' || byte == 0x7f) else {
        // The window is full of one long target: few other protocols begin so.
        return match (full, rest.first()) {
            (true, Some(b'/' | b'h' | b'H')) => Http::Is("http/1.1"),
            (true, _) => Http::No,
            (false, _) => Http::Partial,
        };
    };
    if target == 0 || rest[target] != b' ' {
        return Http::No;
    }
    match &rest[target + 1..] {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0', b'\r' | b'\n', ..] => Http::Is("http/1.0"),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b'\r' | b'\n', ..] => Http::Is("http/1.1"),
        version if b"HTTP/1.0".starts_with(version) || b"HTTP/1.1".starts_with(version) => more,
        _ => Http::No,
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
