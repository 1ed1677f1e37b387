//! The client's end of an HTTP/1 connection.
//!
//! [`ClientConnection::send`] writes the request while it already waits for the response: an early answer is taken
//! at once, and the rest of the request's body then moves whenever the response's body is read. The response owns
//! the connection, and gives it back when both bodies are complete and it can be used again; in every other case the
//! connection closes when the response is dropped.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use http_body::{Frame, SizeHint};

use super::buffers::{Outgoing, ReadBuffer};
use super::deadline::Deadline;
use super::encode::{self, ConnectionField, Framing};
use super::framing::{BodyLength, BodyReader, DecodeError, Decoded};
use super::head::{HeadLimits, ResponseHead, Scan, next_response};
use super::hop_by_hop::KEEP_ALIVE;
use super::incoming::{Incoming, kind_of};
use super::sender::{Sender, SenderError};
use super::{Refusal, upgrade_requested};
use crate::body::{Body, BodyError, BodyErrorKind, Upgrade};
use crate::error::{ErrorSource, Progress};
use crate::io::Io;

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

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

/// A request under way.
struct Exchange {
    connection: ClientConnection,
    sender: Sender,
    /// Writing came to its end, well or not.
    sent: bool,
    /// Why writing failed; the response may still come.
    write_error: Option<io::Error>,
    method: Method,
    wants_upgrade: bool,
    /// The body waits for `100 Continue`.
    awaits_continue: bool,
    continue_deadline: Deadline,
    scan: Scan,
    interim: u8,
    answered: bool,
    on_idle: Option<Rc<dyn OnIdle>>,
}

/// Interim responses before the final one.
const MAX_INTERIM: u8 = 32;

