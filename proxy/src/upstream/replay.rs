//! Keeps the beginning of a request's body, so that it can be sent again.
//!
//! The body streams at the same time: what an attempt reads is kept as it passes, up to a bound. Beyond it nothing is
//! kept, and the request cannot be sent again.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use crate::body::{Body, BodyError, BodyErrorKind};
use crate::error::ErrorSource;

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;

/// The most that is kept, in bytes.
const KEPT: usize = 64 * 1024;

/// A body that can be read several times, one reader after the other.
#[derive(Debug)]
pub(crate) struct Replay(Rc<RefCell<Shared>>);

#[derive(Debug)]
struct Shared {
    source: Body,
    kept: Vec<Kept>,
    kept_bytes: usize,
    /// What passes is kept.
    keeping: bool,
    /// More passed than was kept.
    lost: bool,
    ended: bool,
    /// Only the newest reader may read.
    reader: u32,
}

#[derive(Clone, Debug)]
enum Kept {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Replay {
    pub(crate) fn new(source: Body) -> Self {
        Self(Rc::new(RefCell::new(Shared {
            source,
            kept: Vec::new(),
            kept_bytes: 0,
            keeping: true,
            lost: false,
            ended: false,
            reader: 0,
        })))
    }

    /// The body from its beginning; earlier readers get nothing more. None when the beginning is lost.
    pub(crate) fn reader(&self) -> Option<Body> {
        let mut shared = self.0.borrow_mut();
        if shared.lost {
            return None;
        }
        shared.reader += 1;
        Some(Body::boxed(Reader { shared: self.0.clone(), reader: shared.reader, position: 0 }))
    }

    /// Whether another reader would get all of it.
    pub(crate) fn is_whole(&self) -> bool {
        !self.0.borrow().lost
    }

    /// No further reader will be wanted.
    pub(crate) fn forget(&self) {
        let mut shared = self.0.borrow_mut();
        shared.keeping = false;
        shared.lost = true;
    }
}

struct Reader {
    shared: Rc<RefCell<Shared>>,
    reader: u32,
    position: usize,
}

impl http_body::Body for Reader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let shared = &mut *this.shared.borrow_mut();
        if shared.reader != this.reader {
            let error = BodyError::new(ErrorSource::Internal, BodyErrorKind::Consumed);
            return Poll::Ready(Some(Err(error)));
        }
        if let Some(kept) = shared.kept.get(this.position).cloned() {
            this.position += 1;
            if !shared.keeping && this.position == shared.kept.len() {
                // The last reader has passed what was kept.
                shared.kept = Vec::new();
                this.position = 0;
            }
            return Poll::Ready(Some(Ok(kept.into_frame())));
        }
        if shared.ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut shared.source).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => {
                shared.ended = true;
                return Poll::Ready(None);
            }
        };
        if shared.keeping && shared.keep(&frame) {
            this.position += 1;
        } else if !shared.keeping {
            // What is still kept has been passed, and nobody will ask for it again.
            shared.kept = Vec::new();
            this.position = 0;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.shared.borrow();
        self.position >= shared.kept.len() && (shared.ended || shared.source.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.shared.borrow();
        let kept: u64 = shared.kept.iter().skip(self.position).map(Kept::len).sum();
        let rest = shared.source.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + kept);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + kept);
        }
        hint
    }
}

impl Shared {
    /// Keeps a frame that passes; gives everything up when that is too much.
    fn keep(&mut self, frame: &Frame<Bytes>) -> bool {
        let kept = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Kept::Data(data.clone()),
            (_, Some(trailers)) => Kept::Trailers(trailers.clone()),
            _ => return false,
        };
        self.kept_bytes += kept.len() as usize;
        if self.kept_bytes > KEPT {
            self.keeping = false;
            self.lost = true;
            self.kept = Vec::new();
            return false;
        }
        self.kept.push(kept);
        true
    }
}

impl Kept {
    fn len(&self) -> u64 {
        if let Self::Data(data) = self { data.len() as u64 } else { 0 }
    }

    fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}
