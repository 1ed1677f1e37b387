//! The control plane. Modules stand in the order in which a policy travels: see `docs/life-of-a-policy.md`.

pub mod source;
pub mod admission;
pub mod state;
pub mod registry;
pub mod world;
pub mod compile;
pub mod push;
pub mod authority;
pub mod telemetry;
pub mod inject;
pub mod webhook;

pub mod crds;
pub mod api;
pub mod admin;
pub mod app;
pub mod settings;
pub mod kubernetes;
pub mod log;
