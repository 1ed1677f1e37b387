//! Descriptors of Envoy's messages: what their JSON form (<https://protobuf.dev/programming-guides/json/>) is read and
//! written by.

use prost_reflect::DescriptorError;

pub use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage,
    SerializeOptions, Value,
};

/// Compiled from the `.proto` files of the package that the xDS types come from.
const ENVOY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/envoy.descriptors"));

/// All of them, read anew: they take some megabytes, which who reads one file at the start need not keep.
///
/// # Errors
/// None, as long as the descriptors were compiled with this program.
pub fn envoy() -> Result<DescriptorPool, DescriptorError> {
    DescriptorPool::decode(ENVOY)
}
