//! One question and its answer: HTTP, gRPC or TCP.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_model::endpoint::Endpoint;
use weft_model::health_check::{HealthCheck, HealthQuestion, HttpQuestion};

use crate::io::Io;
use crate::proxy_protocol;
use crate::tls::ApplicationProtocol;
use crate::upstream::cluster::ClusterState;
use crate::upstream::connect::{Connector, tls_to};

/// The most that is read of an answer.
const MOST: usize = 64 * 1024;
/// gRPC's `SERVING`.
const SERVING: i32 = 1;

/// What an answer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// The endpoint is well.
    Good,
    /// It says that it is not.
    Bad,
    /// It says nothing, or nothing in time, or what counts as much.
    Broken,
}

/// Asks one endpoint, over a connection that it keeps.
#[derive(Debug, Default)]
pub(super) struct Asker(Option<Sender>);

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// Runs what an HTTP/2 connection needs on this thread.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Message)]
struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Message)]
struct HealthResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl Asker {
    pub(super) async fn ask(
        &mut self,
        connector: &Connector,
        cluster: &ClusterState,
        endpoint: &Endpoint,
        check: &HealthCheck,
    ) -> Answer {
        let name = cluster.name();
        let host = |own: &str| {
            let of_endpoint = &*endpoint.health_check.hostname;
            // A cluster's name is often no host name: the address always is one.
            let is_host = |host: &&str| host.parse::<Authority>().is_ok();
            let named = [of_endpoint, own, &*name].into_iter().find(|host| !host.is_empty());
            named.filter(is_host).map_or_else(|| endpoint.address.to_string(), str::to_owned)
        };
        let answer = match &check.question {
            HealthQuestion::Http(http) => {
                let protocol =
                    if http.http2 { ApplicationProtocol::Http2 } else { ApplicationProtocol::Http1 };
                match http_request(http, &host(&http.host)) {
                    Some(request) => {
                        match self.send(connector, cluster, endpoint, check, protocol, request).await {
                            Some(response) => judge_http(http, response).await,
                            None => None,
                        }
                    }
                    None => None,
                }
            }
            HealthQuestion::Grpc { service, authority } => match grpc_request(service, &host(authority)) {
                Some(request) => {
                    let protocol = ApplicationProtocol::Http2;
                    match self.send(connector, cluster, endpoint, check, protocol, request).await {
                        Some(response) => judge_grpc(response).await,
                        None => None,
                    }
                }
                None => None,
            },
            HealthQuestion::Tcp { send, receive } => {
                match connect(connector, cluster, endpoint, check, ApplicationProtocol::Tcp).await {
                    Some(io) => ask_tcp(io, send.as_ref(), receive).await,
                    None => None,
                }
            }
        };
        answer.unwrap_or(Answer::Broken)
    }

    async fn send(
        &mut self,
        connector: &Connector,
        cluster: &ClusterState,
        endpoint: &Endpoint,
        check: &HealthCheck,
        protocol: ApplicationProtocol,
        request: Request<Full<Bytes>>,
    ) -> Option<Response<Incoming>> {
        let usable = match &self.0 {
            Some(Sender::Http1(sender)) => sender.is_ready(),
            Some(Sender::Http2(sender)) => sender.is_ready(),
            None => false,
        };
        if !usable {
            let io = TokioIo::new(connect(connector, cluster, endpoint, check, protocol).await?);
            self.0 = Some(match protocol {
                ApplicationProtocol::Http2 => {
                    let (sender, connection) = http2::handshake(LocalExecutor, io).await.ok()?;
                    tokio::task::spawn_local(connection);
                    Sender::Http2(sender)
                }
                _ => {
                    let (sender, connection) = http1::handshake(io).await.ok()?;
                    tokio::task::spawn_local(connection);
                    Sender::Http1(sender)
                }
            });
        }
        match self.0.as_mut()? {
            Sender::Http1(sender) => sender.send_request(request).await.ok(),
            Sender::Http2(sender) => sender.send_request(request).await.ok(),
        }
    }
}

