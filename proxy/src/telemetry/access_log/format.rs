//! Formats: checked once, then written line by line without a look at their text.

use std::fmt;
use std::sync::Arc;

use super::entry::{Entry, Value};
use super::escape::{Style, quoted, write_value};
use super::operator::Operator;
use super::time::Clockwork;

/// Istio's default (<https://istio.io/latest/docs/tasks/observability/logs/access-log/#default-access-log-format>).
const ISTIO: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
    %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
    \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
    \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% \
    %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% \
    %ROUTE_NAME%\n";

/// What a line says. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Format(Arc<Node>);

#[derive(Debug)]
enum Node {
    /// Text in which operators are replaced.
    Text(Vec<Segment>),
    Json(Json),
}

#[derive(Debug)]
enum Json {
    /// Ready to be written.
    Literal(Box<str>),
    Template(Vec<Segment>),
    /// Keys are quoted and have their colon.
    Object(Vec<(Box<str>, Json)>),
    Array(Vec<Json>),
}

#[derive(Debug)]
enum Segment {
    Literal(Box<str>),
    Operator { operator: Operator, max: Option<usize> },
}

/// One mistake in a format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FormatError {
    /// Keys that lead to the text in a JSON format, joined by `.`; empty in a text format.
    pub key: String,
    /// Character of the text, from 1.
    pub position: usize,
    /// What is wrong.
    pub message: String,
}

/// All mistakes in a format.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct FormatErrors(pub Vec<FormatError>);

impl fmt::Display for FormatErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the access log format is wrong")?;
        for FormatError { key, position, message } in &self.0 {
            let place = if key.is_empty() { String::new() } else { format!("key {key}, ") };
            write!(f, "; {place}character {position}: {message}")?;
        }
        Ok(())
    }
}

impl Format {
    /// Istio's default.
    #[must_use]
    pub fn istio() -> Self {
        let mut errors = Vec::new();
        Self(Arc::new(Node::Text(segments(ISTIO, "", &mut errors))))
    }

    /// A line of text; ends with a line feed even where `text` does not.
    ///
    /// # Errors
    /// All operators that are not known or misused.
    pub fn text(text: &str) -> Result<Self, FormatErrors> {
        let mut errors = Vec::new();
        let line = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
        let segments = segments(&line, "", &mut errors);
        if errors.is_empty() { Ok(Self(Arc::new(Node::Text(segments)))) } else { Err(FormatErrors(errors)) }
    }

    /// A JSON object a line; operators are replaced in its texts. A text that is one operator keeps the operator's
    /// type: a number, or null where there is nothing to tell.
    ///
    /// # Errors
    /// All operators that are not known or misused.
    pub fn json(value: &serde_json::Value) -> Result<Self, FormatErrors> {
        let mut errors = Vec::new();
        if !value.is_object() {
            let message = "a JSON format is an object".to_owned();
            errors.push(FormatError { key: String::new(), position: 1, message });
        }
        let json = json(value, "", &mut errors);
        if errors.is_empty() { Ok(Self(Arc::new(Node::Json(json)))) } else { Err(FormatErrors(errors)) }
    }

    /// Appends a line.
    pub(in crate::telemetry) fn write(
        &self,
        entry: &Entry<'_>,
        clockwork: &mut Clockwork,
        out: &mut Vec<u8>,
    ) {
        match &*self.0 {
            Node::Text(segments) => write_segments(segments, entry, clockwork, Style::Text, out),
            Node::Json(json) => {
                write_json(json, entry, clockwork, out);
                out.push(b'\n');
            }
        }
    }
}

fn json(value: &serde_json::Value, key: &str, errors: &mut Vec<FormatError>) -> Json {
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        serde_json::Value::String(text) => Json::Template(segments(text, key, errors)),
        serde_json::Value::Object(members) => {
            let member = |(name, value): (&String, &serde_json::Value)| {
                (format!("{}:", quoted(name)).into(), json(value, &below(name), errors))
            };
            Json::Object(members.iter().map(member).collect())
        }
        serde_json::Value::Array(items) => {
            let items = items.iter().enumerate();
            Json::Array(items.map(|(place, item)| json(item, &below(&place.to_string()), errors)).collect())
        }
        other => Json::Literal(other.to_string().into()),
    }
}

