//! The body that a connection receives, on either side.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::AsyncWrite;

use super::buffers::ReadBuffer;
use super::client::ResponseBody;
use super::framing::{BodyReader, DecodeError, Decoded};
use crate::body::{BodyError, BodyErrorKind};
use crate::error::ErrorSource;
use crate::io::Io;

/// Content that an HTTP/1 connection still receives.
pub struct Incoming(Source);

enum Source {
    /// A request's, read by its handler from the connection that it shares with the server.
    Request(RequestBody),
    /// A response's, which owns its connection.
    Response(Box<ResponseBody>),
}

impl Incoming {
    pub(super) fn request(shared: Rc<RefCell<Downstream>>, exchange: u64) -> Self {
        Self(Source::Request(RequestBody { shared, exchange }))
    }

    pub(super) fn response(body: ResponseBody) -> Self {
        Self(Source::Response(Box::new(body)))
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Source::Request(body) => body.poll_frame(cx),
            Source::Response(body) => body.poll_frame(cx),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Request(body) => {
                let shared = body.shared.borrow();
                shared.exchange == body.exchange && shared.failed.is_none() && shared.body.is_end_stream()
            }
            Source::Response(body) => body.is_end_stream(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Request(body) => body.shared.borrow().body.size_hint(),
            Source::Response(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Incoming")
    }
}

struct RequestBody {
    shared: Rc<RefCell<Downstream>>,
    /// Which of the connection's requests it belongs to: a body that outlives its request reads nothing more.
    exchange: u64,
}

impl RequestBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut shared = self.shared.borrow_mut();
        if shared.exchange != self.exchange {
            return Poll::Ready(Some(Err(BodyError::new(ErrorSource::Downstream, BodyErrorKind::Closed))));
        }
        shared.poll_frame(cx)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // Nobody waits for the client any more, so nobody can blame it for stalling. Unless it is a later request's
        // body that is waited for: that one's reader must go on being the one who is woken.
        if let Ok(mut shared) = self.shared.try_borrow_mut()
            && shared.exchange == self.exchange
            && std::mem::take(&mut shared.body_awaited)
        {
            shared.wake_server(None);
        }
    }
}

/// The reading half of a server's connection, shared with the request's body. Borrowed only within a poll.
#[derive(Debug)]
pub(super) struct Downstream {
    pub(super) io: Io,
    pub(super) read: ReadBuffer,
    /// The present request's body.
    pub(super) body: BodyReader,
    /// Counts requests.
    pub(super) exchange: u64,
    /// What is left to write of `100 Continue`, to be sent when the body is first waited for.
    pub(super) interim: &'static [u8],
    /// It was written, but TLS may still hold it.
    pub(super) interim_unflushed: bool,
    /// Whether a reader of the body waits for the client.
    pub(super) body_awaited: bool,
    /// Bytes of bodies received.
    pub(super) received: u64,
    /// Why the body cannot be read any more.
    pub(super) failed: Option<BodyError>,
    /// The server's, to be told when the body's reader does not wait for the client any more: then nobody but the
    /// server can see it go.
    pub(super) server: Option<Waker>,
}

impl Downstream {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let item = ready!(self.poll_item(cx));
        // A reader that is a task of its own may be busy with what it got for as long as it likes.
        self.wake_server(Some(cx));
        Poll::Ready(match item {
            Ok(Decoded::Data(data)) => Some(Ok(Frame::data(data))),
            Ok(Decoded::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(Decoded::End | Decoded::More) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// Has the server watch for the client's going, if it left that to a reader; no need when it is what runs now.
    fn wake_server(&mut self, running: Option<&Context<'_>>) {
        let runs = |server: &Waker| running.is_some_and(|cx| server.will_wake(cx.waker()));
        if let Some(server) = self.server.take_if(|server| !runs(server)) {
            server.wake();
        }
    }

    /// The next item of the body, never [`Decoded::More`].
    pub(super) fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Result<Decoded, BodyError>> {
        if let Some(error) = self.failed {
            return Poll::Ready(Err(error));
        }
        loop {
            let kind = match self.body.next(&mut self.read.bytes, self.read.ended) {
                Ok(Decoded::More) => match ready!(self.poll_more(cx)) {
                    Ok(()) => continue,
                    Err(error) => error,
                },
                Ok(item) => {
                    if let Decoded::Data(data) = &item {
                        self.received += data.len() as u64;
                    }
                    return Poll::Ready(Ok(item));
                }
                Err(DecodeError::Closed) => BodyErrorKind::Closed,
                Err(DecodeError::Refused(refusal)) => BodyErrorKind::Protocol(refusal.details()),
            };
            let error = BodyError::new(ErrorSource::Downstream, kind);
            self.failed = Some(error);
            return Poll::Ready(Err(error));
        }
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyErrorKind>> {
        self.body_awaited = true;
        while !self.interim.is_empty() {
            let n = match ready!(std::pin::Pin::new(&mut self.io).poll_write(cx, self.interim)) {
                Ok(n) if n > 0 => n,
                Ok(_) => return Poll::Ready(Err(BodyErrorKind::Closed)),
                Err(error) => return Poll::Ready(Err(kind_of(&error))),
            };
            self.interim = &self.interim[n..];
            self.interim_unflushed = true;
        }
        if self.interim_unflushed {
            if let Err(error) = ready!(std::pin::Pin::new(&mut self.io).poll_flush(cx)) {
                return Poll::Ready(Err(kind_of(&error)));
            }
            self.interim_unflushed = false;
        }
        let filled = ready!(self.read.poll_fill(&mut self.io, cx));
        self.body_awaited = false;
        Poll::Ready(filled.map(|_| ()).map_err(|error| kind_of(&error)))
    }
}

/// What a socket's failure means for a body.
pub(super) fn kind_of(error: &std::io::Error) -> BodyErrorKind {
    use std::io::ErrorKind as K;
    match error.kind() {
        K::UnexpectedEof | K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe => BodyErrorKind::Closed,
        kind => BodyErrorKind::Io(kind),
    }
}
