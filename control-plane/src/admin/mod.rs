//! Pages for operators: health and metrics for everybody, the world as it is for this machine.

mod metrics;
mod pages;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

pub use pages::Pages;

/// A client that does not finish its request in this time is cut off.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves the pages for as long as the process lives: that it is leaving is one of the things they tell.
pub async fn serve(listener: TcpListener, pages: Arc<Pages>) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: others need the time to close some.
                tracing::warn!(%error, "cannot accept on the monitoring address");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let pages = pages.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer: Response<Full<Bytes>> = pages.answer(&request, peer.ip());
                async move { Ok::<_, Infallible>(answer) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
