//! Allow and change requests, in one fixed order.
//!
//! 1. [`path`]: normalise, before anything is decided by the path.
//! 2. [`client_certificate`], on the way in: before anybody could believe what the client says of itself.
//! 3. [`request_id`] and [`trace_context`]: before the route is chosen, so that even a request without one can be
//!    found in the logs of all hops.
//! 4. the route is chosen (`weft_model::route`), on the request as the client meant it.
//! 5. where the request goes is drawn, for filters may work differently there.
//! 6. the filters of the listener ([`chain`]), in the order of its configuration, before the request is changed for
//!    its upstream. [`fault`]s are for what is sent on only.
//! 7. header changes ([`headers`]); [`rewrite`]s last, for headers may be matched by nobody after that.
//!
//! On the way back: header changes, then the filters, the last first.

pub mod path;
pub mod client_certificate;
pub mod request_id;
pub mod trace_context;
pub mod chain;
pub mod redirect;
pub mod fault;
pub mod headers;
mod buffer;
mod call;
mod cors;
mod ext_authz;
mod header_mutation;
mod health_check;
mod local_rate_limit;
pub mod rbac;
pub mod rewrite;
pub mod host;
pub mod target;
pub mod bounds;
