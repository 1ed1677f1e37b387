//! The xDS server: brings each proxy what is compiled for it, in an order that breaks nothing, and knows what each
//! proxy has acknowledged. It does not know what the resources mean.
//!
//! ```text
//! world changed ─ Revision ─▶ lane (debounce) ─▶ Class (compile once per scope) ─▶ Snapshot
//!                                                                                    │ latest wins
//!            proxy ◀─ response ─ Session (subscriptions, what is held, what is due) ◀─┘
//!              └────── ack / nack ─▶ Session ─▶ Tracker ─▶ `weft apply --wait`, `weft proxy status`
//! ```
//!
//! Two rules carry the design. *A proxy's queue is a set of names, not of messages*: a change marks names as due, and
//! the content is looked up when the connection has room, so that a slow proxy costs no memory and skips what was
//! superseded. *A [`session::Session`] does no I/O*: both protocols are pure functions of requests, snapshots and
//! time, which is how they are tested.
//!
//! The protocol is <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>.

pub mod settings;
pub mod resource;
pub mod hello;
pub mod compiler;
pub mod debounce;
pub mod snapshot;
pub mod class;
pub mod session;
pub mod wire;
pub mod stream;
pub mod service;
pub mod tracker;
pub mod server;

pub use compiler::{Compiler, Refused, Revision};
pub use hello::{Interception, ProxyHello};
pub use resource::{Resource, ResourceSet, ResourceType, Resources, Version};
pub use server::{Presence, Push};
pub use service::{AggregatedDiscovery, PeerRequirement, transport};
pub use session::{HeldState, SentResource};
pub use settings::{Limits, PushSettings};
pub use tracker::{Refusal, Rollout, Tracker};
