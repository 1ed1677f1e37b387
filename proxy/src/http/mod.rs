//! What requests in both directions share: serving a client's connection, what is known of one request, the answers
//! this proxy gives itself, and sending a request on.
//!
//! The order of it all is told by `inbound.rs` and `outbound.rs`.

pub mod downstream;
pub mod serve;
pub mod context;
pub mod phases;
pub mod reply;
pub mod recorded_body;
pub mod tunnel;
