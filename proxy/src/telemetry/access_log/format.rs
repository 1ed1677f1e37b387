//! Formats: checked once, then written line by line without a look at their text.

use std::fmt;
use std::sync::Arc;

use super::entry::{Entry, Value};
use super::escape::{Style, quoted, write_value};
use super::time::Clockwork;

use weft_model::format::{Segment, Template, TemplateError};

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

/// What a text with operators says of a request: the value of a header. What is not known is left out.
#[must_use]
pub fn evaluate(template: &Template, entry: &Entry<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write_segments(template.segments(), entry, &mut Clockwork::default(), Style::Raw, &mut out);
    out
}

/// Cuts a text at its operators.
fn segments(text: &str, key: &str, errors: &mut Vec<FormatError>) -> Vec<Segment> {
    Template::parse(text).map(Template::into_segments).unwrap_or_else(|mistakes| {
        let named =
            |TemplateError { position, message }| FormatError { key: key.to_owned(), position, message };
        errors.extend(mistakes.into_iter().map(named));
        Vec::new()
    })
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
            Segment::Literal(text) if style != Style::Json => out.extend_from_slice(text.as_bytes()),
            Segment::Literal(text) => super::escape::write_bytes(text.as_bytes(), None, style, out),
            Segment::Operator { operator, max } => match entry.value(operator) {
                Value::None if style == Style::Raw => {}
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
