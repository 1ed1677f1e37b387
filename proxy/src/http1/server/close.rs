//! How a connection ends so that the client gets, and can tell, what it should.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, header};
use tokio::io::AsyncWriteExt;

use super::Connection;
use crate::http1::encode::{self, ConnectionField, Framing};
use crate::http1::served::ServeError;

impl<D: Future<Output = ()>> Connection<'_, D> {
    /// Answers what no handler has answered, and closes.
    pub(super) async fn fail(&mut self, error: ServeError) -> ServeError {
        match &error {
            ServeError::Refused(refusal) => self.answer(refusal.status(), refusal.to_string()).await,
            ServeError::HeaderTimeout => {
                self.answer(StatusCode::REQUEST_TIMEOUT, "the head was not complete in time").await;
            }
            ServeError::Stalled => {
                self.answer(StatusCode::REQUEST_TIMEOUT, "the body was not complete in time").await;
            }
            _ => {}
        }
        error
    }

    pub(super) async fn answer(&mut self, status: StatusCode, text: impl Into<String>) {
        let mut out = self.outgoing();
        let body = Bytes::from(text.into());
        let mut headers = http::HeaderMap::with_capacity(2);
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
        let framing = Framing::Length(body.len() as u64);
        let date = self.settings.add_date;
        encode::response_head(&mut out.flat, status, &headers, framing, ConnectionField::Close, date);
        out.push(body, b"");
        self.deadline.set(Some(self.settings.linger_timeout));
        let written = poll_fn(|cx| {
            if let Poll::Ready(written) = out.poll_write(&mut self.shared.borrow_mut().io, cx) {
                return Poll::Ready(written.is_ok());
            }
            self.deadline.poll(cx).map(|()| false)
        })
        .await;
        if written {
            self.close().await;
        }
    }

    /// Closes so that the client gets all that was written: its unread bytes would turn the close into a reset
    /// (RFC 9112 section 9.6), so the sending side is closed first, and reading goes on for a moment. Only time bounds
    /// it: a client that sends much before it looks for an answer is the one that would miss it.
    #[allow(clippy::await_holding_refcell_ref, reason = "the exchange is over: nobody else holds it")]
    pub(super) async fn close(&mut self) {
        self.deadline.set(Some(self.settings.linger_timeout));
        poll_fn(|cx| {
            let mut shared = self.shared.borrow_mut();
            let shared = &mut *shared;
            let closed = pin!(shared.io.shutdown()).poll(cx);
            match closed {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return self.deadline.poll(cx),
            }
            loop {
                shared.read.bytes.clear();
                match shared.read.poll_fill(&mut shared.io, cx) {
                    Poll::Ready(Ok(n)) if n > 0 => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.deadline.poll(cx),
                }
            }
        })
        .await;
    }

    /// Ends a connection whose response cannot be completed: with an answer of ours when none has begun. A response
    /// that lasts until the close is cut by a reset, as the client could not tell otherwise.
    pub(super) async fn cut(&mut self, begun: bool, framing: Framing, text: &'static str) {
        if !begun {
            self.answer(StatusCode::BAD_GATEWAY, text).await;
        } else if framing == Framing::UntilClose {
            self.abort();
        }
    }

    pub(super) fn abort(&self) {
        let shared = self.shared.borrow();
        // A socket that cannot be told so is closed in the ordinary way.
        let _ = socket2::SockRef::from(shared.io.tcp()).set_linger(Some(Duration::ZERO));
    }
}
