//! The harness: what scenarios against the real parts need.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect, and says where"
)]

pub mod app;
pub mod client;
pub mod envoy;
pub mod cluster;
pub mod load;
pub mod machine;
pub mod mesh;
pub mod secrets;
pub mod wait;
pub mod workload;
pub mod xds_client;
pub mod xds_server;
