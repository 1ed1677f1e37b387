//! Somebody with a valid certificate of the mesh who misbehaves on the discovery port: only its own stream ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use weft_proto::type_url::{CLUSTER, ENDPOINT, LISTENER};
use weft_proto::xds::core::Node;
use weft_tests::client::{Client, Stream};
use weft_tests::mesh::{Mesh, said};
use weft_tests::xds_client::{DeltaClient, SotwClient, node};

const REVIEWS: &str = "http://reviews:9080/";
const DISCOVERY: &str = "10.250.0.1:15012";
const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const MALLORY: &str = "spiffe://cluster.local/ns/default/sa/mallory";

/// Connects from a workload's network with the certificate of another.
#[derive(Clone)]
struct Impostor {
    client: Client,
    config: Arc<ClientConfig>,
}

impl Impostor {
    fn new(mesh: &Mesh, workload: &str, client: Client) -> Self {
        let identity = mesh.workload_file(workload, "proxy/identity/identity.pem");
        let key = PrivateKeyDer::from_pem_slice(identity.as_bytes()).expect("a key");
        let chain: Vec<_> = CertificateDer::pem_slice_iter(identity.as_bytes())
            .collect::<Result<_, _>>()
            .expect("certificates");
        let bundle = mesh.workload_file(workload, "trust-bundle.pem");
        let mut roots = rustls::RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(root.expect("a root")).expect("a root");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config =
            builder.unwrap().with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { client, config: Arc::new(config) }
    }

    async fn tls(&self) -> io::Result<TlsStream<Stream>> {
        let name = ServerName::try_from("weft-control-plane").expect("a name");
        TlsConnector::from(self.config.clone()).connect(name, self.client.connect(DISCOVERY).await?).await
    }

    async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_static("https://weft-control-plane");
        endpoint.connect_with_connector(self.clone()).await.expect("the control plane answers")
    }

    /// Sends bytes as the body of a call, and gives gRPC's status and message.
    async fn call(&self, body: Vec<u8>) -> (String, String) {
        let stream = TokioIo::new(self.tls().await.expect("connected"));
        let (mut sender, driver) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
        tokio::spawn(driver);
        let request = http::Request::post(format!("https://weft-control-plane{DELTA}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let ended = async {
            let response = sender.send_request(request).await.expect("an answer");
            let (head, body) = response.into_parts();
            let trailers =
                body.collect().await.ok().and_then(|body| body.trailers().cloned()).unwrap_or_default();
            let value = |name: &str| {
                let value = trailers.get(name).or_else(|| head.headers.get(name));
                value.map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned()).unwrap_or_default()
            };
            (value("grpc-status"), value("grpc-message"))
        };
        tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the stream is closed")
    }
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<TlsStream<Stream>>>> + Send>>;

impl tonic::codegen::Service<http::Uri> for Impostor {
    type Response = TokioIo<TlsStream<Stream>>;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Connecting {
        let own = self.clone();
        Box::pin(async move { Ok(TokioIo::new(own.tls().await?)) })
    }
}

/// A gRPC frame.
fn framed(compressed: u8, length: u32, message: &[u8]) -> Vec<u8> {
    [&[compressed][..], &length.to_be_bytes(), message].concat()
}

fn canary(value: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec:
  hosts: [reviews]
  http: [{{headers: {{response: {{set: {{x-policy: '{value}'}}}}}}, route: [{{destination: {{host: reviews}}}}]}}]
"
    )
}

