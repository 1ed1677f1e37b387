//! With real servers in the application's place, and the kubelet's request in the kubelet's.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic_prost::ProstCodec;

use super::grpc::{HealthCheckRequest, HealthCheckResponse, SERVING};
use super::*;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// What the application answers.
async fn page(request: ::http::Request<Incoming>) -> Result<::http::Response<Full<Bytes>>, Infallible> {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let (status, to) = match request.uri().path() {
        "/ill" => (500, None),
        "/folder/moved" => (302, Some("told?again=1".to_owned())),
        "/elsewhere" => (301, Some("http://elsewhere.example/".to_owned())),
        "/round" => (307, Some("/round".to_owned())),
        _ => (200, None),
    };
    let body = match request.uri().path() {
        "/long" => "x".repeat(100_000),
        _ => format!(
            "{} host={} agent={} mine={}",
            request.uri(),
            header("host"),
            header("user-agent"),
            header("x-mine")
        ),
    };
    let mut response = ::http::Response::builder().status(status);
    if let Some(to) = to {
        response = response.header("location", to);
    }
    Ok(response.body(Full::from(body)).unwrap())
}

fn serve_pages<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) {
    let connection = hyper::server::conn::http1::Builder::new();
    tokio::spawn(async move { connection.serve_connection(TokioIo::new(stream), service_fn(page)).await });
}

async fn web_application() -> u16 {
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve_pages(stream);
        }
    });
    port
}

async fn secure_application() -> u16 {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["nobody-asked.example".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve_pages(stream);
            }
        }
    });
    port
}

/// Serves `books` and no other service.
struct Health;

impl tonic::server::UnaryService<HealthCheckRequest> for Health {
    type Response = HealthCheckResponse;
    type Future = Ready<Result<tonic::Response<HealthCheckResponse>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<HealthCheckRequest>) -> Self::Future {
        ready(match request.into_inner().service.as_str() {
            "books" => Ok(tonic::Response::new(HealthCheckResponse { status: SERVING })),
            "closed" => Ok(tonic::Response::new(HealthCheckResponse { status: 2 })),
            _ => Err(tonic::Status::not_found("unknown service")),
        })
    }
}

async fn grpc_application() -> u16 {
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: ::http::Request<Incoming>| async move {
                assert_eq!(request.uri().path(), super::grpc::CHECK);
                let codec: ProstCodec<HealthCheckResponse, HealthCheckRequest> = ProstCodec::default();
                Ok::<_, Infallible>(tonic::server::Grpc::new(codec).unary(Health, request).await)
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(async move { connection.serve_connection(TokioIo::new(stream), service).await });
        }
    });
    port
}

/// A server for the probes, each given as a path and JSON; with a count of how often it was told to quit.
async fn serving(probes: &[(&str, String)]) -> (SocketAddr, Arc<AtomicUsize>) {
    let pairs: Vec<String> = probes.iter().map(|(path, json)| format!("\"{path}\": {json}")).collect();
    let probes = AppProbes::parse(&format!("{{{}}}", pairs.join(","))).unwrap();
    let quit = Arc::new(AtomicUsize::new(0));
    let count = quit.clone();
    let told: crate::admin::Show<()> = Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let server = ProbeServer::bind(SocketAddr::new(LOOPBACK, 0), probes, LOOPBACK, told).unwrap();
    let address = server.local_address().unwrap();
    tokio::spawn(server.run());
    (address, quit)
}

/// Status and body that the kubelet gets.
async fn kubelet(at: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {at}\r\nUser-Agent: kube-probe/1.34\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(60), read).await.expect("an answer").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn http_probes_are_handed_through_as_the_kubelet_would_have_asked() {
    let port = web_application().await;
    let get =
        |path: &str| format!(r#"{{"httpGet": {{"path": "{path}", "port": {port}}}, "periodSeconds": 5}}"#);
    let named = format!(
        r#"{{"httpGet": {{"path": "told", "port": {port}, "scheme": "HTTP", "httpHeaders":
            [{{"name": "Host", "value": "shop.example"}}, {{"name": "X-Mine", "value": "yes"}}]}}}}"#
    );
    let (at, _) = serving(&[
        ("/app-health/app/livez", get("/told?a=b")),
        ("/app-health/app/readyz", get("/ill")),
        ("/app-health/app/startupz", named),
        ("/app-health/b/livez", get("/folder/moved")),
        ("/app-health/b/readyz", get("/elsewhere")),
        ("/app-health/b/startupz", get("/round")),
        ("/app-lifecycle/app/prestopz", get("/long")),
    ])
    .await;
    let plain = kubelet(at, "GET", "/app-health/app/livez").await;
    assert_eq!(plain, (200, format!("/told?a=b host=127.0.0.1:{port} agent=kube-probe/1.34 mine=")));
    assert_eq!(kubelet(at, "GET", "/app-health/app/readyz").await.0, 500);
    let named = kubelet(at, "GET", "/app-health/app/startupz").await;
    assert_eq!(named, (200, "/told host=shop.example agent=kube-probe/1.34 mine=yes".to_owned()));
    let moved = kubelet(at, "GET", "/app-health/b/livez").await;
    assert!(moved.0 == 200 && moved.1.starts_with("/folder/told?again=1 "), "{moved:?}");
    let elsewhere = kubelet(at, "GET", "/app-health/b/readyz").await;
    assert!(elsewhere.0 == 200 && elsewhere.1.contains("elsewhere.example"), "{elsewhere:?}");
    let round = kubelet(at, "GET", "/app-health/b/startupz").await;
    assert!(round.0 == 503 && round.1.contains("10 redirects"), "{round:?}");
    assert_eq!(kubelet(at, "GET", "/app-lifecycle/app/prestopz").await.1.len(), 10 * 1024);
}

