//! Matching of texts, paths, headers and query parameters. Semantics are Envoy's
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/matcher/v3/string.proto>), which Gateway API and Istio
//! both define theirs by; regular expressions match the whole text, in RE2's syntax.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use regex::Regex;

#[cfg(test)]
#[path = "matcher_tests.rs"]
mod tests;

/// A regular expression that must match the whole text. Equal when its text is.
#[derive(Clone, Debug)]
pub struct FullRegex {
    text: Arc<str>,
    regex: Regex,
}

impl FullRegex {
    /// Compiles `text`; the expression is anchored at both ends.
    ///
    /// # Errors
    /// What the `regex` crate says of an expression that is malformed, or compiles to more than 1 MiB.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        let regex = regex::RegexBuilder::new(&format!("^(?:{text})$")).size_limit(1 << 20).build()?;
        Ok(Self { text: text.into(), regex })
    }

    /// As the user wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole of `text` matches.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl PartialEq for FullRegex {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// How a text must look.
#[derive(Clone, PartialEq, Debug)]
pub struct StringMatch {
    /// The form and the text to compare with.
    pub pattern: StringPattern,
    /// Compare without regard to ASCII case; no effect on a regular expression.
    pub ignore_case: bool,
}

/// The forms of a [`StringMatch`].
#[derive(Clone, PartialEq, Debug)]
pub enum StringPattern {
    /// Equal.
    Exact(Arc<str>),
    /// Begins with.
    Prefix(Arc<str>),
    /// Ends with.
    Suffix(Arc<str>),
    /// Has it somewhere.
    Contains(Arc<str>),
    /// Matches as a whole.
    Regex(FullRegex),
}

impl StringMatch {
    /// Equal, with regard to case.
    #[must_use]
    pub fn exact(text: &str) -> Self {
        Self { pattern: StringPattern::Exact(text.into()), ignore_case: false }
    }

    /// Whether `text` looks as it must.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        if !self.ignore_case {
            return match &self.pattern {
                StringPattern::Exact(p) => text == &**p,
                StringPattern::Prefix(p) => text.starts_with(&**p),
                StringPattern::Suffix(p) => text.ends_with(&**p),
                StringPattern::Contains(p) => text.contains(&**p),
                StringPattern::Regex(regex) => regex.is_match(text),
            };
        }
        let (bytes, equal) = (text.as_bytes(), <[u8]>::eq_ignore_ascii_case);
        match &self.pattern {
            StringPattern::Exact(p) => equal(bytes, p.as_bytes()),
            StringPattern::Prefix(p) => bytes.len() >= p.len() && equal(&bytes[..p.len()], p.as_bytes()),
            StringPattern::Suffix(p) => {
                bytes.len() >= p.len() && equal(&bytes[bytes.len() - p.len()..], p.as_bytes())
            }
            StringPattern::Contains(p) => text.to_ascii_lowercase().contains(&p.to_ascii_lowercase()),
            StringPattern::Regex(regex) => regex.is_match(text),
        }
    }
}

/// How a path (without its query) must look.
#[derive(Clone, PartialEq, Debug)]
pub enum PathMatch {
    /// Begins with; byte by byte, as Istio's `uri.prefix`.
    Prefix {
        /// The beginning.
        prefix: Arc<str>,
        /// Compare without regard to ASCII case.
        ignore_case: bool,
    },
    /// Is the prefix, or continues it with `/`: Gateway API's `PathPrefix`. Held without a trailing slash.
    SeparatedPrefix(Arc<str>),
    /// Equal.
    Exact {
        /// The whole path.
        path: Arc<str>,
        /// Compare without regard to ASCII case.
        ignore_case: bool,
    },
    /// Matches as a whole.
    Regex(FullRegex),
}

impl PathMatch {
    /// Matches every path.
    #[must_use]
    pub fn any() -> Self {
        Self::Prefix { prefix: "/".into(), ignore_case: false }
    }

