//! The harness: what scenarios against the real parts need.

pub mod xds_client;
