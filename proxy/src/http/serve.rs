//! Serves one client's HTTP connection, HTTP/1 or HTTP/2, until it ends.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use weft_model::listener::{self, Direction};

use super::context::RequestContext;
use super::downstream::Downstream;
use crate::body::Body;
use crate::error::{ErrorSource, ResponseFlag};
use crate::http1::{self, ServeError};
use crate::io::Io;
use crate::listener::sniff::{Http, http_version};
use crate::tls::ApplicationProtocol;
use crate::{inbound, outbound};

/// How long a client may take for the first bytes that tell which HTTP it speaks.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(60);
/// Silence after which an HTTP/2 client is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// What a client may send ahead of us, per stream and per connection; enough for a fast local network.
const WINDOWS: (u32, u32) = (1 << 20, 4 << 20);
/// Streams at once; Envoy's and nghttp2's usual bound.
const MAX_STREAMS: u32 = 1000;
const MAX_HEADER_LIST: u32 = 60 * 1024;

/// Which HTTP a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Codec {
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
    /// To be found by the first bytes.
    Unknown,
}

/// What is known before the first request: a declaration wins, then what TLS has negotiated, then what was sniffed.
#[must_use]
pub fn codec(
    declared: listener::Codec,
    negotiated: Option<ApplicationProtocol>,
    sniffed: &[String],
) -> Codec {
    match (declared, negotiated) {
        (listener::Codec::Http1, _) | (listener::Codec::Auto, Some(ApplicationProtocol::Http1)) => {
            Codec::Http1
        }
        (listener::Codec::Http2, _) | (listener::Codec::Auto, Some(ApplicationProtocol::Http2)) => {
            Codec::Http2
        }
        (listener::Codec::Auto, Some(ApplicationProtocol::Tcp)) => Codec::Unknown,
        (listener::Codec::Auto, None) => match sniffed.first().map(String::as_str) {
            Some("h2c") => Codec::Http2,
            Some("http/1.0" | "http/1.1") => Codec::Http1,
            _ => Codec::Unknown,
        },
    }
}

/// Serves the connection until it ends.
pub async fn connection(mut io: Io, codec: Codec, downstream: Rc<Downstream>) {
    let codec = match codec {
        Codec::Unknown => match find_codec(&mut io).await {
            Some((codec, read)) => {
                io = io.with_prefix(read);
                codec
            }
            None => return,
        },
        known => known,
    };
    match codec {
        Codec::Http2 => Box::pin(http2(io, downstream)).await,
        Codec::Http1 | Codec::Unknown => http1(io, downstream).await,
    }
}

/// Which HTTP it is and the bytes that were read to know it. What is neither goes to HTTP/1, which says what is wrong
/// with it. None when the client goes, or says nothing for too long.
async fn find_codec(io: &mut Io) -> Option<(Codec, Vec<u8>)> {
    let mut read = Vec::with_capacity(1024);
    let reading = async {
        loop {
            match http_version(&read, read.len() >= 1024) {
                Http::Is("h2c") => return Some(Codec::Http2),
                Http::Is(_) | Http::No => return Some(Codec::Http1),
                Http::Partial if !is_prefix_of_preface(&read) => return Some(Codec::Http1),
                Http::Partial => {}
            }
            if io.read_buf(&mut read).await.ok()? == 0 {
                return (!read.is_empty()).then_some(Codec::Http1);
            }
        }
    };
    let codec = tokio::time::timeout(FIRST_BYTES_TIMEOUT, reading).await.ok()??;
    Some((codec, read))
}

fn is_prefix_of_preface(bytes: &[u8]) -> bool {
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".starts_with(bytes)
}

async fn http1(io: Io, downstream: Rc<Downstream>) {
    let settings = match downstream.record().direction {
        Direction::Inbound => &downstream.worker.shared.limits.http1_inbound,
        Direction::Outbound => &downstream.worker.shared.limits.http1_outbound,
    };
    let served =
        http1::serve(io, settings, downstream.ending(), |request| handle(downstream.clone(), request));
    match served.await {
        Ok(_) => {}
        Err(ServeError::Refused(refusal)) => {
            record_refusal(&downstream, refusal.status(), refusal.details(), Version::HTTP_11);
        }
        Err(ServeError::HeaderTimeout) => {
            record_refusal(
                &downstream,
                StatusCode::REQUEST_TIMEOUT,
                "request_header_timeout",
                Version::HTTP_11,
            );
        }
        // Requests under way have recorded themselves when they were dropped.
        Err(error) => tracing::debug!(client = %downstream.record().remote, "the connection ended: {error}"),
    }
}

/// A request that could not be understood has no parts; it is recorded all the same.
fn record_refusal(downstream: &Rc<Downstream>, status: StatusCode, details: &'static str, version: Version) {
    let mut request = Request::new(Body::Empty);
    *request.version_mut() = version;
    *request.uri_mut() = Uri::from_static("/");
    *request.method_mut() = Method::from_bytes(b"-").unwrap_or_default();
    let mut context = RequestContext::begin(downstream, &request);
    context.flags.insert(ResponseFlag::DownstreamProtocolError);
    context.details = details;
    context.record(Some(status), &HeaderMap::new(), 0);
}

async fn http2(io: Io, downstream: Rc<Downstream>) {
    let service = {
        let downstream = downstream.clone();
        hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            let downstream = downstream.clone();
            let request = request.map(|body| Body::http2(body, ErrorSource::Downstream));
            // Boxed: on its way into a task of its own it is moved several times.
            Box::pin(async move { Ok::<_, Infallible>(handle(downstream, request).await) })
        })
    };
    let mut builder = hyper::server::conn::http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(io), service));
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = downstream.ending() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(client = %downstream.record().remote, "the connection ended: {error}");
    }
}

/// One request: the story of its direction.
async fn handle(downstream: Rc<Downstream>, request: Request<Body>) -> Response<Body> {
    match downstream.record().direction {
        Direction::Inbound => inbound::request(downstream, request).await,
        Direction::Outbound => outbound::request(downstream, request).await,
    }
}

/// Runs hyper's tasks on the worker's own thread.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
