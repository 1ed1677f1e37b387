//! Columns that line up.

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;

/// The rows under their headings, each column as wide as its widest cell, two spaces between; no space at the end
/// of a line. An empty cell reads `-`, so that columns can be counted by `awk`.
#[must_use]
pub fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let cell = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let mut lines = vec![headings.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| row.each_ref().map(|text| cell(text))));
    let mut widths = [0; N];
    for line in &lines {
        for (width, text) in widths.iter_mut().zip(line) {
            *width = text.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for line in lines {
        let padded: Vec<String> =
            line.iter().zip(widths).map(|(text, width)| format!("{text:width$}")).collect();
        out.push_str(padded.join("  ").trim_end());
        out.push('\n');
    }
    out
}
