//! From xDS v3 to the checked types of this crate, and back.
//!
//! *Decoding* parses once and for all: what comes out is right by its type. Every mistake of a resource is reported
//! at once, each with the path of its field. Each field of each message stands in one of three lists, checked by
//! the compiler: *read*; *ignored*, because it is harmless to leave out (statistics, tracing, access logs, tuning of
//! buffers) and control planes send it unasked; *refused by name*, because leaving it out would change what happens
//! to a request. Fields newer than our copy of the protocol are not seen.
//!
//! *Encoding* writes what Envoy 1.40 accepts, in Istio's conventions, and is deterministic: equal values give equal
//! bytes, so that bytes can be compared and hashed. For what round-trips, `decode(encode(x)) == x`.
//!
//! Where Envoy and Weft differ on purpose:
//! - a route all of whose clusters weigh 0 is refused by Envoy, and so is written as a direct response with 503;
//! - certificates are named (`default`, `ROOTCA`) and fetched by each proxy for itself: keys never travel over xDS.

#![allow(deprecated, reason = "deprecated fields must be named to be refused or understood")]

mod reader;
mod wire;
mod address;
mod text;
mod headers;
mod provenance;

mod retry;
mod filter;
mod route_action;
mod route_match;
mod tls;
mod tls_context;
mod access_log;
mod http_connection;
mod tcp_proxy;
mod network_rbac;
mod proxy_protocol;
mod upstream_http;
mod outlier;
mod load_balancing;
mod subset;
mod limits;
mod hash_policy;
mod health_check;

pub mod bootstrap;
pub mod listener;
pub mod route;
pub mod cluster;
pub mod endpoint;
pub mod name_table;

use std::sync::Arc;

use weft_proto::type_url;
use weft_proto::xds::protobuf::Any;

pub use name_table::Names;
pub use reader::{DecodeErrors, Mistake};
pub use wire::OrderedMetadata;

use crate::cluster::Cluster;
use crate::endpoint::EndpointSet;
use crate::listener::Listener;
use crate::route::RouteTable;

#[cfg(test)]
pub(crate) mod strategies;
#[cfg(test)]
mod round_trip_tests;
#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod istio_tests;

/// A resource of any type.
#[derive(Clone, PartialEq, Debug)]
pub enum Resource {
    /// LDS.
    Listener(Arc<Listener>),
    /// RDS.
    Routes(Arc<RouteTable>),
    /// CDS.
    Cluster(Arc<Cluster>),
    /// EDS.
    Endpoints(Arc<EndpointSet>),
    /// NDS.
    Names(Arc<Names>),
}

impl Resource {
    /// Reads a resource of the type that its URL names.
    ///
    /// # Errors
    /// Every mistake of the resource; also when the type is none of those above.
    pub fn decode(any: &Any) -> Result<Self, DecodeErrors> {
        let bytes = any.value.as_slice();
        match any.type_url.as_str() {
            type_url::LISTENER => listener::decode(bytes).map(|l| Self::Listener(l.into())),
            type_url::ROUTE => route::decode(bytes).map(|r| Self::Routes(r.into())),
            type_url::CLUSTER => cluster::decode(bytes).map(|c| Self::Cluster(c.into())),
            type_url::ENDPOINT => endpoint::decode(bytes).map(|e| Self::Endpoints(e.into())),
            type_url::NAME_TABLE => name_table::decode(bytes).map(|n| Self::Names(n.into())),
            other => {
                Err(DecodeErrors::one("type_url", format!("`{other}` is no type that this proxy takes")))
            }
        }
    }

    /// The resource as it travels.
    #[must_use]
    pub fn encode(&self) -> Any {
        let value = match self {
            Self::Listener(listener) => listener::encode(listener),
            Self::Routes(table) => route::encode(table),
            Self::Cluster(cluster) => cluster::encode(cluster),
            Self::Endpoints(endpoints) => endpoint::encode(endpoints),
            Self::Names(names) => name_table::encode(names),
        };
        Any { type_url: self.type_url().to_owned(), value }
    }

    /// The URL of its type.
    #[must_use]
    pub fn type_url(&self) -> &'static str {
        match self {
            Self::Listener(_) => type_url::LISTENER,
            Self::Routes(_) => type_url::ROUTE,
            Self::Cluster(_) => type_url::CLUSTER,
            Self::Endpoints(_) => type_url::ENDPOINT,
            Self::Names(_) => type_url::NAME_TABLE,
        }
    }

    /// Its name; the name table, of which there is one, is called [`name_table::NAME`].
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Listener(listener) => &listener.name,
            Self::Routes(table) => &table.name,
            Self::Cluster(cluster) => &cluster.name,
            Self::Endpoints(endpoints) => &endpoints.cluster,
            Self::Names(_) => name_table::NAME,
        }
    }
}
