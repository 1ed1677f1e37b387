//! HTTP/2 to an upstream, on the `h2` codec itself: it says exactly which requests the upstream has refused, and how
//! many streams it takes.
//!
//! A connection carries many requests. It takes no new one after GOAWAY, when its time is up or when its upstream
//! does not answer pings; those under way finish.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::{Request, Response, Version};
use http_body::{Body as _, Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::failure::{AttemptFailure, FailureKind};
use super::pool::{Connection, EndpointPool};
use crate::body::{Body, BodyError, BodyErrorKind};
use crate::error::ErrorSource;
use crate::io::Io;

/// What an upstream may send of one response before it is read, in bytes.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// The same for all responses of a connection.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// A connection with requests under way is asked this often whether it is alive …
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// … and given up when it does not answer within this.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// One HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct Http2Connection {
    pub(crate) connection: Connection,
    sender: SendRequest<Bytes>,
    streams: Rc<Streams>,
    requests: Cell<u32>,
}

/// What is under way on a connection. Shared with its task, which must not keep the connection itself alive.
#[derive(Debug)]
struct Streams {
    open: Cell<u32>,
    last_used: Cell<Instant>,
    closing: Cell<bool>,
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct StreamGuard {
    streams: Rc<Streams>,
    /// So that the connection is counted until its last request is done.
    connection: Rc<Http2Connection>,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.streams.open.set(self.streams.open.get().saturating_sub(1));
        self.streams.last_used.set(Instant::now());
    }
}

impl StreamGuard {
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection.connection
    }
}

impl Http2Connection {
    /// Exchanges the prefaces. The connection's task runs from then on.
    pub(crate) async fn handshake(io: Io, connection: Connection) -> Result<Rc<Self>, h2::Error> {
        let (sender, mut driver) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(256 * 1024)
            .handshake::<_, Bytes>(io)
            .await?;
        let streams = Rc::new(Streams {
            open: Cell::new(0),
            last_used: Cell::new(Instant::now()),
            closing: Cell::new(false),
        });
        let pings = driver.ping_pong();
        // Weak: a pool that is let go of must not live on in its connections' tasks.
        let pool = connection.pool().map_or_else(Weak::new, |pool| Rc::downgrade(&pool));
        let connection =
            Rc::new(Self { connection, sender, streams: streams.clone(), requests: Cell::new(0) });
        let me = Rc::downgrade(&connection);
        tokio::task::spawn_local(async move {
            let dead = watch(pings, &streams);
            tokio::select! {
                ended = driver => if let Err(error) = ended {
                    tracing::debug!(%error, "HTTP/2 connection to an upstream ended");
                },
                () = dead => tracing::debug!("HTTP/2 connection to an upstream does not answer pings"),
            }
            streams.closing.set(true);
            leave(pool.upgrade().as_ref(), &me);
        });
        Ok(connection)
    }

    /// Takes no new request.
    pub(crate) fn retire(&self) {
        self.streams.closing.set(true);
    }

    /// Whether it was unused for too long.
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        let unused = now.saturating_duration_since(self.streams.last_used.get());
        self.streams.closing.get() || (self.streams.open.get() == 0 && unused >= self.connection.idle_timeout)
    }

    /// Whether it can take one more request at once: its upstream has not said otherwise.
    pub(crate) fn has_room(&self) -> bool {
        (self.streams.open.get() as usize) < self.sender.current_max_send_streams()
    }

    pub(crate) fn open_streams(&self) -> u32 {
        self.streams.open.get()
    }

    /// Whether it takes new requests at all.
    pub(crate) fn is_usable(&self) -> bool {
        if self.streams.closing.get() {
            return false;
        }
        let mut sender = self.sender.clone();
        // Pending is said only of a handle whose own last request waits.
        if let Poll::Ready(Err(_)) = sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
            self.retire();
            return false;
        }
        true
    }

    /// Counts a request; the last one that a bound allows retires the connection.
    pub(crate) fn enter(self: &Rc<Self>) -> StreamGuard {
        self.streams.open.set(self.streams.open.get() + 1);
        self.requests.set(self.requests.get().saturating_add(1));
        if self.connection.max_requests.is_some_and(|max| self.requests.get() >= max) {
            self.retire();
        }
        StreamGuard { streams: self.streams.clone(), connection: self.clone() }
    }
}

/// Takes a connection that ended out of its pool.
fn leave(pool: Option<&Rc<EndpointPool>>, me: &Weak<Http2Connection>) {
    let Some(pool) = pool else { return };
    let gone: Vec<_> =
        pool.http2.borrow_mut().extract_if(.., |other| Rc::as_ptr(other) == me.as_ptr()).collect();
    drop(gone);
}

/// Ready when the upstream does not answer a ping.
async fn watch(pings: Option<PingPong>, streams: &Streams) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        tokio::time::sleep(PING_INTERVAL).await;
        if streams.open.get() > 0 {
            match tokio::time::timeout(PING_TIMEOUT, pings.ping(Ping::opaque())).await {
                Ok(Ok(_)) => {}
                // The connection's own future says why.
                Ok(Err(_)) => return std::future::pending().await,
                Err(_) => return,
            }
        }
    }
}

