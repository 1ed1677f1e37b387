//! A document as a tree that remembers where each key and value stands: read from YAML, or from JSON (Kubernetes),
//! which has no places.

pub mod json;
pub mod split;
pub mod yaml;

use std::ops::Range;

/// A place in a text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// Counts from 1; 0 when the tree did not come from text.
    pub line: u32,
    /// In characters, counts from 1; 0 when the tree did not come from text.
    pub column: u32,
    /// Bytes of the text.
    pub bytes: Range<usize>,
}

impl Span {
    /// The same place in a text that begins `lines` lines and `bytes` bytes earlier.
    #[must_use]
    pub fn shifted(&self, lines: u32, bytes: usize) -> Self {
        Self {
            line: if self.line == 0 { 0 } else { self.line + lines },
            column: self.column,
            bytes: self.bytes.start + bytes..self.bytes.end + bytes,
        }
    }
}

/// One value and its place.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of values of YAML's core schema (<https://yaml.org/spec/1.2.2/#103-core-schema>).
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Value {
    /// `null`, `~` or nothing.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that fits 64 bits with sign.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    String(String),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys are unique and in the order of the text.
    Mapping(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// Always text: JSON has no other keys.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// The value of a key, when this is a mapping that has it.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        let Value::Mapping(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.key == key)
    }

    /// The value of a key, when this is a mapping that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The text, when this is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = &self.value { Some(text) } else { None }
    }

    /// The place of a field path such as `spec.http[0].route`: of the longest part of it that exists.
    #[must_use]
    pub fn locate(&self, path: &str) -> Span {
        let (mut node, mut span) = (self, self.span.clone());
        for step in steps(path) {
            let next = match step {
                Step::Index(index) => match &node.value {
                    Value::Sequence(items) => items.get(index).map(|item| (item, item.span.clone())),
                    _ => None,
                },
                Step::Key(key) => node.entry(&key).map(|entry| (&entry.value, entry.key_span.clone())),
            };
            let Some((inner, place)) = next else { break };
            (node, span) = (inner, place);
        }
        span
    }

    /// Number of values in the tree, this one included.
    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Sequence(items) => items.iter().map(Self::size).sum(),
            Value::Mapping(entries) => entries.iter().map(|entry| entry.value.size()).sum(),
            _ => 0,
        }
    }
}

/// One step of a field path.
#[derive(PartialEq, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// Cuts a field path: `a.b[0]["c.d"]`.
fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix("[\"") {
            let Some((key, after)) = quoted.split_once("\"]") else { break };
            steps.push(Step::Key(key.to_owned()));
            rest = after;
        } else if let Some(inner) = rest.strip_prefix('[') {
            let Some((index, after)) = inner.split_once(']') else { break };
            let Ok(index) = index.parse() else { break };
            steps.push(Step::Index(index));
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            steps.push(Step::Key(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
    }
    steps
}

/// Appends a key to a field path; a key with a dot or a bracket is quoted.
#[must_use]
pub fn join(path: &str, key: &str) -> String {
    if key.is_empty() || key.contains(['.', '[', ']', '"']) {
        format!("{path}[\"{key}\"]")
    } else if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