impl Exchange {
    fn start(
        mut connection: ClientConnection,
        request: &mut Request<Body>,
        on_idle: Option<Rc<dyn OnIdle>>,
    ) -> Self {
        connection.0.requests += 1;
        let method = request.method().clone();
        let wants_upgrade = method == Method::CONNECT || upgrade_requested_by_field(request.headers());
        let framing = request_framing(request);
        let connection_field = if wants_upgrade && method != Method::CONNECT {
            ConnectionField::Upgrade
        } else {
            ConnectionField::None
        };
        let mut out = Outgoing::default();
        encode::request_head(&mut out.flat, request, framing, connection_field);
        let awaits_continue = !request.body().is_replayable()
            && request
                .headers()
                .get(header::EXPECT)
                .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let mut continue_deadline = Deadline::default();
        if awaits_continue {
            continue_deadline.set(Some(connection.0.settings.continue_timeout));
        }
        let body = request.body_mut().take_to_send();
        Self {
            connection,
            sender: Sender::new(out, body, framing, true),
            sent: false,
            write_error: None,
            method,
            wants_upgrade,
            awaits_continue,
            continue_deadline,
            scan: Scan::default(),
            interim: 0,
            answered: false,
            on_idle,
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, SendErrorKind>> {
        loop {
            if let Err(kind) = self.poll_send(cx) {
                return Poll::Ready(Err(kind));
            }
            let upstream = &mut *self.connection.0;
            if !upstream.read.bytes.is_empty() {
                self.answered = true;
                match next_response(
                    &mut upstream.read.bytes,
                    &self.method,
                    &upstream.settings.limits,
                    &mut self.scan,
                ) {
                    Ok(Some(head)) => match self.interim(&head) {
                        Ok(true) => continue,
                        Ok(false) => return Poll::Ready(Ok(head)),
                        Err(refusal) => return Poll::Ready(Err(SendErrorKind::Refused(refusal))),
                    },
                    Ok(None) => {}
                    Err(refusal) => return Poll::Ready(Err(SendErrorKind::Refused(refusal))),
                }
            }
            match ready!(upstream.read.poll_fill(&mut upstream.io, cx)) {
                Ok(n) if n > 0 => {}
                Ok(_) => return Poll::Ready(Err(self.closed())),
                Err(error) => return Poll::Ready(Err(self.failed(error))),
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), SendErrorKind> {
        if self.sent {
            return Ok(());
        }
        if self.awaits_continue && self.continue_deadline.poll(cx).is_ready() {
            self.awaits_continue = false;
        }
        let io = &mut self.connection.0.io;
        match self.sender.poll_send(cx, self.awaits_continue, |out, cx| out.poll_write(io, cx)) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.sent = true,
            Poll::Ready(Err(SenderError::Body(error))) => return Err(SendErrorKind::RequestBody(error)),
            Poll::Ready(Err(SenderError::Length)) => return Err(SendErrorKind::RequestLength),
            Poll::Ready(Err(SenderError::Io(error))) => {
                // The upstream may have answered before it closed: that answer counts.
                self.sent = true;
                self.write_error = Some(error);
            }
        }
        Ok(())
    }

    /// Whether a head is an interim one, which is passed over.
    fn interim(&mut self, head: &ResponseHead) -> Result<bool, Refusal> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let asked = self.wants_upgrade && self.method != Method::CONNECT && self.sent;
            return if asked { Ok(false) } else { Err(Refusal::UnexpectedUpgrade) };
        }
        if !head.status.is_informational() {
            return Ok(false);
        }
        if head.status == StatusCode::CONTINUE {
            self.awaits_continue = false;
        }
        self.interim += 1;
        if self.interim > MAX_INTERIM { Err(Refusal::TooManyInterim) } else { Ok(true) }
    }

    fn closed(&mut self) -> SendErrorKind {
        if self.answered {
            return SendErrorKind::ClosedInResponse;
        }
        SendErrorKind::ClosedBeforeResponse { reused: self.connection.0.requests > 1 }
    }

    fn failed(&mut self, error: io::Error) -> SendErrorKind {
        if kind_of(&error) == BodyErrorKind::Closed { self.closed() } else { SendErrorKind::Io(error) }
    }

    fn into_response(self, head: ResponseHead) -> Response<Body> {
        let Self { mut connection, mut sender, sent, write_error, on_idle, .. } = self;
        let switched = head.status == StatusCode::SWITCHING_PROTOCOLS
            || (self.method == Method::CONNECT && head.status.is_success());
        let keep_alive = head.keep_alive && write_error.is_none();
        let upstream = &mut *connection.0;
        upstream.keep_alive = keep_alive_timeout(&head.headers).or(upstream.keep_alive);
        let mut reader = BodyReader::new(head.body);
        if sent {
            sender.abandon();
        }
        let body = if switched {
            let Upstream { io, read, .. } = *connection.0;
            let io = if read.bytes.is_empty() { io } else { io.with_prefix(read.bytes.freeze()) };
            Body::Upgrade(Upgrade::Stream(Box::new(io)))
        } else {
            let whole = match head.body {
                BodyLength::Exact(n) if sent && n <= upstream.read.bytes.len() as u64 => {
                    match reader.next(&mut upstream.read.bytes, false) {
                        Ok(Decoded::Data(data)) => Some(Body::Full(data)),
                        _ => Some(Body::Empty),
                    }
                }
                _ => None,
            };
            let mut incoming = ResponseBody {
                connection: Some(connection),
                reader,
                sender: (!sent).then_some(sender),
                keep_alive,
                failed: None,
                on_idle,
            };
            match whole {
                Some(body) => {
                    incoming.release();
                    body
                }
                None => Body::Http1(Incoming::response(incoming)),
            }
        };
        into_response(head, body)
    }
}

/// The body of a response, which owns its connection.
pub(super) struct ResponseBody {
    connection: Option<ClientConnection>,
    reader: BodyReader,
    /// The request's body, when it is still being sent.
    sender: Option<Sender>,
    keep_alive: bool,
    failed: Option<BodyError>,
    on_idle: Option<Rc<dyn OnIdle>>,
}

impl ResponseBody {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(error) = self.failed {
            return Poll::Ready(Some(Err(error)));
        }
        if let Err(error) = self.poll_request(cx) {
            return Poll::Ready(Some(Err(self.fail(error))));
        }
        match ready!(self.poll_item(cx)) {
            Ok(item) => {
                if self.reader.is_received() {
                    self.release();
                }
                Poll::Ready(match item {
                    Decoded::Data(data) => Some(Ok(Frame::data(data))),
                    Decoded::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
                    Decoded::End | Decoded::More => None,
                })
            }
            Err(kind) => Poll::Ready(Some(Err(self.fail(BodyError::new(ErrorSource::Upstream, kind))))),
        }
    }