    /// Whether `path` looks as it must.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Prefix { prefix, ignore_case: false } => path.starts_with(&**prefix),
            Self::Prefix { prefix, ignore_case: true } => path
                .as_bytes()
                .get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes())),
            Self::SeparatedPrefix(prefix) => {
                path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Exact { path: exact, ignore_case: false } => path == &**exact,
            Self::Exact { path: exact, ignore_case: true } => path.eq_ignore_ascii_case(exact),
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

/// What is asked of a header or query parameter.
#[derive(Clone, PartialEq, Debug)]
pub enum ValueMatch {
    /// It is there.
    Present,
    /// It is there and its value looks so. Several values of a header are joined by commas first, as Envoy does.
    Value(StringMatch),
    /// It is there, a whole number in decimal, and in the range: the first is in it, the last is not.
    Range(i64, i64),
}

/// A condition on a header.
#[derive(Clone, PartialEq, Debug)]
pub struct HeaderMatch {
    /// Lower case; `:authority`, `:method`, `:path` and `:scheme` are kept as [`PseudoHeader`]s.
    pub name: HeaderKey,
    /// What is asked of it.
    pub value: ValueMatch,
    /// True when the condition must *not* hold.
    pub invert: bool,
    /// What an absent header is held for: absent (false) or the empty text (true).
    pub absent_as_empty: bool,
}

/// A header, or one of HTTP/2's pseudo headers.
#[derive(Clone, PartialEq, Debug)]
pub enum HeaderKey {
    /// An ordinary header.
    Header(HeaderName),
    /// A part of the request line.
    Pseudo(PseudoHeader),
}

/// The parts of a request line that are matched as headers (RFC 9113, section 8.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PseudoHeader {
    /// `:authority`, or `Host`.
    Authority,
    /// `:method`.
    Method,
    /// `:path`, with the query.
    Path,
    /// `:scheme`.
    Scheme,
}

/// What matching can see of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    /// Such as `GET`.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host and port as the client wrote them.
    pub authority: &'a str,
    /// Path and query.
    pub path_and_query: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// Drawn once for the request, evenly distributed: decides of shares of requests.
    pub random: u32,
}

impl<'a> RequestFacts<'a> {
    /// The path without its query.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.path_and_query.split_once('?').map_or(self.path_and_query, |(path, _)| path)
    }

    /// What stands behind the `?`; empty when there is none.
    #[must_use]
    pub fn query(&self) -> &'a str {
        self.path_and_query.split_once('?').map_or("", |(_, query)| query)
    }

    /// The first query parameter of a name, decoded.
    #[must_use]
    pub fn query_parameter(&self, wanted: &str) -> Option<Cow<'a, str>> {
        self.query().split('&').find_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name) == wanted).then(|| decoded(value))
        })
    }

    /// A header's values, joined by commas.
    #[must_use]
    pub fn header(&self, key: &HeaderKey) -> Option<Cow<'a, str>> {
        let name = match key {
            HeaderKey::Header(name) => name,
            HeaderKey::Pseudo(PseudoHeader::Authority) => return Some(self.authority.into()),
            HeaderKey::Pseudo(PseudoHeader::Method) => return Some(self.method.into()),
            HeaderKey::Pseudo(PseudoHeader::Path) => return Some(self.path_and_query.into()),
            HeaderKey::Pseudo(PseudoHeader::Scheme) => return Some(self.scheme.into()),
        };
        let mut values = self.headers.get_all(name).iter();
        let first = String::from_utf8_lossy(values.next()?.as_bytes());
        let Some(second) = values.next() else { return Some(first) };
        let mut joined = first.into_owned();
        for value in std::iter::once(second).chain(values) {
            joined.push(',');
            joined.push_str(&String::from_utf8_lossy(value.as_bytes()));
        }
        Some(joined.into())
    }
}

impl HeaderMatch {
    /// Whether the request fulfils the condition.
    #[must_use]
    pub fn matches(&self, request: &RequestFacts<'_>) -> bool {
        let value = request.header(&self.name);
        let value = if self.absent_as_empty { value.or(Some("".into())) } else { value };
        let holds = match (&self.value, value) {
            // A missing header fulfils neither a condition on its value nor the inverse of one (Envoy's rule).
            (ValueMatch::Value(_) | ValueMatch::Range(..), None) => return false,
            (ValueMatch::Present, value) => value.is_some(),
            (ValueMatch::Value(expected), Some(value)) => expected.matches(&value),
            (ValueMatch::Range(from, to), Some(value)) => in_range(&value, *from, *to),
        };
        holds != self.invert
    }
}

