//! Random bodies through whole hops: client, our server, our upstreams, origin, over sockets with little room.
//!
//! Whatever the sizes, the pace and the origin's moods: all bytes arrive as they were sent or there is an error, and
//! nothing hangs. A seed that fails is printed with the failure.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use weft_model::cluster::UpstreamHttp;

use super::Upstreams;
use super::test_support::*;
use crate::body::{Body, BodyError, BodyErrorKind};
use crate::error::ErrorSource;
use crate::http1::{ClientConnection, ClientSettings, OnIdle, ServerSettings, serve};
use crate::io::Io;
use crate::tls::ServerAcceptor;
use crate::tls::testing::{REVIEWS, TestAuthority};

/// Exchanges of a test.
const EXCHANGES: u64 = 40;
/// The longest body, in bytes: several times what all buffers on the way hold.
const LONGEST: usize = 400_000;
/// Room of a socket for either direction, in bytes; the kernel doubles it. Not less: then TCP itself waits for timers.
const ROOM: usize = 48 * 1024;

/// A body without repetition, from `start` on.
fn pattern(seed: u64, start: usize, length: usize) -> Bytes {
    let byte = |at: usize| ((at as u64 ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8;
    (start..start + length).map(byte).collect()
}

/// Gives a pattern in pieces of any size, and now and then nothing for a moment.
struct Random {
    rng: Rng,
    seed: u64,
    at: usize,
    length: usize,
    /// Whether the length is known beforehand.
    announced: bool,
    /// Whether it says with the last piece that it was the last.
    foresighted: bool,
    /// Ends with an error there.
    breaks_at: Option<usize>,
}

impl Random {
    fn new(seed: u64, length: usize) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (announced, foresighted) = (rng.bool(), rng.bool());
        Self { rng, seed, at: 0, length, announced, foresighted, breaks_at: None }
    }
}

impl http_body::Body for Random {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.rng.u8(..4) == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.breaks_at.is_some_and(|at| self.at >= at) {
            let error = BodyError::new(ErrorSource::Upstream, BodyErrorKind::Closed);
            return Poll::Ready(Some(Err(error)));
        }
        if self.at == self.length {
            return Poll::Ready(None);
        }
        let most = [10, 5_000, 100_000][self.rng.usize(..3)];
        let n = self.rng.usize(1..=most).min(self.breaks_at.unwrap_or(self.length) - self.at);
        let data = pattern(self.seed, self.at, n);
        self.at += n;
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.foresighted && self.at == self.length && self.breaks_at.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.announced {
            SizeHint::with_exact((self.length - self.at) as u64)
        } else {
            SizeHint::default()
        }
    }
}

/// What the origin does with a request.
const MOODS: [&str; 5] = ["echo", "collect", "early", "partial", "break"];

fn number(request: &Request<Body>, name: &str) -> u64 {
    request.headers()[name].to_str().expect("text").parse().expect("a number")
}

/// Answers by the request's `x-mood`.
async fn origin(request: Request<Body>) -> Response<Body> {
    let mood = request.headers()["x-mood"].clone();
    let (seed, length) = (number(&request, "x-seed"), number(&request, "x-length") as usize);
    let sent = number(&request, "x-sent") as usize;
    let mut body = request.into_body();
    let mut answer = Random::new(seed + 1, length);
    match mood.as_bytes() {
        b"echo" => return Response::new(body),
        b"collect" => {
            let whole = body.collect().await.is_ok_and(|body| body.to_bytes() == pattern(seed, 0, sent));
            if !whole {
                let mut response = Response::new(Body::from("the request's body is not what was sent"));
                *response.status_mut() = StatusCode::BAD_REQUEST;
                return response;
            }
        }
        b"partial" => drop(body.frame().await),
        b"break" => answer.breaks_at = Some(length / 2),
        _ => {}
    }
    Response::new(Body::boxed(answer))
}

fn narrow(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    socket.set_send_buffer_size(ROOM).expect("set");
    socket.set_recv_buffer_size(ROOM).expect("set");
}

async fn serve_origin(io: Io) {
    let _ = serve(io, &ServerSettings::default(), std::future::pending(), origin).await;
}

/// The client's end: its connection to the hop, taken back when it can be used again.
struct Client {
    upstreams: Rc<Upstreams>,
    idle: Rc<RefCell<Option<ClientConnection>>>,
}

impl Client {
    async fn connection(&self) -> ClientConnection {
        if let Some(connection) = self.idle.borrow_mut().take() {
            return connection;
        }
        let (client, server) = crate::io::tests::tls_pair().await;
        narrow(client.tcp());
        narrow(server.tcp());
        tokio::task::spawn_local(forward_all(server, self.upstreams.clone()));
        ClientConnection::new(client, ClientSettings::default())
    }

