//! Normalises a request's path before anything is decided by it, so that no two ways of writing one path can be
//! treated differently: Istio's `BASE`, its default
//! (<https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-ProxyPathNormalization>).
//!
//! `BASE` is RFC 3986, section 6.2.2 (dot segments are removed, percent-encoded unreserved characters are decoded),
//! and `\` becomes `/`. Slashes are not merged, and `%2F` stays.

use std::borrow::Cow;

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;

/// The path and query in normal form. A target that is no path (`*`, an authority) stays.
#[must_use]
pub fn normalised(path_and_query: &str) -> Cow<'_, str> {
    let (path, query) = match path_and_query.find('?') {
        Some(at) => path_and_query.split_at(at),
        None => (path_and_query, ""),
    };
    if !path.starts_with('/') || is_normal(path) {
        return path_and_query.into();
    }
    let mut text = without_dot_segments(&decoded(path));
    text.push_str(query);
    text.into()
}

/// Whether there is surely nothing to do; most paths.
fn is_normal(path: &str) -> bool {
    let mut previous = b'x';
    for byte in path.bytes() {
        if byte == b'%' || byte == b'\\' || (byte == b'.' && previous == b'/') {
            return false;
        }
        previous = byte;
    }
    true
}

/// Decodes percent-encoded unreserved characters; all other encodings, malformed ones too, stay as they are. So does one
/// that would complete a malformed one before it: `%6%39` would become `%69`, an `i` to who decodes once more, and a
/// path that no rule had seen.
fn decoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(character) = rest.chars().next() {
        let encoded = rest.as_bytes().get(1..3).filter(|_| character == '%').and_then(unreserved);
        let encoded = encoded.filter(|byte| !byte.is_ascii_hexdigit() || !ends_in_half_an_escape(&text));
        match encoded {
            Some(byte) => {
                text.push(char::from(byte));
                rest = &rest[3..];
            }
            None => {
                text.push(if character == '\\' { '/' } else { character });
                rest = &rest[character.len_utf8()..];
            }
        }
    }
    text
}

/// Complete escapes have three characters, so what ends like this is not one.
fn ends_in_half_an_escape(text: &str) -> bool {
    match text.as_bytes() {
        [.., b'%'] => true,
        [.., b'%', digit] => digit.is_ascii_hexdigit(),
        _ => false,
    }
}

/// The unreserved character (RFC 3986, section 2.3) that two hexadecimal digits stand for.
fn unreserved(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = digit(digits[0])? << 4 | digit(digits[1])?;
    (byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)).then_some(byte)
}

/// RFC 3986, section 5.2.4, for an absolute path. Never leaves the root.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    let mut text = String::with_capacity(path.len());
    for segment in &kept {
        text.push('/');
        text.push_str(segment);
    }
    if text.is_empty() { "/".to_owned() } else { text }
}
