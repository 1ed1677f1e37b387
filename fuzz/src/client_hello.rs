//! The proxy's look at what a TLS client says first.

#[path = "../../proxy/src/listener/client_hello.rs"]
mod client_hello;

pub use client_hello::{Parsed, parse};
