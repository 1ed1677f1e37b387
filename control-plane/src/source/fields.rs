//! Reads a tree into checked types: a mistake becomes a finding with its place and full field path, and reading
//! goes on, so that all mistakes are reported at once.
//!
//! A kind reads a message with [`Field::message`]; when its closure returns, every field that it did not ask for has
//! been refused: as *unsupported* when the kind listed it with [`Fields::unsupported`], else as *unknown*.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::diagnostic::{Finding, Report, Severity, code};
use super::document::{Entry, Node, Span, Value, join};
use super::words::{FieldPath, Port};

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;

/// Why a text is not what a field asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

impl Problem {
    /// A problem with what to do about it.
    #[must_use]
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

/// One field (or list item): its value, path and place.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    node: &'a Node,
    /// The key's place; the item's own in a list.
    place: &'a Span,
    path: String,
    report: &'a Report<'a>,
}

impl<'a> Field<'a> {
    /// The root of a document.
    #[must_use]
    pub fn root(node: &'a Node, report: &'a Report<'a>) -> Self {
        Self { node, place: &node.span, path: String::new(), report }
    }

    /// A stand-in for an absent field, at the place of this one.
    #[must_use]
    pub fn absent(&self, name: &str) -> Self {
        static EMPTY: Node =
            Node { value: Value::Mapping(Vec::new()), span: Span { line: 0, column: 0, bytes: 0..0 } };
        Self { node: &EMPTY, place: self.place, path: join(&self.path, name), report: self.report }
    }

    /// Full path, such as `spec.http[0]`.
    #[must_use]
    pub fn path(&self) -> FieldPath {
        self.path.as_str().into()
    }

