//! `--set PATH=VALUE`, with Helm's rules: `\.` is a point within a key, `{a,b}` a list.

use serde_json::{Map, Value};

use super::Mistake;
use crate::install::schema::{self, Kind};

/// The path and the value of one setting. The value is read as the field's kind asks, so that `image.tag=1.10` stays a
/// text.
pub(super) fn parse(setting: &str) -> Result<(Vec<String>, Value), Mistake> {
    let wrong = |message: &str, hint: &str| Mistake {
        place: format!("--set {setting}"),
        message: message.to_owned(),
        hint: hint.to_owned(),
    };
    let example = "write PATH=VALUE, such as controlPlane.replicas=3";
    let (path, text) = setting.split_once('=').ok_or_else(|| wrong("there is no `=`", example))?;
    let path = keys(path);
    if path.iter().any(String::is_empty) {
        return Err(wrong("the path has an empty part", example));
    }
    let kind =
        (1..=path.len()).find_map(|count| schema::find(&path[..count].join("."))).map(|field| field.kind);
    Ok((path, read(text, kind)))
}

/// Cuts at points that no backslash precedes.
fn keys(path: &str) -> Vec<String> {
    let mut keys = vec![String::new()];
    let mut escaped = false;
    for character in path.trim().chars() {
        match (character, keys.last_mut()) {
            ('\\', _) if !escaped => escaped = true,
            ('.', _) if !escaped => keys.push(String::new()),
            (other, Some(key)) => {
                key.push(other);
                escaped = false;
            }
            (_, None) => {}
        }
    }
    keys
}

fn read(text: &str, kind: Option<Kind>) -> Value {
    if text == "null" {
        return Value::Null;
    }
    match kind {
        Some(Kind::Text | Kind::Name | Kind::Word(_) | Kind::Labels) => Value::String(text.to_owned()),
        Some(Kind::Texts) => {
            let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
            inner
                .split(',')
                .filter(|item| !item.is_empty())
                .map(|item| Value::String(item.trim().to_owned()))
                .collect()
        }
        // What is no JSON is text: `cpu=100m`.
        _ => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
    }
}

/// Puts a value at a path whose keys may hold points.
pub(super) fn put(tree: &mut Value, path: &[String], value: Value) {
    let mut place = tree;
    for key in path {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(map) = place else { return };
        place = map.entry(key.clone()).or_insert(Value::Null);
    }
    *place = value;
}
