//! The request's body, and what is done with the rest of it that nobody reads.

use std::future::{Future, poll_fn};
use std::task::{Context, Poll, ready};

use super::{Connection, INTERIM_LENGTH};
use crate::body::Body;
use crate::http1::framing::{BodyLength, BodyReader, Decoded};
use crate::http1::head::RequestHead;
use crate::http1::incoming::Incoming;

impl<D: Future<Output = ()>> Connection<'_, D> {
    /// The request's body: in memory already when it came with its head.
    pub(super) fn receive_body(&mut self, head: &RequestHead) -> Body {
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

    /// Whether the client waits to be told that it may send the body. Nobody can tell whether one that never was
    /// sends it now (RFC 9110, section 10.1.1).
    pub(super) fn is_untold(&self) -> bool {
        self.shared.borrow().interim.len() == INTERIM_LENGTH
    }

    /// Whether what is left of the request's body is surely little enough to be thrown away. If that is promised and
    /// not kept, a client meets the closing with its next request.
    pub(super) fn can_finish_body(&self) -> bool {
        let untold = self.is_untold();
        let shared = self.shared.borrow();
        let little = shared.body.size_hint().exact().is_some_and(|left| left <= self.settings.discard_limit);
        shared.body.is_received() || (!untold && shared.failed.is_none() && little)
    }

    /// Throws away what is here of a body that nobody reads any more, so that a connection does not close for its sake.
    pub(super) async fn discard_what_came(&mut self) {
        if self.shared.borrow().body.is_received() || self.is_untold() {
            return;
        }
        let mut left = self.settings.discard_limit;
        poll_fn(|cx| Poll::Ready(self.poll_discard(cx, &mut left).is_ready())).await;
        self.shared.borrow_mut().body_awaited = false;
    }

    /// Throws away what is left of the request's body; whether that succeeded.
    pub(super) async fn finish_body(&mut self) -> bool {
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
}