    /// Closes the connection: nothing more can come of it.
    fn fail(&mut self, error: BodyError) -> BodyError {
        self.failed = Some(error);
        self.connection = None;
        self.sender = None;
        error
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Result<Decoded, BodyErrorKind>> {
        let Some(connection) = &mut self.connection else {
            // Given back already; an item that was read ahead may be left.
            let item = self.reader.next(&mut bytes::BytesMut::new(), true);
            return Poll::Ready(Ok(item.unwrap_or(Decoded::End)));
        };
        let upstream = &mut *connection.0;
        loop {
            match self.reader.next(&mut upstream.read.bytes, upstream.read.ended) {
                Ok(Decoded::More) => {}
                Ok(item) => return Poll::Ready(Ok(item)),
                Err(DecodeError::Closed) => return Poll::Ready(Err(BodyErrorKind::Closed)),
                Err(DecodeError::Refused(refusal)) => {
                    return Poll::Ready(Err(BodyErrorKind::Protocol(refusal.details())));
                }
            }
            if let Err(error) = ready!(upstream.read.poll_fill(&mut upstream.io, cx)) {
                return Poll::Ready(Err(kind_of(&error)));
            }
        }
    }

    /// Goes on sending the request's body. An upstream that takes no more of it may still answer: that only ends the
    /// connection. But without the rest of the request, an upstream that waits for it would never answer.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        let (Some(sender), Some(connection)) = (&mut self.sender, &mut self.connection) else {
            return Ok(());
        };
        let io = &mut connection.0.io;
        match sender.poll_send(cx, false, |out, cx| out.poll_write(io, cx)) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.sender = None,
            Poll::Ready(Err(SenderError::Io(_))) => {
                self.keep_alive = false;
                self.sender = None;
            }
            Poll::Ready(Err(SenderError::Body(error))) => return Err(error),
            Poll::Ready(Err(SenderError::Length)) => {
                return Err(BodyError::new(ErrorSource::Internal, BodyErrorKind::Closed));
            }
        }
        Ok(())
    }

    /// Gives the connection back when it can take another request, else closes it.
    fn release(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let unsent = self.sender.take().is_some();
        if self.keep_alive && !unsent && connection.0.read.bytes.is_empty() && !connection.0.read.ended {
            connection.0.read = ReadBuffer::default();
            if let Some(on_idle) = self.on_idle.take() {
                on_idle.on_idle(connection);
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.reader.is_end_stream() && self.failed.is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.reader.size_hint()
    }
}

fn into_response(head: ResponseHead, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.version_mut() =
        if head.version == Version::HTTP_10 { Version::HTTP_10 } else { Version::HTTP_11 };
    *response.headers_mut() = head.headers;
    response
}

/// RFC 9112 section 6.1: a request without content says nothing, but where content is usual it says 0.
fn request_framing(request: &Request<Body>) -> Framing {
    let usual = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
    match request.body().exact_length() {
        _ if *request.method() == Method::CONNECT => Framing::Absent,
        Some(0) if usual || request.headers().contains_key(header::CONTENT_LENGTH) => Framing::Length(0),
        Some(0) => Framing::Absent,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}

/// Whether `Upgrade` is meant: a stripped request has lost its `Connection`, and what is then left in `Upgrade` is.
fn upgrade_requested_by_field(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
        && (!headers.contains_key(header::CONNECTION) || upgrade_requested(headers).is_some())
}

/// `Keep-Alive: timeout=5, max=100`, in seconds.
fn keep_alive_timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(KEEP_ALIVE)?.to_str().ok()?;
    value.split(',').find_map(|parameter| {
        let (name, seconds) = parameter.split_once('=')?;
        let seconds = seconds.trim().trim_matches('"').parse().ok()?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| Duration::from_secs(seconds))
    })
}
