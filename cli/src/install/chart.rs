//! The parts of the Helm chart that are made from the table of values.

use std::fmt::Write as _;

use serde_json::Value;

use super::schema::{self, FIELDS, Field};
use crate::output::yaml::to_yaml;

#[cfg(test)]
#[path = "chart_tests.rs"]
mod tests;

/// Longest line of a comment.
const WIDTH: usize = 110;

/// What the chart has otherwise than `weft install`: Helm makes the namespace of a release itself.
const OTHERWISE: [(&str, &str); 1] = [("namespace.create", "false")];

/// `values.yaml`, every value with what it does.
#[must_use]
pub fn values() -> String {
    let mut text = String::from(
        "# Values of the chart, those of `weft install` with their defaults (docs/install.md).\n# Made from cli/src/install/schema.rs.\n",
    );
    let mut above: Vec<&str> = Vec::new();
    for field in FIELDS {
        let path: Vec<&str> = field.path.split('.').collect();
        let shared = path.iter().zip(&above).take_while(|(a, b)| a == b).count();
        if shared == 0 {
            text.push('\n');
        }
        for (depth, key) in path.iter().enumerate().take(path.len() - 1).skip(shared) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}{key}:", "  ".repeat(depth));
        }
        write_field(&mut text, field, path.len() - 1);
        above = path[..path.len() - 1].to_vec();
    }
    text
}

fn write_field(text: &mut String, field: &Field, depth: usize) {
    let indent = "  ".repeat(depth);
    for line in wrapped(field.about, WIDTH - indent.len() - 2) {
        let _ = writeln!(text, "{indent}# {line}");
    }
    let key = field.path.rsplit('.').next().unwrap_or(field.path);
    let otherwise = OTHERWISE.iter().find(|(path, _)| *path == field.path);
    let value = otherwise.map_or_else(
        || schema::default_of(field),
        |(_, value)| serde_json::from_str(value).unwrap_or_default(),
    );
    for line in to_yaml(&serde_json::json!({ key: value })).lines() {
        let _ = writeln!(text, "{indent}{line}");
    }
}

/// `values.schema.json`.
#[must_use]
pub fn schema_file() -> String {
    format!("{:#}\n", schema::json_schema())
}

/// The reference of values in `docs/install.md`: a table.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from("| value | default | what it does |\n| --- | --- | --- |\n");
    for field in FIELDS {
        let default = match schema::default_of(field) {
            Value::String(text) if text.is_empty() => "empty".to_owned(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let _ = writeln!(text, "| `{}` | {default} | {} |", field.path, field.about);
    }
    text
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
