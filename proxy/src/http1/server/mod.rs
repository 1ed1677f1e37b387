//! The server's end of an HTTP/1 connection.
//!
//! One request at a time, answered in order; pipelined ones wait in the buffer. The handler's future lives in a box
//! together with the request, so that an idle connection is small. While the handler works, the connection is
//! watched: a client that goes away drops the handler's future. As with Envoy, a client that closes only its sending
//! side counts as gone.
//!
//! `Expect: 100-continue` is answered with `100` when the handler first waits for the body, never when it answers
//! without it. The field stays in the request, so that a handler that forwards it lets the upstream decide: the
//! HTTP/1 client of this module asks for the body only when the upstream has said `100`.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};

use crate::body::{Body, Upgrade};
use crate::http1::asked::{Asked, into_request, take_upgrade};
use crate::http1::buffers::ReadBuffer;
use crate::http1::deadline::Deadline;
use crate::http1::framing::{BodyLength, BodyReader};
use crate::http1::head::{RequestHead, Scan, next_request};
use crate::http1::incoming::Downstream;
use crate::http1::served::{ServeError, Served, ServerSettings};
use crate::io::Io;

mod close;
mod request_body;
mod respond;
mod watch;
#[cfg(test)]
#[path = "close_tests.rs"]
mod close_tests;
#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;

/// Serves a connection until it ends.
///
/// `handler` is called once a request, for one request at a time. When `drain` is ready the response under way says
/// `Connection: close`, and idle connections close after [`ServerSettings::drain_idle`].
/// A response whose body is [`Body::Upgrade`] hands the connection over once its head is written.
///
/// # Errors
/// See [`ServeError`]; whatever could be answered has been.
pub async fn serve<H, F>(
    io: Io,
    settings: &ServerSettings,
    drain: impl Future<Output = ()>,
    mut handler: H,
) -> Result<Served, ServeError>
where
    H: FnMut(Request<Body>) -> F,
    F: Future<Output = Response<Body>>,
{
    let drain = pin!(drain);
    let mut connection = Connection::new(io, settings, drain);
    loop {
        let head = match connection.next_head().await {
            Ok(Next::Head(head)) => head,
            Ok(Next::End(served)) => {
                connection.close().await;
                return Ok(served);
            }
            Err(error) => return Err(connection.fail(error).await),
        };
        // Boxed: what a request needs is held only while there is one.
        match Box::pin(connection.exchange(*head, &mut handler)).await? {
            After::Next => {}
            After::Close => {
                connection.close().await;
                return Ok(if connection.draining { Served::Drained } else { Served::Closed });
            }
            After::Upgrade(upgrade) => {
                Box::pin(connection.upgrade(upgrade)).await;
                return Ok(Served::Upgraded);
            }
        }
    }
}

enum Next {
    Head(Box<RequestHead>),
    End(Served),
}

enum After {
    Next,
    Close,
    Upgrade(Upgrade),
}

struct Connection<'a, D> {
    shared: Rc<RefCell<Downstream>>,
    settings: &'a ServerSettings,
    drain: Pin<&'a mut D>,
    draining: bool,
    deadline: Deadline,
    scan: Scan,
}

impl<'a, D: Future<Output = ()>> Connection<'a, D> {
    fn new(mut io: Io, settings: &'a ServerSettings, drain: Pin<&'a mut D>) -> Self {
        let read = ReadBuffer::starting_with(io.take_prefix());
        let shared = Downstream {
            io,
            read,
            body: BodyReader::new(BodyLength::Exact(0)),
            exchange: 0,
            interim: b"",
            interim_unflushed: false,
            body_awaited: false,
            received: 0,
            failed: None,
            server: None,
        };
        Self {
            shared: Rc::new(RefCell::new(shared)),
            settings,
            drain,
            draining: false,
            deadline: Deadline::default(),
            scan: Scan::default(),
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.draining && self.drain.as_mut().poll(cx).is_ready() {
            self.draining = true;
        }
        self.draining
    }

    /// Waits for the next request's head.
    async fn next_head(&mut self) -> Result<Next, ServeError> {
        let mut within = false;
        let mut drained = false;
        self.deadline.set(self.settings.idle_timeout);
        poll_fn(|cx| {
            let shared = self.shared.clone();
            let mut shared = shared.borrow_mut();
            let shared = &mut *shared;
            loop {
                match next_request(&mut shared.read.bytes, &self.settings.limits, &mut self.scan) {
                    Ok(Some(head)) => return Poll::Ready(Ok(Next::Head(Box::new(head)))),
                    Ok(None) => {}
                    Err(refusal) => return Poll::Ready(Err(ServeError::Refused(refusal))),
                }
                if !within && !shared.read.bytes.is_empty() {
                    within = true;
                    self.deadline.set(self.settings.header_timeout);
                }
                match shared.read.poll_fill(&mut shared.io, cx) {
                    Poll::Ready(Ok(0)) if within => return Poll::Ready(Err(ServeError::ClosedInHead)),
                    Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Next::End(Served::Closed))),
                    Poll::Ready(Ok(_)) => {}
                    // Clients often reset an idle connection instead of closing it; nothing is lost by it.
                    Poll::Ready(Err(_)) if !within => return Poll::Ready(Ok(Next::End(Served::Closed))),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                    Poll::Pending => break,
                }
            }
            if self.poll_drain(cx) && !within && !drained {
                drained = true;
                self.deadline.set(Some(self.settings.drain_idle));
            }
            if self.deadline.poll(cx).is_pending() {
                return Poll::Pending;
            }
            Poll::Ready(match (within, drained) {
                (true, _) => Err(ServeError::HeaderTimeout),
                (false, true) => Ok(Next::End(Served::Drained)),
                (false, false) => Ok(Next::End(Served::Idle)),
            })
        })
        .await
    }

    /// One request and its response.
    async fn exchange<H, F>(&mut self, head: RequestHead, handler: &mut H) -> Result<After, ServeError>
    where
        H: FnMut(Request<Body>) -> F,
        F: Future<Output = Response<Body>>,
    {
        let asked = Asked::of(&head);
        let body = self.receive_body(&head);
        self.deadline.set(self.settings.stall_timeout);
        let handled = {
            let handling = handler(into_request(head, body));
            self.handle(pin!(handling)).await
        };
        let mut response = match handled {
            Ok(response) => response,
            Err(error) => return Err(self.fail(error).await),
        };
        if let Some(upgrade) = take_upgrade(&asked, &mut response) {
            let ready = self.shared.borrow().body.is_received();
            if !ready {
                response = Response::new(Body::from(
                    "the request was not complete when the upstream changed protocols\n",
                ));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
            } else {
                self.send_upgrade_head(&asked, response).await?;
                return Ok(After::Upgrade(upgrade));
            }
        }
        let keep_alive = self.respond(&asked, response).await?;
        let keep_alive = keep_alive && self.finish_body().await;
        Ok(if keep_alive { After::Next } else { After::Close })
    }
}

/// Length of the `100 Continue` response.
const INTERIM_LENGTH: usize = 25;
