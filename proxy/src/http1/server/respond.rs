//! Sending the response of an exchange, and handing the connection over where it ends HTTP.

use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::Poll;

use http::{Method, Response, StatusCode, Version, header};

use super::{Connection, INTERIM_LENGTH};
use crate::body::{Body, Upgrade};
use crate::http1::asked::Asked;
use crate::http1::buffers::Outgoing;
use crate::http1::encode::{self, ConnectionField, Framing};
use crate::http1::head::has_token;
use crate::http1::incoming::Downstream;
use crate::http1::sender::{Sender, SenderError};
use crate::http1::served::ServeError;

impl<D: Future<Output = ()>> Connection<'_, D> {
    /// Sends the response; whether the connection may stay.
    pub(super) async fn respond(
        &mut self,
        asked: &Asked,
        response: Response<Body>,
    ) -> Result<bool, ServeError> {
        let (mut parts, body) = response.into_parts();
        if parts.status.is_informational() || matches!(body, Body::Upgrade(_)) {
            // Nobody asked for it, or there is nothing to hand over to: it must not reach the client as an answer.
            parts.status = StatusCode::BAD_GATEWAY;
            parts.headers.clear();
        }
        let framing = asked.framing(parts.status, &parts.headers, &body);
        if matches!(body, Body::Empty | Body::Full(_)) {
            self.discard_what_came().await;
        }
        let draining = poll_fn(|cx| Poll::Ready(self.poll_drain(cx))).await;
        let keep_alive = asked.keep_alive
            && !draining
            && framing != Framing::UntilClose
            && !has_token(&parts.headers, &header::CONNECTION, b"close")
            && self.can_finish_body();
        let connection = match (keep_alive, asked.version) {
            (false, _) => ConnectionField::Close,
            (true, Version::HTTP_10) => ConnectionField::KeepAlive,
            (true, _) => ConnectionField::None,
        };
        let mut out = self.outgoing();
        let date = self.settings.add_date;
        encode::response_head(&mut out.flat, parts.status, &parts.headers, framing, connection, date);
        drop(parts);
        self.send(Sender::new(out, body, framing, asked.accepts_trailers)).await?;
        Ok(keep_alive)
    }

    pub(super) async fn send(&mut self, mut sender: Sender) -> Result<(), ServeError> {
        let mut seen = 0;
        let sent = poll_fn(|cx| {
            let shared = self.shared.clone();
            let sent = sender.poll_send(cx, false, |out, cx| out.poll_write(&mut shared.borrow_mut().io, cx));
            if let Poll::Ready(sent) = sent {
                return Poll::Ready(sent.map_err(Some));
            }
            if self.poll_gone(cx) {
                return Poll::Ready(Err(None));
            }
            let blocked = !sender.out.is_done();
            if self.poll_stalled(cx, &mut seen, sender.out.written, blocked) {
                return Poll::Ready(Err(Some(SenderError::Io(io::ErrorKind::TimedOut.into()))));
            }
            Poll::Pending
        })
        .await;
        let error = match sent {
            Ok(()) => return Ok(()),
            Err(None) => return Err(ServeError::ClientGone),
            Err(Some(error)) => error,
        };
        let (begun, framing) = (sender.out.written > 0, sender.framing());
        drop(sender);
        match error {
            SenderError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.abort();
                Err(ServeError::Stalled)
            }
            SenderError::Io(_) => Err(ServeError::ClientGone),
            SenderError::Body(error) => {
                self.cut(begun, framing, "the upstream's response could not be read\n").await;
                Err(ServeError::ResponseBody(error))
            }
            SenderError::Length => {
                self.cut(begun, framing, "the upstream's response was not as long as announced\n").await;
                Err(ServeError::ResponseLength)
            }
        }
    }

    /// What is written first: the rest of a `100 Continue` that was begun.
    pub(super) fn outgoing(&self) -> Outgoing {
        let mut shared = self.shared.borrow_mut();
        let mut out = Outgoing::default();
        let interim = std::mem::take(&mut shared.interim);
        if (1..INTERIM_LENGTH).contains(&interim.len()) {
            out.flat.extend_from_slice(interim);
        }
        out
    }

    pub(super) async fn send_upgrade_head(
        &mut self,
        asked: &Asked,
        response: Response<Body>,
    ) -> Result<(), ServeError> {
        let (parts, _) = response.into_parts();
        let mut out = self.outgoing();
        let connection =
            if asked.method == Method::CONNECT { ConnectionField::None } else { ConnectionField::Upgrade };
        let date = self.settings.add_date;
        encode::response_head(&mut out.flat, parts.status, &parts.headers, Framing::Absent, connection, date);
        self.send(Sender::new(out, Body::Empty, Framing::Absent, false)).await
    }

    /// Gives the connection away, with what was read ahead in front.
    pub(super) async fn upgrade(self, upgrade: Upgrade) {
        // A body that outlived its request may still hold the connection; it cannot any more be read through it.
        let Ok(shared) = Rc::try_unwrap(self.shared) else { return };
        let Downstream { io, read, .. } = shared.into_inner();
        let mut downstream = if read.bytes.is_empty() { io } else { io.with_prefix(read.bytes.freeze()) };
        match upgrade {
            Upgrade::Handler(handler) => handler(downstream).await,
            Upgrade::Stream(mut upstream) => {
                // How a tunnel ends is nobody's error here.
                let _ = tokio::io::copy_bidirectional(&mut downstream, &mut *upstream).await;
            }
        }
    }
}