#[tokio::test]
async fn whose_certificate_it_is_does_not_matter_to_a_probe() {
    let port = secure_application().await;
    let probe = format!(r#"{{"httpGet": {{"path": "/told", "port": {port}, "scheme": "HTTPS"}}}}"#);
    let (at, _) = serving(&[("/app-health/app/livez", probe)]).await;
    let answer = kubelet(at, "GET", "/app-health/app/livez").await;
    assert!(answer.0 == 200 && answer.1.starts_with("/told host=127.0.0.1"), "{answer:?}");
}

#[tokio::test]
async fn tcp_probes_tell_whether_somebody_listens() {
    let port = web_application().await;
    // Bound by nobody else while the test runs, and nobody listens.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind(SocketAddr::new(LOOPBACK, 0)).unwrap();
    let free = closed.local_addr().unwrap().port();
    let (at, _) = serving(&[
        ("/app-health/app/livez", format!(r#"{{"tcpSocket": {{"port": {port}}}}}"#)),
        ("/app-health/app/readyz", format!(r#"{{"tcpSocket": {{"port": {free}}}}}"#)),
    ])
    .await;
    assert_eq!(kubelet(at, "GET", "/app-health/app/livez").await.0, 200);
    let refused = kubelet(at, "GET", "/app-health/app/readyz").await;
    assert!(refused.0 == 503 && refused.1.contains(&format!("127.0.0.1:{free}")), "{refused:?}");
}

#[tokio::test]
async fn grpc_probes_ask_for_the_health_of_a_service() {
    let (port, web) = (grpc_application().await, web_application().await);
    let probe =
        |port: u16, service: &str| format!(r#"{{"grpc": {{"port": {port}, "service": "{service}"}}}}"#);
    let (at, _) = serving(&[
        ("/app-health/app/livez", probe(port, "books")),
        ("/app-health/app/readyz", probe(port, "closed")),
        ("/app-health/app/startupz", probe(port, "other")),
        ("/app-health/web/livez", probe(web, "")),
    ])
    .await;
    assert_eq!(kubelet(at, "GET", "/app-health/app/livez").await, (200, "SERVING".to_owned()));
    for (path, why) in [
        ("/app-health/app/readyz", "NOT_SERVING"),
        ("/app-health/app/startupz", "no service `other`"),
        ("/app-health/web/livez", ""),
    ] {
        let answer = kubelet(at, "GET", path).await;
        assert!(answer.0 == 503 && answer.1.contains(why), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn an_application_that_says_nothing_fails_in_time() {
    let (silent, port) = listener().await;
    let probe = format!(r#"{{"httpGet": {{"port": {port}}}, "timeoutSeconds": 1}}"#);
    let (at, _) = serving(&[("/app-health/app/livez", probe)]).await;
    let answer = kubelet(at, "GET", "/app-health/app/livez").await;
    assert!(answer.0 == 503 && answer.1.contains("within 1s"), "{answer:?}");
    drop(silent);
}

#[tokio::test]
async fn nobody_can_have_anything_else_asked_or_end_the_sidecar_by_mistake() {
    let port = web_application().await;
    let probe = format!(r#"{{"httpGet": {{"port": {port}}}}}"#);
    let (at, quit) = serving(&[("/app-health/app/livez", probe)]).await;
    for path in ["/", "/app-health/other/livez", "/app-health/app/livez/", "/metrics"] {
        assert_eq!(kubelet(at, "GET", path).await.0, 404, "{path}");
    }
    assert_eq!(kubelet(at, "POST", "/app-health/app/livez").await.0, 405);
    assert_eq!((kubelet(at, "GET", "/quitquitquit").await.0, quit.load(Ordering::SeqCst)), (405, 0));
    assert_eq!((kubelet(at, "POST", "/quitquitquit").await.0, quit.load(Ordering::SeqCst)), (200, 1));
}

#[test]
fn everything_that_is_wrong_with_the_probes_is_told_with_its_path() {
    let wrong = r#"{
        "/other/app": {"tcpSocket": {"port": 80}},
        "/app-health/a/livez": {},
        "/app-health/b/livez": {"tcpSocket": {"port": 80}, "grpc": {"port": 80}},
        "/app-health/c/livez": {"httpGet": {"port": "http"}},
        "/app-health/d/livez": {"httpGet": {"port": 80, "scheme": "FTP"}},
        "/app-health/e/livez": {"httpGet": {"port": 80, "httpHeaders": [{"name": "a b", "value": ""}]}},
        "/app-health/f/livez": {"tcpSocket": {"port": 0}}
    }"#;
    let mistakes = AppProbes::parse(wrong).unwrap_err();
    assert_eq!(mistakes.len(), 7, "{mistakes:?}");
    for (path, why) in [
        ("/other/app", "neither below"),
        ("/app-health/a/livez", "one of"),
        ("/app-health/b/livez", "one of"),
        ("/app-health/c/livez", "u16"),
        ("/app-health/d/livez", "`FTP`"),
        ("/app-health/e/livez", "`a b`"),
        ("/app-health/f/livez", "port 0"),
    ] {
        assert!(mistakes.iter().any(|it| it.starts_with(path) && it.contains(why)), "{path}: {mistakes:?}");
    }
}
