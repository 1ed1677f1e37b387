//! The packet-filter rules that bring a workload's traffic to the proxy.
//!
//! [`setting`] checks what is to be intercepted, [`rules`] turns it into rules with a reason each (a pure function),
//! [`nftables`] and [`iptables`] render them, [`apply`] hands them to the kernel, [`check`] proves that they work, and
//! [`command`] is `weft-proxy intercept`. What is caught and what passes is what Istio's `istio-iptables` does
//! (<https://github.com/istio/istio/wiki/Understanding-IPTables-snapshot>), except that a call of a workload to itself
//! needs no rule (see `crate::own_calls`).
//!
//! What the proxy has to do its side of:
//! * Its packets are told by mark, or by the user it runs as ([`Own`]), and pass untouched. By mark for processes that
//!   `weft run` starts: inside a user namespace there may be one user id only. By user in a pod: marks need a
//!   capability that a sidecar should not have.
//! * It listens for redirected traffic on all addresses (IPv4 and IPv6): the kernel rewrites the destination of
//!   outgoing connections to loopback and that of incoming ones to the interface's address.

pub mod apply;
pub mod check;
pub mod command;
pub mod iptables;
pub mod nftables;
pub mod rules;
pub mod setting;

pub use setting::{Cidr, Interception, InterceptionError, Own};
