//! A client inside a workload: the test speaks, the workload's network carries it. Nothing between the test and the
//! sidecar understands what is said. In a pod, the client is within the application itself.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Method, Request, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};

use crate::load::LoadPlan;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// A stream of bytes to wherever a workload can connect to.
pub type Stream = BufReader<Pin<Box<dyn Bytestream>>>;

/// What a stream of bytes is made of: a Unix socket to a dialer, or a connection of one's own.
pub trait Bytestream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Bytestream for T {}

/// Speaks from within a workload.
#[derive(Clone, Debug)]
pub struct Client {
    way: Way,
    explicit: Option<String>,
}

/// How connections are made.
#[derive(Clone, Debug)]
enum Way {
    /// By a dialer in the workload's network, that is asked on this socket.
    Dialer(PathBuf),
    /// By this process, which is in the workload's network.
    Here,
}

impl Client {
    pub(crate) fn new(socket: PathBuf, explicit: Option<String>) -> Self {
        Self { way: Way::Dialer(socket), explicit }
    }

    /// Speaks from where this process is.
    #[must_use]
    pub fn here() -> Self {
        Self { way: Way::Here, explicit: None }
    }

    /// Speaks through a dialer that a test started itself.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        Self::new(socket.to_path_buf(), None)
    }

    /// Connects to `HOST:PORT`, a name that the workload resolves.
    ///
    /// # Errors
    /// What the workload was told.
    pub async fn connect(&self, place: &str) -> io::Result<Stream> {
        let socket = match &self.way {
            Way::Dialer(socket) => socket,
            Way::Here => {
                let stream = TcpStream::connect(place).await?;
                stream.set_nodelay(true)?;
                return Ok(BufReader::new(Box::pin(stream)));
            }
        };
        let dialer: Pin<Box<dyn Bytestream>> = Box::pin(UnixStream::connect(socket).await?);
        let mut stream = BufReader::new(dialer);
        stream.write_all(format!("{place}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        match answer.trim() {
            "connected" => Ok(stream),
            why => Err(io::Error::other(format!("cannot connect to {place}: {why}"))),
        }
    }

    /// A request; nothing happens before it is sent.
    pub fn request(&self, method: &str, url: &str) -> Call {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let uri: Uri = url.parse().expect("a URL");
        Call {
            client: self.clone(),
            method,
            uri,
            headers: Vec::new(),
            body: Bytes::new(),
            version: Version::HTTP_11,
        }
    }

    /// `GET URL`; fails the test when there is no answer.
    pub async fn get(&self, url: &str) -> Answer {
        self.request("GET", url).send().await
    }

    /// Requests that go on until they are stopped.
    pub fn load(&self, url: &str) -> LoadPlan {
        LoadPlan::new(self.clone(), url)
    }

    /// Sends bytes as they are, says that this was all, and gives everything that comes back until the end.
    ///
    /// # Errors
    /// When it cannot connect, or the end does not come.
    pub async fn exchange(&self, place: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = self.connect(place).await?;
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        read_to_end(&mut stream).await
    }

    /// As [`Client::exchange`], but leaves its own side open: the other has to close.
    ///
    /// # Errors
    /// When it cannot connect, or the end does not come.
    pub async fn exchange_open(&self, place: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = self.connect(place).await?;
        stream.write_all(bytes).await?;
        read_to_end(&mut stream).await
    }

    /// An HTTP/1.1 connection to a URL's host.
    ///
    /// # Errors
    /// What the workload was told.
    pub async fn http1(&self, uri: &Uri) -> Result<http1::SendRequest<Full<Bytes>>, String> {
        let stream = self.stream(uri).await.map_err(|error| error.to_string())?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        tokio::spawn(driver.with_upgrades());
        Ok(sender)
    }

    /// An HTTP/2 connection in plain text (prior knowledge) to a URL's host.
    ///
    /// # Errors
    /// What the workload was told.
    pub async fn http2(&self, uri: &Uri) -> Result<http2::SendRequest<Full<Bytes>>, String> {
        let stream = self.stream(uri).await.map_err(|error| error.to_string())?;
        let (sender, driver) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        tokio::spawn(driver);
        Ok(sender)
    }

    async fn stream(&self, uri: &Uri) -> io::Result<Stream> {
        match &self.explicit {
            Some(proxy) => self.connect(proxy).await,
            None => self.connect(&place(uri)).await,
        }
    }

    /// Whether requests go to a proxy, in the form that proxies are asked in.
    pub(crate) fn asks_proxy(&self) -> bool {
        self.explicit.is_some()
    }
}