/// Cuts a text at its operators.
fn segments(text: &str, key: &str, errors: &mut Vec<FormatError>) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('%') {
        literal.push_str(&rest[..start]);
        let position = text[..text.len() - rest.len() + start].chars().count() + 1;
        rest = &rest[start + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let mut wrong = |message| errors.push(FormatError { key: key.to_owned(), position, message });
        let Some((inside, after)) = cut(rest) else {
            wrong("an operator begins here and does not end: it ends with `%`".to_owned());
            rest = "";
            break;
        };
        rest = after;
        match operator(inside) {
            Ok(operator) => {
                if !literal.is_empty() {
                    segments.push(Segment::Literal(std::mem::take(&mut literal).into()));
                }
                segments.push(operator);
            }
            Err(message) => wrong(message),
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        segments.push(Segment::Literal(literal.into()));
    }
    segments
}

/// What stands before the closing `%`, and what comes after it. A `%` within parentheses does not close: formats of
/// times have some.
fn cut(text: &str) -> Option<(&str, &str)> {
    let open = text.find(['(', '%'])?;
    let from = match text.as_bytes()[open] {
        b'(' => open + text[open..].find(')')?,
        _ => open,
    };
    let end = from + text[from..].find('%')?;
    Some((&text[..end], &text[end + 1..]))
}

/// `NAME`, `NAME(ARGUMENT)` or `NAME(ARGUMENT):MAX`.
fn operator(text: &str) -> Result<Segment, String> {
    let (head, max) = match text.rfind(')') {
        Some(close) => (&text[..=close], text[close + 1..].strip_prefix(':').or(Some(&text[close + 1..]))),
        None => match text.split_once(':') {
            Some((head, max)) => (head, Some(max)),
            None => (text, None),
        },
    };
    let max = match max.filter(|max| !max.is_empty()) {
        Some(max) => Some(max.parse().map_err(|_| format!("`{max}` is no greatest length"))?),
        None => None,
    };
    let operator = match head.split_once('(') {
        Some((name, argument)) => Operator::parse(name, Some(argument.trim_end_matches(')')))?,
        None => Operator::parse(head, None)?,
    };
    Ok(Segment::Operator { operator, max })
}

fn write_segments(
    segments: &[Segment],
    entry: &Entry<'_>,
    clockwork: &mut Clockwork,
    style: Style,
    out: &mut Vec<u8>,
) {
    for segment in segments {
        match segment {
            Segment::Literal(text) if style == Style::Text => out.extend_from_slice(text.as_bytes()),
            Segment::Literal(text) => super::escape::write_bytes(text.as_bytes(), None, style, out),
            Segment::Operator { operator, max } => match entry.value(operator) {
                Value::None => out.push(b'-'),
                Value::Time(time) => clockwork.write(time, operator.time_format(), style, out),
                value => write_value(value, *max, style, out),
            },
        }
    }
}

fn write_json(json: &Json, entry: &Entry<'_>, clockwork: &mut Clockwork, out: &mut Vec<u8>) {
    match json {
        Json::Literal(text) => out.extend_from_slice(text.as_bytes()),
        Json::Template(segments) => write_template(segments, entry, clockwork, out),
        Json::Object(members) => {
            for (place, (key, value)) in members.iter().enumerate() {
                out.push(if place == 0 { b'{' } else { b',' });
                out.extend_from_slice(key.as_bytes());
                write_json(value, entry, clockwork, out);
            }
            out.extend_from_slice(if members.is_empty() { b"{}" } else { b"}" });
        }
        Json::Array(items) => {
            out.push(b'[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write_json(item, entry, clockwork, out);
            }
            out.push(b']');
        }
    }
}

fn write_template(segments: &[Segment], entry: &Entry<'_>, clockwork: &mut Clockwork, out: &mut Vec<u8>) {
    if let [Segment::Operator { operator, max }] = segments {
        match entry.value(operator) {
            Value::None => return out.extend_from_slice(b"null"),
            Value::Flags(flags) if flags.is_empty() => return out.extend_from_slice(b"null"),
            value @ Value::Number(_) => return write_value(value, *max, Style::Json, out),
            _ => {}
        }
    }
    out.push(b'"');
    write_segments(segments, entry, clockwork, Style::Json, out);
    out.push(b'"');
}
