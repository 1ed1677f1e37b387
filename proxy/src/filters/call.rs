//! Calls of filters' own. They go through this proxy's clusters as requests do, so that balancing, mutual TLS, circuit
//! breakers and time-outs hold for them, too.

use std::rc::Rc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::BodyExt;
use prost::Message;
use weft_model::filter::ext_authz::GrpcCall;
use weft_model::route::Forward;

use crate::body::{Body, FrameKind, frame_kind};
use crate::upstream::{Destination, GRPC_STATUS, Preference};
use crate::worker::Worker;

/// Longest answer in bytes.
const MOST: usize = 4 << 20;

/// Why a call has no answer; for logs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The request could not be sent, or was not answered in time.
    #[error("{0}")]
    Upstream(String),
    /// The answer is none.
    #[error("{0}")]
    Answer(&'static str),
    /// gRPC's status.
    #[error("gRPC status {0}")]
    Status(String),
}

/// Sends a request to a cluster; `timeout` bounds the whole exchange.
pub(crate) async fn http(
    worker: &Rc<Worker>,
    cluster: &str,
    timeout: Duration,
    mut request: Request<Body>,
) -> Result<Response<Body>, CallError> {
    let forward = Forward { timeout: Some(timeout), ..Forward::to(cluster) };
    let destination = Destination {
        cluster,
        forward: Some(&forward),
        original_dst: None,
        downstream: request.version(),
        provenance: &[],
        preference: Preference::default(),
        client: None,
    };
    let sent = Box::pin(worker.upstreams.send(&mut request, &destination)).await;
    sent.map(|exchange| exchange.response).map_err(|failure| CallError::Upstream(failure.error.message))
}

/// All of an answer's content, and what follows it.
pub(crate) async fn content(mut body: Body) -> Result<(Bytes, HeaderMap), CallError> {
    let (mut bytes, mut trailers) = (BytesMut::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame_kind(frame.map_err(|error| CallError::Upstream(error.to_string()))?) {
            Some(FrameKind::Data(data)) if bytes.len() + data.len() > MOST => {
                return Err(CallError::Answer("the answer is too long"));
            }
            Some(FrameKind::Data(data)) => bytes.extend_from_slice(&data),
            Some(FrameKind::Trailers(fields)) => trailers = fields,
            None => {}
        }
    }
    Ok((bytes.freeze(), trailers))
}

/// A unary gRPC call (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
pub(crate) async fn unary<A: Message + Default>(
    worker: &Rc<Worker>,
    call: &GrpcCall,
    path: &'static str,
    question: &impl Message,
) -> Result<A, CallError> {
    let mut framed = BytesMut::with_capacity(5 + question.encoded_len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(question.encoded_len()).unwrap_or(u32::MAX));
    question.encode(&mut framed).map_err(|_| CallError::Answer("the question is too long"))?;
    let mut request = Request::new(Body::full(framed.freeze()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(path);
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    headers.extend(call.metadata.iter().cloned());
    if let Ok(authority) = HeaderValue::from_str(&call.authority) {
        headers.insert(header::HOST, authority);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    let millis = call.timeout.as_millis().clamp(1, 99_999_999);
    if let Ok(timeout) = HeaderValue::try_from(format!("{millis}m")) {
        headers.insert("grpc-timeout", timeout);
    }
    let response = http(worker, &call.cluster, call.timeout, request).await?;
    if response.status() != StatusCode::OK {
        return Err(CallError::Answer("the answer's HTTP status is not 200"));
    }
    let (head, body) = response.into_parts();
    let (bytes, trailers) = content(body).await?;
    let status = trailers.get(GRPC_STATUS).or_else(|| head.headers.get(GRPC_STATUS));
    match status.map(HeaderValue::as_bytes) {
        Some(b"0") => {}
        Some(other) => return Err(CallError::Status(String::from_utf8_lossy(other).into_owned())),
        None => return Err(CallError::Answer("the answer has no gRPC status")),
    }
    let message = match bytes.get(..5) {
        Some(&[0, a, b, c, d]) => bytes.get(5..5 + u32::from_be_bytes([a, b, c, d]) as usize),
        Some(_) => return Err(CallError::Answer("the answer is compressed")),
        None => None,
    };
    let message = message.ok_or(CallError::Answer("the answer is cut short"))?;
    A::decode(message).map_err(|_| CallError::Answer("the answer is no such message"))
}
