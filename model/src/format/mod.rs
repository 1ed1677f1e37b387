//! Texts with Envoy's command operators (`%NAME(ARGUMENT):MAX%`), of access logs and of header values. Parsed once;
//! what an operator stands for is known by whoever writes the text.

mod operator;

use std::sync::Arc;

pub use operator::{GrpcForm, Header, Operator, Part};

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;

/// A checked text with operators. Equal when its text is.
#[derive(Clone, Debug)]
pub struct Template {
    text: Arc<str>,
    segments: Vec<Segment>,
}

/// A part of a [`Template`].
#[derive(Clone, PartialEq, Debug)]
pub enum Segment {
    /// Written as it is.
    Literal(Box<str>),
    /// Replaced by what it stands for.
    Operator {
        /// What it stands for.
        operator: Operator,
        /// In bytes, at most.
        max: Option<usize>,
    },
}

/// One mistake in a text with operators.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TemplateError {
    /// Character of the text, from 1.
    pub position: usize,
    /// What is wrong.
    pub message: String,
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Template {
    /// Cuts a text at its operators; `%%` stands for a percent sign.
    ///
    /// # Errors
    /// All operators that are not known or misused.
    pub fn parse(text: &str) -> Result<Self, Vec<TemplateError>> {
        let mut errors = Vec::new();
        let segments = segments(text, &mut errors);
        if errors.is_empty() { Ok(Self { text: text.into(), segments }) } else { Err(errors) }
    }

    /// As the user wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its parts in order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// As [`Template::segments`], for who needs nothing else of it.
    #[must_use]
    pub fn into_segments(self) -> Vec<Segment> {
        self.segments
    }

    /// What it says when there is no operator in it.
    #[must_use]
    pub fn as_literal(&self) -> Option<&str> {
        match &self.segments[..] {
            [] => Some(""),
            [Segment::Literal(text)] => Some(text),
            _ => None,
        }
    }
}

fn segments(text: &str, errors: &mut Vec<TemplateError>) -> Vec<Segment> {
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
        let mut wrong = |message| errors.push(TemplateError { position, message });
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
