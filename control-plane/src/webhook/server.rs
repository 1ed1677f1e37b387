//! The HTTPS server: the certificate is looked up at each handshake, so that its renewal touches no connection.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Webhook;
use crate::authority::{AuthorityError, CertificateAuthority, server_tls};

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;

/// Longest body in bytes: the API server's own limit of an object, twice for an update, and the review around it.
pub const MAX_BODY: usize = 3 << 20;
/// Bytes of a longer one that are read all the same, and thrown away.
const MAX_DISCARDED: usize = 16 << 20;
/// A client that has not finished its handshake, or the head of a request, by then is cut off.
const PATIENCE: Duration = Duration::from_secs(10);
/// A body must have come by then; the API server itself waits 30 seconds at most.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// How long what is under way may take at the end.
const DRAIN: Duration = Duration::from_secs(5);
/// Connections at once; further ones wait. API servers keep a few each.
const MAX_CONNECTIONS: usize = 512;

/// Serves the webhooks until `ended`, then finishes what is under way. `dns_names` are those that API servers verify:
/// `SERVICE.NAMESPACE.svc`.
///
/// # Errors
/// When no certificate can be issued.
pub async fn serve(
    listener: TcpListener,
    authority: Arc<CertificateAuthority>,
    dns_names: Vec<String>,
    webhook: Arc<Webhook>,
    ended: impl Future<Output = ()>,
) -> Result<(), AuthorityError> {
    let tls = TlsAcceptor::from(server_tls(authority, dns_names, &[b"h2", b"http/1.1"])?);
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut ended = pin!(ended);
    loop {
        let accept = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, stream) = tokio::select! {
            () = &mut ended => break,
            (Ok(permit), accepted) = accept => match accepted {
                Ok((stream, _)) => (permit, stream),
                Err(error) => {
                    // Out of descriptors, mostly: others need the time to close some.
                    tracing::warn!(%error, "cannot accept on the webhooks' address");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        while connections.try_join_next().is_some() {}
        let (tls, webhook, stopped) = (tls.clone(), Arc::clone(&webhook), stopped.clone());
        connections.spawn(async move {
            serve_connection(stream, tls, webhook, stopped).await;
            drop(permit);
        });
    }
    let _ = stop.send(true);
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, all).await;
    Ok(())
}

async fn serve_connection(
    stream: TcpStream,
    tls: TlsAcceptor,
    webhook: Arc<Webhook>,
    mut stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a handshake with the webhooks failed"),
        Err(_) => return tracing::debug!("a handshake with the webhooks was not finished in time"),
    };
    let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request: Request<Incoming>| {
        let webhook = Arc::clone(&webhook);
        async move { Ok::<_, Infallible>(answer(&webhook, request).await) }
    });
    let stop = async move { drop(stopped.wait_for(|stop| *stop).await) };
    let mut stop = pin!(stop);
    let served = if two {
        let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(BODY_PATIENCE)
            .serve_connection(TokioIo::new(stream), service);
        let mut http = pin!(http);
        tokio::select! {
            served = http.as_mut() => served,
            () = stop.as_mut() => { http.as_mut().graceful_shutdown(); http.await }
        }
    } else {
        let http = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), service);
        let mut http = pin!(http);
        tokio::select! {
            served = http.as_mut() => served,
            () = stop.as_mut() => { http.as_mut().graceful_shutdown(); http.await }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the webhooks ended early");
    }
}

async fn answer(webhook: &Webhook, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "reviews are posted\n".to_owned());
    }
    let (head, mut rest) = request.into_parts();
    let body = Limited::new(&mut rest, MAX_BODY).collect();
    let body = match tokio::time::timeout(BODY_PATIENCE, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            webhook.metrics().malformed.inc();
            discard(rest).await;
            let message = format!("the review is larger than {MAX_BODY} bytes, the most that is read\n");
            return plain(StatusCode::PAYLOAD_TOO_LARGE, message);
        }
        Ok(Err(error)) => {
            return plain(StatusCode::BAD_REQUEST, format!("the body could not be read: {error}\n"));
        }
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n".to_owned()),
    };
    match webhook.answer(head.uri.path(), &body) {
        Ok(json) => {
            let mut response = Response::new(Full::from(json));
            response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
            response
        }
        Err((status, message)) => {
            plain(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), message)
        }
    }
}

/// Reads on to the end of what is too large, within bounds: a connection that is closed before that is reset, and the
/// client would never see the answer.
async fn discard(mut body: Incoming) {
    let all = async {
        let mut left = MAX_DISCARDED;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, bytes::Bytes::len);
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    };
    let _ = tokio::time::timeout(BODY_PATIENCE, all).await;
}

fn plain(status: StatusCode, message: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(message));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
