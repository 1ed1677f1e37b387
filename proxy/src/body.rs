//! One body type for every protocol.
//!
//! Bodies stream. The common small ones, which arrive together with their head, are [`Body::Empty`] and
//! [`Body::Full`]: nothing is allocated for them and they can be sent again.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use crate::error::ErrorSource;
use crate::http1::Incoming;
use crate::io::Io;

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;

/// A boxed body, for what wraps another.
pub type BoxedBody = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError>>>;

/// The body of a request or a response. Belongs to one worker: it is not `Send`.
#[derive(Default)]
pub enum Body {
    /// No content.
    #[default]
    Empty,
    /// All of the content, in memory.
    Full(Bytes),
    /// Content that an HTTP/1 connection still receives.
    Http1(Incoming),
    /// Content that an HTTP/2 stream still receives, and which side of the proxy it comes from.
    Http2(hyper::body::Incoming, ErrorSource),
    /// A wrapper around another body.
    Boxed(BoxedBody),
    /// No content: the connection itself changes hands. Only with `101`, or with `2xx` to `CONNECT`.
    Upgrade(Upgrade),
    /// The content was given away and cannot be had again. Sending it fails: a retry must never send less.
    Consumed,
}

/// What becomes of a connection when a response ends HTTP on it.
pub enum Upgrade {
    /// From the HTTP/1 client: the upstream connection, with what was read beyond the head in front. A server that
    /// is given it as its response's body copies between the two until both ends are done.
    Stream(Box<Io>),
    /// To the HTTP/1 server: called with the downstream connection (read-ahead in front) once the head is written.
    /// The server's `serve` returns when the future is done.
    Handler(UpgradeHandler),
}

/// Takes over the downstream connection.
pub type UpgradeHandler = Box<dyn FnOnce(Io) -> Pin<Box<dyn Future<Output = ()>>>>;

impl Body {
    /// All of the content, in memory; [`Body::Empty`] when there is none.
    #[must_use]
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::Empty } else { Self::Full(bytes) }
    }

    /// Content of an HTTP/2 stream; `side` is whose connection it is.
    #[must_use]
    pub fn http2(incoming: hyper::body::Incoming, side: ErrorSource) -> Self {
        if http_body::Body::is_end_stream(&incoming) { Self::Empty } else { Self::Http2(incoming, side) }
    }

    /// A wrapper around another body.
    #[must_use]
    pub fn boxed(body: impl http_body::Body<Data = Bytes, Error = BodyError> + 'static) -> Self {
        Self::Boxed(Box::pin(body))
    }

    /// Asks the HTTP/1 server to hand over the connection after the head of a `101`, or of a `2xx` to `CONNECT`.
    #[must_use]
    pub fn on_upgrade<F: Future<Output = ()> + 'static>(handler: impl FnOnce(Io) -> F + 'static) -> Self {
        Self::Upgrade(Upgrade::Handler(Box::new(move |io| Box::pin(handler(io)))))
    }

    /// The upstream connection of a response that ended HTTP on it; leaves the body empty.
    pub fn take_upgraded(&mut self) -> Option<Io> {
        match std::mem::take(self) {
            Self::Upgrade(Upgrade::Stream(io)) => Some(*io),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Whether the same content can be sent again after it was sent.
    #[must_use]
    pub fn is_replayable(&self) -> bool {
        matches!(self, Self::Empty | Self::Full(_))
    }

    /// Takes the content to send it: a replayable one stays, another one leaves [`Body::Consumed`].
    #[must_use]
    pub fn take_to_send(&mut self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Full(bytes) => Self::Full(bytes.clone()),
            _ => std::mem::replace(self, Self::Consumed),
        }
    }

    /// The exact length in bytes, when it is known before the content is read.
    #[must_use]
    pub fn exact_length(&self) -> Option<u64> {
        http_body::Body::size_hint(self).exact()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::full(bytes)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::full(text)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::full(text)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Empty => "Empty",
            Self::Full(bytes) => return write!(f, "Full({} bytes)", bytes.len()),
            Self::Http1(_) => "Http1",
            Self::Http2(..) => "Http2",
            Self::Boxed(_) => "Boxed",
            Self::Upgrade(_) => "Upgrade",
            Self::Consumed => "Consumed",
        };
        f.write_str(name)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty | Self::Upgrade(_) => Poll::Ready(None),
            this @ Self::Full(_) => match std::mem::take(this) {
                Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                _ => Poll::Ready(None),
            },
            Self::Http1(incoming) => incoming.poll_frame(cx),
            Self::Http2(incoming, side) => {
                let frame = std::task::ready!(Pin::new(incoming).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|error| BodyError::from_http2(&error, *side))))
            }
            Self::Boxed(body) => body.as_mut().poll_frame(cx),
            Self::Consumed => {
                Poll::Ready(Some(Err(BodyError::new(ErrorSource::Internal, BodyErrorKind::Consumed))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Upgrade(_) => true,
            Self::Full(_) | Self::Consumed => false,
            Self::Http1(incoming) => incoming.is_end_stream(),
            Self::Http2(incoming, _) => incoming.is_end_stream(),
            Self::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Upgrade(_) => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Http1(incoming) => incoming.size_hint(),
            Self::Http2(incoming, _) => incoming.size_hint(),
            Self::Boxed(body) => body.size_hint(),
            Self::Consumed => SizeHint::default(),
        }
    }
}

