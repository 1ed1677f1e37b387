//! Moves a body from where it comes from to a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;

use super::buffers::Outgoing;
use super::encode::{self, Framing};
use crate::body::{Body, BodyError, FrameKind, frame_kind};

/// A body that is being sent, and what is gathered of it.
#[derive(Debug)]
pub(super) struct Sender {
    /// Starts with the head.
    pub(super) out: Outgoing,
    body: Body,
    framing: Framing,
    left: u64,
    pass_trailers: bool,
    /// Whether the body was asked for its content.
    pub(super) touched: bool,
    finished: bool,
}

/// Why a body could not be sent to its end.
#[derive(Debug)]
pub(super) enum SenderError {
    /// The body could not be read.
    Body(BodyError),
    /// The body was shorter or longer than it said.
    Length,
    /// The connection it goes to failed.
    Io(io::Error),
}

enum Filled {
    /// There is something to write before more can be taken.
    Full,
    /// The body has nothing to give now.
    Waiting,
    /// All is gathered.
    Done,
}

impl Sender {
    /// `out` holds the head. Trailers go only into chunks, and only when `pass_trailers`.
    pub(super) fn new(out: Outgoing, body: Body, framing: Framing, pass_trailers: bool) -> Self {
        let left = if let Framing::Length(n) = framing { n } else { 0 };
        let finished = matches!(framing, Framing::Absent | Framing::Announced(_) | Framing::Length(0));
        Self { out, body, framing, left, pass_trailers, touched: false, finished }
    }

    /// How the body is framed.
    pub(super) fn framing(&self) -> Framing {
        self.framing
    }

    /// Gives the body back, when it was not asked for its content.
    pub(super) fn take_untouched(&mut self) -> Option<Body> {
        (!self.touched).then(|| std::mem::take(&mut self.body))
    }

    /// Drops the body: nothing more will be sent.
    pub(super) fn abandon(&mut self) {
        self.body = Body::Empty;
        self.finished = true;
        let written = self.out.written;
        self.out = Outgoing::default();
        self.out.written = written;
    }

    /// Sends as much as is there; ready when all was written. `hold` keeps the body from being asked yet.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        hold: bool,
        mut write: impl FnMut(&mut Outgoing, &mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<Result<(), SenderError>> {
        loop {
            let filled = if hold && !self.finished { Filled::Waiting } else { self.fill(cx)? };
            if !self.out.is_done() {
                ready!(write(&mut self.out, cx)).map_err(SenderError::Io)?;
            }
            match filled {
                Filled::Done => return Poll::Ready(Ok(())),
                Filled::Waiting => return Poll::Pending,
                Filled::Full => {}
            }
        }
    }

    fn fill(&mut self, cx: &mut Context<'_>) -> Result<Filled, SenderError> {
        loop {
            if self.finished {
                return Ok(Filled::Done);
            }
            if !self.out.has_room() {
                return Ok(Filled::Full);
            }
            self.touched = true;
            if http_body::Body::is_end_stream(&self.body) {
                self.finish(None)?;
                continue;
            }
            match http_body::Body::poll_frame(Pin::new(&mut self.body), cx) {
                Poll::Pending => return Ok(Filled::Waiting),
                Poll::Ready(None) => self.finish(None)?,
                Poll::Ready(Some(Err(error))) => return Err(SenderError::Body(error)),
                Poll::Ready(Some(Ok(frame))) => match frame_kind(frame) {
                    Some(FrameKind::Data(data)) => self.data(data)?,
                    Some(FrameKind::Trailers(trailers)) => self.finish(Some(trailers))?,
                    None => {}
                },
            }
        }
    }

    fn data(&mut self, data: Bytes) -> Result<(), SenderError> {
        if data.is_empty() {
            // A chunk of no length would end the body.
            return Ok(());
        }
        match self.framing {
            Framing::Length(_) => {
                self.left = self.left.checked_sub(data.len() as u64).ok_or(SenderError::Length)?;
                self.out.push(data, b"");
                if self.left == 0 {
                    self.release();
                    return Ok(());
                }
            }
            Framing::Chunked => {
                encode::chunk_size(&mut self.out.flat, data.len());
                self.out.push(data, b"\r\n");
            }
            _ => self.out.push(data, b""),
        }
        if http_body::Body::is_end_stream(&self.body) { self.finish(None) } else { Ok(()) }
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), SenderError> {
        if self.left > 0 {
            return Err(SenderError::Length);
        }
        if self.framing == Framing::Chunked {
            match trailers.filter(|_| self.pass_trailers) {
                Some(trailers) => {
                    // Trailers come alone, so there is room: nothing was pushed since.
                    self.out.push_tail(b"0\r\n");
                    encode::trailers(&mut self.out.flat, &trailers);
                }
                None => self.out.push_tail(b"0\r\n\r\n"),
            }
        }
        self.release();
        Ok(())
    }

    /// Done with the body: whatever it holds (an upstream connection) is free from now.
    fn release(&mut self) {
        self.finished = true;
        self.body = Body::Empty;
    }
}
