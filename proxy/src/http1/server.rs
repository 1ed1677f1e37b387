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
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version, header};
use tokio::io::AsyncWriteExt;

use super::asked::{Asked, into_request, take_upgrade};
use super::buffers::{Outgoing, ReadBuffer};
use super::deadline::Deadline;
use super::encode::{self, ConnectionField, Framing};
use super::framing::{BodyLength, BodyReader, Decoded};
use super::head::{RequestHead, Scan, has_token, next_request};
use super::incoming::{Downstream, Incoming};
use super::sender::{Sender, SenderError};
use super::served::{ServeError, Served, ServerSettings};
use crate::body::{Body, Upgrade};
use crate::io::Io;

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;

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
            interim_unflushed: false,
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
        let handled = {
            let handling = handler(into_request(head, body));
            self.handle(pin!(handling)).await
        };
        let mut response = match handled {
            Ok(response) => response,
            Err(error) => return Err(self.fail(error).await),
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
        if let BodyLength::Exact(length) = head.body
            && length <= shared.read.bytes.len() as u64
        {
            return match shared.body.next(&mut shared.read.bytes, false) {
                Ok(Decoded::Data(data)) => {
                    shared.received += data.len() as u64;
                    Body::Full(data)
                }
                _ => Body::Empty,
            };
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
        if !shared.body.is_received() {
            // Its reader may be a task of its own: when that reads from the socket it is the one that gets woken.
            if !shared.server.as_ref().is_some_and(|server| server.will_wake(cx.waker())) {
                shared.server = Some(cx.waker().clone());
            }
            if shared.body_awaited {
                return false;
            }
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
        if matches!(body, Body::Empty | Body::Full(_)) {
            self.discard_what_came().await;
        }
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
            let blocked = !sender.out.is_done();
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

    /// Whether the client waits to be told that it may send the body. Nobody can tell whether one that never was
    /// sends it now (RFC 9110, section 10.1.1).
    fn is_untold(&self) -> bool {
        self.shared.borrow().interim.len() == INTERIM_LENGTH
    }

    /// Whether what is left of the request's body is surely little enough to be thrown away. If that is promised and
    /// not kept, a client meets the closing with its next request.
    fn can_finish_body(&self) -> bool {
        let untold = self.is_untold();
        let shared = self.shared.borrow();
        let little = shared.body.size_hint().exact().is_some_and(|left| left <= self.settings.discard_limit);
        shared.body.is_received() || (!untold && shared.failed.is_none() && little)
    }

    /// Throws away what is here of a body that nobody reads any more, so that a connection does not close for its sake.
    async fn discard_what_came(&mut self) {
        if self.shared.borrow().body.is_received() || self.is_untold() {
            return;
        }
        let mut left = self.settings.discard_limit;
        poll_fn(|cx| Poll::Ready(self.poll_discard(cx, &mut left).is_ready())).await;
        self.shared.borrow_mut().body_awaited = false;
    }

    /// Throws away what is left of the request's body; whether that succeeded.
    async fn finish_body(&mut self) -> bool {
        if self.shared.borrow().body.is_received() {
            return true;
        }
        self.deadline.set(Some(self.settings.linger_timeout));
        let mut left = self.settings.discard_limit;
        poll_fn(|cx| match self.poll_discard(cx, &mut left) {
            Poll::Pending => self.deadline.poll(cx).map(|()| false),
            finished => finished,
        })
        .await
    }

    /// Reads the request's body, of which there may be `left` bytes more; whether that succeeded.
    fn poll_discard(&mut self, cx: &mut Context<'_>, left: &mut u64) -> Poll<bool> {
        let mut shared = self.shared.borrow_mut();
        // From here its reader, if there still is one, gets an error.
        shared.exchange += 1;
        loop {
            match ready!(shared.poll_item(cx)) {
                Ok(Decoded::Data(data)) => match left.checked_sub(data.len() as u64) {
                    Some(rest) => *left = rest,
                    None => return Poll::Ready(false),
                },
                Ok(_) => return Poll::Ready(true),
                Err(_) => return Poll::Ready(false),
            }
        }
    }

    /// Answers what no handler has answered, and closes.
    async fn fail(&mut self, error: ServeError) -> ServeError {
        match &error {
            ServeError::Refused(refusal) => self.answer(refusal.status(), refusal.to_string()).await,
            ServeError::HeaderTimeout => {
                self.answer(StatusCode::REQUEST_TIMEOUT, "the head was not complete in time").await;
            }
            ServeError::Stalled => {
                self.answer(StatusCode::REQUEST_TIMEOUT, "the body was not complete in time").await;
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
    /// (RFC 9112 section 9.6), so the sending side is closed first, and reading goes on for a moment. Only time bounds
    /// it: a client that sends much before it looks for an answer is the one that would miss it.
    #[allow(clippy::await_holding_refcell_ref, reason = "the exchange is over: nobody else holds it")]
    async fn close(&mut self) {
        self.deadline.set(Some(self.settings.linger_timeout));
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
                    Poll::Ready(Ok(n)) if n > 0 => {}
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
