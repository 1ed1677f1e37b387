//! Shared by the codec's tests: real loopback sockets, a scripted peer, a runtime as a worker has it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, LocalSet};

use super::{ServeError, Served, ServerSettings, serve};
use crate::body::Body;
use crate::io::Io;

/// Longer than any test should take; reached only by one that fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a test on one thread, as a worker does, with a deadline on the real clock.
pub(super) fn local<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new()
        .block_on(&runtime, async { tokio::time::timeout(DEADLINE, test).await.expect("deadline") })
}

/// Runs a test whose clock stands still, and jumps when everybody waits.
pub(super) fn local_paused<F: Future>(test: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

/// Two ends of a loopback connection.
pub(super) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (client, server) = (client.unwrap(), accepted.unwrap().0);
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    (client, server)
}

/// A client's end, by hand.
pub(super) struct Raw(pub(super) TcpStream, pub(super) Vec<u8>);

impl Raw {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(stream, Vec::new())
    }

    pub(super) async fn write(&mut self, text: impl AsRef<[u8]>) {
        self.0.write_all(text.as_ref()).await.unwrap();
    }

    /// Reads up to and including `end`; what follows stays for the next call.
    pub(super) async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.1.windows(end.len()).position(|w| w == end.as_bytes()) {
                let rest = self.1.split_off(at + end.len());
                return String::from_utf8(std::mem::replace(&mut self.1, rest)).unwrap();
            }
            let n = self.0.read_buf(&mut self.1).await.unwrap();
            assert!(n > 0, "closed before {end:?}; got {:?}", String::from_utf8_lossy(&self.1));
        }
    }

    /// Reads all there is until the other end closes.
    pub(super) async fn rest(&mut self) -> String {
        while self.0.read_buf(&mut self.1).await.unwrap() > 0 {}
        String::from_utf8(std::mem::take(&mut self.1)).unwrap()
    }
}

/// A server that serves one connection in a task of its own.
pub(super) struct Serving {
    pub(super) client: Raw,
    pub(super) task: JoinHandle<Result<Served, ServeError>>,
    pub(super) drain: Rc<Notify>,
    /// How many requests reached the handler.
    pub(super) handled: Rc<Cell<usize>>,
}

/// Serves one connection with a handler.
pub(super) async fn serving<H, F>(settings: ServerSettings, mut handler: H) -> Serving
where
    H: FnMut(Request<Body>) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    let (client, server) = pair().await;
    let drain = Rc::new(Notify::new());
    let handled = Rc::new(Cell::new(0));
    let (drained, count) = (drain.clone(), handled.clone());
    let task = tokio::task::spawn_local(async move {
        let handler = |request| {
            count.set(count.get() + 1);
            handler(request)
        };
        serve(Io::from(server), &settings, drained.notified(), handler).await
    });
    Serving { client: Raw::new(client), task, drain, handled }
}

/// Settings whose `Date` does not get into the way of comparing.
pub(super) fn dateless() -> ServerSettings {
    ServerSettings { add_date: false, ..ServerSettings::default() }
}

/// Answers with method, target and body.
pub(super) async fn echo(request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let text = match body.collect().await {
        Ok(body) => String::from_utf8(body.to_bytes().to_vec()).unwrap(),
        Err(error) => format!("error: {error}"),
    };
    Response::new(Body::from(format!("{} {} [{text}]", parts.method, parts.uri)))
}

/// A body that gives what the test puts in, when it does.
pub(super) struct Fed(pub(super) Rc<RefCell<FedState>>);

#[derive(Default)]
pub(super) struct FedState {
    frames: std::collections::VecDeque<Result<http_body::Frame<bytes::Bytes>, crate::body::BodyError>>,
    ended: bool,
    waker: Option<std::task::Waker>,
}

/// The test's end of a [`Fed`] body.
#[derive(Clone)]
pub(super) struct Feeder(Rc<RefCell<FedState>>);

pub(super) fn fed() -> (Feeder, Body) {
    let state = Rc::new(RefCell::new(FedState::default()));
    (Feeder(state.clone()), Body::boxed(Fed(state)))
}

impl Feeder {
    pub(super) fn data(&self, data: impl Into<bytes::Bytes>) {
        self.put(Ok(http_body::Frame::data(data.into())));
    }

    pub(super) fn trailers(&self, name: &'static str, value: &'static str) {
        let mut trailers = http::HeaderMap::new();
        trailers.insert(name, http::HeaderValue::from_static(value));
        self.put(Ok(http_body::Frame::trailers(trailers)));
    }

    pub(super) fn put(&self, frame: Result<http_body::Frame<bytes::Bytes>, crate::body::BodyError>) {
        self.0.borrow_mut().frames.push_back(frame);
        self.wake();
    }

    pub(super) fn end(&self) {
        self.0.borrow_mut().ended = true;
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.0.borrow_mut().waker.take() {
            waker.wake();
        }
    }
}

impl http_body::Body for Fed {
    type Data = bytes::Bytes;
    type Error = crate::body::BodyError;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, crate::body::BodyError>>> {
        let mut state = self.0.borrow_mut();
        match state.frames.pop_front() {
            Some(frame) => std::task::Poll::Ready(Some(frame)),
            None if state.ended => std::task::Poll::Ready(None),
            None => {
                state.waker = Some(cx.waker().clone());
                std::task::Poll::Pending
            }
        }
    }
}
