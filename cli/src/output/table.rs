//! Columns that line up.

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;

/// Rows under their headings.
#[derive(Clone, Debug)]
pub struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(headings: &[&str]) -> Self {
        Self { lines: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// Adds a row; missing cells are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.lines.push(cells.into_iter().map(Into::into).collect());
    }

    /// Whether there is nothing under the headings.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.len() < 2
    }

    /// The lines, each column as wide as its widest cell, two spaces between; no space at the end of a line. An empty
    /// cell reads `-`, so that columns can be counted by `awk`.
    #[must_use]
    pub fn render(&self) -> String {
        let columns = self.lines[0].len();
        let cell = |line: &Vec<String>, column: usize| match line.get(column).map(String::as_str) {
            None | Some("") => "-".to_owned(),
            Some(text) => text.to_owned(),
        };
        let width =
            |column| self.lines.iter().map(|line| visible(&cell(line, column))).max().unwrap_or_default();
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for line in &self.lines {
            let mut text = String::new();
            for (column, width) in widths.iter().enumerate() {
                let cell = cell(line, column);
                text.push_str(&cell);
                text.extend(std::iter::repeat_n(' ', width - visible(&cell) + 2));
            }
            out.push_str(text.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Characters that take a place on the terminal: colour codes do not.
fn visible(text: &str) -> usize {
    let mut count = 0;
    let mut in_code = false;
    for character in text.chars() {
        match character {
            '\x1b' => in_code = true,
            'm' if in_code => in_code = false,
            _ if in_code => {}
            _ => count += 1,
        }
    }
    count
}
