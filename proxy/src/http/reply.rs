//! Answers that this proxy gives itself.

use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::body::Body;
use crate::error::{Progress, ProxyError, ResponseFlag};

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const X_ENVOY_OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");

/// The answer that tells the client what is wrong. `to_sidecar`: the client is a sidecar, which wants to know whether
/// the request may be sent again.
#[must_use]
pub fn of_error(error: &ProxyError, grpc: bool, to_sidecar: bool) -> Response<Body> {
    let mut response = of_status(error.status, &error.message, grpc);
    if error.flag == ResponseFlag::UpstreamOverflow {
        response.headers_mut().insert(X_ENVOY_OVERLOADED, HeaderValue::from_static("true"));
    }
    if to_sidecar && error.progress == Progress::Unprocessed {
        let name = crate::upstream::peer::X_WEFT_UNPROCESSED;
        response.headers_mut().insert(name, HeaderValue::from_static("1"));
    }
    response
}

/// An answer with a text. A gRPC client gets it as gRPC's status, without a body
/// (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/local_reply>).
#[must_use]
pub fn of_status(status: StatusCode, text: &str, grpc: bool) -> Response<Body> {
    if grpc {
        return of_grpc_status(grpc_status(status), text);
    }
    let mut response = Response::new(Body::full(text.to_owned()));
    *response.status_mut() = status;
    if !text.is_empty() {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    response
}

/// A gRPC response that is nothing but its status ("Trailers-Only").
#[must_use]
pub fn of_grpc_status(status: u32, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(status));
    if let Ok(message) = HeaderValue::try_from(encoded_message(text))
        && !message.is_empty()
    {
        headers.insert(GRPC_MESSAGE, message);
    }
    response
}

/// Which gRPC status stands for an HTTP status, as Envoy maps them
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
fn grpc_status(status: StatusCode) -> u32 {
    match status.as_u16() {
        200 => 0,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// Percent-encodes what `grpc-message` may not hold: all but printable ASCII, and `%` itself.
fn encoded_message(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