/// Sends a request and waits for the head of its response.
pub(crate) async fn send(
    guard: StreamGuard,
    head: Request<()>,
    body: Body,
) -> Result<Response<Body>, AttemptFailure> {
    let mut sender = guard.connection.sender.clone();
    poll_fn(|cx| sender.poll_ready(cx)).await.map_err(|error| failure(&error, true))?;
    let ended = body.is_end_stream();
    let (response, stream) = sender.send_request(head, ended).map_err(|error| failure(&error, true))?;
    let outcome = Rc::new(Cell::new(None));
    let pump = if ended { None } else { start_pump(stream, body, outcome.clone()).await };
    let response = response.await.map_err(|error| match outcome.take() {
        Some(error) => AttemptFailure::of_request_body(&error),
        None => failure(&error, false),
    })?;
    let length = response.headers().get(http::header::CONTENT_LENGTH);
    let left = length.and_then(|length| length.to_str().ok()?.parse().ok());
    Ok(response.map(|stream| {
        if stream.is_end_stream() && pump.is_none() {
            return Body::Empty;
        }
        Body::boxed(ResponseStream { stream, left, outcome, _guard: guard, _pump: pump })
    }))
    .map(|mut response| {
        *response.version_mut() = Version::HTTP_2;
        response
    })
}

/// Sends what is there of the body at once, and the rest in a task of its own, so that neither direction of a
/// stream waits for the other.
async fn start_pump(
    stream: SendStream<Bytes>,
    body: Body,
    outcome: Rc<Cell<Option<BodyError>>>,
) -> Option<PumpGuard> {
    let mut pump = Pump { stream, body, waiting: None, outcome };
    match poll_fn(|cx| Poll::Ready(pump.poll(cx))).await {
        Poll::Ready(()) => None,
        Poll::Pending => {
            let task = tokio::task::spawn_local(poll_fn(move |cx| pump.poll(cx)));
            Some(PumpGuard(task.abort_handle()))
        }
    }
}

/// Ends the sending with the response.
#[derive(Debug)]
struct PumpGuard(AbortHandle);

impl Drop for PumpGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Moves a request's body to its stream.
struct Pump {
    stream: SendStream<Bytes>,
    body: Body,
    /// What the stream has no room for yet.
    waiting: Option<Bytes>,
    outcome: Rc<Cell<Option<BodyError>>>,
}

impl Pump {
    /// Ready when the body was sent, or will not be.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.stream.poll_reset(cx).is_ready() {
                // The response says what it means.
                return Poll::Ready(());
            }
            if self.waiting.is_some() {
                ready!(self.poll_write(cx));
                continue;
            }
            if self.body.is_end_stream() {
                let _ = self.stream.send_data(Bytes::new(), true);
                return Poll::Ready(());
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => {
                    let _ = self.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(());
                }
                Some(Err(error)) => {
                    self.outcome.set(Some(error));
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(());
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => {
                        self.stream.reserve_capacity(data.len());
                        self.waiting = Some(data);
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            let _ = self.stream.send_trailers(trailers);
                            return Poll::Ready(());
                        }
                    }
                },
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let room = match self.stream.capacity() {
            0 => match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(room)) => room,
                // The stream has ended: the reset is seen next.
                _ => {
                    self.waiting = None;
                    self.body = Body::Empty;
                    return Poll::Ready(());
                }
            },
            room => room,
        };
        if let Some(mut data) = self.waiting.take() {
            let part = data.split_to(room.min(data.len()));
            let last = data.is_empty() && self.body.is_end_stream();
            if !data.is_empty() {
                self.waiting = Some(data);
            }
            if self.stream.send_data(part, last).is_err() || last {
                self.waiting = None;
                self.body = Body::Empty;
            }
        }
        Poll::Ready(())
    }
}

/// A response's body.
struct ResponseStream {
    stream: RecvStream,
    /// What is still to come of the announced length, if one was; `h2` refuses more and less.
    left: Option<u64>,
    /// Why the request's body could not be sent to its end.
    outcome: Rc<Cell<Option<BodyError>>>,
    _guard: StreamGuard,
    _pump: Option<PumpGuard>,
}

impl http_body::Body for ResponseStream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(data) = ready!(self.stream.poll_data(cx)) {
            return Poll::Ready(match data {
                Ok(data) => {
                    // Reading is the back-pressure: what was read makes room at once.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    Some(Ok(Frame::data(data)))
                }
                Err(error) => Some(Err(self.failed(&error))),
            });
        }
        Poll::Ready(match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => Some(Err(self.failed(&error))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl ResponseStream {
    /// What the end of the stream means for the body. A reset after all of the response, with which a server refuses
    /// the rest of the request (RFC 9113, section 8.1), does not come here: `h2` knows that all was received.
    fn failed(&self, error: &h2::Error) -> BodyError {
        // A request that broke off is what the stream was given up for.
        self.outcome.get().unwrap_or_else(|| body_error(error))
    }
}

fn body_error(error: &h2::Error) -> BodyError {
    let kind = if error.is_reset() {
        BodyErrorKind::Reset
    } else if error.is_io() || error.is_go_away() {
        BodyErrorKind::Closed
    } else {
        BodyErrorKind::Protocol("http2.protocol_error")
    };
    BodyError::new(ErrorSource::Upstream, kind)
}

/// What an error before the response means. `unsent`: nothing of this request was written.
///
/// A stream that ends with the upstream's GOAWAY was above its last stream identifier, so the upstream has not looked
/// at it and never will (RFC 9113 section 6.8); REFUSED_STREAM says the same of one stream (section 8.7).
fn failure(error: &h2::Error, unsent: bool) -> AttemptFailure {
    let refused = error.reason() == Some(Reason::REFUSED_STREAM) || (error.is_go_away() && error.is_remote());
    let cause = error.to_string();
    if refused || unsent {
        return AttemptFailure::unprocessed(FailureKind::RefusedStream, cause);
    }
    let kind = if error.is_io() || (error.is_go_away() && error.is_library()) {
        FailureKind::Closed
    } else if error.is_reset() && error.is_remote() {
        FailureKind::Reset
    } else {
        FailureKind::Protocol
    };
    AttemptFailure::maybe_processed(kind, cause)
}
