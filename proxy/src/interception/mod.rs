//! The packet-filter rules that bring a workload's traffic to the proxy.
//!
//! [`setting`] checks what is to be intercepted, [`rules`] turns it into rules with a reason each (a pure function),
//! [`nftables`] and [`iptables`] render them, [`apply`] hands them to the kernel, and [`command`] is
//! `weft-proxy intercept`. What is caught and what passes is what Istio's `istio-iptables` does
//! (<https://github.com/istio/istio/wiki/Understanding-IPTables-snapshot>), but the proxy's own packets are told
//! by mark and not by owner: inside a user namespace there may be one user id only.
//!
//! What the proxy has to do its side of:
//! * Every socket with which it connects or sends carries [`Interception::mark`]; such packets pass untouched.
//! * An upstream connection to the workload's *own* address carries [`Interception::self_mark`] instead and comes
//!   back in through the inbound port, as it would from any other workload: so a workload can call its own service.
//! * It listens for redirected traffic on all addresses (IPv4 and IPv6): the kernel rewrites the destination of
//!   outgoing connections to loopback and that of incoming ones to the interface's address.

pub mod apply;
pub mod command;
pub mod iptables;
pub mod nftables;
pub mod rules;
pub mod setting;

pub use setting::{Cidr, Interception, InterceptionError};
