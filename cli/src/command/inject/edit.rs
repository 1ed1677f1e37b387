//! Changes a YAML document where its values have changed, and nowhere else: comments, order and layout stay.
//!
//! What cannot be changed in place (an alias, say) is written anew, the smallest value around it that can. The
//! result is read again and compared, so that a document never says anything but what it is to say.

use std::ops::Range;

use serde_json::{Map, Value as Json, json};
use weft_control_plane::inject::key_of;
use weft_control_plane::source::document::{Entry, Node, Value, json::to_json, yaml};

use crate::output::yaml::to_yaml;

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;

/// The text with the values of `new`, and whether its layout could be kept.
pub(super) fn rewritten(text: &str, root: &Node, new: &Json) -> (String, bool) {
    if to_json(root) == *new {
        return (text.to_owned(), true);
    }
    let mut editor = Editor { text, edits: Vec::new() };
    if editor.value(root, new, "", None)
        && let Some(edited) = editor.apply()
        && says(&edited, new)
    {
        return (edited, true);
    }
    let is_json = text.trim_start().starts_with('{');
    (if is_json { format!("{new:#}\n") } else { to_yaml(new) }, is_json)
}

fn says(text: &str, new: &Json) -> bool {
    let (root, errors) = yaml::parse(text);
    errors.is_empty() && root.is_some_and(|root| to_json(&root) == *new)
}

/// What takes the place of a part of the text.
#[derive(Debug)]
struct Edit {
    range: Range<usize>,
    text: String,
}

struct Editor<'a> {
    text: &'a str,
    edits: Vec<Edit>,
}

impl Editor<'_> {
    /// Makes a value another; false when that cannot be done in place. `field` is the key that it stands under, and
    /// `key_end` the end of that key.
    fn value(&mut self, node: &Node, new: &Json, field: &str, key_end: Option<usize>) -> bool {
        if to_json(node) == *new {
            return true;
        }
        let before = self.edits.len();
        let done = match (&node.value, new) {
            (Value::Mapping(entries), Json::Object(map)) if self.is_block(node) => self.mapping(entries, map),
            (Value::Sequence(items), Json::Array(new)) if self.is_block(node) => {
                self.sequence(items, new, field, key_end)
            }
            _ => false,
        };
        if !done {
            self.edits.truncate(before);
        }
        done
    }

    /// Whether the collection has items and is not in braces.
    fn is_block(&self, node: &Node) -> bool {
        let empty = match &node.value {
            Value::Mapping(entries) => entries.is_empty(),
            Value::Sequence(items) => items.is_empty(),
            _ => true,
        };
        !empty && !self.text[node.span.bytes.start..].starts_with(['{', '[', '*', '&'])
    }

    fn mapping(&mut self, entries: &[Entry], new: &Map<String, Json>) -> bool {
        let Some(last) = entries.iter().rfind(|entry| new.contains_key(&entry.key)) else { return false };
        for entry in entries {
            let done = match new.get(&entry.key) {
                None => self.delete(entry.key_span.bytes.start, self.end_of_entry(entry), ""),
                Some(value) => {
                    self.value(&entry.value, value, &entry.key, Some(entry.key_span.bytes.end))
                        || self.replace_value(entry, value)
                }
            };
            if !done {
                return false;
            }
        }
        let at = self.line_end(self.end_of_entry(last));
        let indent = self.column(last.key_span.bytes.start);
        for (key, value) in new.iter().filter(|(key, _)| entries.iter().all(|entry| entry.key != **key)) {
            self.insert_lines(at, indent, &to_yaml(&json!({ key: value })));
        }
        true
    }

    /// Writes the value of a key anew.
    fn replace_value(&mut self, entry: &Entry, new: &Json) -> bool {
        let Some(colon) = self.text[entry.key_span.bytes.end..].find(':') else { return false };
        let start = entry.key_span.bytes.end + colon + 1;
        let end = self.end_of_entry(entry).max(start);
        let rendered = to_yaml(&json!({"k": new}));
        let Some(value) = rendered.strip_prefix("k:") else { return false };
        let indent = " ".repeat(self.column(entry.key_span.bytes.start));
        let text = value.trim_end_matches('\n').replace('\n', &format!("{}{indent}", self.newline()));
        self.edits.push(Edit { range: start..end, text });
        true
    }

    fn sequence(&mut self, items: &[Node], new: &[Json], field: &str, key_end: Option<usize>) -> bool {
        let Some(matches) = matches(items, new, field) else { return false };
        for (index, item) in items.iter().enumerate() {
            let start = item.span.bytes.start;
            let done = match matches.iter().position(|matched| *matched == Some(index)) {
                None => self.delete(start, self.end_of(item).unwrap_or(start), "-"),
                Some(place) => self.value(item, &new[place], "", None) || self.replace_item(item, &new[place]),
            };
            if !done {
                return false;
            }
        }
        let Some(indent) = items.first().and_then(|item| self.dash(item)) else { return false };
        // New items stand behind the one before them, or behind the key.
        let mut at = key_end.map(|end| self.line_end(end));
        for (place, value) in new.iter().enumerate() {
            match matches[place] {
                Some(index) => at = self.end_of(&items[index]).map(|end| self.line_end(end)),
                None => match at {
                    Some(at) => self.insert_lines(at, indent, &to_yaml(&json!([value]))),
                    None => return false,
                },
            }
        }
        true
    }

    /// Writes an item of a list anew.
    fn replace_item(&mut self, item: &Node, new: &Json) -> bool {
        let (Some(_), Some(end)) = (self.dash(item), self.end_of(item)) else { return false };
        let indent = " ".repeat(self.column(item.span.bytes.start));
        let text = to_yaml(new).trim_end_matches('\n').replace('\n', &format!("{}{indent}", self.newline()));
        self.edits.push(Edit { range: item.span.bytes.start..end, text });
        true
    }

    /// Takes the lines from `start` to `end` away; before `start` may be nothing but `lead` on its line.
    fn delete(&mut self, start: usize, end: usize, lead: &str) -> bool {
        let line = self.line_start(start);
        if self.text[line..start].trim() != lead {
            return false;
        }
        let end = self.text[end..].find('\n').map_or(self.text.len(), |newline| end + newline + 1);
        self.edits.push(Edit { range: line..end, text: String::new() });
        true
    }

    fn insert_lines(&mut self, at: usize, indent: usize, lines: &str) {
        let indent = " ".repeat(indent);
        let newline = self.newline();
        let text = lines.lines().map(|line| format!("{newline}{indent}{line}")).collect();
        self.edits.push(Edit { range: at..at, text });
    }

    /// The text with all edits; none when they overlap.
    fn apply(mut self) -> Option<String> {
        // Stable: what is inserted at one place stays in its order.
        self.edits.sort_by_key(|edit| edit.range.start);
        let mut text = String::with_capacity(self.text.len() + 4096);
        let mut end = 0;
        for edit in &self.edits {
            text.push_str(self.text.get(end..edit.range.start)?);
            text.push_str(&edit.text);
            end = edit.range.end;
        }
        text.push_str(self.text.get(end..)?);
        Some(text)
    }

    fn newline(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// Before the line's end.
    fn line_end(&self, at: usize) -> usize {
        let end = self.text[at..].find('\n').map_or(self.text.len(), |newline| at + newline);
        if self.text[at..end].ends_with('\r') { end - 1 } else { end }
    }

    /// Characters before a place on its line, as spaces would take.
    fn column(&self, at: usize) -> usize {
        self.text[self.line_start(at)..at].chars().count()
    }

    /// The column of an item's dash; none when it does not begin its line.
    fn dash(&self, item: &Node) -> Option<usize> {
        let start = item.span.bytes.start;
        let line = self.line_start(start);
        let lead = &self.text[line..start];
        (lead.trim() == "-").then(|| lead.find('-')).flatten()
    }

    fn end_of_entry(&self, entry: &Entry) -> usize {
        self.end_of(&entry.value).unwrap_or(entry.key_span.bytes.end).max(entry.key_span.bytes.end)
    }

    /// Behind the last character of a value; none of a value that has none.
    fn end_of(&self, node: &Node) -> Option<usize> {
        let own = &self.text[node.span.bytes.clone()];
        if own.starts_with(['{', '[']) {
            // The parser's own end is where the next token begins, comments between.
            return Some(node.span.bytes.start + end_of_braces(own));
        }
        match &node.value {
            Value::Mapping(entries) => entries.iter().map(|entry| self.end_of_entry(entry)).max(),
            Value::Sequence(items) => {
                items.iter().map(|item| self.end_of(item).unwrap_or(item.span.bytes.start)).max()
            }
            _ if own.trim().is_empty() => None,
            _ => Some(node.span.bytes.start + own.trim_end().len()),
        }
    }
}

