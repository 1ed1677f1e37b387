//! Resources as JSON that a person can read: for `/config_dump` of a proxy and `weft proxy config`. Keys are Envoy's
//! where it has one; shown is what the decoder understood, which is what runs, and where each rule came from. There
//! are no secrets in resources: certificates go by name. Regular expressions and headers are text, durations are
//! seconds, as in protobuf's JSON: `"1.5s"`.

mod cluster;
mod listener;
mod route;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::endpoint::EndpointSet;
use crate::listener::Listener;
use crate::route::RouteTable;
use crate::subset::{LbMetadata, MetadataValue};
use crate::xds::{Names, Resource};

#[cfg(test)]
#[path = "describe_tests.rs"]
mod tests;

/// A resource of any type.
#[must_use]
pub fn resource(resource: &Resource) -> Value {
    match resource {
        Resource::Listener(one) => listener(one),
        Resource::Routes(one) => routes(one),
        Resource::Cluster(one) => cluster(one),
        Resource::Endpoints(one) => endpoints(one),
        Resource::Names(one) => names(one),
    }
}

/// A listener with its filter chains.
#[must_use]
pub fn listener(listener: &Listener) -> Value {
    self::listener::listener(listener)
}

/// A route table.
#[must_use]
pub fn routes(table: &RouteTable) -> Value {
    route::table(table)
}

/// A cluster.
#[must_use]
pub fn cluster(cluster: &Cluster) -> Value {
    self::cluster::cluster(cluster)
}

/// Endpoints, by locality.
#[must_use]
pub fn endpoints(endpoints: &EndpointSet) -> Value {
    self::cluster::endpoint_set(endpoints)
}

/// A table of names: the addresses of each, names in order.
#[must_use]
pub fn names(names: &Names) -> Value {
    json!(names.iter().collect::<BTreeMap<_, _>>())
}

/// As protobuf's JSON writes a duration.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

/// Metadata `envoy.lb`, by key.
fn metadata(metadata: &LbMetadata) -> Value {
    let value = |value: &MetadataValue| match value {
        MetadataValue::Text(text) => json!(text),
        MetadataValue::Number(bits) => json!(f64::from_bits(*bits)),
        MetadataValue::Flag(flag) => json!(flag),
    };
    metadata.iter().map(|(key, one)| (key.to_string(), value(one))).collect::<serde_json::Map<_, _>>().into()
}
