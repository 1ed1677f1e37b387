//! Texts that must have a certain form: each function says what is wrong and what to do.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::fields::{Field, Problem};
use super::words::{Host, Labels, Pattern};

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;

/// A name of lower-case letters, digits and `-`, at most 63 characters (RFC 1123, section 2.1, as Kubernetes reads
/// it: <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>).
///
/// # Errors
/// What is wrong.
pub fn dns_label(text: &str) -> Result<&str, Problem> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let edges = !text.starts_with('-') && !text.ends_with('-');
    if !text.is_empty() && text.len() <= 63 && edges && text.bytes().all(inner) {
        return Ok(text);
    }
    let message = format!("`{text}` is no DNS label: lower-case letters, digits and `-` within, at most 63");
    Err(Problem::new(message, lower_case_hint(text)))
}

/// A DNS label that begins with a letter: names of services and of their ports' kind (RFC 1035).
///
/// # Errors
/// What is wrong.
pub fn service_name(text: &str) -> Result<&str, Problem> {
    dns_label(text)?;
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(Problem::new(
            format!("`{text}` begins with a digit; a service's name begins with a letter"),
            "",
        ));
    }
    Ok(text)
}

/// DNS labels joined by `.`, at most 253 characters (RFC 1123): names of most objects.
///
/// # Errors
/// What is wrong.
pub fn dns_subdomain(text: &str) -> Result<&str, Problem> {
    if text.len() <= 253 && text.split('.').all(|label| !label.is_empty() && label_chars(label)) {
        return Ok(text);
    }
    let message = format!("`{text}` is no DNS name: lower-case letters, digits, `-` and `.`, at most 253");
    Err(Problem::new(message, lower_case_hint(text)))
}

fn label_chars(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(inner)
}

fn lower_case_hint(text: &str) -> String {
    let better = text.to_lowercase().replace(['_', ' '], "-");
    if better != text && dns_label(&better).is_ok() {
        format!("did you mean `{better}`?")
    } else {
        String::new()
    }
}

/// A key of a label or annotation: a name of at most 63 characters, with an optional DNS prefix before `/`
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>).
///
/// # Errors
/// What is wrong.
pub fn qualified_name(text: &str) -> Result<&str, Problem> {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    if let Some(prefix) = prefix {
        dns_subdomain(prefix)?;
    }
    if is_label_word(name) && !name.is_empty() {
        return Ok(text);
    }
    let rule = "letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit, at most 63";
    Err(Problem::new(format!("`{text}` is no label key: {rule}"), ""))
}

/// The value of a label, possibly empty.
///
/// # Errors
/// What is wrong.
pub fn label_value(text: &str) -> Result<&str, Problem> {
    if is_label_word(text) {
        return Ok(text);
    }
    let rule = "letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit, at most 63";
    Err(Problem::new(format!("`{text}` is no label value: {rule}"), ""))
}

fn is_label_word(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// A mapping of label keys to values.
#[must_use]
pub fn labels(field: &Field<'_>) -> Labels {
    let read = |(key, value): (&str, Field<'_>)| {
        if let Err(problem) = qualified_name(key) {
            value.invalid(problem.message, problem.hint);
            return None;
        }
        Some((Arc::from(key), Arc::from(value.parse(label_value)?)))
    };
    field.entries().into_iter().filter_map(read).collect()
}

/// A host: a fully qualified or short name, an address, `*` or `*.` and a name. Case does not matter.
///
/// # Errors
/// What is wrong.
pub fn host(text: &str) -> Result<Host, Problem> {
    let lower = text.to_ascii_lowercase();
    if lower == "*" || lower.parse::<IpAddr>().is_ok() {
        return Ok(Host(lower.into()));
    }
    if text.contains("://") || text.contains('/') {
        return Err(Problem::new(
            format!("`{text}` is no host"),
            "write the name only, without scheme and path",
        ));
    }
    if let Some((name, port)) = text.rsplit_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(Problem::new(
            format!("`{text}` is no host"),
            format!("write `{name}`; the port has a field of its own"),
        ));
    }
    let name = lower.strip_prefix("*.").unwrap_or(&lower);
    if name.contains('*') {
        return Err(Problem::new(format!("`{text}` is no host"), "a `*` may only be the first label"));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let labels = name.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= 63
            && label.split('_').all(|part| part.is_empty() || label_chars(part))
    });
    if name.len() > 253 || !labels {
        return Err(Problem::new(format!("`{text}` is no host: letters, digits and `-`, joined by `.`"), ""));
    }
    let lower = lower.strip_suffix('.').unwrap_or(&lower);
    Ok(Host(lower.into()))
}

