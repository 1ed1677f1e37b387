//! Keys and passwords are not shown: what Envoy's `.proto` files mark with `udpa.annotations.sensitive`.

use prost::Message as _;
use weft_proto::descriptors::{DescriptorPool, DynamicMessage, FieldDescriptor, ReflectMessage as _, Value};

const ANY: &str = "google.protobuf.Any";
const SENSITIVE: &str = "udpa.annotations.sensitive";
/// As Envoy writes it.
const REDACTED: &str = "[redacted]";

/// Takes away every secret, also those within messages that are packed.
pub(super) fn secrets(pool: &DescriptorPool, message: &mut DynamicMessage) {
    if message.descriptor().full_name() == ANY {
        return packed(pool, message);
    }
    let fields: Vec<FieldDescriptor> = message.fields().map(|(field, _)| field).collect();
    for field in fields {
        let is_secret = is_sensitive(pool, &field);
        let value = message.get_field_mut(&field);
        if is_secret { hide(value) } else { within(value, &mut |inner| secrets(pool, inner)) }
    }
}

fn packed(pool: &DescriptorPool, any: &mut DynamicMessage) {
    let text = |any: &DynamicMessage| Some(any.get_field_by_name("type_url")?.as_str()?.to_owned());
    let Some(url) = text(any) else { return };
    let Some(known) = pool.get_message_by_name(url.rsplit('/').next().unwrap_or_default()) else { return };
    let bytes =
        any.get_field_by_name("value").and_then(|value| value.as_bytes().cloned()).unwrap_or_default();
    let Ok(mut message) = DynamicMessage::decode(known, bytes) else { return };
    secrets(pool, &mut message);
    any.set_field_by_name("value", Value::Bytes(message.encode_to_vec().into()));
}

fn is_sensitive(pool: &DescriptorPool, field: &FieldDescriptor) -> bool {
    let Some(extension) = pool.get_extension_by_name(SENSITIVE) else { return false };
    field.options().get_extension(&extension).as_bool() == Some(true)
}

/// Every text and all bytes of a secret; what names a file stays, as it is none.
fn hide(value: &mut Value) {
    match value {
        Value::String(text) => REDACTED.clone_into(text),
        Value::Bytes(bytes) => *bytes = REDACTED.as_bytes().into(),
        _ => within(value, &mut |inner| {
            let fields: Vec<FieldDescriptor> = inner.fields().map(|(field, _)| field).collect();
            let shown = ["filename", "environment_variable"];
            for field in fields.into_iter().filter(|field| !shown.contains(&field.name())) {
                hide(inner.get_field_mut(&field));
            }
        }),
    }
}

/// The messages that a value is made of.
fn within(value: &mut Value, change: &mut dyn FnMut(&mut DynamicMessage)) {
    match value {
        Value::Message(message) => change(message),
        Value::List(values) => values.iter_mut().for_each(|value| within(value, change)),
        Value::Map(values) => values.values_mut().for_each(|value| within(value, change)),
        _ => {}
    }
}
