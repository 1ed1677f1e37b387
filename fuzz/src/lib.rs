//! The parsers under test, compiled from the proxy's own files, so that a target builds in seconds and reaches what
//! the proxy keeps private.

#[allow(dead_code, unreachable_pub, clippy::all)]
pub mod http1;
