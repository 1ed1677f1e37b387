//! Where the kubelet asks.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{AppProbes, ask};
use crate::admin::{Show, listen};

/// The port, as Istio's users know it.
pub const PORT: u16 = 15020;
/// Connections at a time; the kubelet makes one for each probe.
const CONNECTIONS: usize = 256;
/// A request's head must be there within this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A server whose socket is bound.
pub struct ProbeServer {
    listener: TcpListener,
    shared: Arc<Shared>,
}

struct Shared {
    probes: AppProbes,
    application: IpAddr,
    quit: Show<()>,
}

impl std::fmt::Debug for ProbeServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProbeServer").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl ProbeServer {
    /// Takes the address. `application` is the pod's own address; `quit` ends the process.
    ///
    /// # Errors
    /// When it is taken already, naming it.
    pub fn bind(
        address: SocketAddr,
        probes: AppProbes,
        application: IpAddr,
        quit: Show<()>,
    ) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{address} (probes): {error}"));
        let listener = listen(address).map_err(named)?;
        Ok(Self { listener, shared: Arc::new(Shared { probes, application, quit }) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers, for ever.
    pub async fn run(self) {
        let (mut connections, room) = (JoinSet::new(), Arc::new(Semaphore::new(CONNECTIONS)));
        loop {
            match self.listener.accept().await {
                Ok((stream, client)) => {
                    // Beyond the bound, the connection is closed here.
                    if let Ok(permit) = room.clone().try_acquire_owned() {
                        let shared = self.shared.clone();
                        connections.spawn(async move {
                            serve(stream, client.ip(), shared).await;
                            drop(permit);
                        });
                    }
                }
                // Out of descriptors, most likely: let those under way finish.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
            while connections.try_join_next().is_some() {}
        }
    }
}

async fn serve(stream: TcpStream, client: IpAddr, shared: Arc<Shared>) {
    let service = service_fn(|request: Request<Incoming>| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(respond(&shared, client, &request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // A client that went away is no matter.
    let _ = connection.await;
}

async fn respond(shared: &Shared, client: IpAddr, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if path == "/quitquitquit" {
        return quit(shared, client, request.method());
    }
    let Some(probe) = shared.probes.get(path) else {
        return answer(StatusCode::NOT_FOUND, "no probe of this pod\n");
    };
    if request.method() != Method::GET {
        return answer(StatusCode::METHOD_NOT_ALLOWED, "probes are asked by GET\n");
    }
    let verdict = ask(probe, shared.application, request.headers()).await;
    if !(verdict.status.is_success() || verdict.status.is_redirection()) {
        tracing::debug!(path, status = verdict.status.as_u16(), "{}", String::from_utf8_lossy(&verdict.body));
    }
    answer(verdict.status, verdict.body)
}

/// For a Job whose sidecar is no native one: its last act is to end the sidecar, as with Istio's.
fn quit(shared: &Shared, client: IpAddr, method: &Method) -> Response<Full<Bytes>> {
    if !client.to_canonical().is_loopback() {
        return answer(StatusCode::FORBIDDEN, "only from within the pod, over loopback\n");
    }
    if method != Method::POST {
        return answer(StatusCode::METHOD_NOT_ALLOWED, "/quitquitquit takes POST\n");
    }
    (shared.quit)();
    answer(StatusCode::OK, "OK\n")
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
