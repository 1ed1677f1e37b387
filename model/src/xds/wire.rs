//! What several resources are written with.
//!
//! The generated types keep maps as hash maps, whose order changes from run to run. Where a map has more than one
//! entry, its bytes are therefore written from the ordered twins below, which are the same on the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::encoding::{WireType, encode_key, encode_varint};
use prost::{Message, Name};
use weft_proto::xds::core;
use weft_proto::xds::protobuf::{self, Any, BoolValue, UInt32Value};

/// Packs a message.
pub(super) fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// Writes `bytes` as the embedded message of field `tag`.
pub(super) fn embed(buffer: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, buffer);
    encode_varint(bytes.len() as u64, buffer);
    buffer.extend_from_slice(bytes);
}

pub(super) fn duration(duration: Duration) -> Option<protobuf::Duration> {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Some(protobuf::Duration { seconds, nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0) })
}

/// Zero stands for no bound.
pub(super) fn bound(bound: Option<Duration>) -> Option<protobuf::Duration> {
    duration(bound.unwrap_or_default())
}

pub(super) fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

pub(super) fn flag(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

/// "Ask the stream that this came by", waiting for the answer as long as it takes.
pub(super) fn over_ads() -> Option<core::ConfigSource> {
    use core::config_source::ConfigSourceSpecifier;
    Some(core::ConfigSource {
        initial_fetch_timeout: duration(Duration::ZERO),
        resource_api_version: core::ApiVersion::V3 as i32,
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {})),
        ..Default::default()
    })
}

/// A message `Struct` of one text.
pub(super) fn text_struct(key: &str, text: &str) -> OrderedStruct {
    OrderedStruct { fields: BTreeMap::from([(key.to_owned(), OrderedValue::text(text))]) }
}

/// `Metadata`, its maps ordered.
#[derive(Clone, PartialEq, Message)]
pub struct OrderedMetadata {
    /// By the name of who reads it.
    #[prost(btree_map = "string, message", tag = "1")]
    pub(super) filter_metadata: BTreeMap<String, OrderedStruct>,
}

/// `Struct`, its map ordered.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OrderedStruct {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(super) fields: BTreeMap<String, OrderedValue>,
}

/// `Value`, as far as we write it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OrderedValue {
    #[prost(oneof = "OrderedKind", tags = "2, 3, 4, 5, 6")]
    pub(super) kind: Option<OrderedKind>,
}

/// The kinds of [`OrderedValue`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum OrderedKind {
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Flag(bool),
    #[prost(message, tag = "5")]
    Struct(OrderedStruct),
    #[prost(message, tag = "6")]
    List(OrderedList),
}

/// `ListValue`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OrderedList {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<OrderedValue>,
}

impl OrderedValue {
    pub(super) fn text(text: &str) -> Self {
        Self { kind: Some(OrderedKind::Text(text.to_owned())) }
    }

    pub(super) fn list(values: Vec<Self>) -> Self {
        Self { kind: Some(OrderedKind::List(OrderedList { values })) }
    }
}

impl OrderedMetadata {
    pub(super) fn is_empty(&self) -> bool {
        self.filter_metadata.is_empty()
    }

    pub(super) fn insert(&mut self, reader: &str, key: &str, value: OrderedValue) {
        let fields = &mut self.filter_metadata.entry(reader.to_owned()).or_default().fields;
        fields.insert(key.to_owned(), value);
    }

    /// As the generated type; only for metadata all of whose maps have at most one entry, see above.
    pub(super) fn to_unordered(&self) -> Option<core::Metadata> {
        if self.is_empty() {
            return None;
        }
        core::Metadata::decode(self.encode_to_vec().as_slice()).ok()
    }
}

/// Looks up a value in metadata.
pub(super) fn metadata_value<'a>(
    metadata: Option<&'a core::Metadata>,
    reader: &str,
    key: &str,
) -> Option<&'a protobuf::value::Kind> {
    metadata?.filter_metadata.get(reader)?.fields.get(key)?.kind.as_ref()
}

/// Looks up a text in metadata.
pub(super) fn metadata_text<'a>(
    metadata: Option<&'a core::Metadata>,
    reader: &str,
    key: &str,
) -> Option<&'a str> {
    match metadata_value(metadata, reader, key)? {
        protobuf::value::Kind::StringValue(text) => Some(text),
        _ => None,
    }
}
