//! One file (or folder) per kind: its checked types, and the parser that makes them.

pub mod destination_rule;
pub mod endpoint_slice;
pub mod http_route;
mod istio;
pub mod node;
pub mod peer_authentication;
pub mod pod;
pub mod service;
pub mod service_entry;
pub mod virtual_service;
pub mod workload_entry;
