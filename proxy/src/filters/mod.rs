//! Allow and change requests, in one fixed order.
//!
//! 1. [`path`]: normalise, before anything is decided by the path.
//! 2. [`client_certificate`], on the way in: before anybody could believe what the client says of itself.
//! 3. [`request_id`] and [`trace_context`]: before the route is chosen, so that even a request without one can be
//!    found in the logs of all hops.
//! 4. the route is chosen (`weft_model::route`), on the request as the client meant it.
//! 5. [`redirect`] and direct responses: they need no upstream, so no fault is injected into them.
//! 6. [`fault`]: as if the upstream had failed, so before the request is changed for it.
//! 7. header changes of the route, then of the chosen cluster; [`rewrite`]s last, for headers may be matched by
//!    nobody after that.
//!
//! On the way back: the cluster's header changes, then the route's.

pub mod path;
pub mod client_certificate;
pub mod request_id;
pub mod trace_context;
pub mod redirect;
pub mod fault;
pub mod rewrite;
