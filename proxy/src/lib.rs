//! The data plane. Modules stand in the order in which a request travels: see `docs/life-of-a-request.md`.

pub mod listener;
pub mod io;
pub mod proxy_protocol;
pub mod tls;
pub mod http1;
pub mod body;
pub mod inbound;
pub mod outbound;
pub mod http;
pub mod tcp;
pub mod filters;
pub mod balance;
pub mod upstream;
pub mod own_calls;
pub mod telemetry;

pub mod error;
pub mod worker;
pub mod drain;
pub mod settings;
pub mod log_lines;
pub mod process;
pub mod discovery;
pub mod identity;
pub mod admin;
pub mod interception;
pub mod pod;
pub mod cni;
pub mod probes;
pub mod dns;
pub mod egress;

#[cfg(test)]
mod story_tests;