#[tokio::test]
async fn garbage_from_a_workload_with_a_certificate_ends_its_own_stream_only_and_is_logged() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    let reviews = mesh.run("reviews").http().start().await;
    mesh.client("mallory").await;
    let outsider = mesh.outsider("outsider").await;
    reviews.reached_by(&shop, REVIEWS).await;
    let load = shop.load(REVIEWS).start();
    let mallory = Impostor::new(&mesh, "mallory", outsider);

    // Not HTTP/2; HTTP/2 and then no frame of it.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for garbage in [&[0xff; 4096][..], &[&preface[..], &[0xaa; 4096]].concat()] {
        let mut stream = mallory.tls().await.expect("connected");
        let _ = stream.write_all(garbage).await;
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "the connection stays open");
    }

    // gRPC whose messages are none.
    let noise = [0xde; 200];
    for (what, body) in [
        ("no protobuf", framed(0, 200, &noise)),
        ("a field that is cut off", framed(0, 2, &[0x0a, 0x7f])),
        ("a message that is too long", framed(0, u32::MAX, &noise)),
        ("a compression that was not agreed on", framed(1, 200, &noise)),
        ("an unknown flag", framed(9, 200, &noise)),
    ] {
        let (status, message) = mallory.call(body).await;
        assert!(!status.is_empty() && status != "0", "{what}: {status} {message}");
    }
    let log = mesh.control_plane_log();
    let logged = log.lines().filter(|it| it.contains("a discovery stream is closed") && it.contains(MALLORY));
    assert!(logged.count() >= 4, "not logged with who it was: {log}");

    // Another workload than the certificate's, no workload at all, no node.
    let other =
        Node { id: "sidecar~10.0.0.1~x.elsewhere~elsewhere.svc.cluster.local".into(), ..Node::default() };
    let account = {
        let value = weft_proto::xds::protobuf::Value {
            kind: Some(weft_proto::xds::protobuf::value::Kind::StringValue("reviews".to_owned())),
        };
        let fields = [("SERVICE_ACCOUNT".to_owned(), value)].into();
        let metadata = Some(weft_proto::xds::protobuf::Struct { fields });
        Node { metadata, ..node("reviews") }
    };
    for (sent, code) in [
        (Some(other), Code::PermissionDenied),
        (Some(account), Code::PermissionDenied),
        (Some(Node { id: "nonsense".into(), ..Node::default() }), Code::InvalidArgument),
        (None, Code::InvalidArgument),
    ] {
        let what = format!("{sent:?}");
        let mut stream = DeltaClient::open(mallory.channel().await, sent).await.unwrap();
        stream.change(CLUSTER, &["*"], &[]).await;
        let status = stream.next().await.expect_err(&what);
        assert_eq!(status.code(), code, "{what}: {status}");
    }
    let log = mesh.control_plane_log();
    assert!(log.lines().any(|it| it.contains("PermissionDenied") && it.contains(MALLORY)), "{log}");

    // Unknown types are answered with nothing, as Envoy expects; the stream goes on. Nonces nobody gave are ignored.
    let mut stream = DeltaClient::open(mallory.channel().await, Some(node("mallory"))).await.unwrap();
    for kind in ["type.googleapis.com/no.such.Type", "", "\u{1F980}"] {
        stream.change(kind, &["*"], &[]).await;
    }
    stream.change(LISTENER, &["*"], &[]).await;
    loop {
        let mut response = stream.next().await.expect("the stream goes on");
        if response.type_url == LISTENER {
            assert!(!response.resources.is_empty());
            response.nonce = "never given".to_owned();
            stream.answer(&response, Some("made up")).await;
            break;
        }
        assert!(response.resources.is_empty(), "{response:?}");
    }
    // It is told all the same, and never answers from here on.
    let mut sotw = SotwClient::open(mallory.channel().await, Some(node("mallory"))).await.unwrap();
    sotw.ask(CLUSTER, &[], "made up").await;

    // Nobody else has noticed.
    let wait = ["apply", "--timeout", "5s"];
    let output = mesh.weft_with(&wait, &canary("after")).await;
    assert!(output.status.success(), "{}", said(&output));
    weft_tests::wait::eventually("the policy holds", async || {
        let answer = shop.request("GET", REVIEWS).try_send().await?;
        let found = answer.header("x-policy");
        if found == "after" { Ok(()) } else { Err(format!("{} {found}", answer.status)) }
    })
    .await;
    // A change that is told in steps waits for it, but not for ever.
    stream.change(ENDPOINT, &["outbound|9080||reviews.default.svc.cluster.local"], &[]).await;
    let policy = async |mode: &str| {
        let kind = "apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: p}";
        let output =
            mesh.weft_with(&["apply"], &format!("{{{kind}, spec: {{mtls: {{mode: {mode}}}}}}}")).await;
        assert!(output.status.success(), "{}", said(&output));
    };
    policy("DISABLE").await;
    weft_tests::wait::eventually("clients call in plain text", async || {
        let caller = shop.get(REVIEWS).await.expect(200).field("headers.x-forwarded-client-cert");
        if caller.is_empty() { Ok(()) } else { Err(caller) }
    })
    .await;
    policy("STRICT").await;
    let url = format!("http://{}:9080/", reviews.address(false).await);
    weft_tests::wait::eventually("STRICT is in force", async || {
        match mallory.client.request("GET", &url).try_send().await {
            Ok(answer) => Err(format!("plain text is answered: {}", answer.status)),
            Err(_) => Ok(()),
        }
    })
    .await;
    let log = mesh.control_plane_log();
    let told =
        log.lines().find(|it| it.contains("not every sidecar acknowledged a change of authentication"));
    assert!(told.is_some_and(|it| it.contains("mallory.default")), "{log}");
    drop((stream, sotw));
    mesh.in_step().await;
    load.stop().await.assert_no_failure();
}
