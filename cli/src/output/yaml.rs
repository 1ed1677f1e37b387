//! JSON values as YAML. Every string that YAML could read as something else is quoted.

use std::fmt::Write as _;

use serde_json::Value;

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;

/// The value as a YAML 1.2 document in block style, which 1.1 readers understand too.
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Array(items) if !items.is_empty() => write_items(&mut out, items, 0),
        Value::Object(fields) if !fields.is_empty() => write_fields(&mut out, fields, 0),
        scalar => out = format!("{}\n", flow(scalar)),
    }
    out
}

fn write_fields(out: &mut String, fields: &serde_json::Map<String, Value>, depth: usize) {
    for (index, (key, value)) in fields.iter().enumerate() {
        // The first field of a list item stands behind its dash.
        if index > 0 || !out.ends_with("- ") {
            out.push_str(&"  ".repeat(depth));
        }
        let _ = write!(out, "{}:", text(key));
        match value {
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                write_items(out, items, depth);
            }
            Value::Object(fields) if !fields.is_empty() => {
                out.push('\n');
                write_fields(out, fields, depth + 1);
            }
            scalar => {
                let _ = writeln!(out, " {}", flow(scalar));
            }
        }
    }
}

fn write_items(out: &mut String, items: &[Value], depth: usize) {
    for item in items {
        out.push_str(&"  ".repeat(depth));
        out.push_str("- ");
        match item {
            Value::Object(fields) if !fields.is_empty() => write_fields(out, fields, depth + 1),
            Value::Array(inner) if !inner.is_empty() => {
                out.truncate(out.len() - 1);
                out.push('\n');
                write_items(out, inner, depth + 1);
            }
            scalar => {
                let _ = writeln!(out, "{}", flow(scalar));
            }
        }
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(string) => text(string),
        // null, booleans, numbers, `[]` and `{}` read the same in both.
        other => other.to_string(),
    }
}

fn text(string: &str) -> String {
    let plain = string.chars().next().is_some_and(|first| first.is_ascii_alphabetic() || first == '/')
        && string.chars().all(|it| it.is_ascii_alphanumeric() || "-_./ ".contains(it))
        && !string.ends_with(' ')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&string.to_ascii_lowercase().as_str());
    if plain {
        return string.to_owned();
    }
    // A JSON string is a YAML double-quoted string.
    Value::String(string.to_owned()).to_string()
}
