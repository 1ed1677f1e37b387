//! What a load balancer says in front of a connection.

#[path = "../../proxy/src/proxy_protocol.rs"]
mod proxy_protocol;

pub use proxy_protocol::{Parsed, header, parse};
