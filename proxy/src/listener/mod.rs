//! Accept connections, find where they were going and what they speak.

pub mod accept;
pub mod original_dst;
mod peek;
mod proxied;
pub mod sniff;
pub mod client_hello;
pub mod chain;
pub mod connection;
pub mod statistics;
