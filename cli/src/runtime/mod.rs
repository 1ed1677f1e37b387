//! Run processes inside the mesh: namespaces, addresses, sidecars.
//!
//! A *mesh* of this machine is a control plane in a network namespace of its own, with a bridge that the network
//! namespaces of its *workloads* are plugged into; the host's network is not touched. [`hold`] keeps the mesh's
//! namespace open, [`control_plane`] runs in it, [`egress`] connects it to the world outside, and each workload has a supervisor ([`supervise`]) that makes the
//! workload's namespaces ([`sandbox`]), then starts its sidecar ([`sidecar`]) and then its application
//! ([`application`]), and stops them in the opposite order. What runs is written down in the mesh's state
//! directory ([`record`]), by process id *and* start time, so that nothing else is ever taken for it.
//!
//! A mesh of *explicit* workloads has no namespaces: everything listens on the host's loopback, and applications are
//! told of their sidecar by `http_proxy`.

pub mod name;
pub mod paths;
pub mod record;
pub mod process;
pub mod tool;
pub mod network;
pub mod isolation;
pub mod hold;
pub mod interrupt;
pub mod client;
pub mod admin;
pub mod control_plane;
pub mod egress;
pub mod specification;
pub mod files;
pub mod log;
pub mod sandbox;
pub mod sidecar;
pub mod application;
pub mod listening;
pub mod publish;
pub mod supervise;
pub mod stop;