    /// The raw value.
    #[must_use]
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// The place that findings about the value point to.
    fn value_span(&self) -> &'a Span {
        match &self.node.value {
            Value::Mapping(_) | Value::Sequence(_) | Value::Null => self.place,
            _ if self.node.span.line == 0 => self.place,
            _ => &self.node.span,
        }
    }

    fn add(
        &self,
        severity: Severity,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.report.add(Finding::new(severity, code, message).hint(hint), &self.path, self.value_span());
    }

    /// Refuses the value.
    pub fn invalid(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Error, code::INVALID_VALUE, message, hint);
    }

    /// Refuses the value with another code.
    pub fn refuse(&self, code: &'static str, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Error, code, message, hint);
    }

    /// Accepts the value with a warning.
    pub fn warn(&self, code: &'static str, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Warning, code, message, hint);
    }

    /// Notes what is worth knowing.
    pub fn inform(&self, code: &'static str, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Info, code, message, hint);
    }

    /// Refuses a value that the API has and Weft does not support.
    pub fn unsupported(&self, what: impl Display, hint: impl Into<String>) {
        self.add(Severity::Error, code::UNSUPPORTED, format!("{what} is not supported"), hint);
    }

    fn wrong_type(&self, expected: &str, hint: &str) {
        let got = match &self.node.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::String(_) => "text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        };
        let what =
            if self.path.is_empty() { "the document".to_owned() } else { format!("`{}`", self.name()) };
        self.add(Severity::Error, code::WRONG_TYPE, format!("{what} must be {expected}, not {got}"), hint);
    }

    /// Last step of the path.
    fn name(&self) -> &str {
        if self.path.ends_with("\"]") {
            return &self.path;
        }
        self.path.rsplit('.').next().unwrap_or(&self.path)
    }

    /// Text.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::String(text) => Some(text),
            Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
                self.wrong_type("text", "put the value in quotes");
                None
            }
            _ => {
                self.wrong_type("text", "");
                None
            }
        }
    }

    /// Text that is not empty.
    #[must_use]
    pub fn nonempty(&self) -> Option<&'a str> {
        let text = self.text()?;
        if text.is_empty() {
            self.invalid(format!("`{}` must not be empty", self.name()), "");
            return None;
        }
        Some(text)
    }

    /// Text that `check` turns into something else.
    #[must_use]
    pub fn parse<T>(&self, check: impl FnOnce(&'a str) -> Result<T, Problem>) -> Option<T> {
        match check(self.text()?) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.invalid(problem.message, problem.hint);
                None
            }
        }
    }

    /// True or false.
    #[must_use]
    pub fn flag(&self) -> Option<bool> {
        match &self.node.value {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => {
                let hint = match text.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "true" | "y" => "write true, without quotes",
                    "no" | "off" | "false" | "n" => "write false, without quotes",
                    _ => "",
                };
                self.wrong_type("true or false", hint);
                None
            }
            _ => {
                self.wrong_type("true or false", "");
                None
            }
        }
    }

    /// A whole number within a range.
    #[must_use]
    pub fn integer<T: TryFrom<i64>>(&self, range: RangeInclusive<i64>) -> Option<T> {
        let Value::Int(number) = self.node.value else {
            let quoted = matches!(&self.node.value, Value::String(text) if text.parse::<i64>().is_ok());
            self.wrong_type("a whole number", if quoted { "remove the quotes" } else { "" });
            return None;
        };
        if !range.contains(&number) {
            let (low, high) = range.into_inner();
            self.invalid(format!("`{}` must be from {low} to {high}, not {number}", self.name()), "");
            return None;
        }
        T::try_from(number).ok()
    }

    /// A number of things: 0 to 2^31−1, as the `int32` fields of the APIs that must not be negative.
    #[must_use]
    pub fn count(&self) -> Option<u32> {
        self.integer(0..=i64::from(i32::MAX))
    }

    /// A number within a range.
    #[must_use]
    pub fn number(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let number = match self.node.value {
            Value::Int(number) => number as f64,
            Value::Float(number) => number,
            _ => {
                self.wrong_type("a number", "");
                return None;
            }
        };
        if !range.contains(&number) {
            let (low, high) = range.into_inner();
            self.invalid(format!("`{}` must be from {low} to {high}, not {number}", self.name()), "");
            return None;
        }
        Some(number)
    }

    /// A port, 1 to 65535.
    #[must_use]
    pub fn port(&self) -> Option<Port> {
        self.integer::<u16>(1..=65535).and_then(Port::new)
    }

    /// One of a set of words.
    #[must_use]
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let words = choices.iter().map(|(word, _)| *word);
        let hint = did_you_mean(text, words.clone()).unwrap_or_else(|| format!("one of {}", list(words)));
        self.invalid(format!("`{text}` is no value of `{}`", self.name()), hint);
        None
    }

    /// A duration that `check` reads, within a range.
    #[must_use]
    pub fn duration(
        &self,
        check: fn(&str) -> Result<Duration, Problem>,
        shortest: Duration,
    ) -> Option<Duration> {
        if matches!(self.node.value, Value::Int(_) | Value::Float(_)) {
            self.wrong_type("a duration", "add a unit, such as 5s or 250ms");
            return None;
        }
        let duration = self.parse(check)?;
        if duration < shortest {
            let message =
                format!("`{}` must be at least {}", self.name(), humantime::format_duration(shortest));
            self.invalid(message, "");
            return None;
        }
        Some(duration)
    }

    /// The items of a list; none when it is no list.
    #[must_use]
    pub fn items(&self) -> Vec<Self> {
        let Value::Sequence(nodes) = &self.node.value else {
            self.wrong_type("a list", "begin each item with `- `");
            return Vec::new();
        };
        let item = |(index, node): (usize, &'a Node)| {
            let place = if node.span.line == 0 { self.place } else { &node.span };
            Self { node, place, path: format!("{}[{index}]", self.path), report: self.report }
        };
        nodes.iter().enumerate().map(item).collect()
    }

    /// The items of a list of at most `most`.
    #[must_use]
    pub fn items_up_to(&self, most: usize) -> Vec<Self> {
        let items = self.items();
        if items.len() > most {
            self.invalid(
                format!("`{}` has {} items; at most {most} are allowed", self.name(), items.len()),
                "",
            );
        }
        items
    }

    /// What `read` makes of each item; an item that it refuses has been reported and is left out.
    #[must_use]
    pub fn each<T>(&self, read: impl Fn(&Self) -> Option<T>) -> Vec<T> {
        self.items().iter().filter_map(read).collect()
    }

    /// The entries of a mapping with keys of the user's choice.
    #[must_use]
    pub fn entries(&self) -> Vec<(&'a str, Self)> {
        let Value::Mapping(entries) = &self.node.value else {
            self.wrong_type("a mapping", "");
            return Vec::new();
        };
        entries.iter().map(|entry| (entry.key.as_str(), self.child(entry))).collect()
    }

    fn child(&self, entry: &'a Entry) -> Self {
        let place = if entry.key_span.line == 0 { self.place } else { &entry.key_span };
        Self { node: &entry.value, place, path: join(&self.path, &entry.key), report: self.report }
    }

    /// Reads a message of the API; when `read` returns, every field it did not ask for is refused.
    #[must_use]
    pub fn message<T>(&self, read: impl FnOnce(&Fields<'a>) -> Option<T>) -> Option<T> {
        self.message_such_as("", read)
    }

    /// As [`Field::message`], with what to do when it is no mapping, such as "write `port: {number: 80}`".
    #[must_use]
    pub fn message_such_as<T>(&self, hint: &str, read: impl FnOnce(&Fields<'a>) -> Option<T>) -> Option<T> {
        let Value::Mapping(entries) = &self.node.value else {
            self.wrong_type("a mapping", hint);
            return None;
        };
        let fields = Fields {
            here: self.clone(),
            entries,
            known: RefCell::default(),
            unsupported: RefCell::default(),
            rest_is_ignored: Cell::new(false),
        };
        let value = read(&fields);
        if !fields.rest_is_ignored.get() {
            fields.refuse_rest();
        }
        value
    }
}

/// The fields of one message.
#[derive(Debug)]
pub struct Fields<'a> {
    here: Field<'a>,
    entries: &'a [Entry],
    known: RefCell<Vec<&'static str>>,
    unsupported: RefCell<Vec<&'static str>>,
    rest_is_ignored: Cell<bool>,
}

