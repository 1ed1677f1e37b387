//! The server's end of an HTTP/1 connection.
//!
//! One request at a time, answered in order; pipelined ones wait in the buffer. The handler's future lives in a box
//! together with the request, so that an idle connection is small. While the handler works, the connection is
//! watched: a client that goes away drops the handler's future. As with Envoy, a client that closes only its sending
//! side counts as gone.
//!
//! `Expect: 100-continue` is answered with `100` when the handler first waits for the body, never when it answers
//! without it. The field stays in the request, so that a handler that forwards it lets the upstream decide: the
//! HTTP/1 client of this module asks for the body only when the upstream has said `100`.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version, header};
use tokio::io::AsyncWriteExt;

use super::Refusal;
use super::buffers::{Outgoing, ReadBuffer};
use super::deadline::Deadline;
use super::encode::{self, ConnectionField, Framing};
use super::framing::{BodyLength, BodyReader, Decoded};
use super::head::{HeadLimits, RequestHead, Scan, has_token, next_request};
use super::incoming::{Downstream, Incoming};
use super::sender::{Sender, SenderError};
use crate::body::{Body, BodyError, Upgrade};
use crate::io::Io;

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;

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
    /// connection can stay. Beyond it the connection closes. Default 64 KiB.
    pub discard_limit: u64,
    /// How long a client may take for that, and for reading the answer before a close. Default 2 s.
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
    /// The client let us wait for too long in the middle of a body (flag `SI`).
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

/// Serves a connection until it ends.
///
/// `handler` is called once a request, for one request at a time. When `drain` is ready the response under way says
/// `Connection: close`, and idle connections close after [`ServerSettings::drain_idle`].
/// A response whose body is [`Body::Upgrade`] hands the connection over once its head is written.
///
/// # Errors
/// See [`ServeError`]; whatever could be answered has been.
pub async fn serve<H, F>(
    io: Io,
    settings: &ServerSettings,
    drain: impl Future<Output = ()>,
    mut handler: H,
) -> Result<Served, ServeError>
where
    H: FnMut(Request<Body>) -> F,
    F: Future<Output = Response<Body>>,
{
    let drain = pin!(drain);
    let mut connection = Connection::new(io, settings, drain);
    loop {
        let head = match connection.next_head().await {
            Ok(Next::Head(head)) => head,
            Ok(Next::End(served)) => {
                connection.close().await;
                return Ok(served);
            }
            Err(error) => return Err(connection.fail(error).await),
        };
        // Boxed: what a request needs is held only while there is one.
        match Box::pin(connection.exchange(*head, &mut handler)).await? {
            After::Next => {}
            After::Close => {
                connection.close().await;
                return Ok(if connection.draining { Served::Drained } else { Served::Closed });
            }
            After::Upgrade(upgrade) => {
                Box::pin(connection.upgrade(upgrade)).await;
                return Ok(Served::Upgraded);
            }
        }
    }
}

enum Next {
    Head(Box<RequestHead>),
    End(Served),
}

enum After {
    Next,
    Close,
    Upgrade(Upgrade),
}

struct Connection<'a, D> {
    shared: Rc<RefCell<Downstream>>,
    settings: &'a ServerSettings,
    drain: Pin<&'a mut D>,
    draining: bool,
    deadline: Deadline,
    scan: Scan,
}