/// A condition on a query parameter; the first one of that name counts (Gateway API).
#[derive(Clone, PartialEq, Debug)]
pub struct QueryMatch {
    /// Compared with regard to case.
    pub name: Arc<str>,
    /// What is asked of it.
    pub value: ValueMatch,
}

impl QueryMatch {
    /// Whether the request fulfils the condition. Percent-encoding and `+` are decoded first.
    #[must_use]
    pub fn matches(&self, request: &RequestFacts<'_>) -> bool {
        match (&self.value, request.query_parameter(&self.name)) {
            (_, None) => false,
            (ValueMatch::Present, Some(_)) => true,
            (ValueMatch::Value(expected), Some(value)) => expected.matches(&value),
            (ValueMatch::Range(from, to), Some(value)) => in_range(&value, *from, *to),
        }
    }
}

fn in_range(text: &str, from: i64, to: i64) -> bool {
    text.parse().is_ok_and(|number: i64| (from..to).contains(&number))
}

/// A condition on a cookie of the request.
#[derive(Clone, PartialEq, Debug)]
pub struct CookieMatch {
    /// Compared with regard to case.
    pub name: Arc<str>,
    /// How its value must look; quotation marks around it do not count.
    pub value: StringMatch,
    /// True when the condition must *not* hold; it then also holds where there is no such cookie.
    pub invert: bool,
}

impl CookieMatch {
    /// Whether the request fulfils the condition.
    #[must_use]
    pub fn matches(&self, request: &RequestFacts<'_>) -> bool {
        let holds = cookie(request.headers, &self.name).is_some_and(|value| self.value.matches(value));
        holds != self.invert
    }
}

/// The first cookie of a name.
#[must_use]
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(http::header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"'))
}

/// What texts that an expression finds become: Envoy's `RegexMatchAndSubstitute`. Equal when its texts are.
#[derive(Clone, Debug)]
pub struct Substitution {
    pattern: Arc<str>,
    substitution: Arc<str>,
    regex: Regex,
    replacement: Box<str>,
}

impl PartialEq for Substitution {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern && self.substitution == other.substitution
    }
}

impl Substitution {
    /// `pattern` is found anywhere in a text; in `substitution` `\\0` to `\\9` stand for its groups, `\\\\` for a backslash.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the one or the other.
    pub fn new(pattern: &str, substitution: &str) -> Result<Self, String> {
        let regex = regex::RegexBuilder::new(pattern).size_limit(1 << 20).build();
        let regex = regex.map_err(|error| format!("`{pattern}` is no regular expression: {error}"))?;
        let mut replacement = String::new();
        let mut rest = substitution.chars();
        while let Some(char) = rest.next() {
            match char {
                '$' => replacement.push_str("$$"),
                '\\' => match rest.next() {
                    Some('\\') => replacement.push('\\'),
                    Some(group)
                        if group
                            .to_digit(10)
                            .is_some_and(|group| (group as usize) < regex.captures_len()) =>
                    {
                        replacement.push_str(&format!("${{{group}}}"));
                    }
                    _ => {
                        return Err(format!(
                            "`{substitution}` refers to a group that the pattern does not have"
                        ));
                    }
                },
                char => replacement.push(char),
            }
        }
        Ok(Self {
            pattern: pattern.into(),
            substitution: substitution.into(),
            regex,
            replacement: replacement.into(),
        })
    }

    /// The expression, as the user wrote it.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// What replaces it, as the user wrote it.
    #[must_use]
    pub fn substitution(&self) -> &str {
        &self.substitution
    }

    /// The text in which everything that the expression finds is replaced.
    #[must_use]
    pub fn replace<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.regex.replace_all(text, &*self.replacement)
    }
}

fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return text.into();
    }
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned().into()
}
