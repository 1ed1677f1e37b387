//! A probe by HTTP or HTTPS, as the kubelet makes it: no connection is kept, no certificate verified, and redirects
//! are followed on the same host only (one that leads elsewhere counts as a good answer).

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{HttpGet, Verdict};
use crate::tls::provider;

/// Redirects that are followed at most, as Go's client does for the kubelet.
const REDIRECTS: usize = 10;
/// So much of the answer is passed on: the kubelet itself reads no more.
const BODY: usize = 10 * 1024;

/// Asks the application at `address`, with the kubelet's `User-Agent` and `Accept` unless the probe has its own.
pub(super) async fn ask(get: &HttpGet, address: IpAddr, from: &HeaderMap) -> Verdict {
    match follow(get, address, from).await {
        Ok(verdict) => verdict,
        Err(why) => Verdict::failed(why),
    }
}

async fn follow(get: &HttpGet, address: IpAddr, from: &HeaderMap) -> Result<Verdict, String> {
    let host = match &get.host {
        Some(host) => bracketed(host),
        None => bracketed(&address.to_string()),
    };
    let scheme = if get.tls { Scheme::HTTPS } else { Scheme::HTTP };
    let mut at: Uri = format!("{scheme}://{host}:{}{}", get.port, get.path)
        .parse()
        .map_err(|error| format!("`{}` cannot be asked for: {error}", get.path))?;
    for _ in 0..=REDIRECTS {
        let response = once(&at, get, from).await?;
        let status = response.status();
        let Some(next) = location(&response, &at) else { return read(response).await };
        if next.host() != at.host() {
            return Ok(Verdict::of(StatusCode::OK, format!("{status} leads to another host: {next}")));
        }
        at = next;
    }
    Err(format!("there were more than {REDIRECTS} redirects"))
}

fn bracketed(host: &str) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

/// Where a redirect leads; none when it is no redirect, or leads nowhere.
fn location(response: &Response<Incoming>, at: &Uri) -> Option<Uri> {
    use StatusCode as S;
    let redirects =
        [S::MOVED_PERMANENTLY, S::FOUND, S::SEE_OTHER, S::TEMPORARY_REDIRECT, S::PERMANENT_REDIRECT];
    if !redirects.contains(&response.status()) {
        return None;
    }
    let text = response.headers().get(LOCATION)?.to_str().ok()?;
    if text.contains("://") {
        return text.parse().ok();
    }
    // A path of the same host; one without a slash is relative to the folder of the last (RFC 3986, section 5.2).
    let folder = at.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    let path = if text.starts_with('/') { text.to_owned() } else { format!("{folder}/{text}") };
    let parts = Uri::builder().scheme(at.scheme()?.clone()).authority(at.authority()?.clone());
    parts.path_and_query(path).build().ok()
}

async fn read(response: Response<Incoming>) -> Result<Verdict, String> {
    let status = response.status();
    let mut body = response.into_body();
    let mut read = Vec::new();
    while read.len() < BODY
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| format!("the answer broke off: {error}"))?;
        read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
    }
    read.truncate(BODY);
    Ok(Verdict { status, body: read })
}

async fn once(at: &Uri, get: &HttpGet, from: &HeaderMap) -> Result<Response<Incoming>, String> {
    let authority = at.authority().ok_or_else(|| format!("{at} names no host"))?;
    let tls = at.scheme() == Some(&Scheme::HTTPS);
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| format!("cannot connect to {authority}: {error}"))?;
    let request = request(at, authority, get, from)?;
    if !tls {
        return send(stream, request).await;
    }
    let config = unverified().map_err(|error| error.to_string())?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host} is no name for TLS"))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    send(connected.map_err(|error| format!("TLS with {authority} failed: {error}"))?, request).await
}

fn request(
    at: &Uri,
    authority: &Authority,
    get: &HttpGet,
    from: &HeaderMap,
) -> Result<Request<Empty<Bytes>>, String> {
    let path = at.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::get(path).body(Empty::new()).map_err(|error| error.to_string())?;
    let headers = request.headers_mut();
    let host = HeaderValue::from_str(authority.as_str()).map_err(|error| error.to_string())?;
    headers.insert(HOST, host);
    for name in [USER_AGENT, ACCEPT] {
        if let Some(value) = from.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    for (name, _) in &get.headers {
        headers.remove(name);
    }
    for (name, value) in &get.headers {
        headers.append(name, value.clone());
    }
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

async fn send<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| format!("the application gave no answer: {error}");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // Ends with the answer's body, or when that is dropped.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(failed)
}

fn unverified() -> Result<ClientConfig, rustls::Error> {
    let provider = provider();
    let verifier = Arc::new(Anybody(provider.signature_verification_algorithms.supported_schemes()));
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Accepts any certificate: a probe finds out whether the application answers, not who it is.
#[derive(Debug)]
struct Anybody(Vec<SignatureScheme>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
