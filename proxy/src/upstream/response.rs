//! A response's body on its way through: counts it, bounds its time, and tells how it ended.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::balance::{EndpointState, Outcome};
use crate::body::{Body, BodyError, BodyErrorKind};
use crate::error::{ErrorSource, ResponseFlag};

use super::cluster::ClusterState;

/// gRPC's status, in trailers or in the head of a response without content. A constant: a name given as text would be
/// parsed at each look-up.
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// How a response ended. To be looked at when its body has ended or was dropped.
#[derive(Clone, Debug, Default)]
pub struct ExchangeEnd(Rc<End>);

#[derive(Debug, Default)]
struct End {
    flag: Cell<Option<ResponseFlag>>,
    details: Cell<Option<&'static str>>,
    complete: Cell<bool>,
    bytes: Cell<u64>,
    grpc_status: RefCell<Option<HeaderValue>>,
}

impl ExchangeEnd {
    /// Why the body broke off; none when it did not, or when the client gave up.
    #[must_use]
    pub fn flag(&self) -> Option<ResponseFlag> {
        self.0.flag.get()
    }

    /// Envoy's `%RESPONSE_CODE_DETAILS%` of it.
    #[must_use]
    pub fn details(&self) -> Option<&'static str> {
        self.0.details.get()
    }

    /// Whether all of the response came.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.0.complete.get()
    }

    /// Bytes of the body that came so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.get()
    }

    /// gRPC's own status, from the trailers, else from the head.
    #[must_use]
    pub fn grpc_status(&self) -> Option<HeaderValue> {
        self.0.grpc_status.borrow().clone()
    }

    pub(super) fn learn_grpc_status(&self, fields: &HeaderMap) {
        if let Some(status) = fields.get(GRPC_STATUS) {
            self.0.grpc_status.replace(Some(status.clone()));
        }
    }

    pub(super) fn finish(&self, bytes: u64) {
        self.0.bytes.set(self.0.bytes.get() + bytes);
        self.0.complete.set(true);
    }

    pub(super) fn fail(&self, flag: ResponseFlag, details: &'static str) {
        self.0.flag.set(Some(flag));
        self.0.details.set(Some(details));
    }
}

/// The bounds on a response's body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BodyBounds {
    pub(super) deadline: Option<Instant>,
    pub(super) idle: Option<Duration>,
}

/// A body that still comes. `G` is what is counted while it does.
pub(super) struct ResponseBody<G> {
    inner: Body,
    end: ExchangeEnd,
    /// Dropped at the end.
    guards: Option<G>,
    cluster: Rc<ClusterState>,
    endpoint: Rc<EndpointState>,
    deadline: Option<Pin<Box<Sleep>>>,
    idle: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl<G: Unpin + 'static> ResponseBody<G> {
    pub(super) fn wrap(
        inner: Body,
        end: ExchangeEnd,
        guards: G,
        cluster: Rc<ClusterState>,
        endpoint: Rc<EndpointState>,
        bounds: BodyBounds,
    ) -> Body {
        let deadline = bounds.deadline.map(|deadline| Box::pin(sleep_until(deadline)));
        let idle = bounds.idle.map(|idle| (idle, Box::pin(sleep_until(Instant::now() + idle))));
        Body::boxed(Self { inner, end, guards: Some(guards), cluster, endpoint, deadline, idle })
    }

    fn finished(&mut self) {
        if self.guards.take().is_some() {
            self.end.finish(0);
            // What the body holds (a connection) is free from now.
            self.inner = Body::Empty;
        }
    }

    fn failed(&mut self, error: BodyError) -> BodyError {
        let (flag, details) = match (error.source_side, error.kind) {
            (ErrorSource::Downstream, _) => {
                (ResponseFlag::DownstreamConnectionTermination, "downstream_remote_disconnect")
            }
            (_, BodyErrorKind::Reset) => {
                (ResponseFlag::UpstreamRemoteReset, "upstream_reset_after_response_started{remote_reset}")
            }
            (_, BodyErrorKind::Protocol(_) | BodyErrorKind::TooLarge) => {
                (ResponseFlag::UpstreamProtocolError, "upstream_reset_after_response_started{protocol_error}")
            }
            _ => (
                ResponseFlag::UpstreamConnectionTermination,
                "upstream_reset_after_response_started{connection_termination}",
            ),
        };
        if error.source_side == ErrorSource::Upstream {
            self.cluster.report(&self.endpoint, Outcome::LocalError);
        }
        self.broke_off(flag, details);
        error
    }

    fn broke_off(&mut self, flag: ResponseFlag, details: &'static str) {
        self.end.fail(flag, details);
        self.guards = None;
        // Not an empty one: what broke off must never look as if it were complete.
        self.inner = Body::Consumed;
    }

    /// Fails the body when its time is up.
    fn poll_bounds(&mut self, cx: &mut Context<'_>) -> Option<BodyError> {
        let timeout = BodyError::new(ErrorSource::Upstream, BodyErrorKind::Timeout);
        if self.deadline.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready()) {
            self.broke_off(ResponseFlag::UpstreamRequestTimeout, "upstream_response_timeout");
            return Some(timeout);
        }
        if self.idle.as_mut().is_some_and(|(_, sleep)| sleep.as_mut().poll(cx).is_ready()) {
            self.broke_off(ResponseFlag::StreamIdleTimeout, "stream_idle_timeout");
            return Some(timeout);
        }
        None
    }
}

impl<G: Unpin + 'static> http_body::Body for ResponseBody<G> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.guards.is_none() {
            let again = BodyError::new(ErrorSource::Internal, BodyErrorKind::Consumed);
            return Poll::Ready(if this.end.complete() { None } else { Some(Err(again)) });
        }
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            return this.poll_bounds(cx).map_or(Poll::Pending, |error| Poll::Ready(Some(Err(error))));
        };
        Poll::Ready(match frame {
            None => {
                this.finished();
                None
            }
            Some(Err(error)) => Some(Err(this.failed(error))),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.end.0.bytes.set(this.end.0.bytes.get() + data.len() as u64);
                } else if let Some(trailers) = frame.trailers_ref() {
                    this.end.learn_grpc_status(trailers);
                }
                if let Some((idle, sleep)) = &mut this.idle {
                    sleep.as_mut().reset(Instant::now() + *idle);
                }
                if this.inner.is_end_stream() {
                    this.finished();
                }
                Some(Ok(frame))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
