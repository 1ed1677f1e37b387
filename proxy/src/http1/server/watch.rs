//! Watching the client while others work: whether it went, whether it keeps us waiting.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;

use super::Connection;
use crate::body::Body;
use crate::http1::served::ServeError;

impl<D: Future<Output = ()>> Connection<'_, D> {
    /// Waits for the handler, as long as the client does.
    pub(super) async fn handle<F: Future<Output = Response<Body>>>(
        &mut self,
        mut handling: Pin<&mut F>,
    ) -> Result<Response<Body>, ServeError> {
        let mut seen = 0;
        poll_fn(|cx| {
            if let Poll::Ready(response) = handling.as_mut().poll(cx) {
                return Poll::Ready(Ok(response));
            }
            if self.poll_gone(cx) {
                return Poll::Ready(Err(ServeError::ClientGone));
            }
            if self.poll_stalled(cx, &mut seen, 0, false) {
                return Poll::Ready(Err(ServeError::Stalled));
            }
            Poll::Pending
        })
        .await
    }

    /// Whether the client closed. Bytes of the body or of a next request are kept, up to a buffer full; while the
    /// body's reader waits for the client, it is the reader who finds out.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> bool {
        const READ_AHEAD: usize = 16 * 1024;
        let mut shared = self.shared.borrow_mut();
        let shared = &mut *shared;
        if !shared.body.is_received() {
            // Its reader may be a task of its own: when that reads from the socket it is the one that gets woken.
            if !shared.server.as_ref().is_some_and(|server| server.will_wake(cx.waker())) {
                shared.server = Some(cx.waker().clone());
            }
            if shared.body_awaited {
                return false;
            }
        }
        while shared.read.bytes.len() < READ_AHEAD {
            match shared.read.poll_fill(&mut shared.io, cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(_) => return true,
            }
        }
        false
    }

    /// Whether the client has kept us waiting for a whole period. `written` counts what it took.
    pub(super) fn poll_stalled(
        &mut self,
        cx: &mut Context<'_>,
        seen: &mut u64,
        written: u64,
        blocked: bool,
    ) -> bool {
        while self.deadline.poll(cx).is_ready() {
            let moved = {
                let shared = self.shared.borrow();
                if !blocked && !shared.body_awaited { None } else { Some(shared.received + written) }
            };
            match moved {
                // The first period only notes where the client stands, so that one which has just begun to wait is
                // not blamed. A mark of 0 stands for "not noted".
                Some(moved) if *seen == moved + 1 => return true,
                Some(moved) => *seen = moved + 1,
                None => *seen = 0,
            }
            self.deadline.set(self.settings.stall_timeout);
        }
        false
    }
}
