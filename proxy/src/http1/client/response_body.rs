//! The body of a response, which owns its connection.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{ClientConnection, OnIdle};
use crate::body::{BodyError, BodyErrorKind};
use crate::error::ErrorSource;
use crate::http1::buffers::ReadBuffer;
use crate::http1::framing::{BodyReader, DecodeError, Decoded};
use crate::http1::incoming::kind_of;
use crate::http1::sender::{Sender, SenderError};

/// The body of a response, which owns its connection.
pub(in crate::http1) struct ResponseBody {
    pub(super) connection: Option<ClientConnection>,
    pub(super) reader: BodyReader,
    /// The request's body, when it is still being sent.
    pub(super) sender: Option<Sender>,
    pub(super) keep_alive: bool,
    pub(super) failed: Option<BodyError>,
    pub(super) on_idle: Option<Rc<dyn OnIdle>>,
}

impl ResponseBody {
    pub(in crate::http1) fn poll_frame(
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
    pub(super) fn release(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let unsent = self.sender.take().is_some();
        if self.keep_alive && !unsent && connection.0.read.bytes.is_empty() && !connection.0.read.ended {
            connection.0.read = ReadBuffer::default();
            if let Some(on_idle) = self.on_idle.take() {
                on_idle.on_idle(connection);
            }
        }
    }

    pub(in crate::http1) fn is_end_stream(&self) -> bool {
        self.reader.is_end_stream() && self.failed.is_none()
    }

    pub(in crate::http1) fn size_hint(&self) -> SizeHint {
        self.reader.size_hint()
    }
}