impl<'a, D: Future<Output = ()>> Connection<'a, D> {
    fn new(mut io: Io, settings: &'a ServerSettings, drain: Pin<&'a mut D>) -> Self {
        let read = ReadBuffer::starting_with(io.take_prefix());
        let shared = Downstream {
            io,
            read,
            body: BodyReader::new(BodyLength::Exact(0)),
            exchange: 0,
            interim: b"",
            body_awaited: false,
            received: 0,
            failed: None,
            server: None,
        };
        Self {
            shared: Rc::new(RefCell::new(shared)),
            settings,
            drain,
            draining: false,
            deadline: Deadline::default(),
            scan: Scan::default(),
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.draining && self.drain.as_mut().poll(cx).is_ready() {
            self.draining = true;
        }
        self.draining
    }

    /// Waits for the next request's head.
    async fn next_head(&mut self) -> Result<Next, ServeError> {
        let mut within = false;
        let mut drained = false;
        self.deadline.set(self.settings.idle_timeout);
        poll_fn(|cx| {
            let shared = self.shared.clone();
            let mut shared = shared.borrow_mut();
            let shared = &mut *shared;
            loop {
                match next_request(&mut shared.read.bytes, &self.settings.limits, &mut self.scan) {
                    Ok(Some(head)) => return Poll::Ready(Ok(Next::Head(Box::new(head)))),
                    Ok(None) => {}
                    Err(refusal) => return Poll::Ready(Err(ServeError::Refused(refusal))),
                }
                if !within && !shared.read.bytes.is_empty() {
                    within = true;
                    self.deadline.set(self.settings.header_timeout);
                }
                match shared.read.poll_fill(&mut shared.io, cx) {
                    Poll::Ready(Ok(0)) if within => return Poll::Ready(Err(ServeError::ClosedInHead)),
                    Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Next::End(Served::Closed))),
                    Poll::Ready(Ok(_)) => {}
                    // Clients often reset an idle connection instead of closing it; nothing is lost by it.
                    Poll::Ready(Err(_)) if !within => return Poll::Ready(Ok(Next::End(Served::Closed))),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                    Poll::Pending => break,
                }
            }
            if self.poll_drain(cx) && !within && !drained {
                drained = true;
                self.deadline.set(Some(self.settings.drain_idle));
            }
            if self.deadline.poll(cx).is_pending() {
                return Poll::Pending;
            }
            Poll::Ready(match (within, drained) {
                (true, _) => Err(ServeError::HeaderTimeout),
                (false, true) => Ok(Next::End(Served::Drained)),
                (false, false) => Ok(Next::End(Served::Idle)),
            })
        })
        .await
    }

    /// One request and its response.
    async fn exchange<H, F>(&mut self, head: RequestHead, handler: &mut H) -> Result<After, ServeError>
    where
        H: FnMut(Request<Body>) -> F,
        F: Future<Output = Response<Body>>,
    {
        let asked = Asked::of(&head);
        let body = self.receive_body(&head);
        self.deadline.set(self.settings.stall_timeout);
        let mut response = {
            let handling = handler(into_request(head, body));
            self.handle(pin!(handling)).await?
        };
        if let Some(upgrade) = take_upgrade(&asked, &mut response) {
            let ready = self.shared.borrow().body.is_received();
            if !ready {
                response = Response::new(Body::from(
                    "the request was not complete when the upstream changed protocols\n",
                ));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
            } else {
                self.send_upgrade_head(&asked, response).await?;
                return Ok(After::Upgrade(upgrade));
            }
        }
        let keep_alive = self.respond(&asked, response).await?;
        let keep_alive = keep_alive && self.finish_body().await;
        Ok(if keep_alive { After::Next } else { After::Close })
    }

    /// The request's body: in memory already when it came with its head.
    fn receive_body(&mut self, head: &RequestHead) -> Body {
        let mut shared = self.shared.borrow_mut();
        let shared = &mut *shared;
        shared.exchange += 1;
        shared.failed = None;
        shared.body_awaited = false;
        shared.interim = b"";
        shared.body = BodyReader::new(head.body);
        if let BodyLength::Exact(length) = head.body {
            if length <= shared.read.bytes.len() as u64 {
                return match shared.body.next(&mut shared.read.bytes, false) {
                    Ok(Decoded::Data(data)) => {
                        shared.received += data.len() as u64;
                        Body::Full(data)
                    }
                    _ => Body::Empty,
                };
            }
        }
        if head.expects_continue && shared.read.bytes.is_empty() {
            shared.interim = b"HTTP/1.1 100 Continue\r\n\r\n";
        }
        Body::Http1(Incoming::request(self.shared.clone(), shared.exchange))
    }

    /// Waits for the handler, as long as the client does.
    async fn handle<F: Future<Output = Response<Body>>>(
        &mut self,
        mut handling: Pin<&mut F>,
    ) -> Result<Response<Body>, ServeError> {
        let mut seen = 0;
        poll_fn(|cx| {
            if let Poll::Ready(response) = handling.as_mut().poll(cx) {
                return Poll::Ready(Ok(response));
            }
            if self.poll_gone(cx) {
                return Poll::Ready(Err(ServeError::ClientGone));
            }
            if self.poll_stalled(cx, &mut seen, 0, false) {
                return Poll::Ready(Err(ServeError::Stalled));
            }
            Poll::Pending
        })
        .await
    }

    /// Whether the client closed. Bytes of the body or of a next request are kept, up to a buffer full; while the
    /// body's reader waits for the client, it is the reader who finds out.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> bool {
        const READ_AHEAD: usize = 16 * 1024;
        let mut shared = self.shared.borrow_mut();
        let shared = &mut *shared;
        if shared.body_awaited && !shared.body.is_received() {
            if !shared.server.as_ref().is_some_and(|server| server.will_wake(cx.waker())) {
                shared.server = Some(cx.waker().clone());
            }
            return false;
        }
        while shared.read.bytes.len() < READ_AHEAD {
            match shared.read.poll_fill(&mut shared.io, cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(_) => return true,
            }
        }
        false
    }

    /// Whether the client has kept us waiting for a whole period. `written` counts what it took.
    fn poll_stalled(&mut self, cx: &mut Context<'_>, seen: &mut u64, written: u64, blocked: bool) -> bool {
        while self.deadline.poll(cx).is_ready() {
            let moved = {
                let shared = self.shared.borrow();
                if !blocked && !shared.body_awaited { None } else { Some(shared.received + written) }
            };
            match moved {
                // The first period only notes where the client stands, so that one which has just begun to wait is
                // not blamed. A mark of 0 stands for "not noted".
                Some(moved) if *seen == moved + 1 => return true,
                Some(moved) => *seen = moved + 1,
                None => *seen = 0,
            }
            self.deadline.set(self.settings.stall_timeout);
        }
        false
    }

    /// Sends the response; whether the connection may stay.
    async fn respond(&mut self, asked: &Asked, response: Response<Body>) -> Result<bool, ServeError> {
        let (mut parts, body) = response.into_parts();
        if parts.status.is_informational() || matches!(body, Body::Upgrade(_)) {
            // Nobody asked for it, or there is nothing to hand over to: it must not reach the client as an answer.
            parts.status = StatusCode::BAD_GATEWAY;
            parts.headers.clear();
        }
        let framing = asked.framing(parts.status, &parts.headers, &body);
        let draining = poll_fn(|cx| Poll::Ready(self.poll_drain(cx))).await;
        let keep_alive = asked.keep_alive
            && !draining
            && framing != Framing::UntilClose
            && !has_token(&parts.headers, &header::CONNECTION, b"close")
            && self.can_finish_body();
        let connection = match (keep_alive, asked.version) {
            (false, _) => ConnectionField::Close,
            (true, Version::HTTP_10) => ConnectionField::KeepAlive,
            (true, _) => ConnectionField::None,
        };
        let mut out = self.outgoing();
        let date = self.settings.add_date;
        encode::response_head(&mut out.flat, parts.status, &parts.headers, framing, connection, date);
        drop(parts);
        self.send(Sender::new(out, body, framing, asked.accepts_trailers)).await?;
        Ok(keep_alive)
    }

    async fn send(&mut self, mut sender: Sender) -> Result<(), ServeError> {
        let mut seen = 0;
        let sent = poll_fn(|cx| {
            let shared = self.shared.clone();
            let sent = sender.poll_send(cx, false, |out, cx| out.poll_write(&mut shared.borrow_mut().io, cx));
            if let Poll::Ready(sent) = sent {
                return Poll::Ready(sent.map_err(Some));
            }
            if self.poll_gone(cx) {
                return Poll::Ready(Err(None));
            }
            let blocked = !sender.out.is_empty();
            if self.poll_stalled(cx, &mut seen, sender.out.written, blocked) {
                return Poll::Ready(Err(Some(SenderError::Io(io::ErrorKind::TimedOut.into()))));
            }
            Poll::Pending
        })
        .await;
        let error = match sent {
            Ok(()) => return Ok(()),
            Err(None) => return Err(ServeError::ClientGone),
            Err(Some(error)) => error,
        };
        let (begun, framing) = (sender.out.written > 0, sender.framing());
        drop(sender);
        match error {
            SenderError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.abort();
                Err(ServeError::Stalled)
            }
            SenderError::Io(_) => Err(ServeError::ClientGone),
            SenderError::Body(error) => {
                self.cut(begun, framing, "the upstream's response could not be read\n").await;
                Err(ServeError::ResponseBody(error))
            }
            SenderError::Length => {
                self.cut(begun, framing, "the upstream's response was not as long as announced\n").await;
                Err(ServeError::ResponseLength)
            }
        }
    }

    /// Ends a connection whose response cannot be completed: with an answer of ours when none has begun. A response
    /// that lasts until the close is cut by a reset, as the client could not tell otherwise.
    async fn cut(&mut self, begun: bool, framing: Framing, text: &'static str) {
        if !begun {
            self.answer(StatusCode::BAD_GATEWAY, text).await;
        } else if framing == Framing::UntilClose {
            self.abort();
        }
    }

    fn abort(&self) {
        let shared = self.shared.borrow();
        // A socket that cannot be told so is closed in the ordinary way.
        let _ = socket2::SockRef::from(shared.io.tcp()).set_linger(Some(Duration::ZERO));
    }

    /// What is written first: the rest of a `100 Continue` that was begun.
    fn outgoing(&self) -> Outgoing {
        let mut shared = self.shared.borrow_mut();
        let mut out = Outgoing::default();
        let interim = std::mem::take(&mut shared.interim);
        if (1..INTERIM_LENGTH).contains(&interim.len()) {
            out.flat.extend_from_slice(interim);
        }
        out
    }

    /// Whether what is left of the request's body is little enough to be thrown away.
    fn can_finish_body(&self) -> bool {
        let shared = self.shared.borrow();
        // A client that was never told to go on may or may not send the body now: nobody can tell (RFC 9110 10.1.1).
        let untold = shared.interim.len() == INTERIM_LENGTH;
        let left = shared.body.size_hint().lower();
        shared.body.is_received()
            || (!untold && shared.failed.is_none() && left <= self.settings.discard_limit)
    }

    /// Throws away what is left of the request's body; whether that succeeded.
    async fn finish_body(&mut self) -> bool {
        if self.shared.borrow().body.is_received() {
            return true;
        }
        // From here its reader, if there still is one, gets an error.
        self.shared.borrow_mut().exchange += 1;
        self.deadline.set(Some(self.settings.linger_timeout));
        let mut left = self.settings.discard_limit;
        poll_fn(|cx| {
            loop {
                let item = self.shared.borrow_mut().poll_item(cx);
                match item {
                    Poll::Ready(Ok(Decoded::Data(data))) => match left.checked_sub(data.len() as u64) {
                        Some(rest) => left = rest,
                        None => return Poll::Ready(false),
                    },
                    Poll::Ready(Ok(_)) => return Poll::Ready(true),
                    Poll::Ready(Err(_)) => return Poll::Ready(false),
                    Poll::Pending => return self.deadline.poll(cx).map(|()| false),
                }
            }
        })
        .await
    }

    /// Answers what never reached a handler, and closes.
    async fn fail(&mut self, error: ServeError) -> ServeError {
        match &error {
            ServeError::Refused(refusal) => self.answer(refusal.status(), refusal.to_string()).await,
            ServeError::HeaderTimeout => {
                self.answer(StatusCode::REQUEST_TIMEOUT, "the head was not complete in time").await;
            }
            _ => {}
        }
        error
    }

    async fn answer(&mut self, status: StatusCode, text: impl Into<String>) {
        let mut out = self.outgoing();
        let body = Bytes::from(text.into());
        let mut headers = http::HeaderMap::with_capacity(2);
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
        let framing = Framing::Length(body.len() as u64);
        let date = self.settings.add_date;
        encode::response_head(&mut out.flat, status, &headers, framing, ConnectionField::Close, date);
        out.push(body, b"");
        self.deadline.set(Some(self.settings.linger_timeout));
        let written = poll_fn(|cx| {
            if let Poll::Ready(written) = out.poll_write(&mut self.shared.borrow_mut().io, cx) {
                return Poll::Ready(written.is_ok());
            }
            self.deadline.poll(cx).map(|()| false)
        })
        .await;
        if written {
            self.close().await;
        }
    }

    /// Closes so that the client gets all that was written: its unread bytes would turn the close into a reset
    /// (RFC 9112 section 9.6), so the sending side is closed first, and reading goes on for a moment.
    #[allow(clippy::await_holding_refcell_ref, reason = "the exchange is over: nobody else holds it")]
    async fn close(&mut self) {
        self.deadline.set(Some(self.settings.linger_timeout));
        let mut discarded = 0;
        poll_fn(|cx| {
            let mut shared = self.shared.borrow_mut();
            let shared = &mut *shared;
            let closed = pin!(shared.io.shutdown()).poll(cx);
            match closed {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return self.deadline.poll(cx),
            }
            loop {
                shared.read.bytes.clear();
                match shared.read.poll_fill(&mut shared.io, cx) {
                    Poll::Ready(Ok(n)) if n > 0 && discarded < self.settings.discard_limit => {
                        discarded += n as u64
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.deadline.poll(cx),
                }
            }
        })
        .await;
    }

    async fn send_upgrade_head(&mut self, asked: &Asked, response: Response<Body>) -> Result<(), ServeError> {
        let (parts, _) = response.into_parts();
        let mut out = self.outgoing();
        let connection =
            if asked.method == Method::CONNECT { ConnectionField::None } else { ConnectionField::Upgrade };
        let date = self.settings.add_date;
        encode::response_head(&mut out.flat, parts.status, &parts.headers, Framing::Absent, connection, date);
        self.send(Sender::new(out, Body::Empty, Framing::Absent, false)).await
    }

    /// Gives the connection away, with what was read ahead in front.
    async fn upgrade(self, upgrade: Upgrade) {
        // A body that outlived its request may still hold the connection; it cannot any more be read through it.
        let Ok(shared) = Rc::try_unwrap(self.shared) else { return };
        let Downstream { io, read, .. } = shared.into_inner();
        let mut downstream = if read.bytes.is_empty() { io } else { io.with_prefix(read.bytes.freeze()) };
        match upgrade {
            Upgrade::Handler(handler) => handler(downstream).await,
            Upgrade::Stream(mut upstream) => {
                // How a tunnel ends is nobody's error here.
                let _ = tokio::io::copy_bidirectional(&mut downstream, &mut *upstream).await;
            }
        }
    }
}

