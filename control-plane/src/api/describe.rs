//! Resources as JSON, for `weft proxy config`: what the proxy's own decoder makes of the bytes that were sent.

use weft_model::{describe, xds};
use weft_proto::xds::protobuf::Any;

/// A resource of a type URL. Bytes that do not decode say why: the same the proxy would say.
pub(super) fn resource(type_url: &str, bytes: &[u8]) -> String {
    let any = Any { type_url: type_url.to_owned(), value: bytes.to_vec() };
    let value = match xds::Resource::decode(&any) {
        Ok(resource) => describe::resource(&resource),
        Err(errors) => serde_json::json!({"refused": errors.to_string()}),
    };
    value.to_string()
}
