//! What a request's hash is made of: Envoy's `RouteAction.HashPolicy`
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto>). Hashes are the same
//! as Envoy's, so that both send a key to the same endpoint.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use regex::Regex;

use crate::hash::xx_hash;

#[cfg(test)]
#[path = "hash_policy_tests.rs"]
mod tests;

/// One part of a request's hash.
#[derive(Clone, PartialEq, Debug)]
pub struct HashPolicy {
    /// What is hashed.
    pub source: HashSource,
    /// With a hash from here or before, later parts are not looked at.
    pub terminal: bool,
}

/// What is hashed; a request without it has no hash of it.
#[derive(Clone, PartialEq, Debug)]
pub enum HashSource {
    /// The values of a header.
    Header {
        /// Its name.
        name: HeaderName,
        /// Changes each value first.
        rewrite: Option<RegexRewrite>,
    },
    /// A cookie.
    Cookie(CookieHash),
    /// The client's address without its port.
    SourceIp,
    /// The first query parameter of this name, compared with regard to case.
    QueryParameter(Arc<str>),
}

/// A cookie that is hashed, and made up for clients that have none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CookieHash {
    /// Its name.
    pub name: Arc<str>,
    /// A client without it is given one for so long; zero: until its session ends; none: it is given none.
    pub ttl: Option<Duration>,
    /// Its path; may be empty.
    pub path: Arc<str>,
    /// Further attributes, with a value that may be empty.
    pub attributes: Vec<(Arc<str>, Arc<str>)>,
}

/// Replaces all that an expression finds.
#[derive(Clone, Debug)]
pub struct RegexRewrite {
    pattern: Regex,
    /// As it was written: `\1` stands for the first group.
    substitution: Arc<str>,
    /// The same in the words of `regex`.
    template: String,
}

impl PartialEq for RegexRewrite {
    fn eq(&self, other: &Self) -> bool {
        self.pattern.as_str() == other.pattern.as_str() && self.substitution == other.substitution
    }
}

impl RegexRewrite {
    /// Reads an expression of RE2 and what to put in place of what it finds.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(pattern: &str, substitution: &str) -> Result<Self, String> {
        let pattern = Regex::new(pattern).map_err(|error| error.to_string())?;
        let mut template = String::new();
        let mut rest = substitution.chars();
        while let Some(next) = rest.next() {
            match (next, next == '\\') {
                ('$', _) => template.push_str("$$"),
                (_, false) => template.push(next),
                (_, true) => match rest.next() {
                    Some('\\') => template.push('\\'),
                    Some(digit) if digit.is_ascii_digit() => {
                        if digit.to_digit(10).is_some_and(|group| group as usize >= pattern.captures_len()) {
                            return Err(format!("there is no group {digit}"));
                        }
                        template.push_str(&format!("${{{digit}}}"));
                    }
                    _ => return Err("a backslash needs a digit or a backslash after it".to_owned()),
                },
            }
        }
        Ok(Self { pattern, substitution: substitution.into(), template })
    }

    /// The expression.
    #[must_use]
    pub fn pattern(&self) -> &str {
        self.pattern.as_str()
    }

    /// What is put in place, as it was written.
    #[must_use]
    pub fn substitution(&self) -> &str {
        &self.substitution
    }

    /// The text with everything replaced.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        self.pattern.replace_all(text, self.template.as_str()).into_owned()
    }
}

/// What a hash can be made of.
#[derive(Clone, Copy, Debug)]
pub struct HashFacts<'a> {
    /// The request's.
    pub headers: &'a HeaderMap,
    /// Path and query.
    pub path_and_query: &'a str,
    /// The client's address.
    pub client: IpAddr,
}

/// The hash of a request, and a cookie that its client is to be given: name, value and all.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RequestHash {
    /// None when nothing of it is there.
    pub hash: Option<u64>,
    /// Values of `set-cookie`.
    pub set_cookies: Vec<String>,
}

/// Hashes a request. `random` makes the values of cookies that clients do not have.
#[must_use]
pub fn hash(policies: &[HashPolicy], facts: &HashFacts<'_>, mut random: impl FnMut() -> u64) -> RequestHash {
    let mut result = RequestHash::default();
    for policy in policies {
        let part = match &policy.source {
            HashSource::Header { name, rewrite } => header(facts.headers, name, rewrite.as_ref()),
            HashSource::SourceIp => Some(source_ip(facts.client)),
            HashSource::QueryParameter(name) => {
                query_parameter(facts.path_and_query, name).map(|value| xx_hash(value.as_bytes(), 0))
            }
            HashSource::Cookie(cookie) => match find_cookie(facts.headers, &cookie.name) {
                Some(value) => Some(xx_hash(value.as_bytes(), 0)),
                None => cookie.ttl.map(|ttl| {
                    let value = format!("{:016x}", random());
                    result.set_cookies.push(set_cookie(cookie, &value, ttl));
                    xx_hash(value.as_bytes(), 0)
                }),
            },
        };
        if let Some(part) = part {
            // Turned first, so that equal parts do not cancel each other out.
            result.hash = Some(result.hash.unwrap_or(0).rotate_left(1) ^ part);
        }
        if policy.terminal && result.hash.is_some() {
            break;
        }
    }
    result
}

/// The hash of a client's address.
#[must_use]
pub fn source_ip(client: IpAddr) -> u64 {
    xx_hash(client.to_canonical().to_string().as_bytes(), 0)
}

fn header(headers: &HeaderMap, name: &HeaderName, rewrite: Option<&RegexRewrite>) -> Option<u64> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    let (_, most) = values.size_hint();
    if rewrite.is_none() && most == Some(0) {
        return Some(xx_hash(first.as_bytes(), 0));
    }
    let changed = |value: &http::HeaderValue| match rewrite {
        Some(rewrite) => rewrite.apply(&String::from_utf8_lossy(value.as_bytes())).into_bytes(),
        None => value.as_bytes().to_vec(),
    };
    let mut all: Vec<Vec<u8>> = std::iter::once(first).chain(values).map(changed).collect();
    // In order, so that the order of lines does not matter.
    all.sort_unstable();
    Some(all.iter().fold(0, |seed, value| xx_hash(value, seed)))
}

fn query_parameter<'a>(path_and_query: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = path_and_query.split_once('?')?;
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

/// The value of a cookie, without the quotes around it.
#[must_use]
pub fn find_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(http::header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = value.trim();
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        (key.trim() == name && !bare.is_empty()).then_some(bare)
    })
}

/// A value of `set-cookie`.
#[must_use]
pub fn set_cookie(cookie: &CookieHash, value: &str, ttl: Duration) -> String {
    let CookieHash { name, path, attributes, .. } = cookie;
    let mut text = format!("{name}=\"{value}\"");
    if !ttl.is_zero() {
        text.push_str(&format!("; Max-Age={}", ttl.as_secs()));
    }
    if !path.is_empty() {
        text.push_str(&format!("; Path={path}"));
    }
    for (attribute, value) in attributes {
        text.push_str("; ");
        text.push_str(attribute);
        if !value.is_empty() {
            text.push('=');
            text.push_str(value);
        }
    }
    text.push_str("; HttpOnly");
    text
}
