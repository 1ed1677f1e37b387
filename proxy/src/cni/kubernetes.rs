//! The few questions that the agent has for the API server, asked with a pod's own credentials.
//!
//! The data plane's program does without a Kubernetes library, which would be larger than the rest of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tls::provider;

/// Where every pod finds its token and the API server's root.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// For a whole exchange.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than a page of pods, by far.
const ANSWER: usize = 64 << 20;

/// The API server, and who asks.
#[derive(Clone, Debug)]
pub struct Api {
    /// `HOST:PORT`.
    address: String,
    host: String,
    token: PathBuf,
    roots: PathBuf,
}

/// No answer, or a refusal.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// This is no pod, or a damaged one.
    #[error("the API server cannot be asked: {0}")]
    Unusable(String),
    /// There was no answer.
    #[error("the API server at {address} does not answer: {reason}")]
    Unreachable {
        /// `HOST:PORT`.
        address: String,
        /// Why.
        reason: String,
    },
    /// It refused.
    #[error("the API server refused {method} {path}: {status}: {message}")]
    Refused {
        /// What was asked.
        method: Method,
        /// Of what.
        path: String,
        /// Its status.
        status: StatusCode,
        /// Its words.
        message: String,
    },
}

impl ApiError {
    /// Whether it said that there is no such object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }

    /// Whether it said that who asks is nobody, or may not.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. })
    }
}

impl Api {
    /// As every pod reaches it.
    ///
    /// # Errors
    /// When this is no pod.
    pub fn of_pod(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, ApiError> {
        let value = |name: &str| {
            variable(name)
                .ok_or_else(|| ApiError::Unusable(format!("{name} is not set: this must run in a pod")))
        };
        let (host, port) = (value("KUBERNETES_SERVICE_HOST")?, value("KUBERNETES_SERVICE_PORT")?);
        let folder = Path::new(SERVICE_ACCOUNT);
        Ok(Self::at(&host, &port, folder.join("token"), folder.join("ca.crt")))
    }

    /// At an address, with files for token and roots, which are read each time: the kubelet renews them.
    #[must_use]
    pub fn at(host: &str, port: &str, token: PathBuf, roots: PathBuf) -> Self {
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        Self { address: format!("{bracketed}:{port}"), host: host.to_owned(), token, roots }
    }

    /// Reads an object, or a list.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.send(Method::GET, path, "", None).await
    }

    /// Makes an object.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        self.send(Method::POST, path, "application/json", Some(object)).await
    }

    /// Merges a change into an object (RFC 7396).
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn merge(&self, path: &str, change: &Value) -> Result<Value, ApiError> {
        self.send(Method::PATCH, path, "application/merge-patch+json", Some(change)).await
    }

    /// Deletes an object, with options such as preconditions.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn delete(&self, path: &str, options: &Value) -> Result<Value, ApiError> {
        self.send(Method::DELETE, path, "application/json", Some(options)).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: Option<&Value>,
    ) -> Result<Value, ApiError> {
        let request = self.request(&method, path, content_type, body)?;
        let unreachable = |reason: String| ApiError::Unreachable { address: self.address.clone(), reason };
        let exchange = tokio::time::timeout(TIMEOUT, self.exchange(request)).await;
        let (status, answer) = exchange
            .map_err(|_| unreachable(format!("no answer within {TIMEOUT:?}")))?
            .map_err(unreachable)?;
        let value: Value = serde_json::from_slice(&answer).unwrap_or_default();
        if status.is_success() {
            return Ok(value);
        }
        let message = match value["message"].as_str() {
            Some(message) => message.to_owned(),
            None => String::from_utf8_lossy(&answer).chars().take(200).collect(),
        };
        Err(ApiError::Refused { method, path: path.to_owned(), status, message })
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        content_type: &'static str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, ApiError> {
        let token = std::fs::read_to_string(&self.token)
            .map_err(|error| ApiError::Unusable(format!("{}: {error}", self.token.display())))?;
        let mut token = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| ApiError::Unusable(format!("{} holds no token", self.token.display())))?;
        token.set_sensitive(true);
        let body = Full::from(body.map(Value::to_string).unwrap_or_default());
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.address)
            .header(ACCEPT, "application/json")
            .body(body)
            .map_err(|error| ApiError::Unusable(format!("{path}: {error}")))?;
        request.headers_mut().insert(AUTHORIZATION, token);
        if !content_type.is_empty() {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        Ok(request)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
        let stream = TcpStream::connect(&self.address).await.map_err(|error| error.to_string())?;
        let name =
            ServerName::try_from(self.host.clone()).map_err(|_| format!("{} is no host", self.host))?;
        let connector = TlsConnector::from(Arc::new(self.tls()?));
        let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body =
            Limited::new(response.into_body(), ANSWER).collect().await.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    }

    fn tls(&self) -> Result<ClientConfig, String> {
        let failed = |error: String| format!("{}: {error}", self.roots.display());
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(&self.roots).map_err(|error| failed(error.to_string()))? {
            let root = root.map_err(|error| failed(error.to_string()))?;
            roots.add(root).map_err(|error| failed(error.to_string()))?;
        }
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}
