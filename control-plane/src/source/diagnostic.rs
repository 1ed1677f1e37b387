//! What is wrong, or worth knowing, about an object: said so that a person can mend it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use weft_model::provenance::ObjectRef;
use weft_proto::api;

use super::document::Span;

#[cfg(test)]
#[path = "diagnostic_tests.rs"]
mod tests;

/// Lines of context shown before and after the place.
const CONTEXT: usize = 2;
/// Most findings kept of one text: a machine-made file with one mistake everywhere need not be told a million times.
const MAX_FINDINGS: usize = 500;
/// Longest excerpt's source in bytes; of longer lines only the part around the place is shown.
const MAX_EXCERPT: usize = 2_000;
/// Bytes shown before and after the place in a long line.
const WINDOW: usize = 60;

/// How much it matters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The object cannot be used.
    Error,
    /// Accepted; something will not work as it reads.
    Warning,
    /// Worth knowing.
    Info,
}

/// One thing that is wrong, or worth knowing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Stable machine word, such as `unknown-field`; the words are listed in [`code`].
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
    /// The object, when it is known which.
    pub object: Option<ObjectRef>,
    /// Path of the field, such as `spec.http[0].route[1].weight`; empty for the whole object.
    pub field: String,
    /// As the user named it; empty when the object did not come from a file.
    pub file: Arc<str>,
    /// Counts from 1; 0 when the object did not come from a file.
    pub line: u32,
    /// In characters, counts from 1; 0 when the object did not come from a file.
    pub column: u32,
    /// The lines around the place with a marker, without colour; empty without a file.
    pub excerpt: String,
    /// Of an error in a watched file: what it held before, of this object or of the whole file, is still in force.
    pub last_good_kept: bool,
}

/// The machine words of findings.
pub mod code {
    /// The text is not YAML.
    pub const YAML_SYNTAX: &str = "yaml-syntax";
    /// A field that the API does not have.
    pub const UNKNOWN_FIELD: &str = "unknown-field";
    /// A field or value that the API has and Weft does not support.
    pub const UNSUPPORTED: &str = "unsupported";
    /// A required field is absent.
    pub const MISSING_FIELD: &str = "missing-field";
    /// A number where text belongs, and so on.
    pub const WRONG_TYPE: &str = "wrong-type";
    /// Of the right type, but not allowed.
    pub const INVALID_VALUE: &str = "invalid-value";
    /// Fields that exclude each other.
    pub const CONFLICTING_FIELDS: &str = "conflicting-fields";
    /// A kind that does not exist or is not supported.
    pub const UNKNOWN_KIND: &str = "unknown-kind";
    /// The kind exists, but not in this group or version.
    pub const UNKNOWN_API_VERSION: &str = "unknown-api-version";
    /// The same object twice.
    pub const DUPLICATE_OBJECT: &str = "duplicate-object";
    /// Too large, too deep, too many.
    pub const TOO_LARGE: &str = "too-large";
    /// Accepted, but without effect.
    pub const NO_EFFECT: &str = "no-effect";
    /// A name of the API that has been replaced.
    pub const DEPRECATED: &str = "deprecated";
    /// Something refers to a service, subset or port that does not exist.
    pub const REFERENCE_NOT_FOUND: &str = "reference-not-found";
    /// A rule that no request can reach.
    pub const UNREACHABLE_RULE: &str = "unreachable-rule";
    /// Two objects claim the same thing.
    pub const CONFLICT: &str = "conflict";
    /// A policy will refuse callers that were seen lately.
    pub const PLAINTEXT_PEERS: &str = "plaintext-peers";
    /// A file could not be read.
    pub const UNREADABLE: &str = "unreadable";
    /// The object is bad; the version before it stays in force.
    pub const LAST_GOOD_KEPT: &str = "last-good-kept";
}

impl Finding {
    /// A finding that is about an object as a whole, without a place.
    #[must_use]
    pub fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity,
            code,
            message: message.into(),
            hint: String::new(),
            object: None,
            field: String::new(),
            file: "".into(),
            line: 0,
            column: 0,
            excerpt: String::new(),
            last_good_kept: false,
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Adds whose it is.
    #[must_use]
    pub fn of(mut self, object: &ObjectRef, field: &str) -> Self {
        self.object = Some(object.clone());
        field.clone_into(&mut self.field);
        self
    }

    /// Adds the place within a text that begins `lines` lines into `file`, with an excerpt.
    #[must_use]
    pub fn at(mut self, file: &Arc<str>, text: &str, lines: u32, span: &Span) -> Self {
        if span.line > 0 {
            self.file = Arc::clone(file);
            self.line = span.line + lines;
            self.column = span.column;
            self.excerpt = excerpt(&self, text, lines, &span.bytes);
        }
        self
    }