impl<'a> Fields<'a> {
    /// The message itself, for findings about it as a whole.
    #[must_use]
    pub fn here(&self) -> &Field<'a> {
        &self.here
    }

    /// Path of the message.
    #[must_use]
    pub fn path(&self) -> FieldPath {
        self.here.path()
    }

    /// A field when it is there; null is absence.
    #[must_use]
    pub fn optional(&self, name: &'static str) -> Option<Field<'a>> {
        self.known.borrow_mut().push(name);
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        (entry.value.value != Value::Null).then(|| self.here.child(entry))
    }

    /// A field; its absence is reported.
    #[must_use]
    pub fn required(&self, name: &'static str) -> Option<Field<'a>> {
        let field = self.optional(name);
        if field.is_none() {
            // A misspelt name is reported once, as what it is.
            let misspelt = self.entries.iter().any(|entry| {
                !self.known.borrow().contains(&entry.key.as_str())
                    && closest(&entry.key, [name].into_iter()).is_some()
            });
            if !misspelt {
                let path = join(&self.here.path, name);
                let finding =
                    Finding::new(Severity::Error, code::MISSING_FIELD, format!("`{name}` is missing"))
                        .hint(format!("add `{name}`"));
                self.here.report.add(finding, &path, self.here.place);
            }
        }
        field
    }

    /// A flag, false when absent.
    #[must_use]
    pub fn flag(&self, name: &'static str) -> bool {
        self.optional(name).and_then(|field| field.flag()).unwrap_or(false)
    }

    /// The items of an optional list, each read by `read`.
    #[must_use]
    pub fn each<T>(&self, name: &'static str, read: impl Fn(&Field<'a>) -> Option<T>) -> Vec<T> {
        self.optional(name).map(|field| field.each(read)).unwrap_or_default()
    }

    /// Whether a field is there, without reading it.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == name && entry.value.value != Value::Null)
    }

    /// Fields of the API that are refused as unsupported.
    pub fn unsupported(&self, names: &[&'static str]) {
        self.unsupported.borrow_mut().extend(names);
    }

    /// Fields of the API that are accepted without being read: they have no meaning in a mesh.
    pub fn ignored(&self, names: &[&'static str]) {
        self.known.borrow_mut().extend(names);
    }

    /// Accepts whatever else is there: of objects that somebody else has checked, and that the mesh only looks at.
    pub fn ignored_rest(&self) {
        self.rest_is_ignored.set(true);
    }

    /// Reports fields that exclude each other, when more than one is there.
    pub fn exclusive(&self, names: &[&'static str]) {
        let present: Vec<_> = names.iter().copied().filter(|name| self.has(name)).collect();
        if present.len() > 1 {
            let message = format!("only one of {} may be set", list(present.iter().copied()));
            self.here.refuse(code::CONFLICTING_FIELDS, message, "keep one");
        }
    }

    fn refuse_rest(&self) {
        let (known, unsupported) = (self.known.borrow(), self.unsupported.borrow());
        for entry in self.entries {
            let name = entry.key.as_str();
            if known.contains(&name) {
                continue;
            }
            if self.here.report.is_full() {
                return;
            }
            let field = self.here.child(entry);
            let (code, message, hint) = if unsupported.contains(&name) {
                let hint = "remove it: a field that would have no effect is not accepted".to_owned();
                (code::UNSUPPORTED, format!("the field `{name}` is not supported"), hint)
            } else {
                let all = known.iter().chain(unsupported.iter()).copied();
                let hint = did_you_mean(name, all).unwrap_or_else(|| {
                    if known.is_empty() {
                        "no fields are allowed here".to_owned()
                    } else {
                        format!("fields here: {}", list(known.iter().copied()))
                    }
                });
                (code::UNKNOWN_FIELD, format!("there is no field `{name}`"), hint)
            };
            self.here.report.add(
                Finding::new(Severity::Error, code, message).hint(hint),
                &field.path,
                field.place,
            );
        }
    }
}

/// "did you mean `x`?" when one of the words is close.
#[must_use]
pub fn did_you_mean<'w>(word: &str, words: impl Iterator<Item = &'w str>) -> Option<String> {
    closest(word, words).map(|near| format!("did you mean `{near}`?"))
}

/// The closest of the words, when it is close: another case, or a third of the letters apart.
fn closest<'w>(word: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let lower = word.to_lowercase();
    words
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()).div_ceil(3).min(4))
        .min()
        .map(|(_, candidate)| candidate)
}

/// `a`, `b`, `c`.
fn list<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let mut unique: Vec<_> = words.collect();
    unique.dedup();
    unique.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
