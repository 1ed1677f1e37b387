//! The client's end of an HTTP/1 connection.
//!
//! [`ClientConnection::send`] writes the request while it already waits for the response: an early answer is taken
//! at once, and the rest of the request's body then moves whenever the response's body is read. The response owns
//! the connection, and gives it back when both bodies are complete and it can be used again; in every other case the
//! connection closes when the response is dropped.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};

use crate::body::{Body, BodyError};
use crate::error::Progress;
use crate::http1::Refusal;
use crate::http1::buffers::ReadBuffer;
use crate::http1::head::HeadLimits;
use crate::io::Io;

mod exchange;
mod response_body;
#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

use exchange::Exchange;
pub(in crate::http1) use response_body::ResponseBody;

/// How an upstream connection is used.
#[derive(Clone, Copy, Debug)]
pub struct ClientSettings {
    /// How large a response's head may be.
    pub limits: HeadLimits,
    /// How long the body of a request with `Expect: 100-continue` is kept back when the upstream says nothing
    /// (RFC 9110 section 10.1.1 wants a bound). Default 1 s.
    pub continue_timeout: Duration,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self { limits: HeadLimits::default(), continue_timeout: Duration::from_secs(1) }
    }
}

/// Gets a connection back that can take another request: a pool.
pub trait OnIdle {
    /// Takes the connection.
    fn on_idle(&self, connection: ClientConnection);
}

impl<F: Fn(ClientConnection)> OnIdle for F {
    fn on_idle(&self, connection: ClientConnection) {
        self(connection);
    }
}

/// A connection to an upstream, on which no request is under way.
#[derive(Debug)]
pub struct ClientConnection(Box<Upstream>);

#[derive(Debug)]
struct Upstream {
    io: Io,
    read: ReadBuffer,
    settings: ClientSettings,
    requests: u64,
    keep_alive: Option<Duration>,
}

/// A request that got no response. The request itself is still the caller's.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct SendError {
    /// What happened.
    pub kind: SendErrorKind,
    /// Whether an upstream application may have seen the request.
    pub progress: Progress,
    /// Whether the request in the caller's hands can be sent again whole: its body is in memory, or was never asked
    /// for its content.
    pub replayable: bool,
}

/// What kept a request from getting a response.
#[derive(Debug, thiserror::Error)]
pub enum SendErrorKind {
    /// The connection had ended before anything was written: take another one.
    #[error("the upstream had closed the connection before it was used again")]
    NotReusable,
    /// It ended before a byte of the response. `reused` tells that it had carried requests before: most likely the
    /// upstream's keep-alive time was over just then.
    #[error("the upstream closed the connection before it answered")]
    ClosedBeforeResponse {
        /// Whether it had carried requests before.
        reused: bool,
    },
    /// It ended within the response's head.
    #[error("the upstream closed the connection within the response's head")]
    ClosedInResponse,
    /// The response's head was refused.
    #[error("the upstream's response was refused: {0}")]
    Refused(Refusal),
    /// The request's body could not be read.
    #[error("the request's body failed: {0}")]
    RequestBody(BodyError),
    /// The request's body was not of the length it said.
    #[error("the request's body was not as long as announced")]
    RequestLength,
    /// The socket failed.
    #[error("the upstream connection failed: {0}")]
    Io(io::Error),
}

impl ClientConnection {
    /// A connection that was just made.
    #[must_use]
    pub fn new(io: Io, settings: ClientSettings) -> Self {
        Self(Box::new(Upstream { io, read: ReadBuffer::default(), settings, requests: 0, keep_alive: None }))
    }

    /// Requests that were sent on it.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.0.requests
    }

    /// How long the upstream keeps it when idle, if it said so (`Keep-Alive: timeout=`). A pool should close it
    /// earlier, so that no request meets the closing.
    #[must_use]
    pub fn keep_alive_timeout(&self) -> Option<Duration> {
        self.0.keep_alive
    }

    /// The stream under it.
    #[must_use]
    pub fn io(&self) -> &Io {
        &self.0.io
    }

    /// Whether it can still take a request, as far as is known here and now: the upstream has neither closed it nor
    /// sent what nobody asked for.
    pub fn is_reusable(&mut self) -> bool {
        self.poll_unusable(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Ready when it can take no request any more.
    pub fn poll_unusable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let upstream = &mut *self.0;
        if !upstream.read.bytes.is_empty() {
            return Poll::Ready(());
        }
        upstream.read.poll_fill(&mut upstream.io, cx).map(|_| ())
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// The target leaves in origin form, `Host` is the URI's authority when no field says otherwise. `Upgrade` is
    /// sent when the field is there: remove it (`strip_request`) unless the tunnel is wanted. Interim responses
    /// are not passed on. A response that ends HTTP (`101`, `2xx` to `CONNECT`) has [`Body::Upgrade`] as its body.
    ///
    /// Dropping the future closes the connection.
    ///
    /// # Errors
    /// The connection is closed. A body that can be sent again is still in `request`, else it is
    /// [`Body::Consumed`].
    pub async fn send(
        self,
        request: &mut Request<Body>,
        on_idle: Option<Rc<dyn OnIdle>>,
    ) -> Result<Response<Body>, SendError> {
        let mut exchange = Exchange::start(self, request, on_idle);
        // A pooled connection may have been closed since: nothing was written yet, so nothing is lost.
        let reused = exchange.connection.requests() > 1;
        let answered = if reused && !exchange.connection.is_reusable() {
            Err(SendErrorKind::NotReusable)
        } else {
            poll_fn(|cx| exchange.poll_head(cx)).await
        };
        match answered {
            Ok(head) => Ok(exchange.into_response(head)),
            Err(kind) => {
                if let Some(body) = exchange.sender.take_untouched() {
                    *request.body_mut() = body;
                }
                let unprocessed = exchange.sender.out.written == 0;
                Err(SendError {
                    kind,
                    progress: if unprocessed { Progress::Unprocessed } else { Progress::MaybeProcessed },
                    replayable: !matches!(request.body(), Body::Consumed),
                })
            }
        }
    }
}
