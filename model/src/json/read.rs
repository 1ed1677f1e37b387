//! From a tree to a message, field by field.

use prost::Message as _;
use serde_json::json;
use weft_proto::descriptors::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};

use super::Misfit;
use crate::document::json::to_json;
use crate::document::{self, Entry, Node, Span, join};

const ANY: &str = "google.protobuf.Any";
const VALUE: &str = "google.protobuf.Value";
/// Messages that carry another one as a struct, with its type beside it (<https://github.com/cncf/xds>).
const TYPED_STRUCTS: [&str; 2] = ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"];

pub(super) fn message(pool: &DescriptorPool, name: &str, node: &Node) -> Result<Vec<u8>, Vec<Misfit>> {
    let mut walk = Walk { pool, misfits: Vec::new() };
    let Some(known) = pool.get_message_by_name(name) else {
        walk.misfit("", &node.span, format!("the message `{name}` is not known"));
        return Err(walk.misfits);
    };
    let message = walk.message(&known, node, "");
    if walk.misfits.is_empty() { Ok(message.encode_to_vec()) } else { Err(walk.misfits) }
}

struct Walk<'a> {
    pool: &'a DescriptorPool,
    misfits: Vec<Misfit>,
}

impl Walk<'_> {
    fn misfit(&mut self, field: &str, span: &Span, message: impl Into<String>) {
        self.misfits.push(Misfit { field: field.to_owned(), message: message.into(), span: span.clone() });
    }

    fn message(&mut self, kind: &MessageDescriptor, node: &Node, path: &str) -> DynamicMessage {
        match kind.full_name() {
            ANY => self.any(kind, node, path),
            name if name.starts_with("google.protobuf.") => self.well_known(kind, node, path),
            _ => self.fields(kind, node, path, |_| false),
        }
    }

    /// Durations, wrappers and the like, which have a JSON form of their own.
    fn well_known(&mut self, kind: &MessageDescriptor, node: &Node, path: &str) -> DynamicMessage {
        DynamicMessage::deserialize(kind.clone(), to_json(node)).unwrap_or_else(|error| {
            self.misfit(path, &node.span, said(&error));
            DynamicMessage::new(kind.clone())
        })
    }

    fn fields(
        &mut self,
        kind: &MessageDescriptor,
        node: &Node,
        path: &str,
        skipped: impl Fn(&str) -> bool,
    ) -> DynamicMessage {
        let mut message = DynamicMessage::new(kind.clone());
        let document::Value::Mapping(entries) = &node.value else {
            self.misfit(path, &node.span, format!("is {}, not a mapping of fields", what(node)));
            return message;
        };
        for entry in entries.iter().filter(|entry| !skipped(&entry.key)) {
            let here = join(path, &entry.key);
            let Some(field) =
                kind.get_field_by_name(&entry.key).or_else(|| kind.get_field_by_json_name(&entry.key))
            else {
                self.misfit(&here, &entry.key_span, unknown(kind, &entry.key));
                continue;
            };
            if let Some(other) = already(&message, &field) {
                self.misfit(&here, &entry.key_span, format!("cannot stand beside `{other}`"));
                continue;
            }
            if let Some(value) = self.field(&field, entry, &here) {
                message.set_field(&field, value);
            }
        }
        message
    }

    /// None: as if it were absent.
    fn field(&mut self, field: &FieldDescriptor, entry: &Entry, path: &str) -> Option<Value> {
        let node = &entry.value;
        let takes_null = matches!(field.kind(), Kind::Message(kind) if kind.full_name() == VALUE);
        if node.value == document::Value::Null && !takes_null {
            return None;
        }
        if field.is_map() {
            return self.map(field, node, path);
        }
        if !field.is_list() {
            return self.single(field, node, path);
        }
        let document::Value::Sequence(items) = &node.value else {
            self.misfit(path, &node.span, format!("is {}, not a list", what(node)));
            return None;
        };
        let items = items.iter().enumerate();
        let values = items.filter_map(|(at, item)| self.single(field, item, &format!("{path}[{at}]")));
        Some(Value::List(values.collect()))
    }

    fn map(&mut self, field: &FieldDescriptor, node: &Node, path: &str) -> Option<Value> {
        let Kind::Message(pair) = field.kind() else { return None };
        let value_field = pair.map_entry_value_field();
        let is_text = pair.map_entry_key_field().kind() == Kind::String;
        match (&node.value, is_text) {
            (document::Value::Mapping(entries), true) => {
                let pairs = entries.iter().filter_map(|entry| {
                    let value = self.single(&value_field, &entry.value, &join(path, &entry.key))?;
                    Some((MapKey::String(entry.key.clone()), value))
                });
                Some(Value::Map(pairs.collect()))
            }
            (document::Value::Mapping(_), false) => self.alone(field, node, path),
            _ => {
                self.misfit(path, &node.span, format!("is {}, not a mapping", what(node)));
                None
            }
        }
    }

    fn single(&mut self, field: &FieldDescriptor, node: &Node, path: &str) -> Option<Value> {
        match field.kind() {
            Kind::Message(kind) => Some(Value::Message(self.message(&kind, node, path))),
            _ => self.alone(field, node, path),
        }
    }

    /// Lets the library read one value, in a message that has nothing else.
    fn alone(&mut self, field: &FieldDescriptor, node: &Node, path: &str) -> Option<Value> {
        let value = to_json(node);
        let value = if field.is_list() { json!([value]) } else { value };
        let message = json!({ field.json_name(): value });
        match DynamicMessage::deserialize(field.parent_message().clone(), message) {
            Ok(mut message) => match message.take_field(field) {
                Some(Value::List(mut values)) => values.pop(),
                // A default leaves no trace in the message, and is meant nevertheless.
                other => other.or_else(|| Some(Value::default_value_for_field(field))),
            },
            Err(error) => {
                self.misfit(path, &node.span, said(&error));
                None
            }
        }
    }

    fn any(&mut self, kind: &MessageDescriptor, node: &Node, path: &str) -> DynamicMessage {
        let Some(url) = node.get("@type").and_then(Node::as_str) else {
            self.misfit(path, &node.span, "has no `@type`, which says what message this is");
            return DynamicMessage::new(kind.clone());
        };
        if TYPED_STRUCTS.contains(&name_of(url))
            && let Some(inner) = node.get("type_url").or_else(|| node.get("typeUrl")).and_then(Node::as_str)
        {
            let empty = Node { value: document::Value::Mapping(Vec::new()), span: node.span.clone() };
            let value = node.get("value").unwrap_or(&empty);
            return self.packed(kind, inner, value, &join(path, "value"), |_| false);
        }
        self.packed(kind, url, node, path, |key| key == "@type")
    }

    fn packed(
        &mut self,
        any: &MessageDescriptor,
        url: &str,
        node: &Node,
        path: &str,
        skipped: impl Fn(&str) -> bool,
    ) -> DynamicMessage {
        let name = name_of(url);
        let value = match self.pool.get_message_by_name(name) {
            None => Vec::new(),
            Some(kind) if name.starts_with("google.protobuf.") => {
                let value = node.get("value").unwrap_or(node);
                self.message(&kind, value, &join(path, "value")).encode_to_vec()
            }
            Some(kind) => self.fields(&kind, node, path, skipped).encode_to_vec(),
        };
        let mut packed = DynamicMessage::new(any.clone());
        packed.set_field_by_name("type_url", Value::String(url.to_owned()));
        packed.set_field_by_name("value", Value::Bytes(value.into()));
        packed
    }
}

