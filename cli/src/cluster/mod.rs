//! The command line against a mesh in Kubernetes.
//!
//! [`target`] decides whether a command means a mesh of this machine or a cluster; [`client`] speaks with the cluster's
//! API server; [`replicas`] reaches the control plane's own API in each of its pods through the API server's
//! port-forward, so that the cluster's access control decides who may ask, and [`merge`] puts their answers together.
//! Objects are applied to the API server itself, the mesh follows it ([`policies`]).

pub mod admin;
pub mod client;
pub mod merge;
pub mod objects;
pub mod pods;
pub mod policies;
pub mod replicas;
pub mod rollout;
pub mod target;

pub use client::Cluster;
pub use target::{ClusterChoice, Target, target};