    /// One exchange; what is wrong with how it went.
    async fn exchange(&self, seed: u64) -> Result<(), String> {
        let mut rng = Rng::with_seed(seed);
        let mood = MOODS[rng.usize(..MOODS.len())];
        let longest = [0, 100, 20_000, LONGEST][rng.usize(..4)];
        let (sent, length) = (rng.usize(..=longest), rng.usize(..=LONGEST));
        let body = if longest == 100 {
            Body::from(pattern(seed, 0, sent))
        } else {
            Body::boxed(Random::new(seed, sent))
        };
        let mut request = Request::post("/")
            .header("host", "reviews")
            .header("x-mood", mood)
            .header("x-seed", seed)
            .header("x-sent", sent)
            .header("x-length", length)
            .body(body)
            .expect("valid");
        let idle = self.idle.clone();
        let on_idle: Rc<dyn OnIdle> = Rc::new(move |connection| *idle.borrow_mut() = Some(connection));
        let gives_up = (rng.u8(..8) == 0).then(|| rng.usize(..200));
        let connection = self.connection().await;
        let whole = async {
            let response =
                connection.send(&mut request, Some(on_idle)).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body = slowly(response.into_body(), &mut rng).await.map_err(|error| error.to_string())?;
            Ok::<_, String>((status, body))
        };
        let outcome = match gives_up {
            Some(turns) => tokio::select! {
                outcome = whole => outcome,
                () = take_turns(turns) => return Ok(()),
            },
            None => whole.await,
        };
        let expected = if mood == "echo" { pattern(seed, 0, sent) } else { pattern(seed + 1, 0, length) };
        let context = format!("{mood}, {sent} bytes there, {length} back");
        match outcome {
            // Nothing of the answer had come yet.
            Ok((status, _)) if mood == "break" && status.is_server_error() => Ok(()),
            Ok((status, _)) if mood == "break" => Err(format!("{context}: {status}, though it broke off")),
            Ok((StatusCode::OK, body)) if body == expected => Ok(()),
            Ok((status, body)) => Err(format!("{context}: {status} with {} bytes, or others", body.len())),
            Err(_) if mood == "break" => Ok(()),
            Err(error) => Err(format!("{context}: {error}")),
        }
    }
}

async fn take_turns(turns: usize) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

/// Reads a body, and now and then does not for a moment.
async fn slowly(mut body: Body, rng: &mut Rng) -> Result<Bytes, BodyError> {
    let mut whole = Vec::new();
    while let Some(frame) = poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await {
        if let Ok(data) = frame?.into_data() {
            whole.extend_from_slice(&data);
        }
        if rng.u8(..4) == 0 {
            take_turns(rng.usize(..30)).await;
        }
    }
    Ok(whole.into())
}

fn chain(upstreams: impl AsyncFnOnce() -> Rc<Upstreams>) {
    worker(async {
        let upstreams = upstreams().await;
        let client = Client { upstreams: upstreams.clone(), idle: Rc::default() };
        let first = fastrand::u64(..1 << 32);
        for seed in first..first + EXCHANGES {
            let limit = std::time::Duration::from_secs(20);
            let outcome = tokio::time::timeout(limit, client.exchange(seed)).await;
            let outcome = outcome.unwrap_or_else(|_| Err("it hangs".to_owned()));
            assert_eq!(outcome, Ok(()), "with seed {seed}");
        }
        // Nothing that was begun is still counted.
        while upstreams.stats()[0].requests > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn bodies_arrive_whole_by_http1() {
    chain(async || {
        let address = accept(|_, stream| {
            narrow(&stream);
            serve_origin(stream.into())
        })
        .await;
        upstreams(cluster(UpstreamHttp::Http1, &[address]))
    });
}

#[test]
fn bodies_arrive_whole_by_mutual_tls() {
    chain(async || {
        let authority = TestAuthority::new("root");
        let acceptor = Rc::new(ServerAcceptor::new(authority.identity(REVIEWS)));
        let address = accept(move |_, stream| {
            let acceptor = acceptor.clone();
            async move {
                narrow(&stream);
                if let Ok(accepted) = acceptor.accept(stream).await {
                    serve_origin(Io::from(accepted.stream)).await;
                }
            }
        })
        .await;
        caller(&authority, address, REVIEWS)
    });
}

#[test]
fn bodies_arrive_whole_by_http2() {
    chain(async || {
        let address = accept(|_, stream| async move {
            narrow(&stream);
            let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
                let request = request.map(|body| Body::http2(body, ErrorSource::Downstream));
                Ok::<_, std::convert::Infallible>(origin(request).await)
            });
            let server = hyper::server::conn::http2::Builder::new(LocalExecutor);
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        })
        .await;
        upstreams(cluster(UpstreamHttp::Http2, &[address]))
    });
}