fn name_of(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or_default()
}

/// The field of the same `oneof` that is set, when there is one.
fn already(message: &DynamicMessage, field: &FieldDescriptor) -> Option<String> {
    let one_of = field.containing_oneof()?;
    let set = one_of.fields().find(|other| other != field && message.has_field(other))?;
    Some(set.name().to_owned())
}

fn unknown(kind: &MessageDescriptor, key: &str) -> String {
    let names: Vec<_> = kind.fields().map(|field| field.name().to_owned()).collect();
    let near = names.iter().map(|name| (strsim::damerau_levenshtein(name, key), name));
    match near.filter(|(distance, _)| *distance <= 3).min() {
        Some((_, name)) => format!("is no field of {}; did you mean `{name}`?", kind.full_name()),
        None => format!("is no field of {}", kind.full_name()),
    }
}

fn what(node: &Node) -> &'static str {
    match node.value {
        document::Value::Null => "nothing",
        document::Value::Bool(_) => "true or false",
        document::Value::Int(_) | document::Value::Float(_) => "a number",
        document::Value::String(_) => "text",
        document::Value::Sequence(_) => "a list",
        document::Value::Mapping(_) => "a mapping",
    }
}

/// The library's words, without its place, which is that of a text that nobody wrote.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.find(" at line ").unwrap_or(text.len());
    text[..end].to_owned()
}
