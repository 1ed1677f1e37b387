//! Requests from one end of a real worker to the other, on loopback, with snapshots made by hand.

mod harness;
mod routing;
mod route_table;
mod filters;
mod balancing;
mod tcp;
mod resilience;
mod protocols;
mod identity;
mod change;
mod explicit;
mod interception;
mod records;