    /// Whether the object cannot be used.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// `FILE:LINE:COLUMN: SEVERITY: MESSAGE (FIELD of OBJECT); HINT`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        write!(f, "{severity}[{}]: {}", self.code, self.message)?;
        match &self.object {
            Some(object) if self.field.is_empty() => write!(f, " ({object})")?,
            Some(object) => write!(f, " ({} of {object})", self.field)?,
            None if self.field.is_empty() => {}
            None => write!(f, " ({})", self.field)?,
        }
        if self.hint.is_empty() { Ok(()) } else { write!(f, "; {}", self.hint) }
    }
}

impl From<&Finding> for api::Finding {
    fn from(finding: &Finding) -> Self {
        let severity = match finding.severity {
            Severity::Error => api::Severity::Error,
            Severity::Warning => api::Severity::Warning,
            Severity::Info => api::Severity::Info,
        };
        Self {
            severity: severity.into(),
            code: finding.code.to_owned(),
            message: finding.message.clone(),
            hint: finding.hint.clone(),
            object: finding.object.as_ref().map(|object| api::ObjectRef {
                api_version: object.api_version.to_string(),
                kind: object.kind.to_string(),
                namespace: object.namespace.to_string(),
                name: object.name.to_string(),
            }),
            field: finding.field.clone(),
            file: finding.file.to_string(),
            line: finding.line,
            column: finding.column,
            excerpt: finding.excerpt.clone(),
            last_good_kept: finding.last_good_kept,
        }
    }
}

/// The lines around a place with a marker under it, the hint beside the marker.
fn excerpt(finding: &Finding, text: &str, lines: u32, bytes: &Range<usize>) -> String {
    let start = floor(text, bytes.start);
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    // A marker over several lines hides more than it shows: only the first line's part is marked.
    let marked_end = floor(text, bytes.end).clamp(start, line_end);
    let mut from = line_start;
    for _ in 0..CONTEXT {
        from = text[..from.saturating_sub(1)].rfind('\n').map_or(0, |newline| newline + 1).min(from);
    }
    let mut to = line_end;
    for _ in 0..CONTEXT {
        to = text
            .get(to + 1..)
            .map_or(to, |rest| rest.find('\n').map_or(text.len(), |newline| to + 1 + newline));
    }
    let mut marked_end = marked_end;
    if to - from > MAX_EXCERPT {
        from = floor(text, start.saturating_sub(WINDOW)).max(line_start);
        marked_end = floor(text, marked_end.min(start + WINDOW));
        to = floor(text, marked_end + WINDOW).min(line_end);
    }
    let first = 1 + lines as usize + text[..from].matches('\n').count();
    let label = if finding.hint.is_empty() { None } else { Some(finding.hint.as_str()) };
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let marker = AnnotationKind::Primary.span(start - from..marked_end - from).label(label);
    let snippet = Snippet::source(&text[from..to])
        .path(&*finding.file)
        .line_start(first)
        .fold(false)
        .annotation(marker);
    Renderer::plain().render(&[Group::with_level(level).element(snippet)])
}

/// The nearest character boundary at or before a byte.
fn floor(text: &str, byte: usize) -> usize {
    let byte = byte.min(text.len());
    (0..=byte).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// Collects the findings of one object or file while it is read.
#[derive(Debug)]
pub struct Report<'a> {
    file: Arc<str>,
    text: &'a str,
    object: RefCell<Option<ObjectRef>>,
    findings: RefCell<Vec<Finding>>,
    errors: Cell<usize>,
}

impl<'a> Report<'a> {
    /// A report about a text that the user knows as `file`; spans are of that whole text.
    #[must_use]
    pub fn new(file: &str, text: &'a str) -> Self {
        Self {
            file: file.into(),
            text,
            object: RefCell::default(),
            findings: RefCell::default(),
            errors: Cell::default(),
        }
    }

    /// What is found from now on is about this object.
    pub fn enter(&self, object: Option<ObjectRef>) {
        *self.object.borrow_mut() = object;
    }

    /// Adds a finding about a field at a place.
    pub fn add(&self, finding: Finding, field: &str, span: &Span) {
        if finding.is_error() {
            self.errors.set(self.errors.get() + 1);
        }
        let mut findings = self.findings.borrow_mut();
        if findings.len() > MAX_FINDINGS {
            return;
        }
        if findings.len() == MAX_FINDINGS {
            let message = format!("there are more than {MAX_FINDINGS} findings; the rest is not shown");
            findings.push(Finding::new(Severity::Error, code::TOO_LARGE, message));
            return;
        }
        let mut finding = finding.at(&self.file, self.text, 0, span);
        finding.object.clone_from(&self.object.borrow());
        field.clone_into(&mut finding.field);
        findings.push(finding);
    }

    /// The whole text that the report is about.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// How many errors there have been so far.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.errors.get()
    }

    /// Whether more findings would not be kept, so that looking for them is idle.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.findings.borrow().len() > MAX_FINDINGS
    }

    /// All findings, in the order of the text.
    #[must_use]
    pub fn into_findings(self) -> Vec<Finding> {
        let mut findings = self.findings.into_inner();
        findings.sort_by_key(|finding| (finding.line == 0, finding.line, finding.column));
        findings
    }
}
