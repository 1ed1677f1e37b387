//! Takes in a request's content before it is sent on, within a bound.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

use super::chain::{self, Passage};
use crate::body::{Body, BodyError, FrameKind, frame_kind};
use crate::error::ResponseFlag;
use crate::http::reply;

/// What was read of a request's content. The request has all of it still.
#[derive(Debug)]
pub(super) struct Read {
    /// The beginning.
    pub(super) bytes: Bytes,
    /// Whether that is all.
    pub(super) whole: bool,
}

/// Reads up to `most` bytes of a body, and makes the body whole again.
///
/// # Errors
/// It could not be read.
pub(super) async fn read(body: &mut Body, most: usize) -> Result<Read, BodyError> {
    match body {
        Body::Empty | Body::Upgrade(_) => return Ok(Read { bytes: Bytes::new(), whole: true }),
        Body::Full(bytes) => {
            let whole = bytes.len() <= most;
            return Ok(Read { bytes: bytes.slice(..bytes.len().min(most)), whole });
        }
        _ => {}
    }
    let mut rest = std::mem::take(body);
    let mut read = BytesMut::new();
    let mut trailers = None;
    let mut ended = false;
    while read.len() <= most {
        let Some(frame) = rest.frame().await else {
            ended = true;
            break;
        };
        match frame_kind(frame?) {
            Some(FrameKind::Data(data)) => read.extend_from_slice(&data),
            Some(FrameKind::Trailers(fields)) => trailers = Some(fields),
            None => {}
        }
    }
    let read = read.freeze();
    let told = Read { bytes: read.slice(..read.len().min(most)), whole: ended && read.len() <= most };
    *body = match (ended, trailers) {
        (true, None) => Body::full(read),
        (_, trailers) => {
            let rest = if ended { Body::Empty } else { rest };
            Body::boxed(Rejoined { first: Some(read), rest, trailers })
        }
    };
    Ok(told)
}

/// What was read, and what still comes.
struct Rejoined {
    first: Option<Bytes>,
    rest: Body,
    trailers: Option<HeaderMap>,
}

impl http_body::Body for Rejoined {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        match Pin::new(&mut self.rest).poll_frame(cx) {
            Poll::Ready(None) => Poll::Ready(self.trailers.take().map(|fields| Ok(Frame::trailers(fields)))),
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.trailers.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, |first| first.len() as u64);
        match self.rest.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(first + rest),
            None => SizeHint::default(),
        }
    }
}

/// Holds a request back until all of it is there; 413 for one that is longer than `most` bytes.
pub(super) async fn hold(most: u32, passage: &mut Passage<'_>) -> Option<Response<Body>> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    match read(passage.request.body_mut(), most).await {
        Ok(Read { whole: true, .. }) => None,
        Ok(_) => Some(too_large(passage)),
        Err(_) => Some(broken(passage)),
    }
}

/// The answer to a request that is too long to be held.
pub(super) fn too_large(passage: &mut Passage<'_>) -> Response<Body> {
    chain::answer(
        passage.context,
        StatusCode::PAYLOAD_TOO_LARGE,
        "request_payload_too_large",
        "Payload Too Large",
    )
}

/// The answer to a request whose content broke off.
pub(super) fn broken(passage: &mut Passage<'_>) -> Response<Body> {
    passage.context.flags.insert(ResponseFlag::DownstreamConnectionTermination);
    passage.context.details = "downstream_remote_disconnect";
    reply::of_status(StatusCode::BAD_REQUEST, "the request's content could not be read", passage.context.grpc)
}
