//! YAML to a tree: the core schema of YAML 1.2 with what Kubernetes' users expect beside it (merge keys, duplicate
//! keys refused), within bounds that hold for hostile input.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span as RawSpan};

use super::{Entry, Node, Span, Value};

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;

/// Deepest nesting; the kinds need about twelve.
pub const MAX_DEPTH: usize = 64;

/// What is read of one document, and no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Longest text, in bytes.
    pub bytes: usize,
    /// Most values, with every alias replaced by what it stands for.
    pub values: usize,
}

impl Bounds {
    /// For what may come from anyone. Kubernetes' own limit of an object is 1.5 MiB.
    pub const UNTRUSTED: Self = Self { bytes: 4 << 20, values: 200_000 };
    /// For a file of the process's own owner, such as a bootstrap of thousands of clusters.
    pub const OWN: Self = Self { bytes: 256 << 20, values: 20_000_000 };
}

impl Default for Bounds {
    fn default() -> Self {
        Self::UNTRUSTED
    }
}

/// Why a text is no document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct YamlError {
    /// Stable machine word.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
    /// Where.
    pub span: Span,
}

/// Reads one document (see [`super::split`]). The tree is there when the syntax is right, even if there are errors
/// (duplicate keys, tags), so that all that is wrong can be reported at once.
#[must_use]
pub fn parse(text: &str) -> (Option<Node>, Vec<YamlError>) {
    parse_within(text, Bounds::UNTRUSTED)
}

/// As [`parse`], within other bounds.
#[must_use]
pub fn parse_within(text: &str, bounds: Bounds) -> (Option<Node>, Vec<YamlError>) {
    let mut builder = Builder { places: Places::new(text, bounds), bounds, ..Builder::default() };
    if text.len() > bounds.bytes {
        let message = format!("the document has {} bytes; at most {} are read", text.len(), bounds.bytes);
        builder.fail("too-large", message, "split it into several files", Span::default());
        return (None, builder.errors);
    }
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let taken = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => {
                let span = builder.places.span(RawSpan::empty(*error.marker()));
                let (message, hint) = explain(error.info(), text, &span);
                builder.fail("yaml-syntax", message, hint, span);
                Err(Stop)
            }
        };
        if taken.is_err() {
            return (None, builder.errors);
        }
    }
    (builder.root, builder.errors)
}

/// The usual slips get a hint.
fn explain(info: &str, text: &str, span: &Span) -> (String, &'static str) {
    let line = text.lines().nth(span.line.saturating_sub(1) as usize).unwrap_or_default();
    let indent = &line[..line.len() - line.trim_start().len()];
    let hint = if indent.contains('\t') {
        "indent with spaces: YAML does not allow tabs there"
    } else if line.contains("{{") {
        "this looks like a template that was not rendered"
    } else if info.contains("mapping values") || info.contains("simple key") || info.contains("block mapping")
    {
        "check the indentation here and on the line before, and that a space follows each `:`"
    } else if info.contains("quoted") || info.contains("end of stream") {
        "a quote or bracket may not be closed"
    } else {
        ""
    };
    (format!("not valid YAML: {info}"), hint)
}

/// Parsing cannot go on.
struct Stop;

/// A collection that is not finished.
struct Open {
    anchor: usize,
    span: Span,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<Entry>, lines: HashMap<String, u32>, key: Option<Key>, merges: Vec<Node> },
}

/// A key whose value has not come yet.
struct Key {
    text: String,
    span: Span,
    /// A plain `<<`.
    merge: bool,
}

#[derive(Default)]
struct Builder<'a> {
    places: Places<'a>,
    stack: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    documents: usize,
    values: usize,
    bounds: Bounds,
    errors: Vec<YamlError>,
}