async fn read_to_end(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    match tokio::time::timeout(ANSWER, stream.read_to_end(&mut all)).await {
        Ok(read) => read.map(|_| all),
        Err(_) => {
            let so_far = String::from_utf8_lossy(&all);
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("not closed; so far came {so_far:?}")))
        }
    }
}

fn place(uri: &Uri) -> String {
    format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80))
}

/// A request that is being put together.
#[derive(Clone, Debug)]
#[must_use]
pub struct Call {
    client: Client,
    method: Method,
    uri: Uri,
    headers: Vec<(String, String)>,
    body: Bytes,
    version: Version,
}

impl Call {
    /// With a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Over HTTP/2 in plain text.
    pub fn http2(mut self) -> Self {
        self.version = Version::HTTP_2;
        self
    }

    /// The answer; fails the test when there is none.
    pub async fn send(self) -> Answer {
        let what = format!("{} {}", self.method, self.uri);
        self.try_send().await.unwrap_or_else(|why| panic!("{what}: no answer: {why}"))
    }

    /// The answer, on a connection of its own.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn try_send(self) -> Result<Answer, String> {
        let ask = async {
            if self.version == Version::HTTP_2 {
                let mut connection = self.client.http2(&self.uri).await?;
                let request = self.request()?;
                Answer::of(connection.send_request(request).await).await
            } else {
                let mut connection = self.client.http1(&self.uri).await?;
                let request = self.request()?;
                Answer::of(connection.send_request(request).await).await
            }
        };
        tokio::time::timeout(ANSWER, ask).await.unwrap_or_else(|_| Err("none in time".to_owned()))
    }

    /// As it goes on the wire: in origin form over HTTP/1.1, absolute for a proxy and over HTTP/2.
    ///
    /// # Errors
    /// When a header cannot be one.
    pub fn request(&self) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::builder().method(self.method.clone());
        let authority = self.uri.authority().map_or("", |it| it.as_str());
        if self.version == Version::HTTP_2 || self.client.asks_proxy() {
            request = request.uri(self.uri.clone());
        } else {
            request = request.uri(self.uri.path_and_query().map_or("/", |it| it.as_str()));
        }
        if self.version != Version::HTTP_2 && !self.headers.iter().any(|(name, _)| name == "host") {
            request = request.header("host", authority);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(self.body.clone())).map_err(|error| error.to_string())
    }
}

/// What came back, complete.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The trailers; empty when there are none.
    pub trailers: HeaderMap,
}

impl Answer {
    /// Reads an answer to its end.
    ///
    /// # Errors
    /// When there is none, or its end is missing.
    pub async fn of(
        response: Result<hyper::Response<hyper::body::Incoming>, hyper::Error>,
    ) -> Result<Self, String> {
        let response = response.map_err(|error| format!("sent, but: {error}"))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| format!("{}, but: {error}", head.status.as_u16()))?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok(Self { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes(), trailers })
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    /// A field that the application answered, such as `headers.x-request-id` (only the first point separates); empty
    /// when there is none.
    #[must_use]
    pub fn field(&self, name: &str) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let (first, rest) = name.split_once('.').unwrap_or((name, ""));
        let value = if rest.is_empty() { &json[first] } else { &json[first][rest] };
        match value {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// A header's value; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        self.headers
            .get(name)
            .map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned())
            .unwrap_or_default()
    }

    /// Fails the test when the status is another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}; {:?}", self.text(), self.headers);
        self
    }
}
