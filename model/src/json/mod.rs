//! The JSON form of Envoy's messages (<https://protobuf.dev/programming-guides/json/>), by their descriptors.
//!
//! The mapping itself is the library's. What is done here is the way through the tree: each field is given to the
//! library by itself, so that everything that is wrong is found at once, each with its path and its place in the text.

mod read;
mod redact;

use weft_proto::descriptors::{self, DescriptorPool, DynamicMessage, SerializeOptions};
use weft_proto::xds::protobuf::Any;

use crate::document::{Node, Span};

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;

/// One thing that is wrong with a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Misfit {
    /// Path of the field, such as `static_resources.listeners[0].address`; empty for the whole.
    pub field: String,
    /// What is wrong, and what would be right.
    pub message: String,
    /// Where it stands.
    pub span: Span,
}

/// The messages that have a JSON form here.
#[derive(Clone, Debug)]
pub struct Messages {
    pool: DescriptorPool,
}

impl Messages {
    /// Envoy's. They take some megabytes while this value is there.
    #[must_use]
    pub fn envoy() -> Self {
        // Compiled with this program; should they ever be broken, no message is known, and each use says so.
        Self { pool: descriptors::envoy().unwrap_or_default() }
    }

    /// The bytes of the message `name` (such as `envoy.config.cluster.v3.Cluster`) that `node` describes.
    ///
    /// A message in an `Any` whose type is not known here comes out empty, with its type: who reads it says that it is
    /// not supported, or that it does not matter.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text.
    pub fn read(&self, name: &str, node: &Node) -> Result<Vec<u8>, Vec<Misfit>> {
        read::message(&self.pool, name, node)
    }

    /// The JSON form of a message, with the names of its fields as they stand in the `.proto` file, which is what
    /// Envoy's admin endpoint shows. What the `.proto` file calls sensitive, such as keys, is not shown. A message that is
    /// not known is shown by its type alone.
    #[must_use]
    pub fn show(&self, message: &Any) -> serde_json::Value {
        let name = message.type_url.rsplit('/').next().unwrap_or_default();
        let known = self.pool.get_message_by_name(name);
        let mut decoded = known.and_then(|it| DynamicMessage::decode(it, message.value.as_slice()).ok());
        if let Some(decoded) = &mut decoded {
            redact::secrets(&self.pool, decoded);
        }
        let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(true);
        let shown =
            decoded.and_then(|it| it.serialize_with_options(serde_json::value::Serializer, &options).ok());
        let mut shown = shown.unwrap_or_else(|| serde_json::json!({}));
        if let Some(fields) = shown.as_object_mut() {
            fields.shift_insert(0, "@type".to_owned(), message.type_url.clone().into());
        }
        shown
    }
}
