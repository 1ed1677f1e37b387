//! The words both sides share, as checked types: what a control plane compiles is what a proxy runs.
//!
//! Nothing here does I/O or is asynchronous. Each type says where it comes from in xDS (`xds`), and what is
//! *decided* with it (match a route, pick a filter chain) is a pure function beside it, so that the matcher that
//! explains is the matcher that runs.

pub mod listener;
pub mod format;
pub mod matcher;
pub mod route;
pub mod policy;
pub mod filter;
pub mod cluster;
pub mod load_balancing;
pub mod subset;
pub mod hash;
pub mod hash_policy;
pub mod health_check;
pub mod endpoint;
pub mod tls;
pub mod snapshot;
pub mod xds;
pub mod document;
pub mod json;
pub mod bootstrap;
pub mod describe;

pub mod identity;
pub mod node;
pub mod provenance;
pub mod histogram;
pub mod clock;
