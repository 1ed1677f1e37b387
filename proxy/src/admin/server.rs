//! The doors: sockets on which pages are asked for.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use weft_proto::local_socket;

use super::{AdminState, Content, Door, page};

/// Where the doors are; none: closed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AdminAddresses {
    /// Everything; loopback, Istio's is `127.0.0.1:15000`.
    pub admin: Option<SocketAddr>,
    /// Everything, for the owner of the file only.
    pub socket: Option<PathBuf>,
    /// Readiness; Istio's port is 15021.
    pub readiness: Option<SocketAddr>,
    /// Prometheus; Istio's port is 15090.
    pub metrics: Option<SocketAddr>,
}

/// Doors whose sockets are bound.
#[derive(Debug)]
pub struct Admin {
    state: AdminState,
    tcp: Vec<(Door, TcpListener)>,
    unix: Option<UnixListener>,
}

/// A request's head must be there within this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

impl Admin {
    /// Opens the doors.
    ///
    /// # Errors
    /// When an address is taken or may not be taken, naming it.
    pub async fn bind(state: AdminState, addresses: &AdminAddresses) -> io::Result<Self> {
        let doors = [
            (Door::Admin, addresses.admin),
            (Door::Readiness, addresses.readiness),
            (Door::Metrics, addresses.metrics),
        ];
        let mut tcp = Vec::new();
        for (door, address) in doors {
            let Some(address) = address else { continue };
            let listener = listen(address);
            let named =
                |error: io::Error| io::Error::new(error.kind(), format!("{address} ({door:?}): {error}"));
            tcp.push((door, listener.map_err(named)?));
        }
        let unix = addresses.socket.as_deref().map(bind_socket).transpose()?;
        Ok(Self { state, tcp, unix })
    }

    /// Where a door was opened.
    #[must_use]
    pub fn address(&self, door: Door) -> Option<SocketAddr> {
        let (_, listener) = self.tcp.iter().find(|(one, _)| *one == door)?;
        listener.local_addr().ok()
    }

    /// Answers, for ever.
    pub async fn run(self) {
        let mut doors = JoinSet::new();
        for (door, listener) in self.tcp {
            let state = self.state.clone();
            doors.spawn(async move {
                let mut connections = JoinSet::new();
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => drop(connections.spawn(serve(stream, state.clone(), door))),
                        Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                    }
                    while connections.try_join_next().is_some() {}
                }
            });
        }
        if let Some(listener) = self.unix {
            let state = self.state.clone();
            doors.spawn(async move {
                let mut connections = JoinSet::new();
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => drop(connections.spawn(serve(stream, state.clone(), Door::Admin))),
                        Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                    }
                    while connections.try_join_next().is_some() {}
                }
            });
        }
        while doors.join_next().await.is_some() {}
    }
}

/// Takes an address. `[::]` stands for every address of the machine, of IPv4 too, and works without IPv6.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)) {
        Ok(socket) => socket,
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
            return listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())));
        }
        Err(error) => return Err(error),
    };
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != Ipv6Addr::UNSPECIFIED)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Clients that wait to be accepted.
const BACKLOG: i32 = 128;

/// Binds the socket for `weft`.
fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    UnixListener::from_std(local_socket::bind(path, "another process")?)
}

async fn serve<S>(stream: S, state: AdminState, door: Door)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(respond(&state, door, &request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // A client that went away is no matter.
    let _ = connection.await;
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn respond(state: &AdminState, door: Door, request: &Request<Incoming>) -> Response<Body> {
    let page = page(state, door, request.method(), request.uri()).await;
    let mut response = Response::new(match page.body {
        Content::Text(text) => Full::new(Bytes::from(text)).boxed_unsync(),
        Content::Parts(parts) => {
            let frames = parts.map(|part| Ok(Frame::data(Bytes::from(part))));
            StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
        }
    });
    *response.status_mut() = page.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}
