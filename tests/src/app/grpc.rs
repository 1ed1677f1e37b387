//! gRPC on the level of its frames: each message comes back, the status is a trailer
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response};

use super::http::Body;

/// Kubernetes' probes ask for it (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).
const HEALTH: &str = "/grpc.health.v1.Health/Check";
/// `status: SERVING`, framed.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

/// Messages come back as they arrive: a unary call and a stream of both sides are the same here. The name of the
/// instance is a header and a trailer.
pub(super) fn answer(request: Request<Incoming>, instance: &str) -> Response<Body> {
    let name = HeaderValue::from_str(instance).unwrap_or(HeaderValue::from_static("app"));
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("x-instance", name.clone());
    let health = request.uri().path() == HEALTH;
    let messages = BodyStream::new(request.into_body()).filter_map(move |frame| async move {
        let data = frame.ok()?.into_data().ok()?;
        Some(Ok(Frame::data(if health { Bytes::from_static(SERVING) } else { data })))
    });
    let end = futures_util::stream::once(async { Ok(Frame::<Bytes>::trailers(trailers)) });
    let mut response = Response::new(StreamBody::new(messages.chain(end)).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response.headers_mut().insert("x-instance", name);
    response
}
