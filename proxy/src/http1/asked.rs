//! What a request was, as far as its response depends on it.

use http::{Method, Request, Response, StatusCode, Version, header};

use super::encode::Framing;
use super::head::RequestHead;
use crate::body::{Body, Upgrade};

/// What of the request decides on the form of its response.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) keep_alive: bool,
    pub(super) accepts_trailers: bool,
    wants_upgrade: bool,
}

impl Asked {
    pub(super) fn of(head: &RequestHead) -> Self {
        Self {
            method: head.method.clone(),
            version: head.version,
            keep_alive: head.keep_alive,
            accepts_trailers: head.accepts_trailers,
            wants_upgrade: head.wants_upgrade,
        }
    }

    /// RFC 9112 section 6.3, from the sender's side.
    pub(super) fn framing(&self, status: StatusCode, headers: &http::HeaderMap, body: &Body) -> Framing {
        let announced = || {
            let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
            length.or_else(|| body.exact_length().filter(|n| *n > 0))
        };
        if status == StatusCode::NO_CONTENT {
            Framing::Absent
        } else if self.method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
            Framing::Announced(announced())
        } else if let Some(length) = body.exact_length() {
            Framing::Length(length)
        } else if self.version == Version::HTTP_10 {
            Framing::UntilClose
        } else {
            Framing::Chunked
        }
    }
}

pub(super) fn take_upgrade(asked: &Asked, response: &mut Response<Body>) -> Option<Upgrade> {
    let status = response.status();
    let fits = asked.wants_upgrade
        && if asked.method == Method::CONNECT {
            status.is_success()
        } else {
            status == StatusCode::SWITCHING_PROTOCOLS
        };
    if !fits {
        return None;
    }
    match std::mem::take(response.body_mut()) {
        Body::Upgrade(upgrade) => Some(upgrade),
        other => {
            *response.body_mut() = other;
            None
        }
    }
}

pub(super) fn into_request(head: RequestHead, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method;
    *request.uri_mut() = head.uri;
    *request.version_mut() = head.version;
    *request.headers_mut() = head.headers;
    request
}
