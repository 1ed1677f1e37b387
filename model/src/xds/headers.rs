//! Changes to headers.

use http::{HeaderName, HeaderValue};
use weft_proto::xds::core;
use weft_proto::xds::core::header_value_option::HeaderAppendAction;

use super::reader::{Reader, fields};
use crate::format::{Template, TemplateError};
use crate::policy::{AppendAction, HeaderChange, HeaderMutations, HeaderText};

/// What is given a value, and what is removed.
pub(super) fn encode(mutations: &HeaderMutations) -> (Vec<core::HeaderValueOption>, Vec<String>) {
    let options = mutations.add.iter().map(encode_change).collect();
    (options, mutations.remove.iter().map(ToString::to_string).collect())
}

pub(super) fn encode_change(change: &HeaderChange) -> core::HeaderValueOption {
    let mut header = core::HeaderValue { key: change.name.to_string(), ..Default::default() };
    let keep_empty_value = match &change.value {
        HeaderText::Literal(value) => {
            match value.to_str() {
                // A percent sign begins one of Envoy's commands.
                Ok(text) => header.value = text.replace('%', "%%"),
                Err(_) => header.raw_value = value.as_bytes().to_vec(),
            }
            value.is_empty()
        }
        HeaderText::Template { template, keep_empty } => {
            header.value = template.as_str().to_owned();
            *keep_empty
        }
    };
    let action = match change.action {
        AppendAction::AppendIfExistsOrAdd => HeaderAppendAction::AppendIfExistsOrAdd,
        AppendAction::AddIfAbsent => HeaderAppendAction::AddIfAbsent,
        AppendAction::OverwriteIfExistsOrAdd => HeaderAppendAction::OverwriteIfExistsOrAdd,
        AppendAction::OverwriteIfExists => HeaderAppendAction::OverwriteIfExists,
    };
    core::HeaderValueOption {
        header: Some(header),
        append_action: action as i32,
        keep_empty_value,
        ..Default::default()
    }
}

/// Reads the fields `WHAT_headers_to_add` and `WHAT_headers_to_remove`; `what` is `request` or `response`.
pub(super) fn decode(
    reader: &mut Reader,
    what: &str,
    add: Vec<core::HeaderValueOption>,
    remove: Vec<String>,
) -> HeaderMutations {
    let add = reader.each(&format!("{what}_headers_to_add"), add, decode_change);
    HeaderMutations { remove: reader.each(&format!("{what}_headers_to_remove"), remove, name), add }
}

pub(super) fn decode_change(reader: &mut Reader, option: core::HeaderValueOption) -> Option<HeaderChange> {
    fields!(reader, option => core::HeaderValueOption { header, append, append_action, keep_empty_value });
    let action = match (append, HeaderAppendAction::try_from(append_action)) {
        (Some(append), _) if append.value => Some(AppendAction::AppendIfExistsOrAdd),
        (Some(_), _) => Some(AppendAction::OverwriteIfExistsOrAdd),
        (None, Ok(HeaderAppendAction::AppendIfExistsOrAdd)) => Some(AppendAction::AppendIfExistsOrAdd),
        (None, Ok(HeaderAppendAction::AddIfAbsent)) => Some(AppendAction::AddIfAbsent),
        (None, Ok(HeaderAppendAction::OverwriteIfExistsOrAdd)) => Some(AppendAction::OverwriteIfExistsOrAdd),
        (None, Ok(HeaderAppendAction::OverwriteIfExists)) => Some(AppendAction::OverwriteIfExists),
        (None, Err(_)) => reader.refuse_at("append_action", format!("{append_action} is not known")),
    };
    let (name, value) = reader.required("header", header, |reader, header| {
        let name = reader.within("key", |reader| name(reader, header.key));
        let value = if header.raw_value.is_empty() {
            reader.within("value", |reader| value(reader, &header.value, keep_empty_value))?
        } else {
            literal(reader, &header.raw_value)?
        };
        Some((name?, value))
    })?;
    Some(HeaderChange { name, value, action: action? })
}

/// A value in which commands may stand. One that is always empty is kept: Envoy would leave the header out, which
/// nobody writes.
fn value(reader: &mut Reader, text: &str, keep_empty: bool) -> Option<HeaderText> {
    match Template::parse(text) {
        Ok(template) => match template.as_literal() {
            Some(text) => literal(reader, text.as_bytes()),
            None => Some(HeaderText::Template { template: Box::new(template), keep_empty }),
        },
        Err(errors) => {
            for TemplateError { position, message } in errors {
                reader.refuse::<()>(format!("character {position}: {message}"));
            }
            None
        }
    }
}

fn literal(reader: &mut Reader, bytes: &[u8]) -> Option<HeaderText> {
    match HeaderValue::from_bytes(bytes) {
        Ok(value) => Some(HeaderText::Literal(value)),
        Err(_) => reader.refuse_at("value", "has characters that no header value may have"),
    }
}

pub(super) fn name(reader: &mut Reader, name: String) -> Option<HeaderName> {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) => Some(name),
        Err(_) => reader.refuse(format!("`{name}` is no header name")),
    }
}