/// Behind the brace or bracket that closes the first.
fn end_of_braces(text: &str) -> usize {
    let (mut depth, mut quote, mut before) = (0_usize, None, '[');
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match (quote, letter) {
            (Some('"'), '\\') => drop(letters.next()),
            // Doubled it stands for itself.
            (Some('\''), '\'') if text[at + 1..].starts_with('\'') => drop(letters.next()),
            (Some(open), _) if open == letter => quote = None,
            (Some(_), _) => {}
            // Elsewhere a quote is a letter like any other.
            (None, '"' | '\'') if "[{,:".contains(before) => quote = Some(letter),
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') => depth -= 1,
            (None, '#') if text[..at].ends_with(char::is_whitespace) => {
                letters.by_ref().find(|(_, letter)| *letter == '\n');
            }
            _ => {}
        }
        if depth == 0 {
            return at + letter.len_utf8();
        }
        if !letter.is_whitespace() {
            before = letter;
        }
    }
    text.trim_end().len()
}

/// For each new item the old one that it continues; none when their order has changed, which cannot be done in place.
fn matches(items: &[Node], new: &[Json], field: &str) -> Option<Vec<Option<usize>>> {
    let old: Vec<Json> = items.iter().map(to_json).collect();
    let keys = key_of(field);
    let same = |one: &Json, other: &Json| {
        one == other || (!keys.is_empty() && keys.iter().all(|key| one.get(*key) == other.get(*key)))
    };
    let mut free: Vec<bool> = vec![true; old.len()];
    let mut all = Vec::with_capacity(new.len());
    let mut last = None;
    for item in new {
        let found = (0..old.len()).find(|&index| free[index] && same(&old[index], item));
        if let Some(index) = found {
            if last.is_some_and(|last| index < last) {
                return None;
            }
            free[index] = false;
            last = Some(index);
        }
        all.push(found);
    }
    Some(all)
}
