//! Cuts a file into documents before any is parsed, so that a syntax error in one does not hide the others.
//!
//! YAML forbids a line that begins with `---` or `...` within a document, in block and quoted scalars too
//! (`c-forbidden`, <https://yaml.org/spec/1.2.2/#914-explicit-documents>), so lines are enough to cut by.

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;

/// One document's part of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part<'a> {
    /// The document, without the `---` before it when that line has nothing else.
    pub text: &'a str,
    /// Lines of the file before it.
    pub line: u32,
    /// Bytes of the file before it.
    pub offset: usize,
}

/// The parts that hold more than comments, in the order of the file.
#[must_use]
pub fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 0, 0);
    let mut directives = false;
    for (line_number, line) in (0_u32..).zip(text.split_inclusive('\n')) {
        let end = offset + line.len();
        if is_marker(line, "---") {
            if !directives {
                push(&mut parts, text, start, offset, start_line);
                let bare = line.trim_end() == "---";
                (start, start_line) = if bare { (end, line_number + 1) } else { (offset, line_number) };
            }
            directives = false;
        } else if is_marker(line, "...") {
            push(&mut parts, text, start, offset, start_line);
            (start, start_line) = (end, line_number + 1);
            directives = false;
        } else if line.starts_with('%') && is_blank(&text[start..offset]) {
            directives = true;
        }
        offset = end;
    }
    push(&mut parts, text, start, text.len(), start_line);
    parts
}

fn push<'a>(parts: &mut Vec<Part<'a>>, text: &'a str, start: usize, end: usize, line: u32) {
    if start < end && !is_blank(&text[start..end]) {
        parts.push(Part { text: &text[start..end], line, offset: start });
    }
}

/// `---` or `...` at the line's start, followed by white space or nothing.
fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether there is nothing but comments and white space.
fn is_blank(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.trim_start_matches([' ', '\t', '\u{feff}']).trim_end();
        line.is_empty() || line.starts_with('#')
    })
}