impl Builder<'_> {
    fn fail(&mut self, code: &'static str, message: impl Into<String>, hint: &str, span: Span) {
        self.errors.push(YamlError { code, message: message.into(), hint: hint.to_owned(), span });
    }

    fn take(&mut self, event: Event<'_>, raw: RawSpan) -> Result<(), Stop> {
        let span = self.places.span(raw);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.fail(
                        "yaml-syntax",
                        "a second document begins here",
                        "separate documents with a line `---`",
                        span,
                    );
                    return Err(Stop);
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                if let Some(tag) = tag {
                    self.refuse_tag(&tag.to_string(), span.clone());
                }
                let plain = style == ScalarStyle::Plain;
                let value =
                    if plain { plain_scalar(&text) } else { Value::String(text.clone().into_owned()) };
                self.count(1, &span)?;
                if let Some(key) = self.wanted_key() {
                    // `1: x` and `true: x` are texts as keys, as in JSON.
                    *key = Some(Key {
                        merge: plain && text == "<<",
                        text: text.into_owned(),
                        span: span.clone(),
                    });
                    return Ok(());
                }
                self.finish(Node { value, span }, anchor);
            }
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag)
                if self.wanted_key().is_some() =>
            {
                let _ = (anchor, tag);
                self.fail(
                    "yaml-syntax",
                    "a key must be text",
                    "quote it, or check for a template such as {{ … }}",
                    span,
                );
                return Err(Stop);
            }
            Event::SequenceStart(anchor, tag) => {
                if let Some(tag) = tag {
                    self.refuse_tag(&tag.to_string(), span.clone());
                }
                self.open(anchor, span, Content::Sequence(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                if let Some(tag) = tag {
                    self.refuse_tag(&tag.to_string(), span.clone());
                }
                let content = Content::Mapping {
                    entries: Vec::new(),
                    lines: HashMap::new(),
                    key: None,
                    merges: Vec::new(),
                };
                self.open(anchor, span, content)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(anchor) => self.alias(anchor, span)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn refuse_tag(&mut self, tag: &str, span: Span) {
        self.fail(
            "yaml-tag",
            format!("the tag `{tag}` is not allowed"),
            "remove it: values have the type that the field asks for",
            span,
        );
    }

    /// The place for the key when the next value is one.
    fn wanted_key(&mut self) -> Option<&mut Option<Key>> {
        match self.stack.last_mut() {
            Some(Open { content: Content::Mapping { key, .. }, .. }) if key.is_none() => Some(key),
            _ => None,
        }
    }

    fn count(&mut self, values: usize, span: &Span) -> Result<(), Stop> {
        self.values += values;
        let most = self.bounds.values;
        if self.values <= most {
            return Ok(());
        }
        let message = format!("the document has more than {most} values, aliases replaced");
        self.fail("too-large", message, "split it, or use fewer aliases", span.clone());
        Err(Stop)
    }

    fn open(&mut self, anchor: usize, span: Span, content: Content) -> Result<(), Stop> {
        if self.stack.len() >= MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            self.fail("too-large", message, "", span);
            return Err(Stop);
        }
        self.count(1, &span)?;
        self.stack.push(Open { anchor, span, content });
        Ok(())
    }

    fn close(&mut self, end: Span) {
        let Some(Open { anchor, mut span, content }) = self.stack.pop() else { return };
        span.bytes.end = end.bytes.end.max(span.bytes.end);
        let value = match content {
            Content::Sequence(items) => Value::Sequence(items),
            Content::Mapping { entries, merges, .. } => Value::Mapping(merged(entries, merges)),
        };
        self.finish(Node { value, span }, anchor);
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Stop> {
        let Some(node) = self.anchors.get(&anchor) else {
            self.fail("yaml-syntax", "this alias is within what it stands for", "write the value out", span);
            return Err(Stop);
        };
        let size = node.size();
        let depth = node.depth();
        let node = node.clone();
        if self.stack.len() + depth > MAX_DEPTH {
            self.fail("too-large", format!("nested deeper than {MAX_DEPTH} levels"), "", span);
            return Err(Stop);
        }
        self.count(size, &span)?;
        if let Some(key) = self.wanted_key() {
            let Value::String(text) = node.value else {
                self.fail("yaml-syntax", "a key must be text", "write the key out", span);
                return Err(Stop);
            };
            *key = Some(Key { merge: false, text, span });
            return Ok(());
        }
        self.finish(node, 0);
        Ok(())
    }

    /// Puts a finished value where it belongs.
    fn finish(&mut self, node: Node, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return;
        };
        let (entries, lines, key, merges) = match &mut open.content {
            Content::Sequence(items) => return items.push(node),
            Content::Mapping { entries, lines, key, merges } => (entries, lines, key.take(), merges),
        };
        let Some(Key { text, span, merge }) = key else { return };
        if merge && matches!(node.value, Value::Mapping(_) | Value::Sequence(_)) {
            return merges.push(node);
        }
        if let Some(first) = lines.insert(text.clone(), span.line) {
            let message = format!("the key `{text}` stands twice; the first is on line {first}");
            self.errors.push(YamlError { code: "duplicate-key", message, hint: "keep one".to_owned(), span });
            return;
        }
        entries.push(Entry { key: text, key_span: span, value: node });
    }
}

impl Node {
    fn depth(&self) -> usize {
        match &self.value {
            Value::Sequence(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Value::Mapping(entries) => 1 + entries.iter().map(|entry| entry.value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }
}

/// What `<<` names is added, the mapping's own keys and earlier merges winning
/// (<https://yaml.org/type/merge.html>, which Kubernetes' tools read).
fn merged(mut entries: Vec<Entry>, merges: Vec<Node>) -> Vec<Entry> {
    let mut known: HashSet<String> = match merges[..] {
        [] => return entries,
        _ => entries.iter().map(|entry| entry.key.clone()).collect(),
    };
    for node in merges {
        let sources = if let Value::Sequence(items) = node.value { items } else { vec![node] };
        for source in sources {
            let Value::Mapping(more) = source.value else { continue };
            for entry in more {
                if known.insert(entry.key.clone()) {
                    entries.push(entry);
                }
            }
        }
    }
    entries
}

/// The core schema (<https://yaml.org/spec/1.2.2/#1032-tag-resolution>).
fn plain_scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    number(text).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn number(text: &str) -> Option<Value> {
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            let valid = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
            return valid.then(|| i64::from_str_radix(digits, radix).ok().map(Value::Int)).flatten();
        }
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(
            text.parse().map_or_else(|_| Value::Float(text.parse().unwrap_or(f64::MAX)), Value::Int),
        );
    }
    let shaped = unsigned.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+'));
    if shaped { text.parse().ok().map(Value::Float) } else { None }
}

/// Turns the parser's character positions into bytes.
#[derive(Default)]
struct Places<'a> {
    text: &'a str,
    /// Byte of each character; empty when the text is ASCII.
    bytes: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(text: &'a str, bounds: Bounds) -> Self {
        let bytes = if text.is_ascii() || text.len() > bounds.bytes {
            Vec::new()
        } else {
            text.char_indices().map(|(byte, _)| byte).collect()
        };
        Self { text, bytes }
    }

    fn byte(&self, marker: &Marker) -> usize {
        let index = marker.index();
        let byte = if self.bytes.is_empty() {
            index
        } else {
            self.bytes.get(index).copied().unwrap_or(self.text.len())
        };
        byte.min(self.text.len())
    }

    fn span(&self, raw: RawSpan) -> Span {
        let start = self.byte(&raw.start);
        Span {
            line: u32::try_from(raw.start.line()).unwrap_or(u32::MAX),
            column: u32::try_from(raw.start.col() + 1).unwrap_or(u32::MAX),
            bytes: start..self.byte(&raw.end).max(start),
        }
    }
}
