//! HTTP/1 and HTTP/2 in plain text on one port, told apart by the first bytes.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::answer::{Answers, Wish};
use super::{grpc, tcp};

/// A body of any shape.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Serves until told to stop, then finishes what is under way.
pub(super) async fn serve(listener: TcpListener, answers: Arc<Answers>, mut stopping: watch::Receiver<bool>) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        tokio::spawn(connection(stream, answers.clone(), stopping.clone()));
    }
}

async fn connection(stream: TcpStream, answers: Arc<Answers>, mut stopping: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let Ok(http2) = speaks_http2(&stream).await else { return };
    let service = service_fn(move |request| {
        let answers = answers.clone();
        async move { answer(request, &answers).await }
    });
    // A macro, because the two kinds of connection share no trait.
    macro_rules! drive {
        ($connection:expr) => {{
            let connection = $connection;
            tokio::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = stopping.wait_for(|stop| *stop) => {}
            }
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(Duration::from_secs(10), connection).await;
        }};
    }
    let stream = TokioIo::new(stream);
    if http2 {
        drive!(
            hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service)
        );
    } else {
        let builder = hyper::server::conn::http1::Builder::new();
        drive!(builder.serve_connection(stream, service).with_upgrades());
    }
}

/// HTTP/2's preface begins with `PRI`, which is no method of HTTP/1.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; 3];
    loop {
        let read = stream.peek(&mut first).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if read == first.len() || !b"PRI".starts_with(&first[..read]) {
            return Ok(read == first.len() && &first == b"PRI");
        }
        tokio::task::yield_now().await;
    }
}

async fn answer(request: Request<Incoming>, answers: &Answers) -> io::Result<Response<Body>> {
    let wish = Wish::of(request.uri().query());
    if request.uri().path() == "/seen" {
        return json(StatusCode::OK, &answers.describe(&request, &wish), &answers.instance);
    }
    let count = answers.count(&wish);
    if answers.resets(&wish, count) {
        return Err(io::Error::other("asked to break the connection"));
    }
    if let Some(milliseconds) = wish.number("ms") {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    if request.headers().get(CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"application/grpc")) {
        return Ok(grpc::answer(request, &answers.instance));
    }
    if request.headers().contains_key(UPGRADE) && request.version() < hyper::Version::HTTP_2 {
        return upgrade(request);
    }
    let status = answers.status(&wish, count);
    let mut description = answers.describe(&request, &wish);
    let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    description["body_bytes"] = body.len().into();
    json(status, &description, &answers.instance)
}

fn json(status: StatusCode, description: &serde_json::Value, instance: &str) -> io::Result<Response<Body>> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json")
        .header("x-instance", instance)
        .body(Full::from(format!("{description}\n")).boxed_unsync())
        .map_err(io::Error::other)
}

/// After the switch what comes goes back: bytes are bytes, whatever the protocol that was agreed on.
fn upgrade(mut request: Request<Incoming>) -> io::Result<Response<Body>> {
    let protocol = request.headers().get(UPGRADE).cloned().unwrap_or(HeaderValue::from_static("echo"));
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            tcp::echo(TokioIo::new(upgraded)).await;
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, protocol)
        .body(Full::default().boxed_unsync())
        .map_err(io::Error::other)
}
