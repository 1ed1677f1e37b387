//! The parsers under test, compiled from the proxy's own files, so that a target builds in seconds and reaches what
//! the proxy keeps private. Targets that need Envoy's messages come with the feature `model`, which takes minutes.

#[allow(dead_code, unreachable_pub, clippy::all)]
pub mod client_hello;
#[allow(dead_code, unreachable_pub, clippy::all)]
pub mod http1;
#[allow(dead_code, unreachable_pub, clippy::all)]
pub mod path;
#[cfg(feature = "model")]
#[allow(dead_code, unreachable_pub, clippy::all)]
pub mod proxy_protocol;
