//! Scenarios on a real cluster, with Weft installed: `make test-kubernetes`. Each has a namespace of its own; those under
//! `disruption`, `operations` and `scale` change what all share, and run alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect, and says where"
)]

mod bad_input;
mod bookshop;
mod disruption;
mod injection;
mod jobs;
mod newcomer;
mod operations;
mod probes;
mod rollouts;
mod scale;
mod services;
