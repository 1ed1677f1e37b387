//! The part of a TLS ClientHello that choosing a filter chain needs: server name and application protocols.
//!
//! Layout: RFC 8446, sections 5.1 (records) and 4.1.2 (ClientHello); RFC 6066, section 3 (server name); RFC 7301,
//! section 3.1 (application protocols). Nothing is decided about security here: who terminates the connection parses
//! the message again.

#[cfg(test)]
#[path = "client_hello_tests.rs"]
pub(super) mod tests;

/// What a client says before anything is encrypted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ClientHello {
    /// Server name indication, in lower case.
    pub server_name: Option<String>,
    /// Application protocols offered, in the client's order; those that are no text are left out.
    pub application_protocols: Vec<String>,
}

/// What the bytes so far are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// A ClientHello begins so; more bytes are needed.
    Partial,
    /// It is complete.
    Complete(ClientHello),
    /// No TLS handshake begins so.
    NotTls,
    /// TLS, but the message is malformed: nothing is known of it.
    Malformed,
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const APPLICATION_PROTOCOLS: u16 = 16;
/// RFC 8446, section 5.1: a record holds at most 2^14 bytes of plain text.
const MAX_RECORD: usize = 1 << 14;

/// Looks at a connection's first bytes.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        let is_tls = match *rest {
            [] => true,
            [HANDSHAKE] | [HANDSHAKE, 3] => true,
            [kind, 3, minor, ..] => kind == HANDSHAKE && minor <= 4,
            _ => false,
        };
        match (is_tls, message.is_empty()) {
            (true, _) => {}
            (false, true) => return Parsed::NotTls,
            (false, false) => return Parsed::Malformed,
        }
        let [_, _, _, high, low, after @ ..] = rest else { return Parsed::Partial };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length == 0 || length > MAX_RECORD {
            return if message.is_empty() { Parsed::NotTls } else { Parsed::Malformed };
        }
        message.extend_from_slice(&after[..length.min(after.len())]);
        match handshake(&message) {
            Parsed::Partial if after.len() >= length => rest = &after[length..],
            parsed => return parsed,
        }
    }
}

fn handshake(message: &[u8]) -> Parsed {
    let [kind, a, b, c, body @ ..] = message else {
        return match message.first() {
            Some(&kind) if kind != CLIENT_HELLO => Parsed::NotTls,
            _ => Parsed::Partial,
        };
    };
    if *kind != CLIENT_HELLO {
        return Parsed::NotTls;
    }
    let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
    if length > MAX_RECORD * 4 {
        return Parsed::Malformed;
    }
    match body.get(..length) {
        None => Parsed::Partial,
        Some(body) => client_hello(body).map_or(Parsed::Malformed, Parsed::Complete),
    }
}

fn client_hello(body: &[u8]) -> Option<ClientHello> {
    let mut hello = ClientHello::default();
    let mut rest = Reader(body);
    rest.take(2 + 32)?; // version, random
    rest.short_vector()?; // session
    rest.vector()?; // cipher suites
    rest.short_vector()?; // compression
    if rest.0.is_empty() {
        return Some(hello); // before TLS 1.2 extensions were optional
    }
    let mut extensions = Reader(rest.vector()?);
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let content = Reader(extensions.vector()?);
        match kind {
            SERVER_NAME => hello.server_name = server_name(content),
            APPLICATION_PROTOCOLS => hello.application_protocols = application_protocols(content)?,
            _ => {}
        }
    }
    Some(hello)
}

fn server_name(mut content: Reader<'_>) -> Option<String> {
    let mut names = Reader(content.vector()?);
    while !names.0.is_empty() {
        let [kind] = names.take(1)? else { return None };
        let name = names.vector()?;
        if *kind == 0 {
            return std::str::from_utf8(name).ok().map(str::to_ascii_lowercase);
        }
    }
    None
}

fn application_protocols(mut content: Reader<'_>) -> Option<Vec<String>> {
    let mut offered = Vec::new();
    let mut names = Reader(content.vector()?);
    while !names.0.is_empty() {
        offered.extend(std::str::from_utf8(names.short_vector()?).ok().map(str::to_owned));
    }
    Some(offered)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Bytes after their length in two bytes.
    fn vector(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length.into())
    }

    /// Bytes after their length in one byte.
    fn short_vector(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?[0];
        self.take(length.into())
    }
}
