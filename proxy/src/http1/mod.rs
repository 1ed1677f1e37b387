//! HTTP/1.1 by our own codec, both sides.
//!
//! It is strict, so that no two hops can read a message differently (request smuggling): what RFC 9112 leaves to
//! leniency is refused, and what leaves is always framed anew by the encoder, never by a header that was copied.
//! It is lean: a head's header values are slices of the bytes as they were read, small messages take one read and
//! one write, and an idle connection holds no buffer. It belongs to one worker: nothing in it is `Send`.
//!
//! Header names leave in lower case, as with Envoy's defaults; the `http` crate keeps no other form.
//!
//! - `head`, `target`, `refusal`: parse heads; why one is refused
//! - `framing`, `chunked`: how long a body is, and reading it
//! - `encode`, `buffers`, `sender`: write heads and bodies
//! - `server` (`served`, `asked`), `client`: the two ends of a connection, `incoming`: the body either receives
//! - `hop_by_hop`: what must not travel on

mod asked;
mod buffers;
mod chunked;
mod client;
mod deadline;
mod encode;
mod framing;
mod head;
mod hop_by_hop;
mod incoming;
mod refusal;
mod sender;
mod served;
mod server;
mod target;

#[cfg(test)]
mod test_support;
#[cfg(test)]
mod codec_tests;

pub use chunked::{ChunkedDecoder, ChunkedItem};
pub use client::{ClientConnection, ClientSettings, OnIdle, SendError, SendErrorKind};
pub use framing::BodyLength;
pub use head::{
    DEFAULT_MAX_HEAD, DEFAULT_MAX_HEADERS, HeadLimits, RequestHead, ResponseHead, parse_request,
    parse_response,
};
pub use hop_by_hop::{strip_request, strip_response, upgrade_requested};
pub use incoming::Incoming;
pub use refusal::Refusal;
pub use served::{ServeError, Served, ServerSettings};
pub use server::serve;
