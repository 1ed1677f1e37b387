//! Changes to headers.

use http::{HeaderName, HeaderValue};
use weft_proto::xds::core;
use weft_proto::xds::core::header_value_option::HeaderAppendAction;

use super::reader::{Reader, fields};
use crate::policy::HeaderMutations;

/// What is added or set, in this order, and what is removed.
pub(super) fn encode(mutations: &HeaderMutations) -> (Vec<core::HeaderValueOption>, Vec<String>) {
    let set = mutations.set.iter().map(|header| (header, HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = mutations.add.iter().map(|header| (header, HeaderAppendAction::AppendIfExistsOrAdd));
    let options = set.chain(add).map(|((name, value), action)| option(name, value, action)).collect();
    (options, mutations.remove.iter().map(ToString::to_string).collect())
}

fn option(name: &HeaderName, value: &HeaderValue, action: HeaderAppendAction) -> core::HeaderValueOption {
    let mut header = core::HeaderValue { key: name.to_string(), ..Default::default() };
    match value.to_str() {
        // A percent sign begins one of Envoy's commands.
        Ok(text) => header.value = text.replace('%', "%%"),
        Err(_) => header.raw_value = value.as_bytes().to_vec(),
    }
    core::HeaderValueOption {
        header: Some(header),
        append_action: action as i32,
        keep_empty_value: value.is_empty(),
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
    let mut mutations = HeaderMutations::default();
    let changes = reader.each(&format!("{what}_headers_to_add"), add, decode_option);
    for (name, value, action) in changes {
        match action {
            Action::Set => mutations.set.push((name, value)),
            Action::Add => mutations.add.push((name, value)),
        }
    }
    mutations.remove = reader.each(&format!("{what}_headers_to_remove"), remove, name);
    mutations
}

enum Action {
    Set,
    Add,
}

fn decode_option(
    reader: &mut Reader,
    option: core::HeaderValueOption,
) -> Option<(HeaderName, HeaderValue, Action)> {
    // A value may always be empty here: Envoy then leaves the header out, unless told to keep it.
    fields!(reader, option => core::HeaderValueOption { header, append, append_action; ignored: keep_empty_value });
    let action = match (append, HeaderAppendAction::try_from(append_action)) {
        (Some(append), _) => Some(if append.value { Action::Add } else { Action::Set }),
        (None, Ok(HeaderAppendAction::AppendIfExistsOrAdd)) => Some(Action::Add),
        (None, Ok(HeaderAppendAction::OverwriteIfExistsOrAdd)) => Some(Action::Set),
        (None, Ok(other)) => {
            reader.refuse_at("append_action", format!("{} is not supported", other.as_str_name()))
        }
        (None, Err(_)) => reader.refuse_at("append_action", format!("{append_action} is not known")),
    };
    let header = reader.required("header", header, |reader, header| {
        let name = reader.within("key", |reader| name(reader, header.key));
        let bytes = if header.raw_value.is_empty() {
            reader.within("value", |reader| literal(reader, &header.value))?.into_bytes()
        } else {
            header.raw_value
        };
        match HeaderValue::from_bytes(&bytes) {
            Ok(value) => Some((name?, value)),
            Err(_) => reader.refuse_at("value", "has characters that no header value may have"),
        }
    });
    let ((name, value), action) = (header?, action?);
    Some((name, value, action))
}

pub(super) fn name(reader: &mut Reader, name: String) -> Option<HeaderName> {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) => Some(name),
        Err(_) => reader.refuse(format!("`{name}` is no header name")),
    }
}

/// A text in which `%%` stands for a percent sign; commands are not supported.
fn literal(reader: &mut Reader, text: &str) -> Option<String> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        result.push_str(before);
        let Some(after) = after.strip_prefix('%') else {
            return reader.refuse(format!(
                "`{text}`: commands such as %REQ()% are not supported; write %% for a percent sign"
            ));
        };
        result.push('%');
        rest = after;
    }
    result.push_str(rest);
    Some(result)
}
