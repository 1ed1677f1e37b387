//! How a connection is served, and how that ends.

use std::io;
use std::time::Duration;

use super::Refusal;
use super::head::HeadLimits;
use crate::body::BodyError;

/// How a downstream connection is served.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// How large a head may be.
    pub limits: HeadLimits,
    /// From the first byte of a head to its last; then 408. Default 60 s, so that slow clients hold nothing for long.
    pub header_timeout: Option<Duration>,
    /// Between requests; then the connection is closed. Default 1 h, as Envoy.
    pub idle_timeout: Option<Duration>,
    /// How long a client may keep us waiting for the next byte of a body, or for room to write: at least once and
    /// at most twice this time. Default 5 min. Does not run while the handler or an upstream is waited for.
    pub stall_timeout: Option<Duration>,
    /// How much of a request's body is read and thrown away after a response that did not wait for it, so that the
    /// connection can stay. Beyond it the connection closes, see `linger_timeout`. Default 64 KiB.
    pub discard_limit: u64,
    /// How long a client may take for that, and for reading the answer before a close; what it sends meanwhile is read
    /// and thrown away. Default 2 s.
    pub linger_timeout: Duration,
    /// How long an idle connection is kept for one more request once draining began, so that a request that is on its
    /// way is not lost. Default 1 s.
    pub drain_idle: Duration,
    /// Whether `Date` is added where it is missing. Default yes.
    pub add_date: bool,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            limits: HeadLimits::default(),
            header_timeout: Some(Duration::from_secs(60)),
            idle_timeout: Some(Duration::from_secs(3600)),
            stall_timeout: Some(Duration::from_secs(300)),
            discard_limit: 64 * 1024,
            linger_timeout: Duration::from_secs(2),
            drain_idle: Duration::from_secs(1),
            add_date: true,
        }
    }
}

/// How a connection ended well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Served {
    /// Closed by either end between requests.
    Closed,
    /// Nothing was asked for too long.
    Idle,
    /// Closed because of draining.
    Drained,
    /// Another protocol took over, and is done.
    Upgraded,
}

/// How a connection ended badly. The handler of a request that was under way has been dropped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A head was refused: it has been answered with the refusal's status, the handler never saw it. Access logs
    /// write flag `DPE` and the refusal's details.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// A head took too long; it was answered with 408 (`request_header_timeout`, flag `DPE`).
    #[error("the head was not complete in time")]
    HeaderTimeout,
    /// The client went away in the middle of a head.
    #[error("the client closed within a head")]
    ClosedInHead,
    /// The client went away before the response was complete (flag `DC`).
    #[error("the client closed before the response was complete")]
    ClientGone,
    /// The client let us wait for too long in the middle of a body (flag `SI`); answered with 408 unless a response
    /// had begun.
    #[error("the client stalled")]
    Stalled,
    /// The response's body failed after its head was sent; the connection was cut so that the client can tell.
    #[error("the response's body failed: {0}")]
    ResponseBody(BodyError),
    /// The response's body was not of the length that its head said; the connection was cut.
    #[error("the response's body was not as long as announced")]
    ResponseLength,
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}
