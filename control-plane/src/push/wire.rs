//! Responses on the wire. Written by hand instead of through the generated types, because those own their bytes: a
//! resource is copied once, from the shared encoding into the connection's buffer, and never cloned.
//!
//! Field numbers are those of `envoy/service/discovery/v3/discovery.proto`.

use std::marker::PhantomData;
use std::sync::Arc;

use prost::Message;
use prost::bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::resource::Resource;

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;

/// Which of the two protocols a stream speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// `DeltaAggregatedResources`.
    Delta,
    /// `StreamAggregatedResources`, state of the world.
    StateOfTheWorld,
}

impl Protocol {
    /// As `weft proxy status` shows it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Delta => "delta",
            Self::StateOfTheWorld => "sotw",
        }
    }
}

/// One response of either protocol.
#[derive(Clone, Debug)]
pub struct Response {
    /// Decides the message.
    pub protocol: Protocol,
    /// Of the resources.
    pub type_url: Arc<str>,
    /// Delta: for debugging only. State of the world: what the client presents when it reconnects.
    pub version: String,
    /// Names this response in the client's answer.
    pub nonce: String,
    /// What is new or changed; in a full state, everything.
    pub resources: Vec<Arc<Resource>>,
    /// Delta only: what is gone or does not exist.
    pub removed: Vec<Arc<str>>,
}

impl Response {
    /// Appends the encoded message.
    pub fn encode(&self, buffer: &mut impl BufMut) {
        put_text(1, &self.version, buffer);
        for resource in &self.resources {
            match self.protocol {
                Protocol::StateOfTheWorld => {
                    encode_key(2, WireType::LengthDelimited, buffer);
                    self.put_any(resource, buffer);
                }
                Protocol::Delta => self.put_resource(resource, buffer),
            }
        }
        put_text(4, &self.type_url, buffer);
        put_text(5, &self.nonce, buffer);
        for name in &self.removed {
            put_repeated_text(6, name, buffer);
        }
    }

    /// `Resource { version = 1, resource = 2, name = 3, aliases = 4 }`.
    fn put_resource(&self, resource: &Resource, buffer: &mut impl BufMut) {
        let version = resource.version.to_string();
        let any = self.any_len(resource);
        let aliases: usize = resource.aliases.iter().map(|alias| field_len(4, alias.len())).sum();
        let length =
            field_len(1, version.len()) + field_len(2, any) + field_len(3, resource.name.len()) + aliases;
        encode_key(2, WireType::LengthDelimited, buffer);
        encode_varint(length as u64, buffer);
        put_repeated_text(1, &version, buffer);
        encode_key(2, WireType::LengthDelimited, buffer);
        self.put_any(resource, buffer);
        put_repeated_text(3, &resource.name, buffer);
        for alias in &resource.aliases {
            put_repeated_text(4, alias, buffer);
        }
    }

    fn any_len(&self, resource: &Resource) -> usize {
        field_len(1, self.type_url.len()) + field_len(2, resource.bytes.len())
    }

    /// Length and content of `Any { type_url = 1, value = 2 }`.
    fn put_any(&self, resource: &Resource, buffer: &mut impl BufMut) {
        encode_varint(self.any_len(resource) as u64, buffer);
        put_repeated_text(1, &self.type_url, buffer);
        encode_key(2, WireType::LengthDelimited, buffer);
        encode_varint(resource.bytes.len() as u64, buffer);
        buffer.put_slice(&resource.bytes);
    }
}

/// Length of a length-delimited field with its key.
fn field_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

/// A single field is left out when empty, as proto3 has it.
fn put_text(tag: u32, text: &str, buffer: &mut impl BufMut) {
    if !text.is_empty() {
        put_repeated_text(tag, text, buffer);
    }
}

fn put_repeated_text(tag: u32, text: &str, buffer: &mut impl BufMut) {
    encode_key(tag, WireType::LengthDelimited, buffer);
    encode_varint(text.len() as u64, buffer);
    buffer.put_slice(text.as_bytes());
}

/// Responses as above, requests by prost.
#[derive(Debug)]
pub(crate) struct DiscoveryCodec<Request>(PhantomData<Request>);

impl<Request> Default for DiscoveryCodec<Request> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Request: Message + Default + Send + 'static> Codec for DiscoveryCodec<Request> {
    type Encode = Response;
    type Decode = Request;
    type Encoder = ResponseEncoder;
    type Decoder = RequestDecoder<Request>;

    fn encoder(&mut self) -> ResponseEncoder {
        ResponseEncoder
    }

    fn decoder(&mut self) -> RequestDecoder<Request> {
        RequestDecoder(PhantomData)
    }
}

#[derive(Debug)]
pub(crate) struct ResponseEncoder;

impl Encoder for ResponseEncoder {
    type Item = Response;
    type Error = Status;

    fn encode(&mut self, response: Response, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        response.encode(buffer);
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct RequestDecoder<Request>(PhantomData<Request>);

impl<Request: Message + Default> Decoder for RequestDecoder<Request> {
    type Item = Request;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Request>, Status> {
        Request::decode(buffer).map(Some).map_err(|error| {
            Status::invalid_argument(format!("the message is not an xDS discovery request: {error}"))
        })
    }
}