/// Length of the `100 Continue` response.
const INTERIM_LENGTH: usize = 25;

/// What of the request decides on the form of its response.
struct Asked {
    method: Method,
    version: Version,
    keep_alive: bool,
    accepts_trailers: bool,
    wants_upgrade: bool,
}

impl Asked {
    fn of(head: &RequestHead) -> Self {
        Self {
            method: head.method.clone(),
            version: head.version,
            keep_alive: head.keep_alive,
            accepts_trailers: head.accepts_trailers,
            wants_upgrade: head.wants_upgrade,
        }
    }

    /// RFC 9112 section 6.3, from the sender's side.
    fn framing(&self, status: StatusCode, headers: &http::HeaderMap, body: &Body) -> Framing {
        let announced = || {
            let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
            length.or_else(|| body.exact_length().filter(|n| *n > 0))
        };
        if status == StatusCode::NO_CONTENT {
            Framing::Absent
        } else if self.method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
            Framing::Announced(announced())
        } else if let Some(length) = body.exact_length() {
            Framing::Length(length)
        } else if self.version == Version::HTTP_10 {
            Framing::UntilClose
        } else {
            Framing::Chunked
        }
    }
}

fn take_upgrade(asked: &Asked, response: &mut Response<Body>) -> Option<Upgrade> {
    let status = response.status();
    let fits = asked.wants_upgrade
        && if asked.method == Method::CONNECT {
            status.is_success()
        } else {
            status == StatusCode::SWITCHING_PROTOCOLS
        };
    if !fits {
        return None;
    }
    match std::mem::take(response.body_mut()) {
        Body::Upgrade(upgrade) => Some(upgrade),
        other => {
            *response.body_mut() = other;
            None
        }
    }
}

fn into_request(head: RequestHead, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method;
    *request.uri_mut() = head.uri;
    *request.version_mut() = head.version;
    *request.headers_mut() = head.headers;
    request
}
