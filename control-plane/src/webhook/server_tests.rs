//! With a client that verifies the certificate as an API server does.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weft_model::clock::Clock;

use super::{MAX_BODY, serve};
use crate::authority::CertificateAuthority;
use crate::authority::testing::{TurnedClock, authority_at, directory};
use crate::inject::{InjectionValues, Injector};
use crate::webhook::Webhook;

const NAME: &str = "weft-control-plane.weft-system.svc";
const LIMIT: Duration = Duration::from_secs(20);

struct Server {
    address: std::net::SocketAddr,
    authority: Arc<CertificateAuthority>,
    clock: TurnedClock,
    end: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

async fn server() -> Server {
    let directory = directory();
    let clock = TurnedClock::new();
    let authority = authority_at(&directory, clock.clock());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let injector = Arc::new(Injector::new(InjectionValues::default()).unwrap());
    let webhook = Arc::new(Webhook::new(injector));
    let (end, ended) = oneshot::channel();
    let task = tokio::spawn({
        let authority = authority.clone();
        async move {
            let ended = async { drop(ended.await) };
            serve(listener, authority, vec![NAME.to_owned()], webhook, ended).await.unwrap();
        }
    });
    Server { address, authority, clock, end: Some(end), task, _directory: directory }
}

impl Server {
    async fn connect(&self, alpn: &[u8]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.authority.trust_bundle_pem().as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let time = Arc::new(ClientTime(self.clock.clock()));
        let mut config = ClientConfig::builder_with_details(provider, time)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(self.address).await.unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from(NAME).unwrap(), stream)
            .await
            .unwrap()
    }

    async fn h2(&self) -> http2::SendRequest<Full<Bytes>> {
        let stream = self.connect(b"h2").await;
        let (sender, connection) =
            http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

/// The client lives at the same time as the server.
#[derive(Debug)]
struct ClientTime(Clock);

impl TimeProvider for ClientTime {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.now().duration_since(SystemTime::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

fn posted(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let uri = format!("https://{NAME}{path}");
    Request::post(uri).header("content-type", "application/json").body(Full::new(body.into())).unwrap()
}

fn review() -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u", "kind": {"kind": "Pod"}, "namespace": "shop", "operation": "CREATE",
                    "object": {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "a"}]}}},
    })
    .to_string()
}

async fn text(response: Response<Incoming>) -> (StatusCode, String) {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn reviews_are_answered_over_both_versions_of_http() {
    let server = server().await;
    let (status, body) =
        text(server.h2().await.send_request(posted("/inject", review())).await.unwrap()).await;
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert!(answer["response"]["patch"].is_string(), "{answer}");

    let stream = server.connect(b"http/1.1").await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = posted("/inject", review());
    *request.uri_mut() = "/inject".parse().unwrap();
    request.headers_mut().insert("host", NAME.parse().unwrap());
    assert_eq!(text(sender.send_request(request).await.unwrap()).await.0, 200);
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_clearly() {
    let server = server().await;
    let mut client = server.h2().await;
    let too_large = vec![b' '; MAX_BODY + 1];
    let (status, body) = text(client.send_request(posted("/inject", too_large)).await.unwrap()).await;
    assert_eq!((status, body.contains("larger than")), (StatusCode::PAYLOAD_TOO_LARGE, true), "{body}");
    let (status, body) = text(client.send_request(posted("/inject", "{")).await.unwrap()).await;
    assert_eq!((status, body.contains("not JSON")), (StatusCode::BAD_REQUEST, true), "{body}");
    let (status, _) = text(client.send_request(posted("/other", review())).await.unwrap()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let get = Request::get(format!("https://{NAME}/inject")).body(Full::default()).unwrap();
    assert_eq!(text(client.send_request(get).await.unwrap()).await.0, StatusCode::METHOD_NOT_ALLOWED);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(
        text(client.send_request(posted("/inject", deep)).await.unwrap()).await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn a_renewed_certificate_drops_no_connection() {
    let server = server().await;
    let serial = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let first = serial(&server.connect(b"h2").await);
    let mut client = server.h2().await;
    assert_eq!(text(client.send_request(posted("/inject", review())).await.unwrap()).await.0, 200);
    server.clock.advance(Duration::from_secs(13 * 3600));
    assert_ne!(serial(&server.connect(b"h2").await), first);
    assert_eq!(text(client.send_request(posted("/inject", review())).await.unwrap()).await.0, 200);
}

#[tokio::test]
async fn at_the_end_connections_are_closed_after_what_is_under_way() {
    let mut server = server().await;
    let mut client = server.h2().await;
    assert_eq!(text(client.send_request(posted("/inject", review())).await.unwrap()).await.0, 200);
    server.end.take().unwrap().send(()).unwrap();
    tokio::time::timeout(LIMIT, &mut server.task).await.unwrap().unwrap();
    assert!(client.send_request(posted("/inject", review())).await.is_err());
}