async fn connect(
    connector: &Connector,
    cluster: &ClusterState,
    endpoint: &Endpoint,
    check: &HealthCheck,
    protocol: ApplicationProtocol,
) -> Option<Io> {
    let config = cluster.config();
    let port = endpoint.health_check.port.or(check.alt_port).unwrap_or(endpoint.address.port());
    let tls = cluster.tls.borrow().clone();
    let settings = tls_to(&config.transport, endpoint).map(|settings| (settings, &*tls));
    let address = SocketAddr::new(endpoint.address.ip(), port);
    let preamble = config.proxy_protocol.map(|version| proxy_protocol::header(version, None));
    let preamble = preamble.as_deref().unwrap_or_default();
    let connected = connector.connect(address, preamble, settings, protocol, check.timeout).await;
    connected.ok().map(|connected| connected.io)
}

fn http_request(http: &HttpQuestion, host: &str) -> Option<Request<Full<Bytes>>> {
    let mut request = Request::builder().method(http.method.clone()).body(Full::default()).ok()?;
    *request.uri_mut() =
        if http.http2 { format!("http://{host}{}", http.path) } else { http.path.to_string() }
            .parse()
            .ok()?;
    let headers = request.headers_mut();
    if !http.http2 {
        headers.insert(header::HOST, HeaderValue::from_str(host).ok()?);
    }
    headers.insert(header::USER_AGENT, HeaderValue::from_static("Weft/HC"));
    // There is no exchange that an operator could tell of.
    http.headers.apply(headers, |_, _| Vec::new());
    Some(request)
}

/// The whole answer is taken, so that the connection can be used again.
async fn judge_http(http: &HttpQuestion, response: Response<Incoming>) -> Option<Answer> {
    let status = response.status().as_u16();
    if http.method != Method::HEAD {
        Limited::new(response.into_body(), MOST).collect().await.ok()?;
    }
    let within = |ranges: &[(u16, u16)]| ranges.iter().any(|(start, end)| (*start..*end).contains(&status));
    Some(match (within(&http.expected_statuses), within(&http.retriable_statuses)) {
        (true, _) => Answer::Good,
        (false, true) => Answer::Broken,
        (false, false) => Answer::Bad,
    })
}

fn grpc_request(service: &str, host: &str) -> Option<Request<Full<Bytes>>> {
    let message = HealthRequest { service: service.to_owned() }.encode_to_vec();
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).ok()?);
    frame.put_slice(&message);
    Request::builder()
        .method(Method::POST)
        .uri(format!("http://{host}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, "Weft/HC")
        .body(Full::new(frame.freeze()))
        .ok()
}

async fn judge_grpc(response: Response<Incoming>) -> Option<Answer> {
    if response.status() != http::StatusCode::OK {
        return Some(Answer::Bad);
    }
    let of_head = response.headers().get("grpc-status").cloned();
    let collected = Limited::new(response.into_body(), MOST).collect().await.ok()?;
    let status = collected.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned().or(of_head);
    let content = collected.to_bytes();
    let message = content.get(5..).and_then(|message| HealthResponse::decode(message).ok());
    let serving = message.is_some_and(|message| message.status == SERVING);
    let good = status.is_some_and(|status| status.as_bytes() == b"0") && serving;
    Some(if good { Answer::Good } else { Answer::Bad })
}

async fn ask_tcp(mut io: Io, send: Option<&Bytes>, receive: &[Bytes]) -> Option<Answer> {
    if let Some(send) = send {
        io.write_all(send).await.ok()?;
        io.flush().await.ok()?;
    }
    let mut read = BytesMut::new();
    while !contains_in_order(&read, receive) {
        if read.len() > MOST || io.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
    Some(Answer::Good)
}

/// Whether all parts are there, one after another.
fn contains_in_order(mut text: &[u8], parts: &[Bytes]) -> bool {
    parts.iter().all(|part| match memchr::memmem::find(text, part) {
        Some(at) => {
            text = text.get(at + part.len()..).unwrap_or_default();
            true
        }
        None => false,
    })
}