/// A host without a wildcard.
///
/// # Errors
/// What is wrong.
pub fn plain_host(text: &str) -> Result<Host, Problem> {
    let host = host(text)?;
    if host.is_wildcard() {
        return Err(Problem::new(
            format!("`{text}` has a wildcard, which is not allowed here"),
            "name one host",
        ));
    }
    Ok(host)
}

/// A duration as Go's `time.ParseDuration` reads it, which is what Istio's resources take: `1h30m`, `1.5s`, `250ms`.
///
/// # Errors
/// What is wrong.
pub fn go_duration(text: &str) -> Result<Duration, Problem> {
    let wrong = || {
        let hint = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            format!("add a unit, such as {text}s")
        } else {
            "such as 5s, 250ms or 1h30m".to_owned()
        };
        Problem::new(format!("`{text}` is no duration"), hint)
    };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err(Problem::new(format!("`{text}` is negative"), "a duration is 0s or longer"));
    }
    let (mut total, mut rest) = (0.0_f64, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let nanos = match &rest[..unit] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3_600e9,
            _ => return Err(wrong()),
        };
        total += number * nanos;
        rest = &rest[unit..];
    }
    if text.is_empty() {
        return Err(wrong());
    }
    // Go's longest duration: 2^63 ns, about 292 years.
    if total >= 9.2e18 {
        return Err(Problem::new(format!("`{text}` is too long"), ""));
    }
    Ok(Duration::from_nanos(total.round() as u64))
}

/// A duration of the Gateway API (GEP-2257): one to four whole numbers of at most five digits, each with `h`, `m`,
/// `s` or `ms`.
///
/// # Errors
/// What is wrong.
pub fn gateway_duration(text: &str) -> Result<Duration, Problem> {
    let wrong = |why: &str| Problem::new(format!("`{text}` is no duration of the Gateway API"), why);
    let (mut total, mut rest, mut parts) = (Duration::ZERO, text, 0);
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .ok_or_else(|| wrong("add a unit, such as 5s or 250ms"))?;
        let number: u64 = match rest[..digits].parse() {
            Ok(number) if digits <= 5 => number,
            _ => return Err(wrong("whole numbers of at most five digits with h, m, s or ms, such as 1m30s")),
        };
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += match &rest[..unit] {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number * 60),
            "h" => Duration::from_secs(number * 3_600),
            _ => return Err(wrong("the units are h, m, s and ms, and there are no fractions")),
        };
        rest = &rest[unit..];
        parts += 1;
    }
    if (1..=4).contains(&parts) { Ok(total) } else { Err(wrong("one to four parts, such as 1m30s")) }
}

/// The name of a header (RFC 9110, section 5.1), in lower case. No pseudo headers.
///
/// # Errors
/// What is wrong.
pub fn header_name(text: &str) -> Result<HeaderName, Problem> {
    if text.starts_with(':') {
        let hint = "match the path, method or authority with the field of that name";
        return Err(Problem::new(format!("`{text}` is a pseudo header"), hint));
    }
    HeaderName::from_str(text).map_err(|_| {
        Problem::new(format!("`{text}` is no header name"), "letters, digits and any of !#$%&'*+-.^_`|~")
    })
}

/// The value of a header (RFC 9110, section 5.5).
///
/// # Errors
/// What is wrong.
pub fn header_value(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(|_| {
        Problem::new(format!("{text:?} is no header value"), "no control characters or line ends")
    })
}

/// An RE2 expression.
///
/// # Errors
/// What is wrong.
pub fn pattern(text: &str) -> Result<Pattern, Problem> {
    Pattern::new(text).map_err(|error| {
        let looks = ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|look| text.contains(look));
        let hint =
            if looks { "RE2 has no look-around; use several matches instead" } else { "the syntax is RE2's" };
        Problem::new(format!("`{text}` is no regular expression: {error}"), hint)
    })
}

/// An address, or an address and a prefix length.
///
/// # Errors
/// What is wrong.
pub fn subnet(text: &str) -> Result<(IpAddr, u8), Problem> {
    let wrong =
        || Problem::new(format!("`{text}` is no network"), "such as 10.1.0.0/16, 10.1.2.3 or fd00::/8");
    let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Ok(longest), |l| l.parse::<u8>().map_err(|_| wrong()))?;
    if length > longest { Err(wrong()) } else { Ok((address, length)) }
}

/// An address.
///
/// # Errors
/// What is wrong.
pub fn address(text: &str) -> Result<IpAddr, Problem> {
    text.parse().map_err(|_| Problem::new(format!("`{text}` is no IP address"), ""))
}