/// Why content could not be read to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the {} {kind}", side(*.source_side))]
pub struct BodyError {
    /// Whose connection failed.
    pub source_side: ErrorSource,
    /// How.
    pub kind: BodyErrorKind,
}

/// How reading content failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BodyErrorKind {
    /// The connection ended before the content did.
    #[error("closed before the end of the content")]
    Closed,
    /// The framing of the content was wrong; Envoy's `%RESPONSE_CODE_DETAILS%`.
    #[error("broke the protocol in the content ({0})")]
    Protocol(&'static str),
    /// The stream was reset (HTTP/2).
    #[error("reset the stream")]
    Reset,
    /// No byte came for too long.
    #[error("sent no byte of the content for too long")]
    Timeout,
    /// There was more than is allowed.
    #[error("sent more content than is allowed")]
    TooLarge,
    /// It was read before: a mistake of this proxy.
    #[error("was asked for content that was sent before")]
    Consumed,
    /// The socket failed.
    #[error("connection failed: {0}")]
    Io(std::io::ErrorKind),
}

impl BodyError {
    /// Who and how.
    #[must_use]
    pub fn new(source_side: ErrorSource, kind: BodyErrorKind) -> Self {
        Self { source_side, kind }
    }

    fn from_http2(error: &hyper::Error, side: ErrorSource) -> Self {
        let h2_error = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
        let kind = match h2_error {
            Some(h2) if h2.is_reset() => BodyErrorKind::Reset,
            Some(h2) if h2.is_io() => BodyErrorKind::Closed,
            Some(_) => BodyErrorKind::Protocol("http2.protocol_error"),
            None if error.is_timeout() => BodyErrorKind::Timeout,
            None => BodyErrorKind::Closed,
        };
        Self { source_side: side, kind }
    }
}

fn side(source: ErrorSource) -> &'static str {
    match source {
        ErrorSource::Downstream => "client",
        ErrorSource::Upstream => "upstream",
        ErrorSource::Internal => "proxy",
    }
}

/// A frame's content: data, or the trailers.
pub(crate) enum FrameKind {
    /// Bytes.
    Data(Bytes),
    /// Fields after the content.
    Trailers(HeaderMap),
}

/// Takes a frame apart; frames of kinds that are not known yet are nothing to us.
pub(crate) fn frame_kind(frame: Frame<Bytes>) -> Option<FrameKind> {
    match frame.into_data() {
        Ok(data) => Some(FrameKind::Data(data)),
        Err(frame) => frame.into_trailers().ok().map(FrameKind::Trailers),
    }
}
