//! One request under way, up to the head of its response.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};

use super::response_body::ResponseBody;
use super::{ClientConnection, OnIdle, SendErrorKind, Upstream};
use crate::body::{Body, BodyErrorKind, Upgrade};
use crate::http1::buffers::Outgoing;
use crate::http1::deadline::Deadline;
use crate::http1::encode::{self, ConnectionField, Framing};
use crate::http1::framing::{BodyLength, BodyReader, Decoded};
use crate::http1::head::{ResponseHead, Scan, next_response};
use crate::http1::hop_by_hop::KEEP_ALIVE;
use crate::http1::incoming::{Incoming, kind_of};
use crate::http1::sender::{Sender, SenderError};
use crate::http1::{Refusal, upgrade_requested};

/// A request under way.
pub(super) struct Exchange {
    pub(super) connection: ClientConnection,
    pub(super) sender: Sender,
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
    pub(super) fn start(
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

    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, SendErrorKind>> {
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

    pub(super) fn into_response(self, head: ResponseHead) -> Response<Body> {
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
