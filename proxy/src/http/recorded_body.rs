//! Bodies that count, so that a request is recorded with its last byte.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};

use super::context::RequestContext;
use crate::body::{Body, BodyError, Upgrade};
use crate::error::{ErrorSource, ResponseFlag};

/// Lets `context` record itself when the response's last byte is on its way. A response that is complete in memory is
/// recorded now: it takes one write, and nothing more can happen to it that this proxy could know.
#[must_use]
pub fn record_at_end(mut context: Box<RequestContext>, mut response: Response<Body>) -> Response<Body> {
    let sent = match response.body() {
        Body::Empty => Some(0),
        Body::Full(bytes) => Some(bytes.len() as u64),
        _ => None,
    };
    if let Some(sent) = sent {
        context.record(Some(response.status()), response.headers(), sent);
        return response;
    }
    let (status, headers) = (response.status(), response.headers().clone());
    let body = std::mem::take(response.body_mut());
    *response.body_mut() = match body {
        Body::Upgrade(Upgrade::Handler(handler)) => Body::on_upgrade(move |io| async move {
            handler(io).await;
            let sent = context.end.as_ref().map_or(0, crate::upstream::ExchangeEnd::bytes);
            context.record(Some(status), &headers, sent);
        }),
        body => Body::boxed(RecordedBody { body, context, status, headers, sent: 0 }),
    };
    response
}

struct RecordedBody {
    body: Body,
    context: Box<RequestContext>,
    status: StatusCode,
    headers: HeaderMap,
    sent: u64,
}

impl RecordedBody {
    fn record(&mut self) {
        self.context.record(Some(self.status), &self.headers, self.sent);
    }
}

impl http_body::Body for RecordedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.sent += frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(error)) => {
                if error.source_side == ErrorSource::Upstream {
                    self.context.flags.insert(ResponseFlag::UpstreamConnectionTermination);
                }
                self.record();
            }
            None => self.record(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Who sends a body may drop it as soon as it says that nothing more will come; before that the client has gone.
impl Drop for RecordedBody {
    fn drop(&mut self) {
        let complete = self.body.is_end_stream()
            || self.context.end.as_ref().is_some_and(crate::upstream::ExchangeEnd::complete);
        if !complete {
            self.context.flags.insert(ResponseFlag::DownstreamConnectionTermination);
            self.context.details = "downstream_remote_disconnect";
        }
        self.record();
    }
}

/// A body whose bytes are counted while they pass.
#[must_use]
pub fn counted(body: Body, count: Rc<Cell<u64>>) -> Body {
    match body {
        Body::Empty | Body::Full(_) | Body::Upgrade(_) | Body::Consumed => body,
        body => Body::boxed(CountedBody { body, count }),
    }
}

struct CountedBody {
    body: Body,
    count: Rc<Cell<u64>>,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.count.set(self.count.get() + length);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
